//! Reading: what is published, and nothing later.

use std::time::{Duration, Instant};

use tokio_postgres::Row;
use zeo_proto::{Oid, Tid};

use super::ids::{number, number_of_known, oid_of, tid_of};
use super::rows::meta;
use super::session::{Params, value};
use super::sql::{HISTORY, LAST_REVISION, Sql, UNDO_LOG};
use super::storage::PostgresStorage;
use crate::storage::{CurrentRecord, Data, HistoryEntry, Revision, TransactionMeta, UndoEntry};
use crate::{Error, Result};

/// How long a load waits until a revision that is committed is published, too.
const PUBLICATION_MAX: Duration = Duration::from_secs(30);

impl PostgresStorage {
    /// Runs a statement over one of the connections for reads.
    pub(super) fn query(
        &self,
        doing: &'static str,
        sql: &'static str,
        params: Params,
    ) -> Result<Vec<Row>> {
        self.readers.query(&self.connector, doing, (sql, params))
    }

    /// The last transaction in the database.
    pub(super) fn last_committed(&self) -> Result<Tid> {
        let rows = self.query("looking for the last transaction", self.sql.last_tid, &[])?;
        let last = rows.first().map_or(Ok(0), |row| value::<i64>(row, 0))?;
        Ok(Tid::new(last.cast_unsigned()))
    }

    pub(super) fn revision(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        if let Some(found) = self.recent.get(oid, before) {
            return Ok(Some(found));
        }
        let until = Instant::now() + PUBLICATION_MAX;
        loop {
            let published = self.published();
            let load = Load::new(oid, before, published)?;
            let rows = load.ask(self.sql, |(sql, params)| {
                self.query("loading an object", sql, params)
            })?;
            let Some(row) = rows.first() else {
                let last = self.last_revision(oid)?.ok_or(Error::NoObject(oid))?;
                // A pack by others has removed what clients see as current, or nobody has heard of it yet.
                if before > published && last > published && Instant::now() <= until {
                    self.wait_for_publication(last, until);
                    continue;
                }
                return Ok(None);
            };
            let serial = Tid::new(value::<i64>(row, 1)?.cast_unsigned());
            if serial <= published {
                let found = revision(row, oid, serial);
                if let Ok(found) = &found {
                    self.recent.put(oid, found, published);
                }
                // Also if it is deleted, there was one before.
                return if serial < before {
                    found.map(Some)
                } else {
                    Ok(None)
                };
            }
            // Only the current revision is there, and clients have not heard of it yet.
            if serial >= before || Instant::now() > until {
                return Ok(self.recent.get(oid, before));
            }
            self.wait_for_publication(serial, until);
        }
    }

    /// The same, by one question over a connection that is open; `None` if more is needed.
    pub(super) fn revision_soon(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        let published = self.published();
        let load = Load::new(oid, before, published)?;
        let rows = load.ask(self.sql, |asked| self.readers.query_soon(asked));
        let Some(row) = rows.as_ref().and_then(|rows| rows.first()) else {
            return Ok(None);
        };
        let serial = Tid::new(value::<i64>(row, 1)?.cast_unsigned());
        if serial > published || serial >= before {
            return Ok(None);
        }
        let found = revision(row, oid, serial)?;
        self.recent.put(oid, &found, published);
        Ok(Some(found))
    }

    /// The serial of an object's last revision, also of one that is not published; `None` if it has none.
    fn last_revision(&self, oid: Oid) -> Result<Option<Tid>> {
        let number = number_of_known(oid)?;
        let rows = self.query("loading an object", LAST_REVISION, &[&number])?;
        let last = rows.first().map(|row| value::<Option<i64>>(row, 0));
        let last = last.transpose()?.flatten();
        Ok(last.map(|last| Tid::new(last.cast_unsigned())))
    }

    /// The state that a transaction wrote.
    pub(super) fn state(&self, oid: Oid, serial: Tid) -> Result<Data> {
        if let Some(next) = serial.later_than(serial)
            && let Some(found) = self
                .recent
                .get(oid, next)
                .filter(|found| found.serial == serial)
        {
            return Ok(found.data);
        }
        let serial = tid_of(serial).map_err(|_| Error::NoObject(oid))?;
        let params = (number_of_known(oid)?, serial);
        let rows = self.query(
            "loading a revision",
            self.sql.serial,
            &[&params.0, &params.1],
        )?;
        let state = rows
            .first()
            .map(|row| value::<Option<Vec<u8>>>(row, 0))
            .transpose()?;
        state
            .flatten()
            .filter(|state| !state.is_empty())
            .map(Data::from)
            .ok_or(Error::NoObject(oid))
    }

