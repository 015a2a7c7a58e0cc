//! FileStorage: the files of blobs whose records a pack has removed.

use zeo_proto::{Oid, Tid};

use super::target::is_unfinished;
use crate::blob::{Revisions, is_blob};
use crate::file_storage::format::walk::{RecordHeaders, Txn};
use crate::file_storage::read::generation::Generation;
use crate::file_storage::storage::FileStorage;
use crate::log::Level;
use crate::{Error, Result};

impl FileStorage {
    /// When the storage opens: goes on where a pack was killed, unless it had
    /// not come to its switch. Then nothing of what it listed has gone.
    pub(in crate::file_storage) fn resume_blobs(&self) {
        match (&self.blobs, &self.files) {
            (Some(blobs), Some(files)) if !self.read_only && is_unfinished(files) => {
                if let Err(error) = blobs.forget_listed() {
                    self.say(Level::Warning, &format!("{}: {error}", self.name));
                }
            }
            _ => self.finish_blobs(),
        }
    }

    /// Removes them: after a pack, and what one has left.
    pub(super) fn finish_blobs(&self) {
        let Some(blobs) = self.blobs.as_ref().filter(|_| !self.read_only) else {
            return;
        };
        if let Err(error) = blobs.remove_listed(self.pack_keep_old, self) {
            let what = format!(
                "{}: some blobs that are no longer needed could not be removed: {error}",
                self.name
            );
            self.say(Level::Warning, &what);
        }
    }
}

impl Revisions for FileStorage {
    fn last(&self) -> Tid {
        self.generation().last_tid()
    }

    fn has_object(&self, oid: Oid) -> bool {
        self.generation().index.get(oid).is_some()
    }

    fn has(&self, oid: Oid, serial: Tid) -> bool {
        wrote_blob(&self.generation(), oid, serial).unwrap_or(true)
    }
}

/// True when the transaction wrote a record of a blob for the object, be it
/// not its last one.
fn wrote_blob(generation: &Generation, oid: Oid, serial: Tid) -> Result<bool> {
    let Some((mut position, reader)) = generation.find(oid) else {
        return Ok(false);
    };
    let mut header = reader.data_header(position, Some(oid))?;
    while header.tid != serial {
        if header.tid < serial || header.prev == 0 {
            return Ok(false);
        }
        position = header.prev;
        header = reader.data_header(position, Some(oid))?;
    }
    let txn = Txn::read(&reader, header.tloc)?;
    for record in RecordHeaders::new(reader, &txn) {
        let (position, header) = record?;
        if (header.oid, header.tid) != (oid, serial) {
            continue;
        }
        match generation.load_back(oid, position) {
            Err(Error::NoObject(_)) => {}
            data => {
                if is_blob(&data?) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}
