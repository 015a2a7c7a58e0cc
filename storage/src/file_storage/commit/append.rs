//! FileStorage: steps 2 and 3 of a commit, appending transactions to the file,
//! and making them visible.

use std::collections::HashSet;
use std::sync::Arc;

use zeo_proto::Tid;

use super::laid_out::{LaidOut, Span, laid_out_mut};
use super::writer::{SYNCING, write_batch};
use crate::Result;
use crate::blob::Staged;
use crate::disk::paths::failed;
use crate::file_storage::storage::FileStorage;
use crate::log::Level;
use crate::storage::Commit;

impl FileStorage {
    /// Writes the batch and syncs once; a failure takes back all of it, and
    /// latches the storage, unless it was to name a blob.
    pub(crate) fn append_batch(&self, batch: &mut [Commit]) -> Result<()> {
        let mut writer = self.writer();
        // With the writer in hand: a pack may have failed meanwhile.
        self.check_writable()?;
        if let Some(blobs) = &self.blobs {
            blobs
                .check_settled()
                .inspect_err(|error| self.latch(error))?;
        }
        let generation = self.generation();
        let backend = &*generation.backend;
        let start = writer.end;
        for commit in batch.iter_mut() {
            let laid_out: &mut LaidOut = commit.prepared.work_mut()?;
            laid_out.move_to(&generation);
        }
        // Nothing is written yet: what is wrong with the files of these blobs
        // (somebody has removed one, say) is no reason to stop.
        place_blobs(batch).inspect_err(|_| take_back_blobs(batch))?;
        let sync_every = self.sync_every;
        match sync_blobs(batch).and_then(|()| write_batch(&mut writer, backend, batch, sync_every))
        {
            Ok(end) => {
                writer.end = end;
                if let Some(last) = batch.last() {
                    writer.last_tid = last.tid;
                }
                let mut placed = Vec::new();
                for (tid, laid_out) in laid_out_mut(batch) {
                    laid_out.reservation.written();
                    laid_out.body.drop_data();
                    let blobs = laid_out.blobs.drain(..);
                    placed.extend(blobs.filter_map(|blob| blob.committed(tid)));
                }
                if let Some(blobs) = &self.blobs {
                    blobs.settle_later(placed, &self.log);
                }
                Ok(())
            }
            Err(error) => {
                self.latch(&error);
                writer.room.forget();
                take_back_blobs(batch);
                for (_, laid_out) in laid_out_mut(batch) {
                    laid_out.written = None;
                }
                if let Err(error) = backend.truncate(start) {
                    let what = format!(
                        "{}: the unfinished data after {start} could not be cut off: {error}",
                        backend.path().display()
                    );
                    self.say(Level::Error, &what);
                }
                Err(error)
            }
        }
    }

    /// Syncs what was written and not synced yet.
    pub(crate) fn sync_writer(&self) -> Result<()> {
        let mut writer = self.writer();
        if writer.durable < writer.end {
            let backend = Arc::clone(&self.generation().backend);
            let synced = backend.sync();
            synced.map_err(failed(SYNCING, backend.path()))?;
            writer.durable = writer.end;
        }
        Ok(())
    }

    /// Makes a transaction visible that was appended.
    pub(crate) fn publish_commit(&self, commit: &Commit) {
        let Ok(laid_out) = commit.prepared.work::<LaidOut>() else {
            return;
        };
        let (_between_packs, span) = self.place_in(laid_out);
        // A transaction that is not in the file has nothing to show.
        if let Some(Span { records, end }) = span {
            let positions = laid_out.body.positions(records);
            self.generation().publish(end, commit.tid, positions);
        }
    }
}

/// Gives the files of all blobs their names: before the records are there that
/// speak of them.
fn place_blobs(batch: &[Commit]) -> Result<()> {
    blobs(batch).try_for_each(|(blob, tid, is_moved)| blob.place(tid, is_moved))
}

/// Makes those names durable that no start could mend.
fn sync_blobs(batch: &[Commit]) -> Result<()> {
    let mut synced = HashSet::new();
    blobs(batch).try_for_each(|(blob, tid, _)| blob.sync(tid, &mut synced))
}

fn take_back_blobs(batch: &[Commit]) {
    blobs(batch).for_each(|(blob, tid, _)| blob.take_back(tid));
}

/// The blobs of a batch with their transactions: the tid, and whether a pack
/// came between its vote and now.
fn blobs(batch: &[Commit]) -> impl Iterator<Item = (&Staged, Tid, bool)> {
    let transactions = batch
        .iter()
        .filter_map(|commit| Some((commit.tid, commit.prepared.work::<LaidOut>().ok()?)));
    transactions.flat_map(|(tid, laid_out)| {
        let blobs = laid_out.blobs.iter();
        blobs.map(move |blob| (blob, tid, laid_out.is_moved))
    })
}
