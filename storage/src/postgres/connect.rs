//! Connections: how they are made, and those that are kept for reads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_postgres::{Config, Row};

use super::client::{Client, ConnectError, Tls};
use super::session::{Params, Session, failed, is_lost};
use super::settings::Settings;
use crate::log::{Level, Log};
use crate::{Error, Result};

/// What each connection begins with: limits that a database may set for its users don't count for a
/// server, and functions and tables are found where RelStorage has them. Not all versions have all limits.
/// A commit is on the disk when it is told; that it is on a standby as well is for the database to
/// say, so only `off` is changed.
const BEGIN: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;
    SET default_transaction_read_only = off;
    SET statement_timeout = 0; SET search_path = public; SET client_min_messages = error;
    SET bytea_output = hex;
    SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings
        WHERE setting <> '0' AND name IN ('lock_timeout', 'idle_in_transaction_session_timeout',
            'idle_session_timeout', 'transaction_timeout');
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') = 'off'";

/// What connections begin with whose statements each look for a few rows: they go by the index that
/// has the fewest entries to look at, whatever PostgreSQL knows of the tables (a few large
/// transactions, or that they were empty), and are planned once. (Not each PostgreSQL has all of these.)
const BEGIN_SHORT: &str = "SELECT set_config(name, wanted.value, false) FROM (VALUES
    ('plan_cache_mode', 'force_generic_plan'), ('jit', 'off'), ('enable_seqscan', 'off'),
    ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'), ('enable_bitmapscan', 'off'),
    ('seq_page_cost', '0'), ('random_page_cost', '0')
    ) wanted(name, value) JOIN pg_settings USING (name)";

/// How many connections read at once.
const READERS_MAX: usize = 16;

/// How long an answer may take that is wanted soon.
const SOON: Duration = Duration::from_secs(1);

/// Makes connections.
pub(super) struct Connector {
    config: Config,
    tls: Tls,
    shown: String,
    log: Log,
}

impl Connector {
    pub fn new(settings: &Settings, log: Log) -> Result<Self> {
        Ok(Self {
            config: settings.dsn.config().map_err(Error::Value)?,
            tls: settings.dsn.tls().map_err(Error::Value)?,
            shown: settings.dsn.shown(),
            log,
        })
    }

    /// Where the database is, for people.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    pub fn logger(&self) -> &Log {
        &self.log
    }

    pub fn log(&self, level: Level, text: &str) {
        (self.log)(level, &format!("PostgreSQL ({}): {text}", self.shown));
    }

    /// A connection for `purpose`, which PostgreSQL shows as its application name.
    ///
    /// # Errors
    /// `Unavailable`: no server answers. `Database`: it refuses us.
    pub fn connect(&self, purpose: &str) -> Result<Session> {
        let mut config = self.config.clone();
        config.application_name(format!("rzeo: {purpose}"));
        let connecting = failed("connecting");
        let client = Client::connect(&config, &self.tls).map_err(|why| match why {
            ConnectError::Refused(why) => connecting(why),
            ConnectError::Io(why) => Error::Unavailable(format!(
                "PostgreSQL, connecting: error connecting to server: {why}"
            )),
            ConnectError::Config(why) => Error::Value(format!("PostgreSQL, connecting: {why}")),
        })?;
        let mut session = Session::new(client);
        session.batch(BEGIN).map_err(connecting)?;
        Ok(session)
    }

    /// The same, for short statements.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_for_short(&self, purpose: &str) -> Result<Session> {
        let mut session = self.connect(purpose)?;
        session.batch(BEGIN_SHORT).map_err(failed("connecting"))?;
        Ok(session)
    }
}

/// The connections for reads. Never in a transaction while they are not used.
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
        while idle.used >= READERS_MAX {
            idle.waiting += 1;
            idle = self
                .returned
                .wait(idle)
                .unwrap_or_else(PoisonError::into_inner);
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