    pub(super) fn revisions(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>> {
        if !self.settings.keep_history {
            let current = self.revision(oid, Tid::MAX)?.ok_or(Error::NoObject(oid))?;
            return Ok(vec![HistoryEntry {
                tid: current.serial,
                size: current.data.len() as u64,
                meta: TransactionMeta::default(),
                is_flat: true,
            }]);
        }
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let params = (number_of_known(oid)?, tid_of(self.published())?);
        let rows = self.query("loading a history", HISTORY, &[&params.0, &size, &params.1])?;
        if rows.is_empty() {
            return Err(Error::NoObject(oid));
        }
        let entries = rows.iter().map(|row| {
            Ok(HistoryEntry {
                tid: Tid::new(value::<i64>(row, 0)?.cast_unsigned()),
                size: value::<i64>(row, 1)?.cast_unsigned(),
                meta: meta(row, 2)?,
                is_flat: true,
            })
        });
        entries.collect()
    }

    pub(super) fn undoable(
        &self,
        first: usize,
        last: usize,
        filter: &mut dyn FnMut(&UndoEntry) -> Result<bool>,
    ) -> Result<Vec<UndoEntry>> {
        let mut found = Vec::new();
        let mut passed = 0;
        let mut before = tid_of(self.published())?.saturating_add(1);
        while passed < last {
            let rows = self.query("loading transactions", UNDO_LOG, &[&before])?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                before = value(row, 0)?;
                let tid = Tid::new(before.cast_unsigned());
                let entry = UndoEntry {
                    tid,
                    size: 0,
                    meta: meta(row, 1)?,
                };
                if passed < last && filter(&entry)? {
                    passed += 1;
                    found.extend((passed > first).then_some(entry));
                }
            }
        }
        Ok(found)
    }

    pub(super) fn next_record(&self, from: Option<Oid>) -> Result<CurrentRecord> {
        let from = number(from.unwrap_or(Oid::ZERO))?;
        let last = tid_of(self.published())?;
        let rows = self.query("loading objects", self.sql.next_objects, &[&from, &last])?;
        let row = rows
            .first()
            .ok_or_else(|| Error::Value("there are no more objects".to_owned()))?;
        let oid = oid_of(value(row, 0)?);
        let next = rows.get(1).map(|row| value(row, 0)).transpose()?;
        let seen = value::<Option<i64>>(row, 1)?.filter(|&serial| serial <= last);
        let (serial, data) = match seen {
            Some(serial) => (Tid::new(serial.cast_unsigned()), state_of(row, oid, 2)?),
            // What is there is not published yet.
            None => {
                let found = self.revision(oid, Tid::MAX)?;
                let found = found.ok_or(Error::NoObject(oid))?;
                (found.serial, found.data)
            }
        };
        Ok(CurrentRecord {
            oid,
            serial,
            data,
            next: next.map(oid_of),
        })
    }
}

/// What is asked for a revision when `published` is the last transaction.
struct Load {
    oid: i64,
    /// The revision is before this, and published.
    limit: i64,
    published: i64,
}

impl Load {
    fn new(oid: Oid, before: Tid, published: Tid) -> Result<Self> {
        let behind = Tid::ZERO.later_than(published).unwrap_or(Tid::MAX);
        Ok(Self {
            oid: number_of_known(oid)?,
            limit: tid_of(behind.min(before).min(MAX))?,
            published: tid_of(published)?,
        })
    }

    /// Asks by the statement that takes least.
    fn ask<T>(&self, sql: &Sql, ask: impl FnOnce((&'static str, Params)) -> T) -> T {
        if self.limit > self.published {
            ask((sql.newest, &[&self.oid, &self.limit]))
        } else {
            ask((sql.revision, &[&self.oid, &self.limit, &self.published]))
        }
    }
}

/// The greatest tid that stands in a column.
const MAX: Tid = Tid::new(i64::MAX.cast_unsigned());

fn revision(row: &Row, oid: Oid, serial: Tid) -> Result<Revision> {
    let next = value::<Option<i64>>(row, 2)?;
    Ok(Revision {
        data: state_of(row, oid, 0)?,
        serial,
        next: next.map(|next| Tid::new(next.cast_unsigned())),
    })
}

/// The state in this column; an object that is deleted has none.
fn state_of(row: &Row, oid: Oid, column: usize) -> Result<Data> {
    let state = value::<Option<Vec<u8>>>(row, column)?.filter(|state| !state.is_empty());
    state.map(Data::from).ok_or(Error::NoObject(oid))
}
