//! Oids and tids as they stand in columns: signed.

use zeo_proto::{Oid, Tid};

use crate::{Error, Result};

/// An oid as it stands in a column.
pub(super) fn number(oid: Oid) -> Result<i64> {
    let too_large = |_| {
        Error::Value(format!(
            "object {oid}: PostgreSQL can't store an oid of 2^63 or more"
        ))
    };
    i64::try_from(oid.as_u64()).map_err(too_large)
}

/// That of an object which must be there: one that no column can hold is not.
///
/// # Errors
/// `NoObject`.
pub(super) fn number_of_known(oid: Oid) -> Result<i64> {
    number(oid).map_err(|_| Error::NoObject(oid))
}

pub(super) fn oid_of(number: i64) -> Oid {
    Oid::new(number.cast_unsigned())
}

/// A tid as it stands in a column.
pub(super) fn tid_of(tid: Tid) -> Result<i64> {
    let too_large = |_| {
        Error::Value(format!(
            "transaction {tid}: PostgreSQL can't store a tid of 2^63 or more"
        ))
    };
    i64::try_from(tid.as_u64()).map_err(too_large)
}
