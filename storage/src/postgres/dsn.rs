//! Where the database is: libpq's connection strings and variables.
//!
//! The source is PostgreSQL's manual, "Database Connection Control Functions" of libpq.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use super::client::Tls;

/// libpq's variables, and the keywords that they stand for.
const VARIABLES: [(&str, &str); 14] = [
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGOPTIONS", "options"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
];

/// Where a server listens if nothing tells: Debian's directory, and PostgreSQL's own.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// What the keywords say. Values are as given.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Dsn(BTreeMap<String, String>);

impl std::fmt::Debug for Dsn {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Dsn {
    /// Reads a string of `keyword=value`, or a URI.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_uri = ["postgresql://", "postgres://"]
            .iter()
            .find_map(|s| text.strip_prefix(s));
        let pairs = match is_uri {
            Some(rest) => uri(rest)?,
            None => keywords(text)?,
        };
        if pairs.contains_key("service") {
            return Err(
                "service files are not read: put what the service says into the dsn".into(),
            );
        }
        Ok(Self(pairs))
    }

    /// The same, with libpq's variables for what is not in it.
    #[must_use]
    pub fn with_environment(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        for (name, keyword) in VARIABLES {
            if let Some(found) = variable(name).filter(|found| !found.is_empty()) {
                self.0.entry(keyword.to_owned()).or_insert(found);
            }
        }
        self
    }

