//! Copying what is readable of a damaged file into a new one (ZODB's
//! `fsrecover`, which skips all that it stumbles on).
//!
//! What is damaged is told by lengths, record headers and seals. Then:
//!
//! - A transaction of which only the frame is damaged (a length, the status,
//!   the tid) is complete: all its records are there, one behind the other up
//!   to its end. It is copied whole, with what its records, or its seal, say.
//! - When the checksum does not hold, some record is wrong, and nobody knows
//!   which. Records that can't be read as pickles, and those that don't lead
//!   to the record of their object before, are left out.
//! - Any other damaged transaction is left out. With `partial`, the records of
//!   it that can be found are copied, and the transaction gets the status `p`.
//! - What the disk can't read ([`DataFile::open_failing`]) costs the records
//!   that lie there, and so, but with `partial`, their transaction.
//! - A back-pointer to what is lost gets the data instead, if those can still
//!   be read; else its transaction is left out, or with `partial` its record.

mod blobs;
mod find;
mod report;
mod resolve;

use zeo_proto::Tid;

use self::blobs::Blobs;
use self::find::{Found, frame, search};
pub use self::report::{Copied, Damage, LostBlob, OnEvent, SalvageEvent, Salvaged};
use self::resolve::{Resolved, Resolver};
use crate::blob::BlobDirectory;
use crate::file_storage::format::verify::{Read, Sealed, read_verified};
use crate::file_storage::format::window::Window;
use crate::file_storage::format::{DataHeader, FIRST};
use crate::file_storage::storage::FileStorage;
use crate::file_storage::tools::data_file::DataFile;
use crate::observer::Observer;
use crate::storage::{Op, TransactionMeta};
use crate::{Error, Result, Storage, copy};

/// The file is read by pieces of this.
const READ_CHUNK_BYTES: usize = 1 << 20;

/// How to go about it.
#[derive(Debug, Default, Clone, Copy)]
#[non_exhaustive]
pub struct How<'a> {
    /// Copy what is readable of damaged transactions.
    pub partial: bool,
    /// The blob directory of the input, whose files go to that of the output.
    pub blobs: Option<&'a BlobDirectory>,
}

impl<'a> How<'a> {
    /// See the fields.
    pub fn new(partial: bool, blobs: Option<&'a BlobDirectory>) -> Self {
        Self { partial, blobs }
    }
}

/// Copies what is readable of `input` into `output`, which is empty, with its
/// blobs, if both have some. `on_event` is told of what is copied, and of damage.
/// Reads the input only, and takes 4 to 12 bytes of memory an object besides
/// those of `output`.
///
/// # Errors
///
/// When the input can't be read at all, the output can't be written, and when it
/// is cancelled. What was copied by then is in the output, whole transactions.
pub fn salvage(
    input: &DataFile,
    output: &FileStorage,
    how: How<'_>,
    on_event: OnEvent<'_>,
    observer: &mut dyn Observer,
) -> Result<Salvaged> {
    observer.begin("recovering", Some(input.size()));
    let mut salvage = Salvage {
        input,
        window: Window::new(input.reader(), READ_CHUNK_BYTES),
        resolver: Resolver::new(input),
        output,
        how,
        position: FIRST,
        last: Tid::ZERO,
        done: Salvaged::default(),
        on_event,
    };
    while salvage.position < input.size() {
        salvage.step()?;
        observer.set(salvage.position)?;
    }
    Ok(salvage.done)
}

struct Salvage<'a, 'w> {
    input: &'a DataFile,
    window: Window<'a>,
    resolver: Resolver<'a>,
    output: &'a FileStorage,
    how: How<'a>,
    /// Where the next transaction begins.
    position: u64,
    /// The last tid of the output.
    last: Tid,
    done: Salvaged,
    on_event: OnEvent<'w>,
}

