//! What remains to be done for committed blobs: their names in the blob
//! directory become durable, and then those in `tmp` go, from which a power
//! cut before would have mended them. No commit waits for it.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::BlobDirectory;
use super::unsettled::{MANY, Placed};
use crate::disk::paths::failed;
use crate::log::{Level, Log};
use crate::{Error, Result};

impl BlobDirectory {
    /// Leaves these to a thread that settles them soon.
    pub(crate) fn settle_later(self: &Arc<Self>, placed: Vec<Placed>, log: &Log) {
        let unsettled = &self.unsettled;
        let mut waiting = unsettled.waiting();
        waiting.blobs.extend(placed);
        match (waiting.blobs.len(), waiting.has_thread) {
            (0, _) => {}
            (MANY.., true) => unsettled.changed.notify_all(),
            (_, true) => {}
            (_, false) => {
                let Some(delay) = self.disk.settles_after() else {
                    return;
                };
                waiting.has_thread = true;
                drop(waiting);
                self.start_settling(delay, log);
            }
        }
    }

    fn start_settling(self: &Arc<Self>, delay: Duration, log: &Log) {
        let (unsettled, directory) = (Arc::clone(&self.unsettled), Arc::downgrade(self));
        let told = Arc::clone(log);
        let run = move || {
            while unsettled.wait(delay)
                && let Some(directory) = Weak::upgrade(&directory)
            {
                directory.settle_and_tell(&told);
            }
        };
        let thread = thread::Builder::new().name("blob names".to_owned());
        if thread.spawn(run).is_err() {
            self.unsettled.waiting().has_thread = false;
            self.settle_and_tell(log);
        }
    }

    fn settle_and_tell(&self, log: &Log) {
        if self.unsettled.failure.get().is_none()
            && let Err(error) = self.settle()
        {
            log(Level::Error, &format!("after a commit of blobs: {error}"));
        }
    }

    /// Settles all that wait, and returns when those are done that somebody
    /// else has begun.
    ///
    /// # Errors
    ///
    /// `Io` that names the file, and `Latched` from then on.
    pub(crate) fn settle(&self) -> Result<()> {
        let unsettled = &self.unsettled;
        let _alone = unsettled.alone();
        self.check_settled()?;
        let blobs = std::mem::take(&mut unsettled.waiting().blobs);
        unsettled.changed.notify_all();
        let settled = self.settle_all(&blobs);
        settled.inspect_err(|error| {
            let _ = unsettled.failure.set(error.to_string());
        })
    }

    fn settle_all(&self, blobs: &[Placed]) -> Result<()> {
        let mut synced = HashSet::new();
        for blob in blobs {
            let names = self.sync_names(&blob.target, &mut synced);
            names.map_err(failed("syncing the name of the blob", &blob.target))?;
        }
        for blob in blobs {
            // What can't be removed is removed at the next start.
            let _ = self.disk.remove(&blob.staged);
        }
        Ok(())
    }

    /// Fails if some could not be settled: the disk is not to be trusted.
    pub(crate) fn check_settled(&self) -> Result<()> {
        match self.unsettled.failure.get() {
            Some(failure) => Err(Error::Latched(failure.clone())),
            None => Ok(()),
        }
    }
}
