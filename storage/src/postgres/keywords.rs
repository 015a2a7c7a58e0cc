//! libpq's keywords: which of them mean something here, and its variables.

use std::collections::BTreeMap;

/// Keywords that are honoured.
const USED: [&str; 25] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "options",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "target_session_attrs",
    "channel_binding",
    "sslmode",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslcert",
    "sslkey",
    "sslpassword",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
];

/// Keywords that change nothing here that matters.
const ACCEPTED: [&str; 12] = [
    "application_name",
    "client_encoding",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "krbsrvname",
    "load_balance_hosts",
    "sslcertmode",
    "sslcompression",
    "sslnegotiation",
    "sslsni",
];

/// Values of those that ask for what there is not.
const REFUSED_VALUES: [(&str, &str); 3] = [
    ("gssencmode", "require"),
    ("sslcertmode", "require"),
    ("sslnegotiation", "direct"),
];

/// Keywords that ask for something that is not done here: to accept them would be a lie.
const REFUSED: [&str; 10] = [
    "max_protocol_version",
    "min_protocol_version",
    "replication",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "sslkeylogfile",
];

/// libpq's variables, and the keywords that they stand for.
pub(super) const VARIABLES: [(&str, &str); 25] = [
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
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGSERVICE", "service"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGSSLCERTMODE", "sslcertmode"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
];

/// Whether the keywords are known.
///
/// # Errors
/// The first one that is not, for people.
pub(super) fn check(pairs: &BTreeMap<String, String>) -> Result<(), String> {
    for (keyword, value) in pairs {
        let name = keyword.as_str();
        if name == "service" || name == "servicefile" {
            return Err(
                "service files are not read: put what the service says into the dsn".into(),
            );
        }
        if REFUSED.contains(&name) || REFUSED_VALUES.contains(&(name, value.as_str())) {
            return Err(format!(
                "{name} is not supported here (it is set to {value:?})"
            ));
        }
        if !USED.contains(&name) && !ACCEPTED.contains(&name) {
            return Err(format!(
                "unknown keyword {name:?}; known are {}",
                USED.join(", ")
            ));
        }
    }
    Ok(())
}

/// `keyword = value` and `keyword = 'value with spaces'`, with backslashes before quotes and backslashes.
///
/// # Errors
/// What is wrong, for people, without any part of a value: it may be a password.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    let mut rest = text.trim_start();
    let mut last = None;
    while !rest.is_empty() {
        let found = rest.split_once('=').filter(|(keyword, _)| {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let keyword = keyword.trim_end();
            !keyword.is_empty() && keyword.chars().all(word)
        });
        let Some((keyword, value)) = found else {
            return Err(match last {
                None => "expected keyword=value ..., or postgresql://...".to_owned(),
                Some(last) => format!(
                    "expected keyword=value behind the value of {last}: a value with spaces needs quotes \
                     ({last}='...')"
                ),
            });
        };
        let keyword = keyword.trim_end();
        let (value, behind) = value_of(value.trim_start())
            .ok_or_else(|| format!("the value of {keyword} has no end: a quote is missing"))?;
        pairs.insert(keyword.to_owned(), value);
        last = Some(keyword);
        rest = behind.trim_start();
    }
    Ok(pairs)
}

/// The value at the start of the text, and what is behind it.
fn value_of(text: &str) -> Option<(String, &str)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text)
            .and_then(|pairs| check(&pairs))
            .expect_err("it is wrong")
    }

    #[test]
    fn what_is_wrong_is_told_without_a_part_of_a_password() {
        for (text, why) in [
            ("se-cret", "expected keyword=value"),
            ("postgres:/u:se-cret@h/d?a=b", "or postgresql://"),
            ("host=h password=my se-cret", "the value of password"),
            ("host=h password=my se-cret user=u", "the value of password"),
            ("password='se-cret", "the value of password has no end"),
        ] {
            let told = refused(text);
            assert!(told.contains(why) && !told.contains("se-cret"), "{told}");
        }
    }

    #[test]
    fn keywords_that_do_nothing_are_not_accepted() {
        for (text, why) in [
            (
                "sslrotcert=/x",
                "unknown keyword \"sslrotcert\"; known are host,",
            ),
            ("service=x", "service files"),
            ("requirepeer=x", "requirepeer is not supported here"),
            ("gssencmode=require", "gssencmode is not supported"),
        ] {
            let told = refused(text);
            assert!(told.contains(why), "{told}");
        }
        check(&parse("gssencmode=prefer client_encoding=utf8 sslsni=1").unwrap()).unwrap();
    }
}
