//! Copying revisions from another storage without copying data twice.

use zeo_proto::{Oid, Tid};

use crate::Result;
use crate::file_storage::read::generation::Generation;

/// The position for a back-pointer to the record that transaction `tid`
/// wrote for `oid`, if that holds this `data` (or is a back-pointer itself,
/// which Python trusts); 0 when there is no such record.
///
/// Python searches the file for the transaction, and fails when it is not
/// there, against its own word that `tid` is a hint. This follows the
/// object's own records, and takes `tid` as a hint.
pub(crate) fn find_data(
    generation: &Generation,
    oid: Oid,
    tid: Tid,
    data: Option<&[u8]>,
) -> Result<u64> {
    let Some((mut position, reader)) = generation.find(oid) else {
        return Ok(0);
    };
    while position != 0 {
        let header = reader.data_header(position, Some(oid))?;
        if header.tid == tid {
            let same = match (header.plen, data) {
                (0, _) => true,
                (_, None) => false,
                (plen, Some(data)) => {
                    plen == data.len() as u64 && *reader.data(position, &header)? == *data
                }
            };
            return Ok(if same { position } else { 0 });
        }
        position = header.prev;
    }
    Ok(0)
}
