//! FileStorage: step 1 of a commit, checking what a transaction wants, and
//! laying out its records.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use zeo_proto::{Oid, Tid};

use super::body::Body;
use super::laid_out::LaidOut;
use super::pending::{Payload, Pending};
use super::restore::find_data;
use super::undo::{refused, undo};
use crate::blob::{BlobFile, Staged, Staging, is_blob};
use crate::conflict::vote::Conflicts;
use crate::disk::paths::failed;
use crate::error::Conflict;
use crate::file_storage::format::META_MAX;
use crate::file_storage::format::seal::{self, unsealed};
use crate::file_storage::read::generation::Generation;
use crate::file_storage::read::load::{get_tid, open_serial};
use crate::file_storage::storage::FileStorage;
use crate::packing::state::BackPointers;
use crate::storage::{OnConflict, Op, Prepared, TransactionMeta, Vote, no_blobs};
use crate::{Error, Result};

impl FileStorage {
    pub(crate) fn prepare_ops(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict,
    ) -> Result<Vote> {
        self.check_writable()?;
        let generation = self.generation();
        // A copy gets a seal of its own.
        let meta = TransactionMeta {
            extension: unsealed(meta.extension.clone()),
            ..meta.clone()
        };
        check_meta(&meta, generation.last_tid())?;
        let mut preparing = Preparing {
            storage: self,
            generation: &generation,
            on_conflict,
            latest_serial: meta
                .tid
                .unwrap_or_else(|| Tid::from_time(SystemTime::now()).max(generation.last_tid())),
            records_start: self.space.planned_end().saturating_add(header_len(&meta)),
            body: Body::new(self.spool_dir()),
            pending: None,
            back_pointers: None,
            undone: Vec::new(),
            has_seal: seal::sealed_len(&meta.extension).is_some(),
            blobs: BTreeMap::new(),
            conflicts: Conflicts::new(on_conflict),
        };
        for op in ops {
            preparing.apply(op?)?;
        }
        preparing.finish(meta)
    }
}

/// Fails unless the header can hold the texts (in Python's words), nothing in
/// it would be taken for unfinished when the file is opened, and the explicit
/// tid, if there is one, comes after the last transaction.
fn check_meta(meta: &TransactionMeta, last_tid: Tid) -> Result<()> {
    for (text, what) in [
        (&meta.user, "user name too long"),
        (&meta.description, "description too long"),
        (&meta.extension, "too much extension data"),
    ] {
        if text.len() > META_MAX {
            return Err(Error::FileStorage(what.to_owned()));
        }
    }
    // What is undone is skipped at the next start: the commit would be lost.
    if !matches!(meta.status, b' ' | b'p') {
        let status = char::from(meta.status);
        return Err(Error::Value(format!(
            "a transaction can't have the status {status:?}"
        )));
    }
    if !seal::can_stand(&meta.extension) {
        let what = "the extension ends with bytes that look like a seal";
        return Err(Error::Value(what.to_owned()));
    }
    match meta.tid {
        Some(tid) if tid <= last_tid => Err(Error::Value(format!(
            "transaction {tid} can't be added: it is not later than the last one, {last_tid}"
        ))),
        _ => Ok(()),
    }
}

fn header_len(meta: &TransactionMeta) -> u64 {
    seal::header_len([&meta.user, &meta.description], &meta.extension)
}

/// A transaction on its way to be prepared.
struct Preparing<'a> {
    storage: &'a FileStorage,
    generation: &'a Generation,
    on_conflict: OnConflict<'a>,
    /// No restored record can be later than this.
    latest_serial: Tid,
    /// Where the first record will stand if nobody else commits before.
    records_start: u64,
    body: Body,
    /// The records so far, for undo; kept from the first undo on.
    pending: Option<Pending>,
    back_pointers: Option<BackPointers>,
    undone: Vec<Oid>,
    /// Whether there is room for one.
    has_seal: bool,
    /// One for each revision: clients store, and so undo, a blob's record twice.
    blobs: BTreeMap<(Oid, Option<Tid>), Staged>,
    conflicts: Conflicts<'a>,
}