impl Salvage<'_, '_> {
    fn step(&mut self) -> Result<()> {
        let position = self.position;
        let mut records = Vec::new();
        let mut visit = |at, header: &DataHeader| records.push((at, header.tid));
        let (at, what) = match read_verified(&mut self.window, position, &mut visit) {
            Ok(Read::Whole {
                sealed: Sealed::Fails(why),
                ..
            }) if position >= self.input.known().accepted => (position, why.to_owned()),
            Ok(Read::Whole { txn, sealed }) if matches!(txn.header.status, b' ' | b'p') => {
                if let Some((hole, what)) = self.input.hole_in_txn(&mut self.window, &txn)? {
                    return self.damaged(hole.start, what);
                }
                self.position = txn.end();
                let found = Found::whole(txn, records, sealed == Sealed::Holds);
                return self.copy(found, None);
            }
            Ok(Read::Whole { txn, .. }) if txn.header.status == b'u' => {
                self.position = txn.end();
                self.done.undone += txn.end().saturating_sub(position);
                return Ok(());
            }
            Ok(Read::Whole { .. }) => (position, "the status is unknown".to_owned()),
            Ok(Read::Unfinished(fault)) => (position, fault.to_string()),
            Err(Error::Corrupt { position, what, .. }) => (position, what),
            Err(error) => return Err(error),
        };
        match self.input.hole_at(position, at)? {
            Some((hole, what)) => self.damaged(hole.start, what),
            None => self.damaged(at, what),
        }
    }

    /// Deals with what is no sound transaction, and goes on behind it.
    fn damaged(&mut self, position: u64, what: String) -> Result<()> {
        let range = self.position..find::end(&self.window.reader(), self.position)?;
        self.position = range.end;
        let mut damage = Damage {
            position,
            what,
            range: range.clone(),
            lost: range.end.saturating_sub(range.start),
            records: Vec::new(),
            doubtful: Vec::new(),
        };
        if let Some(found) = frame(&mut self.window, &range, self.last)? {
            if found.status == b'u' {
                self.done.undone = self.done.undone.saturating_add(damage.lost);
                return Ok(());
            }
            return self.copy(found, Some(damage));
        }
        let parts = search(&mut self.window, &range, self.last)?;
        if !self.how.partial {
            for part in &parts {
                for &(at, tid) in &part.records {
                    let header = self.window.record_of(at, &part.txn)?;
                    damage.records.push((header.oid, tid));
                }
            }
            return self.give_up(damage);
        }
        self.resolver.lose(range);
        for part in parts {
            self.copy_part(part, &mut damage)?;
        }
        self.tell(damage)
    }

    /// Copies a transaction of which all records are there. `damage` tells
    /// what is wrong with it nevertheless.
    fn copy(&mut self, found: Found, damage: Option<Damage>) -> Result<()> {
        let mut damage = damage.unwrap_or_else(|| Damage {
            position: found.txn.position,
            what: String::new(),
            range: found.txn.position..found.txn.end(),
            lost: 0,
            records: Vec::new(),
            doubtful: Vec::new(),
        });
        let all = damage.range.end.saturating_sub(damage.range.start);
        let bound = find::bound(&self.window.reader(), found.txn.end())?;
        let own = found.txn.header.tid;
        if found.records.is_empty() && !found.is_sealed && !(own > self.last && own < bound) {
            add_words(&mut damage.what, "it is empty, and its tid is out of order");
            damage.lost = all;
            return self.give_up(damage);
        }
        let (resolved, lost) = self.resolve(&found, &mut damage)?;
        damage.lost = lost;
        let is_known = found.is_sound || self.input.hole_in(&damage.range).is_some();
        if !damage.records.is_empty() && is_known && !self.how.partial {
            let known = resolved.iter().map(|record| (record.oid, record.serial));
            damage.records.extend(known);
            damage.lost = all;
            return self.give_up(damage);
        }
        let status = if damage.records.is_empty() {
            found.status
        } else {
            b'p'
        };
        let tid = self.tid(&found, bound, &mut damage);
        let mut meta = find::meta(&self.window.reader(), &found.txn)?;
        if self
            .input
            .hole_in(&(found.txn.position..found.txn.records_start()))
            .is_some()
        {
            meta = TransactionMeta::default();
        }
        (meta.tid, meta.status) = (Some(tid), status);
        if !found.is_sealed && !find::is_dict(&meta.extension) {
            add_words(
                &mut damage.what,
                "its extension can't be read, and was left out",
            );
            meta.extension.clear();
        }
        self.write(&meta, found.txn.position, &resolved)?;
        if !found.is_sound {
            damage.doubt(&resolved, tid);
        }
        if damage.what.is_empty() {
            Ok(())
        } else {
            self.tell(damage)
        }
    }