    fn get(&self, keyword: &str) -> Option<&str> {
        self.0
            .get(keyword)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The database, user and hosts, for people.
    pub fn shown(&self) -> String {
        let user = self.user();
        let of = |keyword| self.get(keyword);
        let database = of("dbname").unwrap_or(&user);
        let hosts = of("host").or(of("hostaddr")).unwrap_or("this machine");
        format!("database {database} of {user} on {hosts}")
    }

    fn user(&self) -> String {
        let given = self.get("user").map(str::to_owned);
        given
            .or_else(|| std::env::var("USER").ok())
            .unwrap_or_else(|| "postgres".to_owned())
    }

    /// What the crate `tokio-postgres` connects by.
    ///
    /// # Errors
    /// What is wrong with a value, for people.
    pub fn config(&self) -> Result<Config, String> {
        let mut config = Config::new();
        let user = self.user();
        config
            .user(&user)
            .dbname(self.get("dbname").unwrap_or(&user));
        let default = SOCKET_DIRECTORIES
            .iter()
            .find(|path| Path::new(path).is_dir());
        let host = self.get("host").or(match self.get("hostaddr") {
            None => default.copied(),
            Some(_) => None,
        });
        for host in host.into_iter().flat_map(|hosts| hosts.split(',')) {
            config.host(host);
        }
        for address in self
            .get("hostaddr")
            .into_iter()
            .flat_map(|all| all.split(','))
        {
            let parsed = address.parse();
            config.hostaddr(parsed.map_err(|_| format!("hostaddr: {address:?} is no address"))?);
        }
        for port in self
            .get("port")
            .into_iter()
            .flat_map(|ports| ports.split(','))
        {
            config.port(
                port.parse()
                    .map_err(|_| format!("port: {port:?} is no port"))?,
            );
        }
        if let Some(password) = self
            .get("password")
            .map(str::to_owned)
            .or_else(|| self.password_in_file(&user))
        {
            config.password(password);
        }
        if let Some(options) = self.get("options") {
            config.options(options);
        }
        let seconds = self
            .number("connect_timeout")?
            .filter(|&seconds| seconds > 0);
        config.connect_timeout(Duration::from_secs(seconds.unwrap_or(10)));
        config.keepalives_idle(Duration::from_secs(
            self.number("keepalives_idle")?.unwrap_or(60),
        ));
        config.tcp_user_timeout(Duration::from_millis(
            self.number("tcp_user_timeout")?.unwrap_or(60_000),
        ));
        config.ssl_mode(match self.get("sslmode").unwrap_or("prefer") {
            "disable" => SslMode::Disable,
            "allow" | "prefer" => SslMode::Prefer,
            "require" | "verify-ca" | "verify-full" => SslMode::Require,
            other => return Err(format!("sslmode: {other:?} is none of disable, allow, prefer, require, verify-ca, verify-full")),
        });
        config.target_session_attrs(match self.get("target_session_attrs").unwrap_or("any") {
            "any" => TargetSessionAttrs::Any,
            "read-write" | "primary" => TargetSessionAttrs::ReadWrite,
            other => return Err(format!("target_session_attrs: {other:?} is neither any nor read-write: this server writes")),
        });
        Ok(config)
    }

    fn number(&self, keyword: &str) -> Result<Option<u64>, String> {
        let value = self.get(keyword).map(str::trim);
        value
            .map(|value| {
                value
                    .parse()
                    .map_err(|_| format!("{keyword}: {value:?} is no number"))
            })
            .transpose()
    }

    /// How the server's certificate is checked, and what we show.
    ///
    /// # Errors
    /// A file can't be read, or holds something else.
    pub(super) fn tls(&self) -> Result<Tls, String> {
        let mut builder =
            SslConnector::builder(SslMethod::tls_client()).map_err(|e| e.to_string())?;
        let mode = self.get("sslmode").unwrap_or("prefer");
        let root = self.get("sslrootcert");
        if let Some(path) = root.filter(|&path| path != "system") {
            builder
                .set_ca_file(path)
                .map_err(|e| format!("sslrootcert {path}: {e}"))?;
        }
        // As libpq: with a root certificate, `require` is `verify-ca`.
        let verifies =
            matches!(mode, "verify-ca" | "verify-full") || (mode == "require" && root.is_some());
        if !verifies {
            builder.set_verify(SslVerifyMode::NONE);
        }
        if let Some(path) = self.get("sslcert") {
            builder
                .set_certificate_chain_file(path)
                .map_err(|e| format!("sslcert {path}: {e}"))?;
            let key = self.get("sslkey").unwrap_or(path);
            builder
                .set_private_key_file(key, SslFiletype::PEM)
                .map_err(|e| format!("sslkey {key}: {e}"))?;
        }
        Ok(Tls {
            connector: builder.build(),
            verifies_name: mode == "verify-full",
        })
    }

    /// The password in the file that libpq looks into.
    fn password_in_file(&self, user: &str) -> Option<String> {
        let path = match self.get("passfile") {
            Some(path) => PathBuf::from(path),
            None => Path::new(&std::env::var_os("HOME")?).join(".pgpass"),
        };
        let text = fs::read_to_string(path).ok()?;
        let host = self
            .get("host")
            .filter(|host| !host.starts_with('/'))
            .unwrap_or("localhost");
        let wanted = [
            host,
            self.get("port").unwrap_or("5432"),
            self.get("dbname").unwrap_or(user),
            user,
        ];
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .find_map(|line| {
                let mut fields = pass_fields(line).into_iter();
                let fits = wanted.iter().all(|&wanted| {
                    fields
                        .next()
                        .is_some_and(|field| field == "*" || field == wanted)
                });
                fits.then(|| fields.next()).flatten()
            })
    }
}

/// The fields of a line of a password file.
fn pass_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (c, fields.last_mut()) {
            (':', _) => fields.push(String::new()),
            ('\\', Some(field)) => field.extend(characters.next()),
            (c, Some(field)) => field.push(c),
            (_, None) => {}
        }
    }
    fields
}

/// `keyword = value` and `keyword = 'value with spaces'`, with backslashes before quotes and backslashes.
fn keywords(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (keyword, value) = rest
            .split_once('=')
            .ok_or_else(|| format!("missing \"=\" behind {rest:?}"))?;
        let keyword = keyword.trim_end();
        if keyword.is_empty() || keyword.contains(char::is_whitespace) {
            return Err(format!("{keyword:?} is no keyword"));
        }
        let (value, behind) = keyword_value(value.trim_start())
            .ok_or_else(|| format!("the value of {keyword} has no end: a quote is missing"))?;
        pairs.insert(keyword.to_owned(), value);
        rest = behind.trim_start();
    }
    Ok(pairs)
}

/// The value at the start of the text, and what is behind it.
fn keyword_value(text: &str) -> Option<(String, &str)> {
    let (quoted, text) = match text.strip_prefix('\'') {
        Some(inside) => (true, inside),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            '\'' if quoted => return text.get(at + 1..).map(|rest| (value, rest)),
            c if !quoted && c.is_whitespace() => return text.get(at..).map(|rest| (value, rest)),
            c => value.push(c),
        }
    }
    (!quoted).then_some((value, ""))
}

