//! FileStorage: packing into a new file, without what is not needed any more,
//! while loads and commits go on.
//!
//! 1. No transaction gets back-pointers any more (their data are stored
//!    instead), and those that have some are waited for.
//! 2. [`reach`] finds what to keep of the file as it is then.
//! 3. [`copy`] copies that, and all transactions that came meanwhile, again
//!    and again until few are left.
//! 4. With the writer held, the last ones are copied, the file is synced and
//!    renamed, and a new [`Generation`] published. Who reads the old one goes
//!    on in its file.
//!
//! Transactions that were voted before and are written after that have
//! pointers to previous records from the old file: [`LaidOut::move_to`]. The
//! same for those that are written and not yet visible:
//! [`FileStorage::place_in`].
//!
//! [`LaidOut::move_to`]: crate::file_storage::commit::laid_out::LaidOut::move_to

mod blobs;
mod copy;
mod marking;
pub(crate) mod moves;
mod objects;
mod output;
mod reach;
mod target;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeo_proto::Tid;

use self::copy::{TailCopier, copy_to_pack_time};
use self::marking::Collect;
use self::moves::Move;
use self::output::Output;
use self::reach::Reach;
use self::target::Target;
use crate::blob::{BlobDirectory, Removed};
use crate::disk::backend::Backend;
use crate::file_storage::commit::laid_out::{LaidOut, Span};
use crate::file_storage::format::Reader;
use crate::file_storage::read::generation::Generation;
use crate::file_storage::storage::FileStorage;
use crate::log::Level;
use crate::observer::Observer;
use crate::packing::pack_stop;
use crate::packing::state::Running;
use crate::packing::watch::Watch;
use crate::{Error, Result};

/// The writer is held for the switch when no more than this is left to copy.
const SWITCH_REMAINDER_BYTES: u64 = 1 << 20;
/// It is held after so many attempts to get there in any case.
const CATCH_UP_ROUNDS: usize = 20;

impl FileStorage {
    /// [`Storage::pack`](crate::Storage::pack), with an observer of the bytes that were read and
    /// copied.
    ///
    /// # Errors
    ///
    /// Those of [`Storage::pack`](crate::Storage::pack); and `Cancelled`, which leaves the file as it
    /// was.
    pub fn pack_observed(
        &self,
        time: f64,
        gc: Option<bool>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        let stop = pack_stop(time)?;
        if self.generation().index.is_empty() {
            return Ok(());
        }
        let running = self.packing.begin()?;
        let packed = self.pack_once(&running, stop, gc.unwrap_or(self.pack_gc), observer);
        if let Err(Error::Cancelled) = packed {
            let what = format!("packing {}: cancelled; the file is as it was", self.name);
            self.say(Level::Warning, &what);
            return packed;
        }
        packed.inspect_err(|error| {
            let what = format!("{}: the pack failed: {error}", self.name);
            self.say(Level::Error, &what);
        })
    }

    fn pack_once(
        &self,
        running: &Running,
        stop: Tid,
        gc: bool,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let begun = Instant::now();
        let check = || self.check_pack();
        check()?;
        let (files, blobs) = (self.files.as_ref(), self.blobs.as_deref());
        files.map_or(Ok(()), target::clear)?;
        self.finish_blobs();
        running.wait_for_back_pointers(check)?;
        let old = self.generation();
        let mut watch = Watch::new(&self.name, &self.log, &self.packing, &check, observer);
        watch.say(&format!("to {stop}, garbage collection {gc}"));
        let collect = match (gc, self.later_references) {
            (false, _) => Collect::Nothing,
            (true, false) => Collect::AsOfPackTime,
            (true, true) => Collect::AsOfNow,
        };
        let Some(mut reach) = reach::find(&old, stop, collect, &mut watch)? else {
            watch.say(
                "nothing to do: The database has already been packed to a later time or no \
                 changes have been made since the last pack",
            );
            return Ok(());
        };
        let size = old.end().saturating_sub(reach.pack_end);
        let size = size.saturating_add(reach.kept_bytes());
        target::clear_old(files, blobs, self.pack_keep_old)?;
        let target = Target::new(files, self.pack_keep_old, &self.log, &old, size)?;
        let mut out = Output::new(target.backend()?);
        let mut removed = blobs.map(BlobDirectory::list_removed).transpose()?;
        let list = removed.as_mut();
        let moved = copy_to_pack_time(old.reader(), &mut reach, list, &mut out, &mut watch)?;
        removed.as_mut().map_or(Ok(()), Removed::finish)?;
        if moved.is_nothing() {
            watch.say("nothing to do: there is nothing to free");
            return Ok(());
        }
        let sizes = (old.end(), old.index.len());
        let tail = TailCopier::new(moved, reach.take_index()?);
        let mut switch = Switch {
            old,
            reach,
            tail,
            out,
            watch,
        };
        switch.catch_up()?;
        let held = self.switch(&target, &mut switch);
        // A failure behind the rename: nobody knows which file there is.
        if held.is_ok() || self.failure.get().is_some() {
            removed.into_iter().for_each(Removed::keep);
        }
        let held = held?;
        self.tell_end(sizes, held, begun.elapsed());
        drop(switch);
        self.finish_blobs();
        if let Err(error) = self.write_index(true) {
            self.say(Level::Warning, &format!("the index was not saved: {error}"));
        }
        Ok(())
    }

