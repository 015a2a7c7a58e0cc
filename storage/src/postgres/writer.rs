//! The connection that commits.

use std::time::Duration;

use super::backend::Backend;
use super::connect::Connector;
use super::session::{Session, failed};
use super::sql::Sql;
use crate::Result;

/// A connection, and the process at the database that works for it.
pub(super) struct Writer {
    pub session: Session,
    /// How long an answer may take, besides what the size of a transaction takes.
    pub answer_time: Duration,
    pub backend: Backend,
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
        let backend = Backend::of(&mut session)?;
        Ok(Self {
            session,
            answer_time,
            backend,
            is_checked: false,
        })
    }
}
