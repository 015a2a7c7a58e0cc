//! The servers on the database. Each tells, about once a second, by the application name of its connection
//! that listens (`rzeo: listen ADDRESS TID`), where its clients connect and what they know, and looks
//! who else does. Nobody waits for another server: what one that hangs has told stays there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::Row;
use zeo_proto::Tid;

use super::session::{Session, failed, value};
use super::sql::Sql;
use crate::Result;
use crate::storage::{DatabaseServer, DatabaseUsers};

/// How often a server tells and looks.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// What was found counts for so long.
const FOUND_TIME: Duration = Duration::from_secs(10);
/// For how long a server that works may be behind, besides the time between two polls: two servers
/// tell and look one after the other.
const LATE: Duration = Duration::from_secs(3);
/// A server that works is heard of more often than that.
const SILENT: Duration = Duration::from_secs(5);

const PREFIX: &str = "rzeo: listen";
/// How long an application name may be, in bytes.
const NAME_MAX: usize = 63;

/// (name)
const ANNOUNCE: &str = "SELECT set_config('application_name', $1, false)";
/// Name, host, whether it is this connection, seconds since its last statement; and on each row, how many
/// connections RelStorage has.
const USERS: &str = "WITH users AS (
        SELECT application_name, host(client_addr) AS host, pid, backend_start, state_change
        FROM pg_stat_activity WHERE datname = current_database()
            AND (application_name LIKE 'rzeo: listen%' OR application_name LIKE 'RS: %'))
    SELECT application_name::text, host, pid = pg_backend_pid(),
        extract(epoch FROM clock_timestamp() - state_change)::float8,
        (SELECT count(*) FROM users WHERE application_name LIKE 'RS: %')
    FROM users WHERE application_name LIKE 'rzeo: listen%' ORDER BY backend_start, pid";

/// What this server tells, and what it has found.
pub(super) struct Servers {
    sql: &'static Sql,
    published: Arc<AtomicU64>,
    poll_interval: Duration,
    address: Mutex<String>,
    found: Mutex<Option<(Instant, DatabaseUsers)>>,
}

impl Servers {
    pub fn new(sql: &'static Sql, published: Arc<AtomicU64>, poll_interval: Duration) -> Self {
        Self {
            sql,
            published,
            poll_interval,
            address: Mutex::default(),
            found: Mutex::default(),
        }
    }

    /// The server listens there. The first address counts.
    pub fn announce(&self, address: &str) {
        let mut known = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            address.clone_into(&mut known);
        }
    }

    fn found(&self) -> MutexGuard<'_, Option<(Instant, DatabaseUsers)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is there; `None` if that is not known.
    pub fn users(&self) -> Option<DatabaseUsers> {
        let found = self.found();
        let (at, users) = found.as_ref()?;
        (at.elapsed() < FOUND_TIME).then(|| users.clone())
    }

    /// Whether there may be other servers.
    pub fn has_others(&self) -> bool {
        let found = self.found();
        let known = found.as_ref().filter(|(at, _)| at.elapsed() < FOUND_TIME);
        known.is_none_or(|(_, users)| users.servers.len() > 1)
    }

    /// The connection is lost.
    pub fn forget(&self) {
        *self.found() = None;
    }

    /// Tells and looks, over the connection that listens; `told` is what it has told before.
    pub fn look(&self, session: &mut Session, told: &mut String) -> Result<()> {
        let name = {
            let address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
            name(&address, self.published.load(Ordering::Acquire))
        };
        if *told != name {
            let announced = session.query(ANNOUNCE, &[&name]);
            announced.map_err(failed("telling other servers"))?;
            *told = name;
        }
        let rows = session.query(USERS, &[]);
        let rows = rows.map_err(failed("looking for other servers"))?;
        let mut users = DatabaseUsers::default();
        for row in &rows {
            let relstorage: i64 = value(row, 4)?;
            users.relstorage_connections = relstorage.cast_unsigned();
            users.servers.extend(server(row)?);
        }
        self.find_behind(session, &mut users.servers)?;
        for server in &mut users.servers {
            server.is_late = server.behind > self.poll_interval + LATE
                || server.silent.is_some_and(|silent| silent > SILENT);
        }
        *self.found() = Some((Instant::now(), users));
        Ok(())
    }

    /// Since when there are transactions that a server's clients don't know of.
    fn find_behind(&self, session: &mut Session, servers: &mut [DatabaseServer]) -> Result<()> {
        let last = Tid::new(self.published.load(Ordering::Acquire));
        if servers.iter().all(|server| server.last == last) {
            return Ok(());
        }
        let tids = servers.iter().map(|server| server.last.as_u64());
        let tids: Vec<i64> = tids.map(u64::cast_signed).collect();
        let rows = session.query(self.sql.first_after, &[&tids]);
        for row in rows.map_err(failed("looking for other servers"))? {
            let (place, first, now): (i64, Option<i64>, f64) =
                (value(&row, 0)?, value(&row, 1)?, value(&row, 2)?);
            let server = usize::try_from(place - 1).ok();
            if let (Some(server), Some(first)) = (server.and_then(|n| servers.get_mut(n)), first) {
                let since = Tid::new(first.cast_unsigned()).unix_time();
                server.behind = seconds(now - since);
            }
        }
        Ok(())
    }
}

