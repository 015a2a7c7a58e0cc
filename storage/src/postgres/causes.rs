//! Why a connection is lost or not there, for people.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};

use openssl::ssl;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::client::ConnectError;

/// What is known of the way to a database, besides what has failed.
pub(super) struct Way {
    pub sslmode: String,
    /// Whether we have a certificate to show.
    pub shows_certificate: bool,
    /// Why the file of passwords is not used, although there is one.
    pub no_passfile: Option<String>,
}

/// What an error says that PostgreSQL has not sent, in one line.
pub(super) fn cause(error: &Error) -> String {
    if let Some(reason) = tls_reason(error) {
        return reason;
    }
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// Why there is no connection, and what to do.
pub(super) fn refusal(why: &ConnectError, told: &dyn Fn(&Error) -> String, way: &Way) -> String {
    let error = match why {
        ConnectError::Io(why) => return of_system(why),
        ConnectError::Refused(error) => error,
    };
    if let Some(code) = error.code() {
        let advice = advice(code, way);
        return format!("{}{advice}", told(error));
    }
    if let Some(reason) = tls_reason(error) {
        return of_tls(&reason, way);
    }
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    if cause == "password missing" {
        let no_file = way.no_passfile.as_ref();
        let no_file = no_file.map(|why| format!("; {why}")).unwrap_or_default();
        return format!(
            "it wants a password, and there is none: give it in the dsn, as PGPASSWORD, or in the \
             password file{no_file}"
        );
    }
    if cause.contains("does not support TLS") {
        let mode = &way.sslmode;
        return format!(
            "it has no TLS (ssl = on in postgresql.conf), and sslmode is {mode}; or it is no PostgreSQL"
        );
    }
    if error.is_closed() || is_end(error) {
        return "it has closed the connection: is it PostgreSQL? its log may say more".to_owned();
    }
    format!(
        "{}: is it PostgreSQL that listens there?",
        self::cause(error)
    )
}

fn of_system(why: &io::Error) -> String {
    let advice = match why.kind() {
        ErrorKind::ConnectionRefused => {
            "is PostgreSQL running, and does it listen there (listen_addresses and port in \
             postgresql.conf)?"
        }
        ErrorKind::NotFound => {
            "is PostgreSQL running, with its socket there (unix_socket_directories and port in \
             postgresql.conf)?"
        }
        ErrorKind::TimedOut => {
            return "no answer in time (connect_timeout): does the machine hang, or does a firewall drop \
                    what is sent?"
                .to_owned();
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            "is the address right, and the network up?"
        }
        _ => return why.to_string(),
    };
    format!("{why}: {advice}")
}

fn advice(code: &SqlState, way: &Way) -> String {
    let advice = match *code {
        SqlState::INVALID_PASSWORD => {
            let no_file = way.no_passfile.as_ref();
            let no_file = no_file.map(|why| format!("; {why}")).unwrap_or_default();
            return format!(
                "; correct user or password (in the dsn, PGPASSWORD or the password file){no_file}"
            );
        }
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "; make the role (createuser), or let pg_hba.conf allow it"
        }
        SqlState::INVALID_CATALOG_NAME => "; make it (createdb), or correct dbname",
        SqlState::TOO_MANY_CONNECTIONS => "; raise max_connections, or the role's CONNECTION LIMIT",
        _ => "",
    };
    advice.to_owned()
}

/// The verification of certificates says what is wrong behind the last colon.
fn of_tls(reason: &str, way: &Way) -> String {
    let mode = &way.sslmode;
    if let Some((_, wrong)) = reason.split_once("certificate verify failed: ") {
        let advice = if wrong.to_lowercase().contains("mismatch") {
            "; name the host as its certificate does, or use sslmode=verify-ca"
        } else {
            "; sslrootcert is to hold the certificate of who has signed it"
        };
        return format!("its certificate is not believed: {wrong} (sslmode {mode}){advice}");
    }
    let about_ours = [
        "unknown ca",
        "certificate",
        "decrypt error",
        "access denied",
    ];
    if about_ours.iter().any(|about| reason.contains(about)) {
        return if way.shows_certificate {
            format!("it does not accept our certificate (sslcert): {reason}; its log may say more")
        } else {
            format!("it wants a certificate: give sslcert and sslkey ({reason})")
        };
    }
    format!("TLS fails: {reason} (sslmode {mode})")
}

/// OpenSSL's reason in words, if it is the cause.
fn tls_reason(error: &(dyn StdError + 'static)) -> Option<String> {
    let (mut next, mut above) = (Some(error), String::new());
    while let Some(found) = next {
        if let Some(tls) = found.downcast_ref::<ssl::Error>() {
            let stack = tls.ssl_error()?.errors();
            let reasons: Vec<_> = stack
                .iter()
                .filter_map(openssl::error::Error::reason)
                .collect();
            if reasons.is_empty() {
                return None;
            }
            // What is above it tells also why a certificate is not believed.
            let more = above.strip_prefix(&tls.to_string()).unwrap_or_default();
            return Some(format!("{}{more}", reasons.join(", ")));
        }
        above = found.to_string();
        next = match found.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => found.source(),
        };
    }
    None
}

fn is_end(error: &Error) -> bool {
    let ends = [
        ErrorKind::UnexpectedEof,
        ErrorKind::ConnectionReset,
        ErrorKind::BrokenPipe,
    ];
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| ends.contains(&cause.kind()))
}
