//! The files of blobs whose records a pack has removed.

use zeo_proto::{Oid, Tid};

use super::super::core::FileStorage;
use super::super::load::load_serial;
use crate::Error;
use crate::blob::Revisions;
use crate::log::Level;

impl FileStorage {
    /// Removes them: after a pack, and what one has left that was killed.
    pub(in crate::file_storage) fn finish_blobs(&self) {
        let Some(blobs) = self.blobs.as_ref().filter(|_| !self.read_only) else {
            return;
        };
        if let Err(error) = blobs.remove_listed(self.pack_keep_old, self) {
            let what = format!(
                "{}: blobs were left that are not needed: {error}",
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
        !matches!(
            load_serial(&self.generation(), oid, serial),
            Err(Error::NoObject(_))
        )
    }
}
