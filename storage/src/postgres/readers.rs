//! The connections that are kept for reads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::Row;

use super::connect::Connector;
use super::session::{Params, Session, failed, is_lost};
use crate::{Error, Result};

/// How many connections read at once.
const READERS_MAX: usize = 16;

/// How long an answer may take that is wanted soon.
const SOON: Duration = Duration::from_secs(1);

/// Never in a transaction while they are not used.
pub(super) struct Readers {
    idle: Mutex<Idle>,
    returned: Condvar,
}

#[derive(Default)]
struct Idle {
    sessions: Vec<Session>,
    used: usize,
    /// How many wait for one.
    waiting: usize,
}

impl Readers {
    pub fn new() -> Self {
        Self {
            idle: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a statement over one of them; again over a new one, if the connection was lost.
    ///
    /// # Errors
    /// As [`failed`].
    pub fn query(
        &self,
        connector: &Connector,
        doing: &'static str,
        (sql, params): (&'static str, Params),
    ) -> Result<Vec<Row>> {
        let mut idle = self.idle();
        let until = Instant::now() + connector.answer_time;
        while idle.used >= READERS_MAX {
            let Some(rest) = until.checked_duration_since(Instant::now()) else {
                let text =
                    format!("PostgreSQL, {doing}: all {READERS_MAX} connections wait for answers");
                return Err(Error::Unavailable(text));
            };
            idle.waiting += 1;
            let waited = self.returned.wait_timeout(idle, rest);
            idle = waited.unwrap_or_else(PoisonError::into_inner).0;
            idle.waiting -= 1;
        }
        idle.used += 1;
        let mut session = idle.sessions.pop();
        drop(idle);
        let found = ask(connector, doing, &mut session, (sql, params));
        self.give_back(session);
        found
    }

    /// Runs a statement over one that is open, if nobody has it; `None` if there is none, it fails, or
    /// there is no answer for a second: who asks must not be deaf for long.
    pub fn query_soon(&self, (sql, params): (&'static str, Params)) -> Option<Vec<Row>> {
        let mut idle = self.idle();
        let mut session = idle.sessions.pop_if(|session| session.has_prepared(sql))?;
        idle.used += 1;
        drop(idle);
        let found = session.query_within(SOON, sql, params);
        self.give_back(found.is_some().then_some(session));
        found?.ok()
    }

    fn give_back(&self, session: Option<Session>) {
        let mut idle = self.idle();
        idle.used -= 1;
        idle.sessions
            .extend(session.filter(|session| !session.is_closed()));
        // Each time it would be a system call.
        let is_wanted = idle.waiting > 0;
        drop(idle);
        if is_wanted {
            self.returned.notify_one();
        }
    }

    pub fn close(&self) {
        self.idle().sessions.clear();
    }
}

fn ask(
    connector: &Connector,
    doing: &'static str,
    session: &mut Option<Session>,
    (sql, params): (&'static str, Params),
) -> Result<Vec<Row>> {
    if let Some(session) = session {
        match session.query(sql, params) {
            Err(error) if is_lost(&error) => {}
            found => return found.map_err(failed(doing)),
        }
    }
    let session = session.insert(connector.connect_for_short("load")?);
    session.query(sql, params).map_err(failed(doing))
}
