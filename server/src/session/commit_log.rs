//! What a transaction has stored so far, kept until its vote: in memory up
//! to a limit and then in a temporary file.

use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::slice;
use std::sync::Arc;

use byteorder::{BE, ReadBytesExt, WriteBytesExt};
use tempfile::SpooledTempFile;
use zeo_proto::{Oid, Tid};
use zeo_storage::blob::BlobFile;
use zeo_storage::storage::Op;
use zeo_storage::{Error, Result};

use crate::messages::request::Claim;
use crate::usage::Share;

/// How many bytes of one transaction stay in memory.
const MEMORY_LIMIT_BYTES: usize = 4 << 20;

/// A transaction with more objects than this locks the whole storage instead of each object, so
/// that nobody waits while the coordinator enters millions of them.
const MAX_CLAIM_OBJECTS: usize = 100_000;

/// How many bytes are read back at once.
const REPLAY_BUFFER_BYTES: usize = 64 << 10;

/// What a step takes besides its data, with the entry in the claim, in bytes.
const STEP_BYTES: u64 = 48;

const STORE: u8 = 1;
const CHECK: u8 = 2;
const DELETE: u8 = 3;
const RESTORE: u8 = 4;
const UNDO: u8 = 5;
const BLOB: u8 = 6;
const FAIL: u8 = 7;

/// The steps of one transaction, in order.
///
/// Each is a kind (1 byte), oid and serial (8 each); store and restore go on
/// with the length of the data (8; all ones for none), the data, and for
/// restore the transaction hint (8; zero for none). The files of blobs are
/// kept apart, in the order of their steps. So is the reason why a step can't be
/// made, of the first such step: those behind it do not count.
#[derive(Debug)]
pub struct CommitLog {
    file: BufWriter<SpooledTempFile>,
    claim: Claim,
    steps: u64,
    bytes: u64,
    blobs: Vec<Arc<BlobFile>>,
    /// Why a step can't be made; the vote reports it.
    failure: Option<Error>,
    /// A replay has moved the file's position from its end.
    moved: bool,
    /// What it may take, if that is limited.
    room: Option<Room>,
    /// What its steps take, in bytes.
    size: u64,
}

/// What a transaction may take, and has taken, of what is there for all.
#[derive(Debug)]
pub struct Room {
    /// Of the memory.
    pub memory: Share,
    /// Of the data that is not committed yet.
    pub data: Share,
    /// The most that it may take of the data, in bytes.
    pub most: u64,
}

impl CommitLog {
    /// An empty log. `whole`: the transaction needs the whole storage for
    /// another reason than its steps.
    pub fn new(whole: bool) -> Self {
        let file = BufWriter::new(SpooledTempFile::new(MEMORY_LIMIT_BYTES));
        let claim = Claim {
            whole,
            ..Claim::default()
        };
        Self {
            file,
            claim,
            steps: 0,
            bytes: 0,
            blobs: Vec::new(),
            failure: None,
            moved: false,
            room: None,
            size: 0,
        }
    }

    /// An empty log that may grow as far as there is room.
    pub fn limited(whole: bool, room: Room) -> Self {
        let mut log = Self::new(whole);
        log.room = Some(room);
        log
    }

    /// One that can't be replayed: the vote is to say why.
    pub fn failed(why: Error) -> Self {
        let mut log = Self::new(false);
        // Into memory, with room for it.
        let _ = log.fail(why);
        log
    }

    /// True when a step can't be made.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The locks that the steps need.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// How many steps there are.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How many bytes of data there are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a `storea`.
    ///
    /// # Errors
    /// The temporary file can't be written. (All methods that add a step fail like this.)
    pub fn store(&mut self, oid: Oid, serial: Tid, data: &[u8]) -> Result<()> {
        self.touch(|claim| claim.stored.push(oid));
        self.step(STORE, oid, serial)?;
        self.data(Some(data))
    }

    /// True when blobs are among what is stored.
    pub fn has_blobs(&self) -> bool {
        !self.blobs.is_empty()
    }

    /// Adds a `storeBlobEnd` or `storeBlobShared`.
    pub fn store_blob(&mut self, oid: Oid, serial: Tid, data: &[u8], file: BlobFile) -> Result<()> {
        self.store(oid, serial, data)?;
        self.blobs.push(Arc::new(file));
        self.step(BLOB, oid, Tid::ZERO)
    }

    /// Adds a step that can't be made, and why: the vote comes to it, if it
    /// does not fail before.
    pub fn fail(&mut self, why: Error) -> Result<()> {
        if self.failure.is_some() {
            return Ok(());
        }
        self.step(FAIL, Oid::ZERO, Tid::ZERO)?;
        self.failure = Some(why);
        Ok(())
    }

    /// Adds a `checkCurrentSerialInTransaction`.
    pub fn check(&mut self, oid: Oid, serial: Tid) -> Result<()> {
        self.touch(|claim| claim.checked.push(oid));
        self.step(CHECK, oid, serial)
    }

