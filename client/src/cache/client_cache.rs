//! What a cache is asked for, and told.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeo_proto::{Oid, Tid};
use zeo_storage::LockFile;
use zeo_storage::backend::Backend;
use zeo_storage::log::Log;
use zeo_storage::storage::{Data, Revision};

use super::error::{CacheError, failed};
use super::format::{self, Block, HEADER, Head, MAX_BLOCK};
use super::open::{self, Opened};
use super::stats::{Held, Stats};
use super::trace::{self, Trace, Traced};
use super::{read, window};

/// How long a file that can't be written is left alone.
pub(super) const RETRY: Duration = Duration::from_secs(60);

/// A cache file. It is not used by several threads at once: put a lock around it.
pub struct Cache {
    pub(super) file: Arc<dyn Backend>,
    /// Of the file, in bytes.
    pub(super) size: u64,
    pub(super) opened: Opened,
    /// The file has no name: it ends with this cache.
    pub(super) temporary: bool,
    /// Since when the file can't be written.
    pub(super) broken: Option<Instant>,
    pub(super) logged: Option<Instant>,
    pub(super) retry: Duration,
    pub(super) trace: Option<Trace>,
    pub(super) stats: Stats,
    pub(super) log: Log,
    pub(super) lock: Option<LockFile>,
}

impl Cache {
    pub(super) fn new(file: Arc<dyn Backend>, size: u64, opened: Opened, log: Log) -> Self {
        Self {
            file,
            size,
            opened,
            temporary: false,
            broken: None,
            logged: None,
            retry: RETRY,
            trace: None,
            stats: Stats::default(),
            log,
            lock: None,
        }
    }

    /// The last transaction that the cache knows of: all that it holds is true up to it.
    /// [`Tid::ZERO`] if it knows of none.
    pub fn last_tid(&self) -> Tid {
        self.opened.last_tid
    }

    /// Makes `tid` the last transaction, once the objects that it has changed are invalidated.
    /// [`Tid::ZERO`] changes nothing.
    ///
    /// # Errors
    /// [`CacheError::GoesBack`]: it is older, and the cache is not empty.
    pub fn set_last_tid(&mut self, tid: Tid) -> Result<(), CacheError> {
        let from = self.opened.last_tid;
        if tid == Tid::ZERO || tid == from {
            return Ok(());
        }
        if tid < from && !self.is_empty() {
            return Err(CacheError::GoesBack { from, to: tid });
        }
        self.opened.last_tid = tid;
        self.change(|ring| ring.set_last_tid(tid));
        Ok(())
    }