/// What is behind `postgresql://`.
fn uri(text: &str) -> Result<BTreeMap<String, String>, String> {
    let decoded = |part: &str| {
        percent_encoding::percent_decode_str(part)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| format!("{part:?} is no UTF-8"))
    };
    let mut pairs = BTreeMap::new();
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let (authority, database) = text.split_once('/').unwrap_or((text, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (login, hosts),
        None => ("", authority),
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        let bracket = host.rfind(']').map_or(0, |at| at + 1);
        let colon = host
            .get(bracket..)
            .and_then(|rest| rest.find(':'))
            .map(|at| at + bracket);
        let (name, port) = match colon {
            Some(at) => (
                host.get(..at).unwrap_or(host),
                host.get(at + 1..).unwrap_or(""),
            ),
            None => (host, ""),
        };
        names.push(decoded(name.trim_matches(['[', ']']))?);
        ports.push(if port.is_empty() { "5432" } else { port });
    }
    let parts = [
        ("user", decoded(user)?),
        ("password", decoded(password)?),
        ("dbname", decoded(database)?),
        ("host", names.join(",")),
        ("port", ports.join(",")),
    ];
    for (keyword, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
        pairs.insert(keyword.to_owned(), value);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (keyword, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("missing \"=\" in {pair:?}"))?;
        pairs.insert(decoded(keyword)?, decoded(value)?);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(String, String)> {
        Dsn::parse(text).unwrap().0.into_iter().collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = expected.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
        owned.collect()
    }

    #[test]
    fn keywords_as_libpq_reads_them() {
        assert_eq!(
            shown(r"dbname = 'my zodb'  host='/var/run/x' password='it\'s \\' user=zodb"),
            pairs(&[
                ("dbname", "my zodb"),
                ("host", "/var/run/x"),
                ("password", r"it's \"),
                ("user", "zodb")
            ])
        );
        assert_eq!(shown(""), []);
        assert_eq!(shown("host="), pairs(&[("host", "")]));
        for (bad, why) in [
            ("dbname", "missing \"=\""),
            ("dbname='x", "quote is missing"),
            ("a b=c", "no keyword"),
            ("service=x", "service files"),
        ] {
            let error = Dsn::parse(bad).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_uri_says_the_same() {
        assert_eq!(
            shown("postgresql://jane:p%40ss@db1,db2:5433,[::1]:6000/zodb?sslmode=require"),
            pairs(&[
                ("dbname", "zodb"),
                ("host", "db1,db2,::1"),
                ("password", "p@ss"),
                ("port", "5432,5433,6000"),
                ("sslmode", "require"),
                ("user", "jane")
            ])
        );
        assert_eq!(
            shown("postgres:///zodb?host=/tmp"),
            pairs(&[("dbname", "zodb"), ("host", "/tmp")])
        );
    }

    #[test]
    fn variables_stand_for_what_is_not_said() {
        let of = |name: &str| {
            ["PGHOST", "PGUSER"]
                .contains(&name)
                .then(|| format!("by {name}"))
        };
        let dsn = Dsn::parse("user=zodb").unwrap().with_environment(of);
        assert_eq!(
            (dsn.get("user"), dsn.get("host")),
            (Some("zodb"), Some("by PGHOST"))
        );
    }

    #[test]
    fn bad_values_are_named() {
        for (text, why) in [
            ("port=x", "port"),
            ("sslmode=maybe", "sslmode"),
            ("connect_timeout=soon", "connect_timeout"),
            ("hostaddr=here", "hostaddr"),
            ("target_session_attrs=read-only", "target_session_attrs"),
        ] {
            let error = Dsn::parse(text).unwrap().config().unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn the_password_file_is_read_as_libpq_does() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            file.path(),
            "# host:port:database:user:password\nother:*:*:*:no\n*:*:my\\:db:zodb:se\\:cret\n",
        )
        .unwrap();
        let text = format!("dbname=my:db user=zodb passfile={}", file.path().display());
        assert_eq!(
            Dsn::parse(&text).unwrap().password_in_file("zodb").unwrap(),
            "se:cret"
        );
    }

    #[test]
    fn the_password_is_not_shown() {
        let dsn = Dsn::parse("dbname=d user=u host=h password=secret").unwrap();
        assert_eq!(format!("{dsn:?}"), "database d of u on h");
    }
}
