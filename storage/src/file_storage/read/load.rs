//! Reading revisions of one object. No lock: a load sees what was published
//! when it began, and what is published meanwhile does no harm.

use zeo_proto::{Oid, Tid};

use super::generation::Generation;
use crate::storage::{OpenData, Revision};
use crate::{Error, Result};

/// The revision that was current just before `before`; `None` when the
/// object is younger. Fails with `NoObject` for an unknown object, and for
/// one that is gone in that revision.
pub(crate) fn open_before(
    generation: &Generation,
    oid: Oid,
    before: Tid,
) -> Result<Option<Revision<OpenData>>> {
    let (mut position, reader) = generation.lookup(oid)?;
    let mut next = None;
    loop {
        let head = reader.head(position, Some(oid))?;
        let header = head.header;
        if header.tid < before {
            return Ok(Some(Revision {
                data: generation.open(reader, head)?,
                serial: header.tid,
                next,
            }));
        }
        if header.prev == 0 {
            return Ok(None);
        }
        next = Some(header.tid);
        position = header.prev;
    }
}

/// The record that transaction `serial` wrote for `oid`. Fails with
/// `NoObject` when it wrote none, or one that says that the object is gone.
pub(crate) fn open_serial(generation: &Generation, oid: Oid, serial: Tid) -> Result<OpenData> {
    let (mut position, reader) = generation.lookup(oid)?;
    loop {
        let head = reader.head(position, Some(oid))?;
        let header = head.header;
        if header.tid == serial {
            return generation.open(reader, head);
        }
        if header.tid < serial || header.prev == 0 {
            return Err(Error::NoObject(oid));
        }
        position = header.prev;
    }
}

/// The current serial. Fails with `NoObject` for an object that is unknown
/// or gone.
///
/// As in Python, a back-pointer to a record that says that the object is
/// gone counts as a revision here, though it can't be loaded.
pub(crate) fn get_tid(generation: &Generation, oid: Oid) -> Result<Tid> {
    let (position, reader) = generation.lookup(oid)?;
    let header = reader.data_header(position, Some(oid))?;
    if header.plen == 0 && header.back == 0 {
        return Err(Error::NoObject(oid));
    }
    Ok(header.tid)
}
