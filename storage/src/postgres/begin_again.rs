//! When what is known of the database does not hold any more: it was restored, or a standby has taken its
//! place that lacks some transactions; or more has happened than can be told.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use tokio_postgres::Row;
use zeo_proto::Tid;

use super::ids::number;
use super::session::{failed, value};
use super::sql::{BEFORE, HAS_OLDER};
use super::storage::PostgresStorage;
use super::writer::Writer;
use crate::log::Level;
use crate::storage::OutsideChange;
use crate::{Error, Result};

impl PostgresStorage {
    /// Whether the database has another history than it had: it lacks the last transaction that was
    /// reported, and not because of a pack. Without history, a pack or a later change may have taken it
    /// away, too: then it counts only behind a promotion of another server (a new timeline).
    pub(super) fn went_back(&self, found: &[Row]) -> Result<bool> {
        let Some(row) = found.first() else {
            return Ok(false);
        };
        let timeline: Option<String> = value(row, 0)?;
        let is_there: bool = value(row, 1)?;
        let mut known = self.timeline();
        let is_same = known.is_none() || timeline.is_none() || *known == timeline;
        let is_lost = !is_there && (self.settings.keep_history || !is_same);
        let went_back = is_lost && !(is_same && self.is_packed_away()?);
        if !went_back && timeline.is_some() {
            if !is_same {
                self.use_oids_again()?;
            }
            *known = timeline;
        }
        Ok(went_back)
    }

    /// Whether the last transaction that was reported is gone with a pack, as those by RelStorage
    /// remove also the last one of all. What it and those behind the one that is now before it have
    /// changed was garbage then, or was changed again: nothing is left of what these objects were before.
    fn is_packed_away(&self) -> Result<bool> {
        let reported = self.reported().cast_signed();
        let doing = "looking for a pack";
        let rows = self.query(doing, BEFORE, &[&reported])?;
        let Some(row) = rows.first() else {
            return Ok(false);
        };
        let (before, is_packed): (i64, bool) = (value(row, 0)?, value(row, 1)?);
        let changed = self.recent.changed_after(Tid::new(before.cast_unsigned()));
        let Some(changed) = changed.filter(|_| is_packed) else {
            return Ok(false);
        };
        let oids = changed
            .into_iter()
            .map(number)
            .collect::<Result<Vec<_>>>()?;
        let left = self.query(doing, HAS_OLDER, &[&oids, &before])?;
        Ok(left.is_empty())
    }

    fn timeline(&self) -> MutexGuard<'_, Option<String>> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before the first commit over a connection: another server may have taken the place of the one
    /// before.
    pub(super) fn check_history(&self, writer: &mut Writer) -> Result<()> {
        if writer.is_checked {
            return Ok(());
        }
        let reported = self.reported().cast_signed();
        let found = writer.session.query(self.sql.is_there, &[&reported]);
        if self.went_back(&found.map_err(failed("looking for the last transaction"))?)? {
            if let Some(wake) = self.wake.get() {
                wake.wake();
            }
            return Err(Error::Unavailable(
                "the database lacks transactions that it had: clients verify their caches"
                    .to_owned(),
            ));
        }
        writer.is_checked = true;
        Ok(())
    }

    /// Begins again with what the database has now.
    pub(super) fn begin_again_after_loss(&self) -> Result<OutsideChange> {
        self.use_oids_again()?;
        let lost = Tid::new(self.reported());
        *self.timeline() = None;
        self.begin_again(&format!(
            "the database lacks transaction {lost}, which it had"
        ))
    }

    /// Begins again with what the database has, for this reason; all clients must verify their caches.
    pub(super) fn begin_again(&self, why: &str) -> Result<OutsideChange> {
        let last = self.last_committed()?;
        let next = last.later_than(self.published().max(Tid::new(self.reported())));
        let tid = next.ok_or_else(|| Error::Database("there is no later tid".to_owned()))?;
        let what = format!("{why}: it begins again behind {last}");
        self.connector.log(Level::Warning, &what);
        self.unpublished().clear();
        self.reported.store(last.as_u64(), Ordering::Release);
        Ok(OutsideChange::Unknown { tid })
    }
}
