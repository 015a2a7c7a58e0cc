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
        let said = error.as_db_error().map_or("", |error| error.message());
        let advice = advice(code, said, way);
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
    if cause.contains("did not use channel binding") {
        return "it has not proved by the password that TLS ends there, and channel_binding is require: that \
                takes TLS and scram-sha-256 (in pg_hba.conf, and for the role's password)"
            .to_owned();
    }
    if cause.contains("unsupported authentication method") {
        return "it wants Kerberos, which is not supported here: let pg_hba.conf ask for scram-sha-256 or cert"
            .to_owned();
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

/// Whether the same may succeed with TLS instead of without, or the other way round: it is TLS that fails, or
/// pg_hba.conf has other rules for that.
pub(super) fn depends_on_tls(why: &ConnectError) -> bool {
    let ConnectError::Refused(error) = why else {
        return false;
    };
    match error.code() {
        Some(code) => code.code().starts_with("28"),
        None => error.to_string().starts_with("error performing TLS"),
    }
}

fn advice(code: &SqlState, said: &str, way: &Way) -> String {
    let advice = match *code {
        SqlState::INVALID_PASSWORD => {
            let no_file = way.no_passfile.as_ref();
            let no_file = no_file.map(|why| format!("; {why}")).unwrap_or_default();
            return format!(
                "; correct user or password (in the dsn, PGPASSWORD or the password file){no_file}"
            );
        }
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            if said.contains("requires a valid client") =>
        {
            "; give sslcert and sslkey"
        }
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION if said.contains("authentication failed") => {
            "; who we are there (the name in sslcert, or the user of this system) must be the role's name, \
             or one that pg_ident.conf maps to it"
        }
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION if said.contains("no encryption") => {
            "; make the role (createuser), ask for TLS (sslmode=require), or let pg_hba.conf allow it without"
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
        let advice = advice_on_certificate(&wrong.to_lowercase());
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
    let advice = if reason.contains("protocol version") {
        ": it and we have no version of TLS in common (its ssl_min_protocol_version, ours in the dsn)"
    } else {
        ""
    };
    format!("TLS fails: {reason} (sslmode {mode}){advice}")
}

/// What to do when this is wrong with a server's certificate.
fn advice_on_certificate(wrong: &str) -> &'static str {
    let is = |words: &str| wrong.contains(words);
    if is("mismatch") {
        "; name the host as its certificate does, or use sslmode=verify-ca"
    } else if is("crl") {
        "; sslcrl (or root.crl) is to hold a valid list of each authority between it and sslrootcert"
    } else if is("revoked") {
        "; it needs a new one"
    } else if is("expired") || is("not yet valid") {
        "; renew it, or correct the clock"
    } else {
        "; sslrootcert is to hold the certificate of who has signed it"
    }
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
