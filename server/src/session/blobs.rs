//! Session: blobs as a client sends and gets them, in chunks, or by name in a directory that it
//! shares with the server.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use slog::{crit, error};
use zeo_proto::exception::Exception;
use zeo_proto::message::Notification;
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::Error;
use zeo_storage::Storage;
use zeo_storage::blob::BlobDirectory;

use super::transfers::{Download, Upload, Writing};
use super::{Answer, Outcome, Session};
use crate::errors::exception_from;
use crate::storages::ServedStorage;

/// How much of a blob is in one message, in bytes, as in Python.
const CHUNK_BYTES: usize = 59_000;
/// How many blobs a client may have asked for; its next calls wait.
const MAX_DOWNLOADS: usize = 1000;
/// The same where they are open while they wait.
const MAX_OPEN_DOWNLOADS: usize = 4;
/// How often a blob is fetched that is removed again at once.
const MAX_FETCHES: u32 = 10;

impl Session {
    /// A blob follows. Python's server fails as well when one has begun
    /// already.
    pub(super) fn store_blob_start(&mut self, storage: &ServedStorage) -> Outcome {
        if self.read_only {
            return Err(Exception::read_only());
        }
        let blobs = blobs_of(storage)?;
        if self.upload.is_some() {
            return Err(Exception::message(
                "builtins.AssertionError",
                "storeBlobStart in the middle of a blob",
            ));
        }
        self.upload = Some(match blobs.new_file() {
            Ok((file, blob)) => Upload::Open(Writing::new(file, blob)),
            Err(why) => Upload::Failed(why),
        });
        Ok(Answer::Value(Value::None))
    }

    pub(super) fn store_blob_chunk(&mut self, chunk: &[u8]) -> Outcome {
        let Some(upload) = &mut self.upload else {
            return Err(no_upload());
        };
        if let Upload::Open(writing) = upload
            && let Err(source) = writing.add(chunk)
        {
            let why = failed("writing the blob", &writing.blob.path(), source);
            error!(self.log, "{why}");
            // The file goes, and with it the room that it took.
            *upload = Upload::Failed(why);
        }
        Ok(Answer::Value(Value::None))
    }

    pub(super) fn store_blob_end(
        &mut self,
        id: &Value<'_>,
        oid: Oid,
        serial: Tid,
        data: &[u8],
    ) -> Outcome {
        self.current(id)?;
        let upload = self.take_upload()?;
        self.step(id, |log| match upload {
            Upload::Open(writing) => log.store_blob(oid, serial, data, writing.end()),
            Upload::Failed(why) => log.fail(why),
        })
    }

    /// The blob that was sent.
    pub(super) fn take_upload(&mut self) -> Result<Upload, Exception> {
        self.upload.take().ok_or_else(no_upload)
    }

    pub(super) fn store_blob_shared(
        &mut self,
        storage: &ServedStorage,
        call_id: &Value<'static>,
        id: &Value<'_>,
        (oid, serial, data): (Oid, Tid, &[u8]),
        name: &str,
    ) -> Outcome {
        self.current(id)?;
        let blobs = blobs_of(storage)?;
        if !BlobDirectory::is_shared_name(name) {
            crit!(self.log, "bad name in storeBlobShared: {name:?}");
            return Err(Exception::value_error(name));
        }
        match blobs.shared_file(oid, name) {
            Ok(file) => self.step(id, |log| log.store_blob(oid, serial, data, file)),
            Err(why) => self.keep_for_vote(call_id, id, no_shared_file(&why)),
        }
    }

    /// Sends a blob chunk by chunk, by [`Self::add_chunk`]; the answer follows the last chunk.
    pub(super) fn send_blob(
        &mut self,
        storage: &Arc<ServedStorage>,
        call_id: &Value<'static>,
        oid: Oid,
        serial: Tid,
    ) -> Outcome {
        let download = |path, file| Download {
            call_id: call_id.clone(),
            oid,
            serial,
            path,
            file,
            begun: false,
        };
        if storage.is_remote() {
            return self.fetch_blob(storage, download(PathBuf::new(), None));
        }
        if self.downloads.len() >= MAX_DOWNLOADS {
            return Ok(Answer::Hold);
        }
        let found = storage.storage.load_blob(oid, serial);
        let path = found.map_err(|why| exception_from(&why))?;
        self.downloads.push_back(download(path, None));
        Ok(Answer::Later)
    }

