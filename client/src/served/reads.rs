//! What is read from the upstream server, as far as it is published here.

use zeo_proto::message::CurrentRecord;
use zeo_proto::{Oid, Tid};
use zeo_storage::storage::{self, Revision};
use zeo_storage::{Error, Result};

use super::Served;
use super::entries::{history_entry, undo_entry};
use super::errors::storage_error;

/// How many entries of the undo log are asked for at once.
const UNDO_ENTRIES: i64 = 100;

impl Served {
    /// The revision before `before`, of what is published.
    pub(super) fn published_revision(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        let published = self.published();
        let limit = self.limit(before);
        let found = self.main.load_before(oid, limit).map_err(storage_error)?;
        let Some(found) = found else {
            // What was only stored since is unknown here.
            return if before > limit {
                Err(Error::NoObject(oid))
            } else {
                Ok(None)
            };
        };
        let next = found.next.filter(|&next| next <= published);
        Ok(Some(Revision { next, ..found }))
    }

    /// `before`, or right behind the last published transaction.
    pub(super) fn limit(&self, before: Tid) -> Tid {
        let after = Tid::ZERO.later_than(self.published()).unwrap_or(Tid::MAX);
        before.min(after)
    }

    pub(super) fn published_history(
        &self,
        oid: Oid,
        size: usize,
    ) -> Result<Vec<storage::HistoryEntry>> {
        let published = self.published();
        let mut asked = size;
        loop {
            let found = self.main.history(oid, asked).map_err(storage_error)?;
            let is_all = found.len() < asked;
            let mut entries = Vec::with_capacity(found.len());
            for entry in &found {
                let entry = history_entry(entry)?;
                if entry.tid <= published {
                    entries.push(entry);
                }
            }
            if is_all || entries.len() >= size {
                entries.truncate(size);
                return Ok(entries);
            }
            asked += size - entries.len();
        }
    }

    pub(super) fn published_undo_log(
        &self,
        first: usize,
        last: usize,
        filter: &mut dyn FnMut(&storage::UndoEntry) -> Result<bool>,
    ) -> Result<Vec<storage::UndoEntry>> {
        let published = self.published();
        let mut entries = Vec::new();
        let (mut admitted, mut asked) = (0, 0);
        loop {
            let found = self.main.undo_info(asked, asked + UNDO_ENTRIES, None);
            let found = found.map_err(storage_error)?;
            for entry in &found {
                if admitted >= last {
                    return Ok(entries);
                }
                let entry = undo_entry(entry)?;
                if entry.tid <= published && filter(&entry)? {
                    admitted += 1;
                    if admitted > first {
                        entries.push(entry);
                    }
                }
            }
            asked += UNDO_ENTRIES;
            if i64::try_from(found.len()).is_ok_and(|found| found < UNDO_ENTRIES) {
                return Ok(entries);
            }
        }
    }

    pub(super) fn published_record(&self, from: Option<Oid>) -> Result<storage::CurrentRecord> {
        let published = self.published();
        let mut from = from;
        loop {
            let found = self.main.record_iternext(from).map_err(storage_error)?;
            let CurrentRecord {
                oid,
                serial,
                data,
                next,
            } = found;
            let (serial, data) = if serial <= published {
                (serial, data.into_owned().into())
            } else {
                match self.published_revision(oid, Tid::MAX) {
                    Ok(Some(revision)) => (revision.serial, revision.data),
                    // It is new, and not published.
                    Ok(None) | Err(Error::NoObject(_)) if next.is_some() => {
                        from = next;
                        continue;
                    }
                    Ok(None) => return Err(Error::NoObject(oid)),
                    Err(why) => return Err(why),
                }
            };
            return Ok(storage::CurrentRecord {
                oid,
                serial,
                data,
                next,
            });
        }
    }
}
