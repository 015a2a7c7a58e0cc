//! Blobs: their files come from the server, or go to it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;

use zeo_proto::message::Call;
use zeo_proto::{Oid, Tid, Value};

use super::error::Error;
use super::link::Link;
use super::storage::ClientStorage;
use crate::blob_cache::{BlobCache, Lookup, Staged};

/// How long others may take to download a file beside the wanted one, as with Python's client.
const PATIENCE: Duration = Duration::from_secs(600);
/// How much of a file is sent at once, in bytes, as by Python's client.
const CHUNK: usize = 59_000;

impl ClientStorage {
    /// Opens the file of a blob for reading; it is downloaded unless it is here. The file may be
    /// removed from the directory at any time, which does not disturb who has it open.
    ///
    /// # Errors
    ///
    /// `NoObject` if there is none of this revision; `Blob` if the file can't be written or read;
    /// `Unsupported`: the storage has no blob directory. And as of [`load`](Self::load).
    pub fn open_blob(&self, oid: Oid, serial: Tid) -> Result<File, Error> {
        let blobs = self.blob_cache()?;
        if let Some(file) = blobs.open_blob(oid, serial)? {
            return Ok(file);
        }
        match blobs.download(oid, serial, PATIENCE)? {
            Lookup::Found(file) => Ok(file),
            Lookup::Missing(download) => {
                let link = self.shared.link("sendBlob")?;
                Ok(link.receive_blob((oid, serial), download)?.finish()?)
            }
        }
    }

    /// The blob directory. Files for [`Tpc::store_blob`](crate::Tpc::store_blob) are best made in its
    /// [`temporary_directory`](BlobCache::temporary_directory).
    ///
    /// # Errors
    ///
    /// `Unsupported`: there is none.
    pub fn blob_cache(&self) -> Result<&BlobCache, Error> {
        let blobs = self.blobs.as_ref();
        blobs.ok_or_else(|| Error::Unsupported("No blob cache directory is configured.".to_owned()))
    }
}

/// Sends a record, and the file of its blob.
pub(super) fn send(
    link: &Link,
    staged: &Staged,
    (oid, serial, data, id): (Oid, Tid, &[u8], Value<'static>),
) -> Result<(), Error> {
    link.send_async(&Call::Store {
        oid,
        serial,
        data: data.into(),
        id: id.clone(),
    })?;
    if let Some(name) = staged.shared_name() {
        return link.send_async(&Call::StoreBlobShared {
            oid,
            serial,
            data: data.into(),
            name: name.into(),
            id,
        });
    }
    let mut file = staged.open()?;
    link.send_async(&Call::StoreBlobStart)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(why) if why.kind() == ErrorKind::Interrupted => continue,
            Err(why) => {
                // The server has a part of it now, which nothing but the end can take back.
                link.shut_down();
                return Err(Error::Io {
                    what: "reading the file of a blob",
                    why: Arc::new(why),
                });
            }
        };
        let chunk = chunk[..count].into();
        link.send_async(&Call::StoreBlobChunk { chunk })?;
    }
    link.send_async(&Call::StoreBlobEnd {
        oid,
        serial,
        data: data.into(),
        id,
    })
}
