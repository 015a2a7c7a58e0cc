//! Many transactions as they were elsewhere: what `fstool copy` writes.
//!
//! They are collected up to a size, and written in one transaction of the database, without locks on
//! objects: nobody else may commit meanwhile, and if somebody does, this ends with an error. A large
//! transaction is written in pieces, in a transaction of the database of its own. So the database
//! always has whole transactions, up to one, and memory is bounded by the size of a piece and of a
//! record.

use zeo_proto::Tid;

use super::bulk_rows::Piece;
use super::connect::PATIENCE;
use super::ids::{number, tid_of};
use super::session::{Session, failed, value};
use super::sql::{COMMIT_LOCK, COMMIT_ROW_LOCK, TRY_PACK_LOCK};
use super::storage::PostgresStorage;
use crate::storage::{Bulk, Op, TransactionMeta};
use crate::{Error, Result};

/// How many bytes are written at once, about.
const PIECE: usize = 8 << 20;

/// Collects transactions, and writes them.
pub(super) struct Loader<'a> {
    storage: &'a PostgresStorage,
    session: Session,
    /// The last transaction in the database.
    last: i64,
    /// Whole transactions.
    whole: Piece,
    /// Of the transaction that is being added.
    current: Piece,
    /// Whether a part of it is written.
    is_open: bool,
    has_written: bool,
}

impl PostgresStorage {
    /// Begins a copy.
    pub(super) fn loader(&self) -> Result<Loader<'_>> {
        if self.settings.read_only {
            return Err(Error::ReadOnly);
        }
        let mut session = self.connector.connect_for_short("copy")?;
        session.set_limit(self.connector.answer_time * PATIENCE);
        let rows = session
            .query(TRY_PACK_LOCK, &[])
            .map_err(failed("beginning a copy"))?;
        if !rows.first().map_or(Ok(false), |row| value(row, 0))? {
            let shown = self.connector.shown();
            return Err(Error::Unavailable(format!(
                "{shown}: a pack, an undo or another copy is in progress"
            )));
        }
        Ok(Loader {
            storage: self,
            session,
            last: tid_of(self.last_committed()?)?,
            whole: Piece::default(),
            current: Piece::default(),
            is_open: false,
            has_written: false,
        })
    }
}

impl Loader<'_> {
    fn collect(
        &mut self,
        (meta, tid): (&TransactionMeta, i64),
        ops: &mut dyn Iterator<Item = Result<Op>>,
    ) -> Result<()> {
        self.current.begin(meta, tid);
        for op in ops {
            match op? {
                Op::Restore { oid, data, .. } => self.current.record(number(oid)?, tid, data),
                Op::Blob { oid, file, .. } => self.current.blob(number(oid)?, tid, file),
                _ => return Err(Error::Unsupported("a copy has records only".to_owned())),
            }
            if self.current.bytes() >= PIECE {
                self.write_part()?;
            }
        }
        if self.is_open {
            self.write_part()?;
            return self.commit(tid);
        }
        Ok(())
    }

    /// Writes a part of the current transaction, after those before it.
    fn write_part(&mut self) -> Result<()> {
        self.write_whole()?;
        if !self.is_open {
            self.begin()?;
            self.is_open = true;
        }
        let part = std::mem::take(&mut self.current);
        self.write(part)
    }

    /// Commits the transactions that are waiting.
    fn write_whole(&mut self) -> Result<()> {
        let whole = std::mem::take(&mut self.whole);
        let Some(last) = whole.last_tid() else {
            return Ok(());
        };
        self.begin()?;
        self.write(whole)?;
        self.commit(last)
    }

    fn begin(&mut self) -> Result<()> {
        let beginning = failed("beginning to write");
        self.session.batch("BEGIN").map_err(&beginning)?;
        for lock in [COMMIT_LOCK, COMMIT_ROW_LOCK] {
            self.session.query(lock, &[]).map_err(&beginning)?;
        }
        let rows = self
            .session
            .query(self.storage.sql.last_tid, &[])
            .map_err(beginning)?;
        let last: i64 = rows.first().map_or(Ok(0), |row| value(row, 0))?;
        if last > self.last {
            let (shown, tid) = (
                self.storage.connector.shown(),
                Tid::new(last.cast_unsigned()),
            );
            return Err(Error::Transaction(format!(
                "{shown}: another process has committed transaction {tid} during the copy; end all \
                 processes that use this database, empty it, and copy again"
            )));
        }
        Ok(())
    }

    fn write(&mut self, piece: Piece) -> Result<()> {
        if let Some(last) = piece.last_oid() {
            self.storage.use_oids(last)?;
        }
        piece.write(&mut self.session, self.storage.settings.keep_history)
    }

    fn commit(&mut self, last: i64) -> Result<()> {
        self.session.batch("COMMIT").map_err(failed("committing"))?;
        (self.last, self.is_open, self.has_written) = (last, false, true);
        let last = Tid::new(last.cast_unsigned());
        self.storage.reported_up_to(last);
        self.storage.publish_up_to(last);
        Ok(())
    }
}

impl Bulk for Loader<'_> {
    fn add(
        &mut self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
    ) -> Result<()> {
        let tid = meta.tid.map_or(Ok(0), tid_of)?;
        let before = self.whole.last_tid().unwrap_or(self.last);
        if tid <= before {
            let (tid, before) = (
                Tid::new(tid.cast_unsigned()),
                Tid::new(before.cast_unsigned()),
            );
            return Err(Error::Value(format!(
                "transaction {tid} can't be added: it is not later than the last one, {before}"
            )));
        }
        let added = self.collect((meta, tid), ops);
        let current = std::mem::take(&mut self.current);
        if added.is_err() {
            if self.is_open {
                self.is_open = false;
                self.session
                    .batch("ROLLBACK")
                    .map_err(failed("taking back a part of a transaction"))?;
            }
            return added;
        }
        self.whole.append(current);
        if self.whole.bytes() >= PIECE {
            self.write_whole()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.write_whole()?;
        if self.has_written {
            // The database plans by what it knows of the tables.
            self.session
                .batch(self.storage.sql.analyze)
                .map_err(failed("analyzing the tables"))?;
        }
        Ok(())
    }

    fn keeps_history(&self) -> bool {
        self.storage.settings.keep_history
    }
}
