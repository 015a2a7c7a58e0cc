//! Where the database is: libpq's connection strings and variables.
//!
//! The source is PostgreSQL's manual, "Database Connection Control Functions" of libpq.

use std::collections::BTreeMap;

use super::keywords::{self, VARIABLES};

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
            None => keywords::parse(text)?,
        };
        keywords::check(&pairs)?;
        Ok(Self(pairs))
    }

    /// The same, with libpq's variables for what is not in it.
    ///
    /// # Errors
    /// One of them asks for what there is not.
    pub fn with_environment(
        mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        for (name, keyword) in VARIABLES {
            if let Some(found) = variable(name).filter(|found| !found.is_empty()) {
                self.0.entry(keyword.to_owned()).or_insert(found);
            }
        }
        keywords::check(&self.0)?;
        Ok(self)
    }

    /// What a keyword is set to; an empty value counts as none.
    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
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

    pub(super) fn user(&self) -> String {
        let given = self.get("user").map(str::to_owned);
        given
            .or_else(|| std::env::var("USER").ok())
            .unwrap_or_else(|| "postgres".to_owned())
    }

    pub(super) fn sslmode(&self) -> &str {
        let default = match self.get("sslrootcert") {
            Some("system") => "verify-full",
            _ => "prefer",
        };
        self.get("sslmode").unwrap_or(default)
    }
}

/// What is behind `postgresql://`.
fn uri(text: &str) -> Result<BTreeMap<String, String>, String> {
    // Without the text in errors: it may be a part of a password.
    let decoded = |part: &str| {
        percent_encoding::percent_decode_str(part)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| "the URI is not UTF-8 when its %XX are decoded".to_owned())
    };
    let mut pairs = BTreeMap::new();
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let (authority, database) = text.split_once('/').unwrap_or((text, ""));
    if database.contains('@') {
        return Err(
            "a \"/\" in the user or password of the URI is to be written as %2F".to_owned(),
        );
    }
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
            .ok_or("a parameter of the URI, behind \"?\", has no \"=\"")?;
        match (decoded(keyword)?, decoded(value)?) {
            // As libpq: that of JDBC.
            (keyword, value) if (&*keyword, &*value) == ("ssl", "true") => {
                pairs.insert("sslmode".to_owned(), "require".to_owned())
            }
            (keyword, value) => pairs.insert(keyword, value),
        };
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
        let dsn = Dsn::parse("user=zodb")
            .unwrap()
            .with_environment(of)
            .unwrap();
        assert_eq!(
            (dsn.get("user"), dsn.get("host")),
            (Some("zodb"), Some("by PGHOST"))
        );
    }

    #[test]
    fn what_is_wrong_with_a_uri_is_told_without_a_part_of_it() {
        for (text, why) in [
            ("postgresql://u:se-cr%ffet@h/d", "is not UTF-8"),
            ("postgresql://u:se-cr/et@h/d", "as %2F"),
            ("postgresql://h/d?se-cret", "has no \"=\""),
            ("postgresql://h/d?sslmodus=require", "unknown keyword"),
        ] {
            let told = Dsn::parse(text).unwrap_err();
            assert!(told.contains(why) && !told.contains("se-cr"), "{told}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let dsn = Dsn::parse("dbname=d user=u host=h password=secret").unwrap();
        assert_eq!(format!("{dsn:?}"), "database d of u on h");
    }
}
