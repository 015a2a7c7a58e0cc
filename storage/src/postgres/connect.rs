//! How connections are made.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use super::causes::{Way, depends_on_tls, refusal};
use super::certificates;
use super::client::{Client, ConnectError, Tls};
use super::dsn::Dsn;
use super::session::{self, Session, failed, is_worth_trying_again};
use super::settings::Settings;
use super::socket::Sockets;
use super::targets::{Target, answer_time, passfile_warning, targets};
use crate::log::{Level, Log};
use crate::{Error, Result};

/// What each connection begins with: limits that a database may set for its users don't count for a
/// server, and functions and tables are found where RelStorage has them. Not all versions have all limits.
/// If this machine is gone, PostgreSQL is to notice that within a minute: until then it keeps our locks. Without a
/// limit of its own for what it has sent, that would take a quarter of an hour.
/// A commit is on the disk when it is told; that it is on a standby as well is for the database to
/// say, so only `off` is changed.
const BEGIN: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;
    SET default_transaction_read_only = off;
    SET statement_timeout = 0; SET search_path = public; SET client_min_messages = error;
    SET bytea_output = hex;
    SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings
        WHERE setting <> '0' AND name IN ('lock_timeout', 'idle_in_transaction_session_timeout',
            'idle_session_timeout', 'transaction_timeout');
    SELECT set_config(name, '60000', false) FROM pg_catalog.pg_settings WHERE name = 'tcp_user_timeout';
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') = 'off';
    SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 4";

/// What connections begin with whose statements each look for a few rows: they go by the index that
/// has the fewest entries to look at, whatever PostgreSQL knows of the tables (a few large
/// transactions, or that they were empty), are planned once, and have no parallel workers, whose start takes
/// longer than all the rest. (Not each PostgreSQL has all of these.)
const BEGIN_SHORT: &str = "SELECT set_config(name, wanted.value, false) FROM (VALUES
    ('plan_cache_mode', 'force_generic_plan'), ('jit', 'off'), ('enable_seqscan', 'off'),
    ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'), ('enable_bitmapscan', 'off'),
    ('seq_page_cost', '0'), ('random_page_cost', '0'), ('max_parallel_workers_per_gather', '0')
    ) wanted(name, value) JOIN pg_settings USING (name)";

/// How many times as long as elsewhere an answer may take where much is done at once: when tables are
/// made, by copies, and by walks through all.
pub(super) const PATIENCE: u32 = 20;

/// After an attempt that was not answered in time, further ones fail at once for so long: many may wait
/// behind each other for a connection.
const DEAF_TIME: Duration = Duration::from_secs(5);

/// Where and how to connect, as the dsn and the files that it names say it.
pub(super) struct Ways {
    targets: Vec<Target>,
    tls: Tls,
    way: Way,
}

impl Ways {
    /// # Errors
    /// What is wrong, for people.
    pub fn read(dsn: &Dsn) -> std::result::Result<Self, String> {
        let targets = targets(dsn)?;
        let has_tls = targets
            .iter()
            .any(|target| target.modes != [SslMode::Disable]);
        Ok(Self {
            tls: Tls {
                connector: if has_tls {
                    certificates::connector(dsn)?
                } else {
                    certificates::none()?
                },
                verifies_name: dsn.sslmode() == "verify-full",
            },
            way: Way {
                sslmode: dsn.sslmode().to_owned(),
                shows_certificate: certificates::shown(dsn).is_some(),
                no_passfile: passfile_warning(dsn),
            },
            targets,
        })
    }
}

/// What attempts to connect have found last.
#[derive(Default)]
struct Heard {
    /// Until when further ones fail at once, and why.
    deaf: Option<(Instant, String)>,
    answered: Option<Instant>,
}

impl Heard {
    fn answers(&mut self, now: Instant) {
        *self = Self {
            deaf: None,
            answered: Some(now),
        };
    }

    /// An attempt since `begun` was not answered in time. If another one was meanwhile, that tells nothing.
    fn is_deaf(&mut self, begun: Instant, now: Instant, why: &str) {
        if self.answered.is_none_or(|answered| answered < begun) {
            self.deaf = Some((now + DEAF_TIME, why.to_owned()));
        }
    }
}

/// Makes connections.
pub(super) struct Connector {
    dsn: Dsn,
    /// As they were read last without an error.
    ways: Mutex<Arc<Ways>>,
    /// Of several hosts, only one that takes writes is used.
    writes: bool,
    /// The host that was connected to last: where several are named, the others may be away.
    last: AtomicUsize,
    /// How long an answer may take, if nothing else is said: then the connection is lost.
    pub answer_time: Duration,
    sockets: Sockets,
    heard: Mutex<Heard>,
    shown: String,
    log: Log,
}

