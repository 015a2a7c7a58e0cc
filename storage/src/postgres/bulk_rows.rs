//! Rows of many transactions, and how they come into the tables.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use md5::{Digest, Md5};
use tokio_postgres::types::{ToSql, Type};

use super::blobs;
use super::session::{Session, failed, value};
use super::sql::BY_OBJECT;
use crate::Result;
use crate::blob::BlobFile;
use crate::storage::TransactionMeta;

/// What a row takes in memory besides its texts, about.
const ROW: usize = 100;

const TRANSACTIONS: &str = "COPY transaction (tid, packed, username, description, extension)
    FROM STDIN (FORMAT binary)";
const REVISIONS: &str = "COPY object_state (zoid, tid, prev_tid, md5, state_size, state)
    FROM STDIN (FORMAT binary)";
const STATES: &str = "COPY object_state (zoid, tid, state_size, state) FROM STDIN (FORMAT binary)";
/// (oids)
const SERIALS: &str = "SELECT zoid, tid FROM current_object WHERE zoid = ANY ($1)";
/// (oids, tids)
const MAKE_CURRENT: &str = "INSERT INTO current_object (zoid, tid)
    SELECT * FROM unnest($1::bigint[], $2::bigint[])
    ON CONFLICT (zoid) DO UPDATE SET tid = excluded.tid";
/// (oids, first tid of the piece): with them go their blobs.
const FORGET: &str = "DELETE FROM object_state WHERE zoid = ANY ($1) AND tid < $2";
/// (oids): those that are there.
const FOUND: &str = "SELECT zoid FROM object_state WHERE zoid = ANY ($1)";
/// (oid, size, state)
const REPLACE_STATE: &str = "UPDATE object_state SET state_size = $2, state = $3 WHERE zoid = $1";
const DELETE: &str = "DELETE FROM object_state WHERE zoid = $1";
/// (oid, tid, md5, size, state)
const REPLACE: &str = "UPDATE object_state SET md5 = $3, state_size = $4, state = $5
    WHERE (zoid, tid) >= ($1, $2) AND (zoid, tid) <= ($1, $2)";

type Done = std::result::Result<(), tokio_postgres::Error>;

/// Rows that are written together.
#[derive(Default)]
pub(super) struct Piece {
    transactions: Vec<Transaction>,
    records: Vec<Record>,
    blobs: Vec<(i64, i64, Arc<BlobFile>)>,
    bytes: usize,
}

struct Transaction {
    tid: i64,
    is_packed: bool,
    /// User, description, extension.
    texts: [Vec<u8>; 3],
}

struct Record {
    oid: i64,
    tid: i64,
    /// None: the object is gone.
    state: Option<Vec<u8>>,
}

impl Record {
    fn size(&self) -> i64 {
        let size = self.state.as_ref().map_or(0, Vec::len);
        i64::try_from(size).unwrap_or(i64::MAX)
    }

    /// As in the column of that name.
    fn md5(&self) -> Option<String> {
        let digits = |state| {
            Md5::digest(state)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect()
        };
        self.state.as_ref().map(digits)
    }
}

impl Piece {
    /// Begins a transaction.
    pub fn begin(&mut self, meta: &TransactionMeta, tid: i64) {
        let texts = [&meta.user, &meta.description, &meta.extension].map(Clone::clone);
        self.bytes += ROW + texts.iter().map(Vec::len).sum::<usize>();
        self.transactions.push(Transaction {
            tid,
            is_packed: meta.status == b'p',
            texts,
        });
    }

    /// Adds a record of it.
    pub fn record(&mut self, oid: i64, tid: i64, state: Option<Vec<u8>>) {
        self.bytes += ROW + state.as_ref().map_or(0, Vec::len);
        self.records.push(Record { oid, tid, state });
    }

    /// Adds a blob of a record.
    pub fn blob(&mut self, oid: i64, tid: i64, file: Arc<BlobFile>) {
        self.bytes += ROW;
        self.blobs.push((oid, tid, file));
    }

