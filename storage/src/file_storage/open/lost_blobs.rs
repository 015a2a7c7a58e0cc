//! Blobs whose names a power cut has taken: which revisions they are.

use zeo_proto::{Oid, Tid};

use crate::blob::is_blob;
use crate::file_storage::format::seal::Ending;
use crate::file_storage::format::verify::read_ending;
use crate::file_storage::read::generation::Generation;
use crate::file_storage::storage::FileStorage;
use crate::{Error, Result};

impl FileStorage {
    /// Finishes what votes and commits of blobs have left in `tmp`.
    pub(super) fn mend_blobs(&self) -> Result<()> {
        let Some(blobs) = self.blobs.as_ref().filter(|_| !self.read_only) else {
            return Ok(());
        };
        let generation = self.generation();
        let next = |oid, before| next_blob(&generation, oid, before);
        blobs.mend(&next, &self.log)
    }
}

/// The blob's revision that was written on top of that of transaction `before`
/// (zero: as the first one), by this storage: Python does not stage files, and
/// may have written one after a crash of ours.
fn next_blob(generation: &Generation, oid: Oid, before: Tid) -> Result<Option<Tid>> {
    let Some((mut position, reader)) = generation.find(oid) else {
        return Ok(None);
    };
    let mut next = None;
    while position != 0 {
        let header = reader.data_header(position, Some(oid))?;
        if header.tid == before {
            break;
        }
        next = Some((position, header));
        position = header.prev;
    }
    // The first one follows zero alone.
    let Some((found, header)) = next.filter(|_| (position == 0) == (before == Tid::ZERO)) else {
        return Ok(None);
    };
    let txn = reader.txn_header(header.tloc)?;
    let is_ours = match read_ending(&reader, header.tloc, &txn)? {
        Ending::Sealed(seal) => seal.belongs_to(header.tloc, &txn),
        Ending::Broken | Ending::Plain => false,
    };
    match generation.load_back(oid, found) {
        Ok(data) if is_ours && is_blob(&data) => Ok(Some(header.tid)),
        Ok(_) | Err(Error::NoObject(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