impl Preparing<'_> {
    fn apply(&mut self, op: Op) -> Result<()> {
        match op {
            Op::Store { oid, serial, data } => self.store(oid, serial, data),
            Op::Check { oid, serial } => self.check(oid, serial),
            Op::Delete { oid, serial } => self.delete(oid, serial),
            Op::Restore {
                oid,
                serial,
                data,
                prev_tid,
            } => self.restore(oid, serial, data, prev_tid),
            Op::Blob { oid, serial, file } => self.blob(oid, serial, file),
            Op::Undo { tid } => self.undo(tid),
        }
    }

    fn store(&mut self, oid: Oid, read: Tid, data: Vec<u8>) -> Result<()> {
        check_not_empty(oid, &data)?;
        self.storage.use_oid(oid);
        let prev = self.position(oid);
        let committed = self.committed_tid(oid, prev)?;
        let load = |serial| open_serial(self.generation, oid, serial)?.read();
        let settled = self.conflicts.settle((oid, read, data), committed, load)?;
        let Some(data) = settled else {
            return Ok(());
        };
        let at = self.end();
        self.add(oid, None, prev, Payload::Data(data))?;
        self.check_quota(at)
    }

    fn check(&mut self, oid: Oid, read: Tid) -> Result<()> {
        let committed = get_tid(self.generation, oid)?;
        if committed == read {
            return Ok(());
        }
        Err(Error::ReadConflict {
            oid,
            committed,
            read,
        })
    }

    fn delete(&mut self, oid: Oid, read: Tid) -> Result<()> {
        let (prev, _) = self.generation.lookup(oid)?;
        if let Some(committed) = self.committed_tid(oid, prev)?
            && committed != read
        {
            return Err(Error::Conflict(Box::new(Conflict::untried(
                oid,
                (committed, read),
                Vec::new(),
            ))));
        }
        let at = self.end();
        self.add(oid, None, prev, Payload::Back(0))?;
        self.check_quota(at)
    }

    fn restore(
        &mut self,
        oid: Oid,
        serial: Tid,
        data: Option<Vec<u8>>,
        prev_tid: Option<Tid>,
    ) -> Result<()> {
        // Copying a file whose tids were out of order gives transactions
        // later tids, but not their records.
        if serial > self.latest_serial {
            return Err(Error::Value(format!(
                "object {oid} can't be restored at {serial}: that is later than its transaction"
            )));
        }
        if let Some(data) = &data {
            check_not_empty(oid, data)?;
        }
        self.storage.use_oid(oid);
        let back = match prev_tid {
            Some(tid) => find_data(self.generation, oid, tid, data.as_deref())?,
            None => 0,
        };
        if back != 0 && !self.may_point_back() {
            return Err(Error::FileStorage(format!(
                "object {oid} can't be restored as it was undone while the storage is packed; try again when \
                 the pack has ended"
            )));
        }
        let payload = match data {
            Some(data) if back == 0 => Payload::Data(data),
            _ => Payload::Back(back),
        };
        self.add(oid, Some(serial), self.position(oid), payload)
    }

    fn undo(&mut self, tid: Tid) -> Result<()> {
        if !self.may_point_back() {
            return Err(refused(
                "Undo is currently disabled for database maintenance.<p>",
            ));
        }
        let pending = match &mut self.pending {
            Some(pending) => pending,
            none => none.insert(self.body.pending().map_err(spool_failed(self.generation))?),
        };
        let records = undo(self.generation, tid, pending, self.on_conflict)?;
        let mut seen = HashSet::new();
        for record in records {
            self.conflicts.merged.extend(record.merged);
            if seen.insert(record.oid) {
                self.undone.push(record.oid);
            }
            if let Payload::Back(back) = record.payload {
                self.blob_again(record.oid, back)?;
            }
            self.add(record.oid, None, record.prev, record.payload)?;
        }
        Ok(())
    }

    /// The file of the blob that was just stored, unless it is in conflict.
    fn blob(&mut self, oid: Oid, serial: Option<Tid>, file: Arc<BlobFile>) -> Result<()> {
        let blobs = self.storage.blobs.as_ref().ok_or_else(no_blobs)?;
        if !self.conflicts.has(oid) {
            let staging = match serial {
                Some(serial) => Staging::Restored(serial),
                None => self.staging(oid)?,
            };
            let staged = blobs.stage(oid, staging, file)?;
            self.blobs.insert((oid, serial), staged);
        }
        Ok(())
    }

    /// How a blob is staged that the transaction stores.
    fn staging(&self, oid: Oid) -> Result<Staging> {
        if !self.has_seal {
            return Ok(Staging::New);
        }
        let before = self.committed_tid(oid, self.position(oid))?;
        Ok(Staging::After(before.unwrap_or_default()))
    }

    /// When the record at `back`, which an undo brings back, is that of a
    /// blob: its file once more.
    fn blob_again(&mut self, oid: Oid, back: u64) -> Result<()> {
        let Some(blobs) = &self.storage.blobs else {
            return Ok(());
        };
        match self.generation.load_back_from(oid, back) {
            Ok((data, serial)) if is_blob(&data) => {
                let file = Arc::new(blobs.again(oid, serial)?);
                let staged = blobs.stage(oid, self.staging(oid)?, file)?;
                self.blobs.insert((oid, None), staged);
                Ok(())
            }
            Ok(_) | Err(Error::NoObject(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether old data may be brought back: not while the file is packed. The pack has seen neither that they are
    /// needed again, nor what they refer to; nor would the next one, if they were stored as new data: it takes
    /// only references from before its time, and what back-pointers lead to.
    fn may_point_back(&mut self) -> bool {
        if self.back_pointers.is_none() {
            self.back_pointers = self.storage.packing.back_pointers();
        }
        // Asked for with the right in hand: no pack can begin now.
        let is_current = self.generation.number == self.storage.generation().number;
        self.back_pointers.is_some() && is_current
    }

    /// Where the committed record of an object stands, 0 if nowhere.
    fn position(&self, oid: Oid) -> u64 {
        self.generation.index.get(oid).unwrap_or(0)
    }

    /// The transaction that wrote the record at `position`, if there is one.
    fn committed_tid(&self, oid: Oid, position: u64) -> Result<Option<Tid>> {
        if position == 0 {
            return Ok(None);
        }
        let header = self.generation.reader().data_header(position, Some(oid))?;
        Ok(Some(header.tid))
    }

    fn add(&mut self, oid: Oid, serial: Option<Tid>, prev: u64, payload: Payload) -> Result<()> {
        match &payload {
            Payload::Data(data) => self
                .body
                .push_data(oid, serial, prev, data)
                .map_err(spool_failed(self.generation))?,
            Payload::Back(back) => self.body.push_back(oid, serial, prev, *back),
        }
        if let Some(pending) = &mut self.pending {
            pending.push(oid, payload);
        }
        Ok(())
    }

    /// Where the next record will stand if nobody else commits before.
    fn end(&self) -> u64 {
        self.records_start.saturating_add(self.body.length())
    }

    /// As in Python, the last record may go beyond the quota.
    fn check_quota(&self, position: u64) -> Result<()> {
        match self.storage.quota {
            Some(quota) if position > quota => Err(Error::Quota { quota }),
            _ => Ok(()),
        }
    }

    fn finish(mut self, meta: TransactionMeta) -> Result<Vote> {
        if let Some(conflicts) = self.conflicts.take_reported() {
            return Ok(Vote::Conflicts(conflicts));
        }
        // Header, records, and the length again. Checked when the room for
        // them is: no file is that long.
        let length = header_len(&meta)
            .saturating_add(self.body.length())
            .saturating_add(8);
        let space = &self.storage.space;
        let reservation = space.reserve(length)?;
        if let Some(blobs) = self
            .storage
            .blobs
            .as_ref()
            .filter(|_| !self.blobs.is_empty())
        {
            blobs.sync_staged(self.blobs.values())?;
        }
        let mut seen = HashSet::new();
        let oids = self.body.records().iter().map(|record| record.oid);
        let oids = oids.filter(|&oid| seen.insert(oid)).collect();
        let laid_out = LaidOut {
            meta,
            body: self.body,
            reservation,
            blobs: self.blobs.into_values().collect(),
            written: None,
            generation: self.generation.number,
            is_moved: false,
            back_pointers: self.back_pointers,
        };
        let mut prepared = Prepared::new(oids, laid_out);
        prepared.resolved = self.undone;
        prepared.resolved.extend(self.conflicts.resolved);
        prepared.merged = self.conflicts.merged;
        Ok(Vote::Ready(prepared))
    }
}

fn spool_failed(generation: &Generation) -> impl Fn(io::Error) -> Error {
    failed(
        "keeping a large transaction in a temporary file beside",
        generation.backend.path(),
    )
}

/// In the file, a record without data is a back-pointer; Python writes one
/// without a pointer, and so damages the file.
fn check_not_empty(oid: Oid, data: &[u8]) -> Result<()> {
    if data.is_empty() {
        return Err(Error::Value(format!(
            "object {oid} can't be stored without data"
        )));
    }
    Ok(())
}
