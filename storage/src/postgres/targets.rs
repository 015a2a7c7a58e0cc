//! What a connection string says, as the configuration of a connection to each of its hosts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslMode, TargetSessionAttrs};

use super::dsn::Dsn;
use super::passfile::{self, Login};

/// Where a server listens if nothing tells: Debian's directory, and PostgreSQL's own.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// How long a host may take to answer, until the next one is tried.
const CONNECT_TIMEOUT: u64 = 10;
/// After how many seconds of silence a connection is tested, in what intervals, and how often.
const KEEPALIVES: (u64, u64, u32) = (15, 5, 3);
/// How many milliseconds nothing may come of what is waited for.
const TCP_USER_TIMEOUT: u64 = 30_000;

/// One host, and how to connect there.
pub(super) struct Target {
    /// For people.
    pub shown: String,
    pub config: Config,
    /// With and without TLS: what is tried, one after the other.
    pub modes: &'static [SslMode],
}

/// The hosts in their order.
///
/// # Errors
/// What is wrong with a value, for people.
pub(super) fn targets(dsn: &Dsn) -> Result<Vec<Target>, String> {
    let all = |keyword: &str| -> Vec<&str> {
        dsn.get(keyword)
            .map_or_else(Vec::new, |value| value.split(',').map(str::trim).collect())
    };
    let (mut hosts, addresses, ports) = (all("host"), all("hostaddr"), all("port"));
    if hosts.is_empty() && addresses.is_empty() {
        hosts.extend(
            SOCKET_DIRECTORIES
                .iter()
                .find(|path| Path::new(path).is_dir()),
        );
    }
    let count = hosts.len().max(addresses.len());
    for (name, found, single) in [
        ("host", hosts.len(), false),
        ("hostaddr", addresses.len(), false),
        ("port", ports.len(), true),
    ] {
        if found != count && found != 0 && !(single && found == 1) {
            return Err(format!("{name} has {found} values, for {count} hosts"));
        }
    }
    let passwords = match dsn.get("password") {
        Some(_) => None,
        // A warning tells why if it is not used.
        None => passfile_of(dsn).and_then(|path| passfile::read(&path).ok().flatten()),
    };
    let base = base(dsn)?;
    let place = |at: usize| {
        let port = match ports.get(at).or(ports.first()).copied() {
            None | Some("") => 5432,
            Some(port) => port
                .parse()
                .ok()
                .filter(|&port| port > 0)
                .ok_or("port: expected a number from 1 to 65535")?,
        };
        let named = (hosts.get(at).copied(), addresses.get(at).copied());
        target(dsn, (base.clone(), passwords.as_deref()), named, port)
    };
    (0..count).map(place).collect()
}

/// The file of passwords that libpq would look into.
fn passfile_of(dsn: &Dsn) -> Option<PathBuf> {
    if let Some(path) = dsn.get("passfile") {
        return Some(PathBuf::from(path));
    }
    let home = std::env::var_os("HOME")?;
    Some(Path::new(&home).join(".pgpass"))
}

/// Why the file of passwords is not used, although it is looked into.
pub(super) fn passfile_warning(dsn: &Dsn) -> Option<String> {
    if dsn.get("password").is_some() {
        return None;
    }
    passfile::read(&passfile_of(dsn)?).err()
}

fn target(
    dsn: &Dsn,
    (mut config, passwords): (Config, Option<&str>),
    (host, address): (Option<&str>, Option<&str>),
    port: u16,
) -> Result<Target, String> {
    let host = host.filter(|host| !host.is_empty());
    let address = address.filter(|address| !address.is_empty());
    // Without a name, the address is what a certificate must have.
    let name = host.or(address).ok_or("host: one of the hosts is empty")?;
    config.host(name).port(port);
    let is_socket = name.starts_with('/');
    // As libpq: there is no TLS.
    let modes = modes(if is_socket { "disable" } else { dsn.sslmode() })?;
    if let Some(address) = address {
        let parsed: IpAddr = address
            .parse()
            .map_err(|_| format!("hostaddr: {address:?} is no address"))?;
        config.hostaddr(parsed);
    }
    let user = dsn.user();
    let login = Login {
        hosts: [
            name,
            if SOCKET_DIRECTORIES.contains(&name) {
                "localhost"
            } else {
                name
            },
        ],
        port,
        database: dsn.get("dbname").unwrap_or(&user),
        user: &user,
    };
    let password = dsn.get("password").map(str::to_owned);
    let found = || passwords.and_then(|text| passfile::password(text, login));
    if let Some(password) = password.or_else(found) {
        config.password(password);
    }
    let shown = match (is_socket, host.and(address)) {
        (true, _) => format!("{name}/.s.PGSQL.{port}"),
        (false, Some(address)) => format!("{name} ({address}) port {port}"),
        (false, None) => format!("{name} port {port}"),
    };
    Ok(Target {
        shown,
        config,
        modes,
    })
}