    /// How many revisions there are.
    pub fn len(&self) -> usize {
        self.opened.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The current revision of an object: its record, and the transaction that wrote it.
    pub fn load(&mut self, oid: Oid) -> Option<(Data, Tid)> {
        self.load_current(oid, None)
    }

    /// The revision of an object that was current just before a transaction.
    pub fn load_before(&mut self, oid: Oid, before: Tid) -> Option<Revision> {
        self.settle_before(oid, before);
        if let Some((start, place)) = self.opened.index.last_before(oid, before) {
            match read::record(&*self.file, place) {
                Ok((Head { end: Some(end), .. }, data)) if end >= before => {
                    self.stats.hits += 1;
                    let traced = Traced {
                        end: Some(start),
                        ..Traced::default()
                    };
                    self.trace(trace::LOAD_BEFORE_HIT, oid, traced);
                    return Some(Revision {
                        data,
                        serial: start,
                        next: Some(end),
                    });
                }
                Ok(_) => {}
                Err(why) => self.start_over(&why),
            }
        }
        let current = self.load_current(oid, Some(before));
        if current.is_none() {
            let traced = Traced {
                end: Some(before),
                ..Traced::default()
            };
            self.trace(trace::LOAD_BEFORE_MISS, oid, traced);
        }
        current.map(|(data, serial)| Revision {
            data,
            serial,
            next: None,
        })
    }

    fn load_current(&mut self, oid: Oid, before: Option<Tid>) -> Option<(Data, Tid)> {
        let Some((offset, head, data)) = self.read_current(oid) else {
            self.stats.misses += 1;
            self.trace(trace::LOAD_MISS, oid, Traced::default());
            return None;
        };
        if before.is_some_and(|before| head.start >= before) {
            self.stats.misses += 1;
            return None;
        }
        self.stats.hits += 1;
        let traced = Traced {
            start: Some(head.start),
            end: None,
            length: head.length,
        };
        self.trace(trace::LOAD_HIT, oid, traced);
        if self.is_soon_evicted(offset, &head) {
            // It is of use: written again, in front of the ring.
            self.change(|ring| {
                ring.flush()?;
                ring.opened.index.remove(&head, offset);
                ring.free(offset, &head)?;
                ring.write(&head, &data)?;
                ring.flush()
            });
        }
        Some((data, head.start))
    }

    /// The current record of an object, and where it stands: from memory, or else from the file.
    fn read_current(&mut self, oid: Oid) -> Option<(u64, Head, Data)> {
        if let Some(copy) = self.opened.index.recent.get(oid) {
            let head = Head {
                oid,
                start: copy.start,
                end: None,
                length: copy.data.len() as u32,
            };
            return Some((copy.offset, head, copy.data.to_vec().into()));
        }
        self.settle_current(oid);
        match read::current(&*self.file, &self.opened.index, oid) {
            Ok(found) => {
                if let Some((offset, head, data)) = &found {
                    let recent = &mut self.opened.index.recent;
                    recent.insert(oid, *offset, head.start, data);
                }
                found
            }
            Err(why) => {
                self.start_over(&why);
                None
            }
        }
    }

    /// Makes sure that the record that is not current, but was before a tid, is in the file.
    fn settle_before(&mut self, oid: Oid, before: Tid) {
        if let Some((_, place)) = self.opened.index.last_before(oid, before)
            && self.opened.batch.has(place.offset())
        {
            self.flush();
        }
    }

    /// Makes sure that the current record of an object is in the file.
    fn settle_current(&mut self, oid: Oid) {
        let batch = &self.opened.batch;
        let mut places = self.opened.index.current.find(oid);
        let waits = places.any(|place| batch.has(place.offset()));
        drop(places);
        if waits {
            self.flush();
        }
    }

    /// Writes the records that wait to be written.
    pub(crate) fn flush(&mut self) {
        if !self.opened.batch.is_empty() {
            self.change(|ring| ring.flush());
        }
    }

    /// Whether the ring has more than four fifths of its way behind it since it passed here.
    fn is_soon_evicted(&self, offset: u64, head: &Head) -> bool {
        let at = self.opened.at;
        let distance = if at >= offset {
            at - offset
        } else {
            at + self.size - offset
        };
        distance * 10 > self.size * 8 && self.size > u64::from(head.length) * 10
    }

    /// Whether [`load_before`](Self::load_before) would find something; no data are read.
    pub fn contains(&mut self, oid: Oid, before: Tid) -> bool {
        self.settle_before(oid, before);
        self.settle_current(oid);
        let index = &self.opened.index;
        if let Some((_, place)) = index.last_before(oid, before)
            && let Ok(Block::Record(Head { end: Some(end), .. })) =
                open::read_block(&*self.file, place.offset())
            && end >= before
        {
            return true;
        }
        let current = read::current_head(&*self.file, index, oid);
        matches!(current, Ok(Some((_, head))) if head.start < before)
    }

    /// Whether it may be so: without a look at the file, which tells when a revision began.
    pub(crate) fn may_contain(&self, oid: Oid, before: Tid) -> bool {
        self.opened.index.may_hold(oid, before)
    }

    /// Adds a revision: written by `start`, and current until `end`, or still so.
    ///
    /// Nothing happens if it is there already, if it is older than the current one that is there, or
    /// if it is too large: a record takes 43 bytes more than its data, and the file's header 12.
    pub fn store(&mut self, oid: Oid, start: Tid, end: Option<Tid>, data: &[u8]) {
        self.store_later(oid, start, end, data);
        self.flush();
    }

    /// The same; the file has it after the next [`flush`](Self::flush), or any other change.
    pub(crate) fn store_later(&mut self, oid: Oid, start: Tid, end: Option<Tid>, data: &[u8]) {
        let size = data.len() as u64 + format::OVERHEAD;
        let is_too_large = size >= MAX_BLOCK.min(self.size - HEADER);
        if is_too_large || end.is_some_and(|end| end <= start) || !self.is_usable() {
            return;
        }
        match end {
            Some(_) if self.opened.index.noncurrent.contains_key(&(oid, start)) => return,
            Some(_) => {}
            None if !self.replace_current(oid, start) => return,
            None => {}
        }
        let head = Head {
            oid,
            start,
            end,
            length: data.len() as u32,
        };
        self.stats.adds += 1;
        self.stats.added_bytes += size;
        self.opened.index.recent.note(oid);
        self.change(|ring| ring.write(&head, data));
        let code = if end.is_some() {
            trace::STORE_NONCURRENT
        } else {
            trace::STORE_CURRENT
        };
        let traced = Traced {
            start: Some(start),
            end,
            length: head.length,
        };
        self.trace(code, oid, traced);
    }

    /// Makes sure that there is no other current revision; false if a new one that begins with
    /// `start` is of no use.
    fn replace_current(&mut self, oid: Oid, start: Tid) -> bool {
        if self
            .opened
            .index
            .newest_noncurrent(oid)
            .is_some_and(|newest| newest >= start)
        {
            return false;
        }
        self.settle_current(oid);
        match read::current_head(&*self.file, &self.opened.index, oid) {
            Ok(Some((_, head))) if head.start >= start => return false,
            Ok(Some((offset, head))) => self.change(|ring| {
                ring.flush()?;
                ring.opened.index.remove(&head, offset);
                ring.free(offset, &head)
            }),
            Ok(None) => {}
            Err(why) => self.start_over(&why),
        }
        self.broken.is_none()
    }

    /// Tells that an object has a new revision, written by `tid`: what was current until then stays
    /// as the revision before. Without a tid, it is not known since when: the current revision is
    /// forgotten.
    pub fn invalidate(&mut self, oid: Oid, tid: Option<Tid>) {
        self.flush();
        let current = read::current_head(&*self.file, &self.opened.index, oid);
        let traced = Traced {
            start: tid,
            ..Traced::default()
        };
        match current {
            Ok(None) => self.trace(trace::INVALIDATE_MISS, oid, traced),
            Ok(Some((offset, head))) => match tid {
                // It is that revision.
                Some(tid) if tid == head.start => {}
                Some(tid) if tid > head.start => {
                    self.change(|ring| ring.end(offset, &head, tid));
                    self.trace(trace::INVALIDATE_KEPT, oid, traced);
                }
                _ => {
                    self.opened.index.remove(&head, offset);
                    self.change(|ring| ring.free(offset, &head));
                    self.trace(trace::INVALIDATE_FREED, oid, traced);
                }
            },
            Err(why) => self.start_over(&why),
        }
    }

    /// Forgets all revisions. The last transaction stays.
    pub fn clear(&mut self) {
        if self.broken.is_none()
            && let Err(why) = self.create()
        {
            self.give_up(&why.to_string());
        }
    }

    /// What was done since the cache was opened.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// All revisions, in the order in which they stand in the file.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn held(&mut self) -> Result<Vec<Held>, CacheError> {
        self.flush();
        let mut window = window::Window::new(&*self.file);
        let (mut at, mut held) = (HEADER, Vec::new());
        while at < self.size && !self.is_empty() {
            let bytes = window.at(at).map_err(failed("reading", self.file.path()))?;
            match format::decode(bytes) {
                Ok(Block::Free(size)) => at += size,
                Ok(Block::Record(head)) => {
                    if self.opened.index.knows(&head, at) {
                        let Head {
                            oid,
                            start,
                            end,
                            length,
                        } = head;
                        held.push(Held {
                            oid,
                            start,
                            end,
                            length,
                        });
                    }
                    at += head.size();
                }
                Err(why) => return Err(failed("reading", self.file.path())(io::Error::other(why))),
            }
        }
        Ok(held)
    }

    /// Closes the cache, once what it has written is on disk. Dropping it does not wait for that.
    ///
    /// # Errors
    /// The system's, of the last step: the file may lack something after a power failure.
    pub fn close(mut self) -> Result<(), CacheError> {
        self.flush();
        let path = self.file.path().to_owned();
        if let Some(trace) = &mut self.trace {
            trace
                .flush()
                .map_err(failed("writing the trace of", &path))?;
        }
        self.file.sync().map_err(failed("syncing", &path))
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Cache({}, {} revisions)",
            self.file.path().display(),
            self.len()
        )
    }
}
