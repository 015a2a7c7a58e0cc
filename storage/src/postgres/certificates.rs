//! Certificates for connections by TLS, and which of them are believed, as libpq reads them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode, SslVersion,
};
use openssl::x509::X509;
use openssl::x509::store::{X509Lookup, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;

use super::dsn::Dsn;

/// Where libpq looks for files that the connection string does not name, below the home directory.
const DIRECTORY: &str = ".postgresql";

/// A connector for connections without TLS.
///
/// # Errors
/// OpenSSL's.
pub(super) fn none() -> Result<SslConnector, String> {
    Ok(SslConnector::builder(SslMethod::tls_client())
        .map_err(library)?
        .build())
}

/// How the server's certificate is checked, and what we show it. What it must be named is not in
/// it.
///
/// # Errors
/// What is wrong with which keyword or file, for people.
pub(super) fn connector(dsn: &Dsn) -> Result<SslConnector, String> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(library)?;
    let mode = dsn.sslmode();
    versions(dsn, &mut builder)?;
    let given = dsn.get("sslrootcert");
    let default = home("root.crt").filter(|path| path.is_file());
    match (given, default) {
        (Some("system"), _) if mode == "verify-full" => revoke(&mut builder, dsn, None)?,
        (Some("system"), _) => {
            return Err(format!(
                "sslmode: {mode} is too weak for sslrootcert=system: use verify-full"
            ));
        }
        (None, None) if mode.starts_with("verify-") => {
            let path = home("root.crt").unwrap_or_else(|| Path::new(DIRECTORY).join("root.crt"));
            return Err(format!(
                "sslrootcert is missing, and there is no {}: name the certificate that the \
                 server's is checked against, or use sslrootcert=system with sslmode=verify-full",
                path.display()
            ));
        }
        (None, None) => builder.set_verify(SslVerifyMode::NONE),
        (given, default) => {
            let path = given.map(PathBuf::from).or(default).unwrap_or_default();
            // As libpq: with a root certificate, `require` is `verify-ca`. What is not checked need not be
            // read.
            if matches!(mode, "require" | "verify-ca" | "verify-full") {
                trust(&mut builder, &path)?;
                revoke(&mut builder, dsn, home("root.crl"))?;
            } else {
                builder.set_verify(SslVerifyMode::NONE);
            }
        }
    }
    show(dsn, &mut builder)?;
    Ok(builder.build())
}

/// Only what these certificates have signed is believed.
fn trust(builder: &mut SslConnectorBuilder, path: &Path) -> Result<(), String> {
    let mut store = X509StoreBuilder::new().map_err(library)?;
    for certificate in certificates("sslrootcert", path)? {
        store.add_cert(certificate).map_err(library)?;
    }
    builder.set_cert_store(store.build());
    Ok(())
}

/// What revocation lists name is not believed, nor what they don't cover.
fn revoke(
    builder: &mut SslConnectorBuilder,
    dsn: &Dsn,
    default: Option<PathBuf>,
) -> Result<(), String> {
    let directory = dsn.get("sslcrldir");
    let default = default.filter(|path| directory.is_none() && path.is_file());
    let file = dsn.get("sslcrl").map(PathBuf::from).or(default);
    if file.is_none() && directory.is_none() {
        return Ok(());
    }
    let store = builder.cert_store_mut();
    if let Some(path) = file {
        read("sslcrl", &path)?;
        let lookup = store.add_lookup(X509Lookup::file()).map_err(library)?;
        lookup
            .load_crl_file(&path, SslFiletype::PEM)
            .map_err(|_| named("sslcrl", &path, "it holds no revocation list in PEM format"))?;
    }
    if let Some(path) = directory {
        fs::read_dir(path).map_err(|why| named("sslcrldir", Path::new(path), why))?;
        let lookup = store.add_lookup(X509Lookup::hash_dir()).map_err(library)?;
        lookup.add_dir(path, SslFiletype::PEM).map_err(library)?;
    }
    let flags = X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL;
    store.set_flags(flags).map_err(library)
}

/// Where our certificate is, if we have one.
pub(super) fn shown(dsn: &Dsn) -> Option<PathBuf> {
    let default = || home("postgresql.crt").filter(|path| path.is_file());
    dsn.get("sslcert").map(PathBuf::from).or_else(default)
}

