//! The files of the blobs whose records are copied.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use zeo_proto::{Oid, Tid};

use super::report::LostBlob;
use super::resolve::Resolved;
use crate::Result;
use crate::blob::{BlobDirectory, is_blob};
use crate::storage::Op;

/// Those of one transaction.
pub(super) struct Blobs<'a> {
    directories: Option<(&'a BlobDirectory, &'a BlobDirectory)>,
    /// Those that are done: clients store a blob's record twice.
    done: HashSet<(Oid, Tid)>,
    /// How many were copied.
    pub copied: u64,
    /// Those that could not be copied.
    pub lost: Vec<LostBlob>,
}

impl<'a> Blobs<'a> {
    pub fn new(from: Option<&'a BlobDirectory>, to: Option<&'a BlobDirectory>) -> Self {
        Self {
            directories: from.zip(to),
            done: HashSet::new(),
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
        if !self.done.insert((oid, tid)) {
            return Ok(None);
        }
        let path = from.path_of(oid, tid);
        match to.copy_if_readable(&path)? {
            Ok(file) => {
                self.copied += 1;
                let (serial, file) = (Some(serial), Arc::new(file));
                Ok(Some(Op::Blob { oid, serial, file }))
            }
            Err(why) => {
                self.lose(record, &path, &why);
                Ok(None)
            }
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
