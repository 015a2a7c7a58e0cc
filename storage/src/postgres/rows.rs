//! What several statements return.

use tokio_postgres::Row;
use zeo_proto::Oid;

use super::ids::oid_of;
use super::session::value;
use crate::Result;
use crate::storage::TransactionMeta;

/// An oid and a state, as they stand in two columns.
pub(super) fn object(row: &Row) -> Result<(Oid, Option<Vec<u8>>)> {
    Ok((oid_of(value(row, 0)?), value(row, 1)?))
}

/// User, description and extension in three columns.
pub(super) fn meta(row: &Row, first: usize) -> Result<TransactionMeta> {
    Ok(TransactionMeta {
        user: value(row, first)?,
        description: value(row, first + 1)?,
        extension: value::<Option<Vec<u8>>>(row, first + 2)?.unwrap_or_default(),
        tid: None,
        status: b' ',
    })
}
