//! Blobs on their way from and to a client.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::PathBuf;

use rustix::fs::{Advice, fadvise};
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::Error;
use zeo_storage::blob::BlobFile;

/// How much of an upload is given to the disk at a time, in bytes.
const WRITE_BEHIND_BYTES: u64 = 1 << 19;

/// A blob that the client is sending. What goes wrong with the file is told
/// at the vote: the calls that send it have no answers.
pub(super) enum Upload {
    Open(Writing),
    Failed(Error),
}

/// The file of a blob that is being sent.
pub(super) struct Writing {
    file: File,
    pub(super) blob: BlobFile,
    written: u64,
    /// Up to here the disk has begun to write it.
    begun: u64,
}

impl Writing {
    /// A file that is still empty.
    pub(super) fn new(file: File, blob: BlobFile) -> Self {
        Self {
            file,
            blob,
            written: 0,
            begun: 0,
        }
    }

    /// Adds to the file, and has the disk begin to write what was received, so that the vote has
    /// less to wait for.
    pub(super) fn add(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk)?;
        self.written = self.written.saturating_add(chunk.len() as u64);
        if self.written.saturating_sub(self.begun) >= WRITE_BEHIND_BYTES {
            self.begin_to_write();
        }
        Ok(())
    }

    /// All has come.
    pub(super) fn end(mut self) -> BlobFile {
        self.begin_to_write();
        self.blob
    }

    /// That is what this advice does in Linux. (It also drops pages that are written already, but
    /// there are none.)
    fn begin_to_write(&mut self) {
        if let Some(ready) = NonZeroU64::new(self.written.saturating_sub(self.begun)) {
            // If it does not, the vote takes longer.
            let _ = fadvise(&self.file, self.begun, Some(ready), Advice::DontNeed);
            self.begun = self.written;
        }
    }
}

/// The blobs that the client has asked for, in that order.
pub(super) type Downloads = VecDeque<Download>;

/// A blob on its way to the client.
pub(super) struct Download {
    pub(super) call_id: Value<'static>,
    pub(super) oid: Oid,
    pub(super) serial: Tid,
    pub(super) path: PathBuf,
    /// Open once its turn has come, or as soon as it is there, where it may be removed again.
    pub(super) file: Option<File>,
    /// The client has been told that it comes.
    pub(super) begun: bool,
}
