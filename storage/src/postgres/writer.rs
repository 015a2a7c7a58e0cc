//! The connection that commits.

use std::time::Duration;

use super::connect::Connector;
use super::session::{Session, failed, value};
use super::sql::Sql;
use crate::{Error, Result};

/// The process at the database that commits for us.
const BACKEND: &str = "SELECT pid, backend_start::text FROM pg_stat_activity
    WHERE pid = pg_backend_pid()";
/// A connection, and the process at the database that works for it.
pub(super) struct Writer {
    pub session: Session,
    /// How long an answer may take, besides what the size of a transaction takes.
    pub answer_time: Duration,
    pub pid: i32,
    /// When that process was started.
    pub started: String,
    /// What was known of the database is still true over this connection.
    pub is_checked: bool,
}

impl Writer {
    pub fn connect(connector: &Connector, sql: &Sql) -> Result<Self> {
        let mut session = connector.connect_for_short("commit")?;
        let preparing = failed("preparing to commit");
        // For how long a commit waits for a process that keeps the lock of all commits, or a row, until
        // it fails. (RelStorage's waits for up to ten minutes.)
        let wait = connector.answer_time * 2;
        let answer_time = wait + connector.answer_time;
        session.set_limit(answer_time);
        let lock_timeout = format!("SET lock_timeout = {}", wait.as_millis());
        session.batch(&lock_timeout).map_err(&preparing)?;
        session.batch(sql.finish_function).map_err(&preparing)?;
        let rows = session.query(BACKEND, &[]).map_err(preparing)?;
        let row = rows.first().ok_or_else(|| {
            Error::Database(
                "PostgreSQL does not show this connection in pg_stat_activity".to_owned(),
            )
        })?;
        let (pid, started) = (value(row, 0)?, value(row, 1)?);
        Ok(Self {
            session,
            answer_time,
            pid,
            started,
            is_checked: false,
        })
    }
}
