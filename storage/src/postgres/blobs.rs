//! Blobs in the database: one large object for each, as RelStorage makes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};

use zeo_proto::{Oid, Tid};

use super::ids::{number, oid_of, tid_of};
use super::session::{Session, failed, value};
use super::storage::PostgresStorage;
use super::writer::Writer;
use crate::blob::BlobFile;
use crate::disk::paths;
use crate::storage::Op;
use crate::{Error, Result};

/// How much of a blob is in memory at a time.
const PIECE: usize = 1 << 20;
/// How many connections for uploads are kept.
const KEPT_MAX: usize = 4;

const CREATE: &str = "SELECT lo_from_bytea(0, $1)";
const APPEND: &str = "SELECT lo_put($1, $2, $3)";
/// (oids, tids, large objects): the blobs of these revisions.
pub(super) const LINK: &str = "INSERT INTO blob_chunk (zoid, tid, chunk_num, chunk)
    SELECT r.zoid, r.tid, 0, r.chunk
    FROM unnest($1::bigint[], $2::bigint[], $3::oid[]) r(zoid, tid, chunk)";
/// (oids, tid, serials): the large objects of earlier revisions once more.
const LINK_AGAIN: &str = "INSERT INTO blob_chunk (zoid, tid, chunk_num, chunk)
    SELECT b.zoid, $2, b.chunk_num, b.chunk FROM unnest($1::bigint[], $3::bigint[]) r(zoid, tid)
    JOIN blob_chunk b USING (zoid, tid)";
/// (oid, serial): old versions of RelStorage have made several for a blob.
const FIND: &str =
    "SELECT chunk, chunk_num FROM blob_chunk WHERE zoid = $1 AND tid = $2 ORDER BY chunk_num";
/// (oid, tid): the tid of the object, if it is later. Only without history.
const NEWER: &str =
    "SELECT tid FROM object_state WHERE zoid = $1 AND tid > $2 AND state IS NOT NULL";
/// (large object, offset, length): a row if it is there.
const READ: &str = "SELECT lo_get(oid, $2, $3) FROM pg_largeobject_metadata WHERE oid = $1";
/// (oids, serials, tid): the blobs that are not there, if no later transaction than that has replaced them.
const GONE: &str = "SELECT r.zoid, r.tid FROM unnest($1::bigint[], $2::bigint[]) r(zoid, tid)
    WHERE NOT EXISTS (SELECT FROM blob_chunk b
        WHERE b.zoid = r.zoid AND (b.tid = r.tid OR b.tid > $3))";

/// A connection with a transaction of its own, in which uploads are: what is not committed is
/// nowhere, and `vacuumlo` can't take it for an orphan.
pub(super) struct Uploads {
    /// None once it is committed, or lost.
    pub writer: Option<Writer>,
    files: BTreeMap<Oid, Arc<BlobFile>>,
    links: Links,
}

/// Rows to write as soon as the tid is known.
#[derive(Default)]
struct Links {
    oids: Vec<i64>,
    chunks: Vec<u32>,
    undone: Vec<i64>,
    serials: Vec<i64>,
}

impl PostgresStorage {
    /// Writes the files of uploads to the database, in a transaction that stays open.
    pub(super) fn upload(&self, ops: &[Op]) -> Result<Option<Box<Uploads>>> {
        let blob = |op: &Op| match op {
            Op::Blob { oid, file, .. } => Some((*oid, Arc::clone(file))),
            _ => None,
        };
        // One of each, the last: clients may store a blob twice.
        let files: BTreeMap<_, _> = ops.iter().filter_map(blob).collect();
        if files.is_empty() {
            return Ok(None);
        }
        if self.blobs.is_none() {
            return Err(crate::storage::no_blobs());
        }
        let (mut writer, mut links) = (self.uploader()?, Links::default());
        for (&oid, file) in &files {
            links.oids.push(number(oid)?);
            links.chunks.push(write(&mut writer.session, &file.path())?);
        }
        Ok(Some(Box::new(Uploads {
            writer: Some(writer),
            files,
            links,
        })))
    }