/// What libpq tries for an sslmode.
fn modes(sslmode: &str) -> Result<&'static [SslMode], String> {
    Ok(match sslmode {
        "disable" => &[SslMode::Disable],
        "allow" => &[SslMode::Disable, SslMode::Require],
        "prefer" => &[SslMode::Prefer, SslMode::Disable],
        "require" | "verify-ca" | "verify-full" => &[SslMode::Require],
        other => {
            return Err(format!(
                "sslmode: {other:?} is none of disable, allow, prefer, require, verify-ca, verify-full"
            ));
        }
    })
}

/// What is the same for all hosts.
fn base(dsn: &Dsn) -> Result<Config, String> {
    let mut config = Config::new();
    let user = dsn.user();
    config
        .user(&user)
        .dbname(dsn.get("dbname").unwrap_or(&user));
    if let Some(options) = dsn.get("options") {
        config.options(options);
    }
    let seconds = |keyword, default| -> Result<_, String> {
        Ok(Duration::from_secs(
            number(dsn, keyword)?.unwrap_or(default),
        ))
    };
    let limit = number(dsn, "connect_timeout")?.filter(|&seconds| seconds > 0);
    config.connect_timeout(Duration::from_secs(limit.unwrap_or(CONNECT_TIMEOUT)));
    let (idle, interval, retries) = KEEPALIVES;
    config
        .keepalives(number(dsn, "keepalives")? != Some(0))
        .keepalives_idle(seconds("keepalives_idle", idle)?)
        .keepalives_interval(seconds("keepalives_interval", interval)?);
    let count = number(dsn, "keepalives_count")?;
    config.keepalives_retries(count.map_or(retries, |n| u32::try_from(n).unwrap_or(retries)));
    config.tcp_user_timeout(answer_time(dsn)?);
    // Also where all hosts are sockets, which have none.
    modes(dsn.sslmode())?;
    config.channel_binding(match dsn.get("channel_binding").unwrap_or("prefer") {
        "disable" => ChannelBinding::Disable,
        "prefer" => ChannelBinding::Prefer,
        "require" => ChannelBinding::Require,
        other => {
            return Err(format!(
                "channel_binding: {other:?} is none of disable, prefer, require"
            ));
        }
    });
    config.target_session_attrs(match dsn.get("target_session_attrs").unwrap_or("any") {
        "any" => TargetSessionAttrs::Any,
        "read-write" | "primary" => TargetSessionAttrs::ReadWrite,
        other => {
            return Err(format!(
                "target_session_attrs: {other:?} is none of any, read-write, primary: this server writes"
            ));
        }
    });
    Ok(config)
}

/// How long an answer may take until a connection counts as lost.
///
/// # Errors
/// What is wrong with the value, for people.
pub(super) fn answer_time(dsn: &Dsn) -> Result<Duration, String> {
    let silence = number(dsn, "tcp_user_timeout")?.filter(|&milliseconds| milliseconds > 0);
    Ok(Duration::from_millis(silence.unwrap_or(TCP_USER_TIMEOUT)))
}

fn number(dsn: &Dsn, keyword: &str) -> Result<Option<u64>, String> {
    let value = dsn.get(keyword).map(str::trim);
    let parsed = |value: &str| {
        value
            .parse()
            .map_err(|_| format!("{keyword}: {value:?} is no number"))
    };
    value.map(parsed).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<String>, String> {
        let found = targets(&Dsn::parse(text)?)?;
        Ok(found.into_iter().map(|target| target.shown).collect())
    }

    #[test]
    fn each_host_has_its_port_and_address() {
        assert_eq!(
            shown("host=a,/run/x,c port=1,2,3").unwrap(),
            ["a port 1", "/run/x/.s.PGSQL.2", "c port 3"]
        );
        assert_eq!(shown("host=a,b").unwrap(), ["a port 5432", "b port 5432"]);
        assert_eq!(
            shown("host=a hostaddr=127.0.0.1 port=1").unwrap(),
            ["a (127.0.0.1) port 1"]
        );
        assert_eq!(shown("hostaddr=::1").unwrap(), ["::1 port 5432"]);
    }

    #[test]
    fn bad_values_are_named() {
        for (text, why) in [
            ("port=x host=a", "port: expected a number"),
            ("port=1,2 host=a", "port has 2 values, for 1 hosts"),
            ("host=a,b hostaddr=::1", "hostaddr has 1 values"),
            ("host=a, port=1", "host: one of the hosts is empty"),
            ("sslmode=maybe", "sslmode"),
            ("connect_timeout=soon", "connect_timeout"),
            ("host=a hostaddr=here", "hostaddr"),
            ("channel_binding=some", "channel_binding"),
            ("target_session_attrs=read-only", "target_session_attrs"),
        ] {
            let told = shown(text).unwrap_err();
            assert!(told.starts_with(why), "{told}");
        }
    }

    #[test]
    fn each_host_has_its_password() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a:*:*:*:of a\nb:*:*:*:of b\n").unwrap();
        let text = format!("host=a,b,c user=u passfile={}", file.path().display());
        let found = targets(&Dsn::parse(&text).unwrap()).unwrap();
        let passwords = found.iter().map(|target| target.config.get_password());
        let expected = [Some(&b"of a"[..]), Some(&b"of b"[..]), None];
        assert_eq!(passwords.collect::<Vec<_>>(), expected);
    }
}