    /// Sends a blob once a helper has fetched it. It is opened there, since the storage may remove it
    /// at any time to make room for others.
    fn fetch_blob(&mut self, storage: &Arc<ServedStorage>, download: Download) -> Outcome {
        if self.is_busy() || self.downloads.len() >= MAX_OPEN_DOWNLOADS {
            return Ok(Answer::Hold);
        }
        let storage = Arc::clone(storage);
        let (oid, serial) = (download.oid, download.serial);
        self.spawn(
            move || open_blob(&*storage.storage, oid, serial),
            move |session, opened| match opened {
                Ok((path, file)) => session.downloads.push_back(Download {
                    path,
                    file: Some(file),
                    ..download
                }),
                Err(why) => session.reply_error(&download.call_id, &exception_from(&why)),
            },
        )?;
        Ok(Answer::Later)
    }

    /// True while blobs are being sent.
    pub fn has_chunks(&self) -> bool {
        !self.downloads.is_empty()
    }

    /// Adds about a chunk of what is being sent to the output; false when
    /// there is nothing.
    pub fn add_chunk(&mut self) -> bool {
        let had_any = self.has_chunks();
        while self.output.len() < CHUNK_BYTES
            && let Some(mut download) = self.downloads.pop_front()
        {
            match self.continue_download(&mut download) {
                Ok(true) => self.downloads.push_front(download),
                Ok(false) => self.reply(&download.call_id, &Value::None),
                Err(source) => {
                    let why = failed("reading the blob", &download.path, source);
                    error!(self.log, "{why}");
                    self.reply_error(&download.call_id, &exception_from(&why));
                }
            }
        }
        had_any
    }

    /// The next message of a download; false after the last one.
    fn continue_download(&mut self, download: &mut Download) -> io::Result<bool> {
        let &mut Download { oid, serial, .. } = download;
        let file = match &mut download.file {
            Some(file) => file,
            none => none.insert(File::open(&download.path)?),
        };
        if !std::mem::replace(&mut download.begun, true) {
            self.tell(&Notification::ReceiveBlobStart { oid, serial });
            return Ok(true);
        }
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        file.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            self.tell(&Notification::ReceiveBlobStop { oid, serial });
            return Ok(false);
        }
        let chunk = chunk.into();
        self.tell(&Notification::ReceiveBlobChunk { oid, serial, chunk });
        Ok(true)
    }

    fn tell(&mut self, notification: &Notification<'_>) {
        let encoding = self.encoding();
        // Ids and bytes can be written in either encoding.
        let _ = notification.encode(self.output.buffer(), encoding);
    }
}

/// Opens the file of a blob, which may be removed while that is done.
fn open_blob(storage: &dyn Storage, oid: Oid, serial: Tid) -> zeo_storage::Result<(PathBuf, File)> {
    let mut tries = 0;
    loop {
        tries += 1;
        let path = storage.load_blob(oid, serial)?;
        match File::open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(why) if why.kind() == io::ErrorKind::NotFound && tries < MAX_FETCHES => {}
            Err(why) => return Err(failed("opening the blob", &path, why)),
        }
    }
}

fn blobs_of(storage: &ServedStorage) -> Result<&BlobDirectory, Exception> {
    let blobs = storage.storage.blobs();
    blobs.ok_or_else(|| Exception::type_error("Blobs are not supported"))
}

/// A client may have another directory than the server.
fn no_shared_file(why: &Error) -> Exception {
    match why {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Exception::file_not_found()
        }
        why => exception_from(why),
    }
}

fn no_upload() -> Exception {
    Exception::type_error("there was no storeBlobStart")
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        doing,
        file: path.to_owned(),
        source,
    }
}