    pub fn append(&mut self, mut other: Piece) {
        self.transactions.append(&mut other.transactions);
        self.records.append(&mut other.records);
        self.blobs.append(&mut other.blobs);
        self.bytes += other.bytes;
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn last_tid(&self) -> Option<i64> {
        self.transactions.last().map(|transaction| transaction.tid)
    }

    pub fn last_oid(&self) -> Option<i64> {
        self.records.iter().map(|record| record.oid).max()
    }

    /// Writes it into the tables, within a transaction of the database.
    pub fn write(self, session: &mut Session, keep_history: bool) -> Result<()> {
        if keep_history {
            self.write_transactions(session)
                .map_err(failed("copying transactions"))?;
            self.write_revisions(session)?;
        } else {
            self.write_states(session)?;
        }
        self.write_blobs(session, keep_history)
    }

    fn write_transactions(&self, session: &mut Session) -> Done {
        const BYTES: Type = Type::BYTEA;
        let types = [Type::INT8, Type::BOOL, BYTES, BYTES, BYTES];
        let mut rows = session.copy_in(TRANSACTIONS, &types)?;
        for Transaction {
            tid,
            is_packed,
            texts: [user, description, extension],
        } in &self.transactions
        {
            rows.write(&[tid, is_packed, user, description, extension])?;
        }
        rows.finish()
    }

    /// With history: all revisions, each with the serial of the one before.
    fn write_revisions(&self, session: &mut Session) -> Result<()> {
        let copying = failed("copying objects");
        let oids: HashSet<i64> = self.records.iter().map(|record| record.oid).collect();
        let oids: Vec<i64> = oids.into_iter().collect();
        let found = session.query(SERIALS, &[&oids]).map_err(&copying)?;
        let mut serials = HashMap::with_capacity(oids.len());
        for row in &found {
            serials.insert(value::<i64>(row, 0)?, value::<i64>(row, 1)?);
        }
        let last_of_each = self.last_by(|record| (record.oid, record.tid));
        // Objects of which an earlier piece of the same transaction has a record.
        let mut again = Vec::new();
        let copy = |session: &mut Session| {
            let types = [
                Type::INT8,
                Type::INT8,
                Type::INT8,
                Type::BPCHAR,
                Type::INT8,
                Type::BYTEA,
            ];
            let mut rows = session.copy_in(REVISIONS, &types)?;
            for record in last_of_each {
                let Record { oid, tid, state } = record;
                let before = serials.insert(*oid, *tid).unwrap_or(0);
                if before == *tid {
                    again.push(record);
                    continue;
                }
                rows.write(&[oid, tid, &before, &record.md5(), &record.size(), state])?;
            }
            rows.finish()?;
            for record in &again {
                let Record { oid, tid, state } = record;
                let values: [&(dyn ToSql + Sync); 5] =
                    [oid, tid, &record.md5(), &record.size(), state];
                session.query(REPLACE, &values)?;
            }
            let (oids, tids): (Vec<_>, Vec<_>) = serials.drain().unzip();
            session.batch(BY_OBJECT)?;
            session.query(MAKE_CURRENT, &[&oids, &tids]).map(drop)
        };
        copy(session).map_err(copying)
    }

    /// Without history: the last revision of each object.
    fn write_states(&self, session: &mut Session) -> Result<()> {
        let copying = failed("copying objects");
        let last_of_each = self.last_by(|record| record.oid);
        let oids: Vec<i64> = last_of_each.iter().map(|record| record.oid).collect();
        let first = self.records.first().map_or(0, |record| record.tid);
        session.query(FORGET, &[&oids, &first]).map_err(&copying)?;
        // Objects of which an earlier piece of the same transaction has a record.
        let rows = session.query(FOUND, &[&oids]).map_err(&copying)?;
        let again = rows.iter().map(|row| value::<i64>(row, 0));
        let again: HashSet<i64> = again.collect::<Result<_>>()?;
        let (again, new): (Vec<&Record>, Vec<_>) = last_of_each
            .into_iter()
            .partition(|record| again.contains(&record.oid));
        let copy = |session: &mut Session| {
            let types = [Type::INT8, Type::INT8, Type::INT8, Type::BYTEA];
            let mut rows = session.copy_in(STATES, &types)?;
            for record in new.iter().filter(|record| record.state.is_some()) {
                rows.write(&[&record.oid, &record.tid, &record.size(), &record.state])?;
            }
            rows.finish()?;
            for record in again {
                match &record.state {
                    Some(_) => session
                        .query(REPLACE_STATE, &[&record.oid, &record.size(), &record.state])?,
                    None => session.query(DELETE, &[&record.oid])?,
                };
            }
            Ok(())
        };
        copy(session).map_err(copying)
    }

    /// The blobs; without history, those of revisions that are there.
    fn write_blobs(&self, session: &mut Session, keep_history: bool) -> Result<()> {
        let (mut oids, mut tids, mut chunks) = (Vec::new(), Vec::new(), Vec::new());
        let last_of_each = self.last_by(|record| record.oid);
        let serials = last_of_each.iter().map(|record| (record.oid, record.tid));
        let serials: HashMap<i64, i64> = serials.collect();
        for (oid, tid, file) in &self.blobs {
            // The record may be in an earlier piece of the same transaction.
            if keep_history || serials.get(oid).is_none_or(|serial| serial == tid) {
                oids.push(*oid);
                tids.push(*tid);
                chunks.push(blobs::write(session, &file.path())?);
            }
        }
        if !oids.is_empty() {
            session
                .query(blobs::LINK, &[&oids, &tids, &chunks])
                .map_err(failed("copying blobs"))?;
        }
        Ok(())
    }

    /// The last record of each `key`, in order.
    fn last_by<K: Eq + std::hash::Hash>(&self, key: impl Fn(&Record) -> K) -> Vec<&Record> {
        let mut seen = HashSet::with_capacity(self.records.len());
        let records = self.records.iter().rev();
        let mut found: Vec<_> = records.filter(|record| seen.insert(key(record))).collect();
        found.reverse();
        found
    }
}
