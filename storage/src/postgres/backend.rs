//! The process of PostgreSQL that works for a connection: it may still be there, with its locks, when the
//! connection is lost.

use tokio_postgres::types::ToSql;

use super::session::{Session, failed, value};
use crate::{Error, Result};

const BACKEND: &str = "SELECT pid, extract(epoch FROM backend_start)::text FROM pg_stat_activity
    WHERE pid = pg_backend_pid()";

/// (pid, start): ends that process, if it is still there; a row as long as it is. One that waits for standbys has
/// committed: if it was ended, that would be seen, although they may lack it.
pub(super) const END: &str =
    "SELECT CASE WHEN wait_event IS DISTINCT FROM 'SyncRep' THEN pg_terminate_backend(pid) END
    FROM pg_stat_activity WHERE pid = $1 AND extract(epoch FROM backend_start)::text = $2";

/// Which process it is.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pid: i32,
    /// When it was started.
    started: String,
}

impl Backend {
    /// That of a connection.
    ///
    /// # Errors
    /// As [`failed`].
    pub fn of(session: &mut Session) -> Result<Self> {
        let rows = session.query(BACKEND, &[]).map_err(failed("connecting"))?;
        let row = rows.first().ok_or_else(|| {
            Error::Database(
                "PostgreSQL does not show this connection in pg_stat_activity".to_owned(),
            )
        })?;
        Ok(Self {
            pid: value(row, 0)?,
            started: value(row, 1)?,
        })
    }

    /// Those of [`END`].
    pub fn params(&self) -> [&(dyn ToSql + Sync); 2] {
        [&self.pid, &self.started]
    }

    /// Ends it, over another connection; false as long as it is there.
    ///
    /// # Errors
    /// As [`failed`].
    pub fn end(&self, session: &mut Session) -> Result<bool> {
        let found = session.query(END, &self.params());
        let found = found.map_err(failed("ending the process of a lost connection"))?;
        Ok(found.is_empty())
    }
}