    /// Adds a `deleteObject`.
    pub fn delete(&mut self, oid: Oid, serial: Tid) -> Result<()> {
        self.claim.whole = true;
        self.step(DELETE, oid, serial)
    }

    /// Adds a `restorea`.
    pub fn restore(
        &mut self,
        oid: Oid,
        serial: Tid,
        data: Option<&[u8]>,
        prev_tid: Option<Tid>,
    ) -> Result<()> {
        self.claim.whole = true;
        self.step(RESTORE, oid, serial)?;
        self.data(data)?;
        if self.has_failed() {
            return Ok(());
        }
        let hint = prev_tid.unwrap_or(Tid::ZERO);
        self.file
            .write_u64::<BE>(hint.as_u64())
            .map_err(spool_error)
    }

    /// Adds an `undoa`.
    pub fn undo(&mut self, tid: Tid) -> Result<()> {
        self.claim.whole = true;
        self.step(UNDO, Oid::ZERO, tid)
    }

    /// Enters one more object into the claim.
    fn touch(&mut self, enter: impl FnOnce(&mut Claim)) {
        if self.claim.whole {
            return;
        }
        enter(&mut self.claim);
        if self.claim.stored.len() + self.claim.checked.len() > MAX_CLAIM_OBJECTS {
            self.claim = Claim {
                whole: true,
                ..Claim::default()
            };
        }
    }

    fn step(&mut self, kind: u8, oid: Oid, serial: Tid) -> Result<()> {
        if self.has_failed() {
            return Ok(());
        }
        self.take_room(STEP_BYTES)?;
        let mut head = [kind; 17];
        head[1..9].copy_from_slice(&oid.to_bytes());
        head[9..].copy_from_slice(&serial.to_bytes());
        self.steps += 1;
        if std::mem::take(&mut self.moved) {
            self.file.seek(SeekFrom::End(0)).map_err(spool_error)?;
        }
        self.file.write_all(&head).map_err(spool_error)
    }

    /// Before so much more is kept. Where there is no memory left, what is kept goes to the
    /// temporary file early.
    fn take_room(&mut self, more: u64) -> Result<()> {
        self.size += more;
        let Some(room) = &mut self.room else {
            return Ok(());
        };
        if self.size > room.most {
            let most = room.most;
            return Err(Error::Transaction(format!(
                "the transaction is larger than {most} bytes, the most that is allowed \
                 (--max-transaction-size)"
            )));
        }
        if !room.data.resize(self.size) {
            let most = room.data.limit();
            return Err(Error::Transaction(format!(
                "the uncommitted transactions of all clients would be larger than {most} bytes, \
                 the most that is allowed (--max-uncommitted-size)"
            )));
        }
        if self.file.get_ref().is_rolled() || self.size > MEMORY_LIMIT_BYTES as u64 {
            room.memory.release();
        } else if !room.memory.resize(self.size) {
            self.file.flush().map_err(spool_error)?;
            self.file.get_mut().roll().map_err(spool_error)?;
            room.memory.release();
        }
        Ok(())
    }

    fn data(&mut self, data: Option<&[u8]>) -> Result<()> {
        if self.has_failed() {
            return Ok(());
        }
        let length = data.map_or(u64::MAX, |data| data.len() as u64);
        self.take_room(data.map_or(0, |data| data.len() as u64))?;
        self.bytes += data.map_or(0, |data| data.len() as u64);
        self.file.write_u64::<BE>(length).map_err(spool_error)?;
        self.file
            .write_all(data.unwrap_or_default())
            .map_err(spool_error)
    }

    /// All steps from the first on. More may be added afterwards.
    ///
    /// # Errors
    /// The temporary file can't be read.
    pub fn replay(&mut self) -> Result<impl Iterator<Item = Result<Op>> + '_> {
        self.file.flush().map_err(spool_error)?;
        self.moved = true;
        let file = self.file.get_mut();
        let end = file.seek(SeekFrom::End(0)).map_err(spool_error)?;
        file.rewind().map_err(spool_error)?;
        let steps = self.steps;
        // No larger than the steps: it is filled with zeros first.
        let buffer = usize::try_from(end).unwrap_or(REPLAY_BUFFER_BYTES);
        let mut reader = BufReader::with_capacity(buffer.min(REPLAY_BUFFER_BYTES), file);
        let mut blobs = self.blobs.iter();
        let failure = &mut self.failure;
        let mut done = 0;
        Ok(std::iter::from_fn(move || {
            if done == steps {
                return None;
            }
            done += 1;
            let step = read_step(&mut reader, end, &mut blobs).map_err(spool_error);
            Some(step.and_then(|op| op.ok_or_else(|| take_failure(failure))))
        }))
    }
}

/// Takes the error out: the transaction is aborted after the first report of it.
fn take_failure(failure: &mut Option<Error>) -> Error {
    let told = || Error::Transaction("the transaction has failed".to_owned());
    failure.take().unwrap_or_else(told)
}

