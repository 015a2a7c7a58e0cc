//! The files of the blobs whose records are copied.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use zeo_proto::Tid;

use super::LostBlob;
use super::resolve::Resolved;
use crate::Result;
use crate::blob::{BlobDirectory, is_blob};
use crate::storage::Op;

/// Those of one transaction.
pub(super) struct Blobs<'a> {
    directories: Option<(&'a BlobDirectory, &'a BlobDirectory)>,
    /// How many were copied,
    pub copied: u64,
    /// and which can't be.
    pub lost: Vec<LostBlob>,
}

impl<'a> Blobs<'a> {
    pub fn new(from: Option<&'a BlobDirectory>, to: Option<&'a BlobDirectory>) -> Self {
        Self {
            directories: from.zip(to),
            copied: 0,
            lost: Vec::new(),
        }
    }

    /// The file of the record's blob, if it has one that can be read, for the
    /// revision `serial`. Fails when it can't be written.
    pub fn of(
        &mut self,
        record: &Resolved,
        serial: Tid,
        data: Option<&[u8]>,
    ) -> Result<Option<Op>> {
        let Some((from, to)) = self.directories.filter(|_| data.is_some_and(is_blob)) else {
            return Ok(None);
        };
        let (oid, tid) = (record.oid, record.serial);
        let path = from.path_of(oid, tid);
        let copied = match from.length_of(oid, tid) {
            Ok(_) => to.copy_of(&path).map_err(|error| (readable(&path), error)),
            Err(why) => {
                self.lose(record, &path, &why);
                return Ok(None);
            }
        };
        match copied {
            Ok(file) => {
                self.copied += 1;
                let (serial, file) = (Some(serial), Arc::new(file));
                Ok(Some(Op::Blob { oid, serial, file }))
            }
            Err((Err(why), _)) => {
                self.lose(record, &path, &why);
                Ok(None)
            }
            Err((Ok(()), error)) => Err(error),
        }
    }

    fn lose(&mut self, record: &Resolved, path: &Path, why: &io::Error) {
        self.lost.push(LostBlob {
            oid: record.oid,
            tid: record.serial,
            path: path.to_owned(),
            why: why.to_string(),
        });
    }
}

/// Fails when the file can't be read to its end.
fn readable(path: &Path) -> io::Result<()> {
    io::copy(&mut File::open(path)?, &mut io::sink()).map(|_| ())
}