    /// Copies the records of a transaction that were found.
    fn copy_part(&mut self, part: Found, damage: &mut Damage) -> Result<()> {
        let (resolved, _) = self.resolve(&part, damage)?;
        if resolved.is_empty() {
            return Ok(());
        }
        for record in &resolved {
            damage.lost = damage.lost.saturating_sub(record.length);
        }
        let bound = find::bound(&self.window.reader(), damage.range.end)?;
        let tid = self.tid(&part, bound, damage);
        let meta = TransactionMeta {
            tid: Some(tid),
            status: b'p',
            ..TransactionMeta::default()
        };
        damage.doubt(&resolved, tid);
        self.write(&meta, part.txn.position, &resolved)
    }

    /// The records that can be copied. Adds those that can't to `damage`, and
    /// tells how long they are.
    fn resolve(&mut self, found: &Found, damage: &mut Damage) -> Result<(Vec<Resolved>, u64)> {
        let (mut resolved, mut lost) = (Vec::with_capacity(found.records.len()), 0_u64);
        for &(at, tid) in &found.records {
            match self.resolver.resolve(&mut self.window, found, at)? {
                Ok(record) => resolved.push(record),
                Err(why) => {
                    let header = self.window.record_of(at, &found.txn)?;
                    let (oid, length) = (header.oid, header.record_len());
                    add_words(&mut damage.what, &format!("object {oid} at {at}: {why}"));
                    damage.records.push((oid, tid));
                    self.resolver.lose(at..at.saturating_add(length));
                    lost = lost.saturating_add(length);
                }
            }
        }
        Ok((resolved, lost))
    }

    /// The tid for a transaction: its own, or if that does not fit in between
    /// the last one and `bound`, what its records say; or if that was before
    /// as well, one behind the last.
    fn tid(&self, found: &Found, bound: Tid, damage: &mut Damage) -> Tid {
        let own = found.txn.header.tid;
        let said = found.tid_of_records().unwrap_or(own);
        let late = [own, said].into_iter().filter(|&tid| tid > self.last);
        let fits = late.clone().find(|&tid| tid < bound || found.is_sealed);
        let later = Tid::new(self.last.as_u64().saturating_add(1));
        let tid = fits.or_else(|| late.clone().next()).unwrap_or(later);
        if tid != own {
            add_words(&mut damage.what, &format!("its tid {own} became {tid}"));
        }
        tid
    }

    fn write(&mut self, meta: &TransactionMeta, position: u64, all: &[Resolved]) -> Result<()> {
        let tid = meta.tid.unwrap_or_default();
        let resolver = &mut self.resolver;
        let mut blobs = Blobs::new(self.how.blobs, self.output.blobs());
        // The file of a blob follows its record.
        let (mut records, mut blob) = (all.iter(), None);
        let mut ops = std::iter::from_fn(|| {
            if let Some(blob) = blob.take() {
                return Some(Ok(blob));
            }
            let record = records.next()?;
            let serial = record.serial.min(tid);
            let data = match resolver.data(record) {
                Ok(data) => data,
                Err(error) => return Some(Err(error)),
            };
            match blobs.of(record, serial, data.as_deref()) {
                Ok(found) => blob = found,
                Err(error) => return Some(Err(error)),
            }
            Some(Ok(Op::Restore {
                oid: record.oid,
                serial,
                data,
                prev_tid: record.data_txn,
            }))
        });
        copy::commit(self.output, meta, &mut ops)?;
        self.done.blobs += blobs.copied;
        self.done.lost_blobs += blobs.lost.len() as u64;
        for lost in &blobs.lost {
            (self.on_event)(SalvageEvent::NoBlob(lost))?;
        }
        self.last = tid;
        self.resolver.copied(all);
        self.done.transactions += 1;
        self.done.records += all.len() as u64;
        let records = all
            .iter()
            .map(|record| (record.oid, record.data.map(|data| data.1)));
        let copied = Copied {
            position,
            tid,
            status: meta.status,
            records: records.collect(),
        };
        Ok((self.on_event)(SalvageEvent::Copied(&copied))?)
    }

    /// Leaves all of it out.
    fn give_up(&mut self, damage: Damage) -> Result<()> {
        self.resolver.lose(damage.range.clone());
        self.tell(damage)
    }

    fn tell(&mut self, damage: Damage) -> Result<()> {
        self.done.damages += 1;
        self.done.lost = self.done.lost.saturating_add(damage.lost);
        Ok((self.on_event)(SalvageEvent::Damage(&damage))?)
    }
}

/// Adds to what is wrong.
fn add_words(what: &mut String, more: &str) {
    if !what.is_empty() {
        what.push_str("; ");
    }
    what.push_str(more);
}

#[cfg(test)]
mod tests;
