//! An iterator over the current records of all objects.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use zeo_proto::Oid;
use zeo_proto::message::{Call, CurrentRecord};

use super::error::Error;
use super::link::{Asked, Link};
use super::storage::ClientStorage;

/// How many records are read ahead.
const AHEAD_MAX: usize = 64;

/// The current records of all objects: see [`ClientStorage::current_records`].
pub struct CurrentRecords {
    link: Arc<Link>,
    /// Where the next record is looked for; none when there is no more.
    next: Option<Option<Oid>>,
    /// Where records were asked for, the first one as told by the server, the others as is likely.
    asked: VecDeque<(Option<Oid>, Asked)>,
    /// How many objects there are still, at least; roughly, for others delete some.
    left: u64,
    /// The server's numbers have no gaps here.
    dense: bool,
    /// The server has told of the next object.
    told: bool,
}

impl ClientStorage {
    /// The current record of each object, in the order of their oids, as of the moments when the
    /// records are read. While the program works on one, the next ones are asked for. Objects that
    /// were deleted are left out.
    ///
    /// # Errors
    ///
    /// As of [`record_iternext`](Self::record_iternext).
    pub fn current_records(&self) -> Result<CurrentRecords, Error> {
        let link = self.shared.link("record_iternext")?;
        Ok(CurrentRecords {
            link,
            next: Some(None),
            asked: VecDeque::new(),
            left: self.info().sizes.length,
            dense: true,
            told: false,
        })
    }
}

impl CurrentRecords {
    fn ask(&mut self, from: Option<Oid>) -> Result<(), Error> {
        let asked = self.link.ask(&Call::RecordIternext { from })?;
        self.asked.push_back((from, asked));
        Ok(())
    }

    /// Asks for the next record, and where the oids have no gaps, for those behind it; but never
    /// behind the last object, which a server of Python would log as an error.
    fn ask_ahead(&mut self) -> Result<(), Error> {
        let Some(next) = self.next else {
            return Ok(());
        };
        if self.asked.is_empty() {
            self.ask(next)?;
        }
        while self.dense
            && self.asked.len() < AHEAD_MAX
            && (self.asked.len() as u64) < self.left
            && let Some((from, _)) = self.asked.back()
        {
            let after = from.map_or(0, Oid::as_u64).saturating_add(1);
            self.ask(Some(Oid::new(after)))?;
        }
        Ok(())
    }

    /// The next answer; none if it is one that was given already.
    fn take(&mut self) -> Result<Option<CurrentRecord<'static>>, Error> {
        self.ask_ahead()?;
        let Some((_, asked)) = self.asked.pop_front() else {
            return Ok(None);
        };
        let next = self.next.flatten();
        match asked.wait::<CurrentRecord<'static>>(&self.link) {
            Ok(record) => {
                if next.is_some_and(|next| record.oid < next) {
                    return Ok(None);
                }
                if record.next.is_some_and(|next| next <= record.oid) {
                    let why = "the next object is not behind this one";
                    return Err(self.link.misunderstood("record_iternext", why));
                }
                self.passed(record.oid, record.next);
                self.told = true;
                Ok(Some(record))
            }
            // One that was deleted.
            Err(Error::NoObject { oid, .. }) if next.is_none_or(|next| oid >= next) => {
                let after = oid.as_u64().checked_add(1).map(Oid::new);
                self.passed(oid, after);
                self.told = false;
                Ok(None)
            }
            Err(Error::Server { exception, .. })
                if !self.told && exception.class() == "builtins.ValueError" =>
            {
                // There is no object, or the last one was deleted.
                self.next = None;
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }

    fn passed(&mut self, oid: Oid, next: Option<Oid>) {
        self.left = self.left.saturating_sub(1);
        let after = oid.as_u64().checked_add(1).map(Oid::new);
        self.dense = next == after;
        if !self.dense {
            // They were asked for in the gap.
            self.asked.clear();
        }
        self.next = next.map(Some);
    }
}

impl Iterator for CurrentRecords {
    type Item = Result<CurrentRecord<'static>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next.is_some() {
            match self.take() {
                Ok(Some(record)) => return Some(Ok(record)),
                Ok(None) => {}
                Err(why) => {
                    self.next = None;
                    return Some(Err(why));
                }
            }
        }
        None
    }
}

impl fmt::Debug for CurrentRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentRecords")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