/// A row of [`USERS`]; `None` before it has told anything.
fn server(row: &Row) -> Result<Option<DatabaseServer>> {
    let name: String = value(row, 0)?;
    let Some((address, last)) = parsed(&name) else {
        return Ok(None);
    };
    let silent: Option<f64> = value(row, 3)?;
    Ok(Some(DatabaseServer {
        address: address.to_owned(),
        host: value(row, 1)?,
        is_this: value(row, 2)?,
        last,
        behind: Duration::ZERO,
        silent: silent.map(seconds),
        is_late: false,
    }))
}

fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.max(0.0)).unwrap_or_default()
}

/// The application name. PostgreSQL takes ASCII, and cuts off the end.
fn name(address: &str, last: u64) -> String {
    let room = NAME_MAX - PREFIX.len() - 2 - 16;
    let address = address.chars();
    let mut address: Vec<char> = address
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
        .collect();
    if address.len() > room {
        let rest = address.split_off(address.len() - (room - 3));
        address = "...".chars().chain(rest).collect();
    }
    let address: String = address.into_iter().collect();
    format!("{PREFIX} {address} {last:016x}")
}

/// Address and last transaction out of such a name.
fn parsed(name: &str) -> Option<(&str, Tid)> {
    let told = name.strip_prefix(PREFIX)?.strip_prefix(' ')?;
    let (address, last) = told.rsplit_once(' ')?;
    let last = u64::from_str_radix(last, 16).ok()?;
    // The database has no others.
    i64::try_from(last).ok()?;
    Some((address, Tid::new(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_can_be_read() {
        let last = 0x0400_0000_0000_1234;
        for (address, shown) in [
            ("127.0.0.1:8100", "127.0.0.1:8100"),
            ("[::1]:8100", "[::1]:8100"),
            ("", ""),
            ("/run/my zeo/\u{e9}.sock", "/run/my zeo/?.sock"),
            (
                "[2001:db8:1111:2222:3333:4444:5555:6666]:8100",
                "...2222:3333:4444:5555:6666]:8100",
            ),
        ] {
            let name = name(address, last);
            assert!(name.is_ascii() && name.len() <= NAME_MAX, "{name}");
            assert_eq!(parsed(&name), Some((shown, Tid::new(last))));
        }
    }

    #[test]
    fn names_of_others_are_nothing() {
        for name in [
            "",
            "rzeo: listen",
            "rzeo: listen ",
            "rzeo: listen 127.0.0.1:8100",
            "rzeo: listen a xyz",
            "rzeo: listen a ffffffffffffffff",
            "rzeo: listens a 0000000000000001",
            "RS: Load",
        ] {
            assert_eq!(parsed(name), None, "{name}");
        }
    }
}