    /// Adds blobs that an undo brings back, of these objects and serials.
    pub(super) fn upload_again(
        &self,
        uploads: Option<Box<Uploads>>,
        undone: BTreeMap<i64, i64>,
    ) -> Result<Option<Box<Uploads>>> {
        if undone.is_empty() {
            return Ok(uploads);
        }
        let mut uploads = match uploads {
            Some(uploads) => uploads,
            None => Box::new(Uploads {
                writer: Some(self.uploader()?),
                files: BTreeMap::new(),
                links: Links::default(),
            }),
        };
        (uploads.links.undone, uploads.links.serials) = undone.into_iter().unzip();
        Ok(Some(uploads))
    }

    /// A connection in a transaction.
    fn uploader(&self) -> Result<Writer> {
        let kept = self.uploaders().pop();
        let begin = |writer: &mut Writer| writer.session.batch("BEGIN");
        if let Some(mut writer) = kept
            && begin(&mut writer).is_ok()
        {
            return Ok(writer);
        }
        let mut writer = Writer::connect(&self.connector, self.sql)?;
        begin(&mut writer).map_err(failed("beginning an upload"))?;
        Ok(writer)
    }

    /// Its transaction is committed with `tid`, or not at all: then the files become those of the
    /// revisions, and the connection is kept for the next one.
    pub(super) fn uploaded(&self, uploads: Uploads, tid: Option<Tid>) {
        if let (Some(cache), Some(tid)) = (&self.blobs, tid) {
            for (oid, file) in uploads.files {
                // What does not come to the cache is in the database.
                let _ = cache.add((oid, tid), file);
            }
        }
        let mut kept = self.uploaders();
        if kept.len() < KEPT_MAX {
            kept.extend(uploads.writer);
        }
    }

    pub(super) fn uploaders(&self) -> MutexGuard<'_, Vec<Writer>> {
        self.uploaders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of a blob, fetched if need be.
    ///
    /// # Errors
    /// `NoBlob`, `Unsupported`, `Io`, `Unavailable`, `Database`. `ReadConflict`: another process has
    /// replaced it.
    pub(super) fn blob_file(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        match self.found_blob(oid, serial) {
            Err(missing @ Error::NoBlob { .. }) => {
                Err(self.replaced(oid, serial)?.unwrap_or(missing))
            }
            found => found,
        }
    }

    /// Without history, a blob is gone as soon as another process replaces it; clients with older
    /// snapshots are to try again. Not if it was replaced before a pack.
    fn replaced(&self, oid: Oid, serial: Tid) -> Result<Option<Error>> {
        if self.settings.keep_history {
            return Ok(None);
        }
        // What no column can hold was never there.
        let (Ok(number), Ok(replaced)) = (number(oid), tid_of(serial)) else {
            return Ok(None);
        };
        let after = replaced.max(self.packing.packed());
        let rows = self.query("looking for a blob", NEWER, &[&number, &after])?;
        let newer = rows.first().map(|row| value::<i64>(row, 0)).transpose()?;
        Ok(newer.map(|tid| Error::ReadConflict {
            oid,
            committed: Tid::new(tid.cast_unsigned()),
            read: serial,
        }))
    }

    fn found_blob(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        let cache = self.blobs.as_ref().ok_or_else(crate::storage::no_blobs)?;
        let missing = || Error::NoBlob {
            oid,
            serial,
            path: cache.directory().path_of(oid, serial),
        };
        let keeping = paths::failed("keeping a blob in", cache.directory().path());
        cache.file((oid, serial), |file| {
            let (Ok(number), Ok(tid)) = (number(oid), tid_of(serial)) else {
                return Err(missing());
            };
            let found = self.query("looking for a blob", FIND, &[&number, &tid])?;
            if found.is_empty() {
                return Err(missing());
            }
            for (row, expected) in found.iter().zip(0_i64..) {
                let chunk: u32 = value(row, 0)?;
                if value::<i64>(row, 1)? != expected {
                    return Err(Error::Database(format!(
                        "PostgreSQL: table blob_chunk lacks chunk {expected} of the blob of object \
                         {oid}, transaction {serial}"
                    )));
                }
                self.read_large_object(chunk, file, (&missing, &keeping))?;
            }
            Ok(())
        })
    }