    /// Fails when the storage is being closed or has stopped writing.
    fn check_pack(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::FileStorage(
                "the pack was stopped: the storage is being closed".to_owned(),
            ));
        }
        if self.packing.is_cancelled() {
            return Err(Error::Cancelled);
        }
        self.check_writable()
    }

    /// Copies the last transactions and puts the packed file in the place of
    /// the old one. Says for how long commits had to wait.
    fn switch(&self, target: &Target<'_>, switch: &mut Switch<'_>) -> Result<Duration> {
        // An index of the old file must not be there beside the new one.
        let saved = match &self.files {
            Some(files) => {
                let mut saved = files.saved.lock().unwrap_or_else(PoisonError::into_inner);
                *saved = None;
                target::empty_index(files, switch.old.accepted)?;
                Some(saved)
            }
            None => None,
        };
        self.settle_blobs()?;
        let mut writer = self.writer();
        let begun = Instant::now();
        self.check_pack()?;
        // What tells whose a staged blob is may not be in the packed file.
        self.settle_blobs()?;
        switch.copy_to(writer.end)?;
        switch.out.sync()?;
        let (end, room) = (switch.out.end(), switch.out.room);
        let backend = target.final_backend()?;
        let take = || target.take();
        let mut failure = self.space.move_to(Arc::clone(&backend), end, room, take)?;
        if let Some(files) = self.files.as_ref().filter(|_| switch.old.accepted > 0) {
            // The packed file has seals of its own, all of them.
            failure = failure.or(target::empty_index(files, 0).err());
        }
        if let Some(error) = &failure {
            self.latch(error);
        }
        let old_end = std::mem::replace(&mut writer.end, end);
        writer.durable = end;
        writer.room.forget();
        self.publish_generation(switch, backend);
        drop((writer, saved));
        let held = begun.elapsed();
        // Room that was reserved behind the end goes back to the disk.
        let _ = switch.old.backend.truncate(old_end);
        match failure {
            Some(error) => Err(error),
            None => Ok(held),
        }
    }

    /// Makes the packed file the one that is read, between two publications
    /// of transactions.
    fn publish_generation(&self, switch: &mut Switch<'_>, backend: Arc<dyn Backend>) {
        let mut moves = self.moves();
        let (moved, visible) = (switch.tail.moved, switch.old.end());
        switch.tail.show(visible);
        let index = std::mem::take(&mut switch.tail.index);
        let end = moved.apply(visible);
        let mut generation = Generation::new(backend, index, end, switch.old.last_tid());
        moves.push(moved);
        generation.number = moves.len();
        self.generation.store(Arc::new(generation));
    }

    /// Where a transaction that was appended to an older file stands in the
    /// file of today; with the lock under which to make it visible.
    pub(super) fn place_in(&self, laid_out: &LaidOut) -> (MutexGuard<'_, Vec<Move>>, Option<Span>) {
        let moves = self.moves();
        let since = moves.iter().skip(laid_out.generation);
        let span = laid_out.written.map(|span| {
            since.fold(span, |span, moved| Span {
                records: moved.apply(span.records),
                end: moved.apply(span.end),
            })
        });
        (moves, span)
    }

    fn moves(&self) -> MutexGuard<'_, Vec<Move>> {
        self.moves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_end(&self, (size, objects): (u64, u64), held: Duration, took: Duration) {
        let new = self.generation();
        let what = format!(
            "packed {}: from {size} to {} bytes, from {objects} to {} objects, in {:.1} s; commits \
             were held for {:.1} ms",
            self.name,
            new.end(),
            new.index.len(),
            took.as_secs_f64(),
            held.as_secs_f64() * 1000.0
        );
        self.say(Level::Info, &what);
    }
}

/// A pack that has copied everything up to the pack time.
struct Switch<'a> {
    old: Arc<Generation>,
    reach: Reach,
    tail: TailCopier,
    out: Output,
    watch: Watch<'a>,
}

impl Switch<'_> {
    /// Copies what is visible, until little is left.
    fn catch_up(&mut self) -> Result<()> {
        for _ in 0..CATCH_UP_ROUNDS {
            let (from, to) = (self.tail.copied, self.old.end());
            self.copy_to(to)?;
            self.out.sync()?;
            if to.saturating_sub(from) <= SWITCH_REMAINDER_BYTES {
                break;
            }
        }
        Ok(())
    }

    fn copy_to(&mut self, end: u64) -> Result<()> {
        let old = Arc::clone(&self.old);
        let reader = Reader {
            backend: &*old.backend,
            end,
        };
        let visible = old.end();
        let (out, watch) = (&mut self.out, &mut self.watch);
        self.tail
            .copy_to_end(reader, visible, &self.reach, out, watch)
    }
}