fn show(dsn: &Dsn, builder: &mut SslConnectorBuilder) -> Result<(), String> {
    let Some(path) = shown(dsn) else {
        return Ok(());
    };
    let mut certificates = certificates("sslcert", &path)?.into_iter();
    if let Some(own) = certificates.next() {
        builder.set_certificate(&own).map_err(library)?;
    }
    for more in certificates {
        builder.add_extra_chain_cert(more).map_err(library)?;
    }
    let default = home("postgresql.key");
    let key_path = match (dsn.get("sslkey"), &default) {
        (Some(given), _) => PathBuf::from(given),
        (None, Some(default)) if default.is_file() => default.clone(),
        // Both may stand in one file.
        _ if has_key(&path)? => path.clone(),
        _ => {
            let default = default.unwrap_or_else(|| Path::new(DIRECTORY).join("postgresql.key"));
            return Err(format!(
                "sslkey is missing, and there is no {}: name the file with the key of the certificate in {}",
                default.display(),
                path.display()
            ));
        }
    };
    let key = private_key(&key_path, dsn.get("sslpassword"))?;
    let fits = builder.set_private_key(&key);
    fits.and_then(|()| builder.check_private_key())
        .map_err(|_| {
            format!(
                "sslkey {} is not the key of the certificate in sslcert {}",
                key_path.display(),
                path.display()
            )
        })
}

fn has_key(path: &Path) -> Result<bool, String> {
    let marker = b"PRIVATE KEY-----";
    let text = read("sslcert", path)?;
    Ok(text.windows(marker.len()).any(|found| found == marker))
}

fn private_key(path: &Path, password: Option<&str>) -> Result<PKey<Private>, String> {
    let text = read("sslkey", path)?;
    let about = fs::metadata(path).map_err(|why| named("sslkey", path, why))?;
    // As libpq: root's may be read by a group.
    let allowed = if about.uid() == 0 { 0o640 } else { 0o600 };
    if about.permissions().mode() & 0o777 & !allowed & !0o100 != 0 {
        let advice = format!("others may read it (chmod {allowed:o} {})", path.display());
        return Err(named("sslkey", path, advice));
    }
    // Without the callback, OpenSSL would ask on the terminal.
    let mut was_asked = false;
    let key = PKey::private_key_from_pem_callback(&text, |into| {
        was_asked = true;
        let password = password.unwrap_or_default().as_bytes();
        let length = password.len().min(into.len());
        into.get_mut(..length)
            .zip(password.get(..length))
            .into_iter()
            .for_each(|(into, password)| into.copy_from_slice(password));
        Ok(length)
    });
    // Also DER, without a password.
    key.or_else(|_| PKey::private_key_from_der(&text))
        .map_err(|_| {
            let what = match (was_asked, password) {
                (true, Some(_)) => "sslpassword is not its password",
                (true, None) => "it has a password: give it as sslpassword",
                (false, _) => "it holds no private key in PEM or DER format",
            };
            named("sslkey", path, what)
        })
}

fn versions(dsn: &Dsn, builder: &mut SslConnectorBuilder) -> Result<(), String> {
    let of = |keyword| {
        let named = |name: &str| match &*name.to_ascii_lowercase() {
            "tlsv1" => Ok((10, SslVersion::TLS1)),
            "tlsv1.1" => Ok((11, SslVersion::TLS1_1)),
            "tlsv1.2" => Ok((12, SslVersion::TLS1_2)),
            "tlsv1.3" => Ok((13, SslVersion::TLS1_3)),
            _ => Err(format!(
                "{keyword}: {name:?} is none of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3"
            )),
        };
        dsn.get(keyword).map(named).transpose()
    };
    let least = of("ssl_min_protocol_version")?.unwrap_or((12, SslVersion::TLS1_2));
    builder
        .set_min_proto_version(Some(least.1))
        .map_err(library)?;
    if let Some(most) = of("ssl_max_protocol_version")? {
        if most.0 < least.0 {
            return Err(
                "ssl_max_protocol_version is below ssl_min_protocol_version (TLSv1.2 if that is not given)".into(),
            );
        }
        builder
            .set_max_proto_version(Some(most.1))
            .map_err(library)?;
    }
    Ok(())
}

fn certificates(keyword: &str, path: &Path) -> Result<Vec<X509>, String> {
    let found = X509::stack_from_pem(&read(keyword, path)?).unwrap_or_default();
    if found.is_empty() {
        return Err(named(
            keyword,
            path,
            "it holds no certificate in PEM format",
        ));
    }
    Ok(found)
}

fn read(keyword: &str, path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|why| named(keyword, path, why))
}

fn named(keyword: &str, path: &Path, what: impl std::fmt::Display) -> String {
    format!("{keyword} {}: {what}", path.display())
}

fn home(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME")?;
    Some(Path::new(&home).join(DIRECTORY).join(name))
}

#[allow(clippy::needless_pass_by_value)] // as map_err gives it
fn library(why: ErrorStack) -> String {
    let reasons = why
        .errors()
        .iter()
        .filter_map(openssl::error::Error::reason);
    let reasons: Vec<_> = reasons.collect();
    format!("OpenSSL refuses the certificates: {}", reasons.join(", "))
}