    /// Removes the files of blobs that are not in the database any more, after a pack up to `stop`.
    ///
    /// # Errors
    /// `Unavailable`, `Database`.
    pub(super) fn remove_packed_files(&self, stop: i64) -> Result<()> {
        let Some(cache) = &self.blobs else {
            return Ok(());
        };
        // Without history, a blob that was replaced since is only here, for clients with old snapshots.
        let replaced = if self.settings.keep_history {
            i64::MAX
        } else {
            stop
        };
        cache.remove(|revisions| {
            let rows = revisions
                .iter()
                .filter_map(|&(oid, serial)| Some((number(oid).ok()?, tid_of(serial).ok()?)));
            let (oids, serials): (Vec<_>, Vec<_>) = rows.unzip();
            let gone = self.query("looking for blobs", GONE, &[&oids, &serials, &replaced])?;
            let ids = gone.iter().map(|row| {
                let serial = value::<i64>(row, 1)?.cast_unsigned();
                Ok((oid_of(value(row, 0)?), Tid::new(serial)))
            });
            ids.collect()
        })
    }

    fn read_large_object(
        &self,
        chunk: u32,
        file: &mut File,
        (missing, keeping): (&dyn Fn() -> Error, &dyn Fn(std::io::Error) -> Error),
    ) -> Result<()> {
        let mut offset = 0_i64;
        let length = i32::try_from(PIECE).unwrap_or(i32::MAX);
        loop {
            let rows = self.query("loading a blob", READ, &[&chunk, &offset, &length])?;
            let row = rows.first().ok_or_else(missing)?;
            let piece: &[u8] = value(row, 0)?;
            file.write_all(piece).map_err(keeping)?;
            offset += i64::from(length);
            if piece.len() < PIECE {
                return Ok(());
            }
        }
    }
}

/// Makes a large object of a file.
pub(super) fn write(session: &mut Session, path: &Path) -> Result<u32> {
    let reading = paths::failed("reading the blob", path);
    let writing = failed("writing a blob");
    let mut file = File::open(path).map_err(&reading)?;
    let mut piece = Vec::new();
    let mut next = |piece: &mut Vec<u8>| {
        piece.clear();
        let read = Read::by_ref(&mut file)
            .take(PIECE as u64)
            .read_to_end(piece);
        read.map_err(&reading)
    };
    let mut length = next(&mut piece)?;
    let rows = session.query(CREATE, &[&piece]).map_err(&writing)?;
    let chunk: u32 = rows.first().map_or(Ok(0), |row| value(row, 0))?;
    let mut offset = 0_i64;
    while length == PIECE {
        offset += i64::try_from(length).unwrap_or(i64::MAX);
        length = next(&mut piece)?;
        if length > 0 {
            let params: super::session::Params = &[&chunk, &offset, &piece];
            session.query(APPEND, params).map_err(&writing)?;
        }
    }
    Ok(chunk)
}

impl Uploads {
    /// Whether the connection is there over which they were written.
    pub fn is_open(&self) -> bool {
        let writer = self.writer.as_ref();
        writer.is_some_and(|writer| !writer.session.is_closed())
    }

    /// Links the uploads with the transaction `tid`, and commits it; without a tid, takes all back.
    pub fn end(
        &self,
        session: &mut Session,
        tid: Option<i64>,
    ) -> std::result::Result<(), tokio_postgres::Error> {
        let links = &self.links;
        let Some(tid) = tid else {
            return session.batch("ROLLBACK");
        };
        if !links.oids.is_empty() {
            let tids = vec![tid; links.oids.len()];
            session.query(LINK, &[&links.oids, &tids, &links.chunks])?;
        }
        if !links.undone.is_empty() {
            session.query(LINK_AGAIN, &[&links.undone, &tid, &links.serials])?;
        }
        session.batch("COMMIT")
    }
}