/// The next step; `None` for the one that can't be made.
fn read_step(
    reader: &mut impl Read,
    end: u64,
    blobs: &mut slice::Iter<'_, Arc<BlobFile>>,
) -> io::Result<Option<Op>> {
    let kind = reader.read_u8()?;
    let oid = Oid::new(reader.read_u64::<BE>()?);
    let serial = Tid::new(reader.read_u64::<BE>()?);
    Ok(Some(match kind {
        FAIL => return Ok(None),
        STORE => Op::Store {
            oid,
            serial,
            data: read_data(reader, end)?.unwrap_or_default(),
        },
        CHECK => Op::Check { oid, serial },
        DELETE => Op::Delete { oid, serial },
        RESTORE => {
            let data = read_data(reader, end)?;
            let hint = Tid::new(reader.read_u64::<BE>()?);
            Op::Restore {
                oid,
                serial,
                data,
                prev_tid: (hint != Tid::ZERO).then_some(hint),
            }
        }
        UNDO => Op::Undo { tid: serial },
        BLOB => Op::Blob {
            oid,
            serial: None,
            file: Arc::clone(blobs.next().ok_or(io::ErrorKind::InvalidData)?),
        },
        other => return Err(io::Error::other(format!("a step of kind {other}"))),
    }))
}

fn read_data(reader: &mut impl Read, end: u64) -> io::Result<Option<Vec<u8>>> {
    let length = reader.read_u64::<BE>()?;
    if length == u64::MAX {
        return Ok(None);
    }
    if length > end {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut data = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    reader.read_exact(&mut data)?;
    Ok(Some(data))
}

fn spool_error(source: io::Error) -> Error {
    Error::Io {
        doing: "keeping the transaction in",
        file: std::env::temp_dir(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(log: &mut CommitLog, size: usize) -> Vec<Op> {
        let (oid, tid) = (Oid::new(7), Tid::new(9));
        let data = vec![5; size];
        log.store(oid, tid, &data).unwrap();
        log.check(Oid::new(8), tid).unwrap();
        log.delete(oid, tid).unwrap();
        log.restore(oid, tid, None, None).unwrap();
        log.restore(oid, tid, Some(&[]), Some(tid)).unwrap();
        log.undo(tid).unwrap();
        vec![
            Op::Store {
                oid,
                serial: tid,
                data,
            },
            Op::Check {
                oid: Oid::new(8),
                serial: tid,
            },
            Op::Delete { oid, serial: tid },
            Op::Restore {
                oid,
                serial: tid,
                data: None,
                prev_tid: None,
            },
            Op::Restore {
                oid,
                serial: tid,
                data: Some(vec![]),
                prev_tid: Some(tid),
            },
            Op::Undo { tid },
        ]
    }

    #[test]
    fn replays_what_was_added_from_memory_and_from_disk_and_again() {
        for size in [0, 1000, MEMORY_LIMIT_BYTES + 1] {
            let mut log = CommitLog::new(false);
            let mut expected = fill(&mut log, size);
            let replayed: Vec<Op> = log.replay().unwrap().map(Result::unwrap).collect();
            assert_eq!(replayed, expected);
            assert_eq!(
                log.replay().unwrap().take(2).count(),
                2,
                "one that is given up"
            );
            expected.extend(fill(&mut log, 3));
            let replayed: Vec<Op> = log.replay().unwrap().map(Result::unwrap).collect();
            assert_eq!(replayed, expected, "steps may follow a replay");
        }
    }

    #[test]
    fn a_step_that_fails_is_told_in_its_turn() {
        let mut log = CommitLog::new(false);
        let expected = fill(&mut log, 10);
        for why in ["first", "second"] {
            log.fail(Error::Value(why.to_owned())).unwrap();
            fill(&mut log, 10);
        }
        let mut steps = log.replay().unwrap();
        for op in expected {
            assert_eq!(steps.next().unwrap().unwrap(), op);
        }
        let told = steps.next().unwrap().unwrap_err();
        assert_eq!(told.to_string(), "first");
    }

    #[test]
    fn claims_what_its_steps_touch() {
        let mut log = CommitLog::new(false);
        log.store(Oid::new(1), Tid::ZERO, b"x").unwrap();
        log.check(Oid::new(2), Tid::ZERO).unwrap();
        let expected = Claim {
            stored: vec![Oid::new(1)],
            checked: vec![Oid::new(2)],
            whole: false,
        };
        assert_eq!(log.claim(), &expected);
        log.undo(Tid::ZERO).unwrap();
        assert!(log.claim().whole);
    }

    #[test]
    fn claims_the_whole_storage_rather_than_very_many_objects() {
        let mut log = CommitLog::new(false);
        for number in 0..MAX_CLAIM_OBJECTS as u64 {
            log.check(Oid::new(number), Tid::ZERO).unwrap();
        }
        assert!(!log.claim().whole);
        for _ in 0..2 {
            log.store(Oid::ZERO, Tid::ZERO, b"").unwrap();
            assert!(log.claim().whole && log.claim().checked.is_empty());
            assert!(log.claim().stored.is_empty());
        }
        let steps = log.replay().unwrap().map(Result::unwrap);
        assert_eq!(steps.count(), MAX_CLAIM_OBJECTS + 2, "all are checked");
    }
}