impl Connector {
    pub fn new(settings: &Settings, log: Log) -> Result<Self> {
        let dsn = &settings.dsn;
        let ways = Ways::read(dsn).map_err(Error::Value)?;
        let made = Self {
            dsn: dsn.clone(),
            writes: !settings.read_only && ways.targets.len() > 1,
            ways: Mutex::new(Arc::new(ways)),
            last: AtomicUsize::new(0),
            answer_time: answer_time(dsn).map_err(Error::Value)?,
            sockets: Sockets::default(),
            heard: Mutex::default(),
            shown: dsn.shown(),
            log,
        };
        if let Some(why) = &made.kept().way.no_passfile {
            made.log(Level::Warning, why);
        }
        Ok(made)
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

    /// Ends all connections, whoever waits for an answer over them, and makes no more.
    pub fn end(&self) {
        self.sockets.end();
    }

    pub fn is_over(&self) -> bool {
        self.sockets.is_over()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Arc<Ways>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As libpq, each connection reads the files: certificates and passwords are renewed. What can't be
    /// read, as in the middle of that, is used as it was before.
    fn ways(&self) -> Arc<Ways> {
        let mut kept = self.kept();
        match Ways::read(&self.dsn) {
            Ok(ways) => *kept = Arc::new(ways),
            Err(why) => self.log(
                Level::Warning,
                &format!("what was read before is used: {why}"),
            ),
        }
        Arc::clone(&kept)
    }

    /// A connection for `purpose`, which PostgreSQL shows as its application name.
    ///
    /// # Errors
    /// `Unavailable`: no server answers. `Database`: it refuses us.
    pub fn connect(&self, purpose: &str) -> Result<Session> {
        if let Some((until, why)) = &self.heard().deaf
            && Instant::now() < *until
        {
            return Err(Error::Unavailable(why.clone()));
        }
        let begun = Instant::now();
        let ways = self.ways();
        let first = self.last.load(Ordering::Relaxed);
        let (mut told, mut again, mut in_time) = (Vec::new(), false, true);
        for at in (first..ways.targets.len()).chain(0..first) {
            let Some(target) = ways.targets.get(at) else {
                continue;
            };
            for &mode in target.modes {
                let why = match self.connect_to(target, mode, &ways.tls, purpose) {
                    Ok(session) => {
                        self.last.store(at, Ordering::Relaxed);
                        self.heard().answers(Instant::now());
                        return Ok(session);
                    }
                    Err(why) => why,
                };
                in_time &=
                    !matches!(&why, ConnectError::Io(why) if why.kind() == ErrorKind::TimedOut);
                again |= match &why {
                    ConnectError::Refused(why) => is_worth_trying_again(why),
                    ConnectError::Io(_) => true,
                };
                let text = refusal(&why, &session::told, &ways.way);
                let text = format!("{}: {text}", target.shown);
                if !told.contains(&text) {
                    told.push(text);
                }
                if !depends_on_tls(&why) {
                    break;
                }
            }
        }
        let text = format!("PostgreSQL, connecting: {}", told.join("; "));
        if !in_time {
            self.heard().is_deaf(begun, Instant::now(), &text);
        }
        Err(if again {
            Error::Unavailable(text)
        } else {
            Error::Database(text)
        })
    }

    fn connect_to(
        &self,
        target: &Target,
        mode: SslMode,
        tls: &Tls,
        purpose: &str,
    ) -> std::result::Result<Session, ConnectError> {
        let mut config = target.config.clone();
        config
            .ssl_mode(mode)
            .application_name(format!("rzeo: {purpose}"));
        if self.writes {
            // A standby must not be kept to, nor one that lags be read from.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let client = Client::connect(&config, tls, &self.sockets)?;
        let mut session = Session::new(client);
        if let Some(&limit) = config.get_connect_timeout() {
            session.set_limit(limit);
        }
        session.batch(BEGIN).map_err(ConnectError::Refused)?;
        session.set_limit(self.answer_time);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_answered_meanwhile_is_not_deaf() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut heard = Heard::default();
        heard.is_deaf(begun, at(2), "no answer");
        assert!(heard.deaf.is_some());
        heard.answers(at(3));
        assert!(heard.deaf.is_none());
        heard.is_deaf(at(2), at(4), "no answer");
        assert!(heard.deaf.is_none());
        heard.is_deaf(at(4), at(6), "no answer");
        assert!(
            heard
                .deaf
                .is_some_and(|(until, _)| until == at(6) + DEAF_TIME)
        );
    }
}
