//! From the files that `<ssl>` names to a context of OpenSSL.
//!
//! Suites, versions and checks are those of Python's `ssl.create_default_context` with what ZEO
//! adds: `X509_STRICT`, and the check of the client's certificate against revocation lists if
//! there is one in the file. `PARTIAL_CHAIN` lets a trusted certificate count without the one that
//! signed it, as Python does from version 3.13 on.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode,
    SslVersion,
};
use openssl::x509::X509Ref;
use openssl::x509::verify::X509VerifyFlags;
use zeo_storage::zconfig::Place;

use super::config::{Authorities, SslConfig};
use super::password;
use super::pem::{self, Block};

/// The suites of TLS 1.2 that Python's `ssl` allows, by the same words. Those of TLS 1.3 are
/// OpenSSL's.
const CIPHERS: &str = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:\
                       !aNULL:!eNULL:!aDSS:!SHA1:!AESCCM";
/// Sessions are resumed only in the context that they belong to.
const SESSION_ID_CONTEXT: &[u8] = b"rzeo";
/// Files with certificates are much shorter.
const LONGEST_FILE_BYTES: u64 = 64 << 20;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that `<ssl>` names can't be used.
    #[error("<ssl>: {key} {}: {problem}{}", .path.display(), Located(.place))]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
        /// The section.
        place: Option<Place>,
    },
    /// OpenSSL refuses what has nothing to do with files.
    #[error("<ssl>: OpenSSL fails: {0}")]
    OpenSsl(#[from] ErrorStack),
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Certificate and authorities in one line, for the log.
    pub summary: String,
    /// What works and is probably a mistake.
    pub warnings: Vec<String>,
}

/// Shows a place, if it is known.
struct Located<'a>(&'a Option<Place>);

impl std::fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .as_ref()
            .map_or(Ok(()), |place| write!(f, " {place}"))
    }
}

/// A file that the configuration names, and what it holds.
struct Source<'a> {
    config: &'a SslConfig,
    key: &'static str,
    path: &'a Path,
}

/// Reads everything.
///
/// # Errors
/// The first file that can't be used.
pub fn build(config: &SslConfig) -> Result<(SslContext, Loaded), TlsError> {
    let mut builder = with_rules()?;
    let mut warnings = Vec::new();
    set_certificate(&mut builder, config)?;
    let (trusted, has_crl) = trust(&mut builder, config, &mut warnings)?;
    let mut flags = X509VerifyFlags::X509_STRICT
        | X509VerifyFlags::TRUSTED_FIRST
        | X509VerifyFlags::PARTIAL_CHAIN;
    if has_crl {
        flags |= X509VerifyFlags::CRL_CHECK;
    }
    builder.verify_param_mut().set_flags(flags)?;
    let context = builder.build();
    let until = context.certificate().map(|own| own.not_after().to_string());
    if let Some(own) = context.certificate()
        && let Some(problem) = out_of_time(own)?
    {
        let path = config.certificate.display();
        warnings.push(format!(
            "<ssl>: certificate {path}: {problem}; clients will refuse it"
        ));
    }
    let summary = format!(
        "certificate {} (valid until {}), clients with {trusted}",
        config.certificate.display(),
        until.unwrap_or_default()
    );
    Ok((context, Loaded { summary, warnings }))
}

/// A context with everything but certificates.
fn with_rules() -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls_server())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list(CIPHERS)?;
    builder.set_options(
        SslOptions::CIPHER_SERVER_PREFERENCE
            | SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION,
    );
    zeo_proto::stream::prepare(&mut builder);
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    builder.set_session_id_context(SESSION_ID_CONTEXT)?;
    // Clients that resume bring a ticket; nothing is kept here for those that come no more.
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    Ok(builder)
}

/// Sets the server's certificate and key.
fn set_certificate(builder: &mut SslContextBuilder, config: &SslConfig) -> Result<(), TlsError> {
    let certificate = Source {
        config,
        key: "certificate",
        path: &config.certificate,
    };
    let text = certificate.read()?;
    let found = pem::blocks(&text);
    if !found.iter().any(Block::is_certificate) {
        return Err(certificate.refused(nothing("certificate", &text)));
    }
    if found.iter().any(|b| b.is_certificate() && b.is_encrypted) {
        // OpenSSL would ask for its password on the terminal.
        return Err(certificate.refused("the certificate is encrypted; decrypt it".to_owned()));
    }
    if config.certificate.to_str().is_none() {
        return Err(certificate.refused("the path is not UTF-8".to_owned()));
    }
    builder
        .set_certificate_chain_file(&config.certificate)
        .map_err(|why| certificate.refused(reasons(&why)))?;

    let key = match &config.key {
        None => private_key(&certificate, &text)?,
        Some(path) => {
            let key = Source {
                config,
                key: "key",
                path,
            };
            let text = key.read()?;
            private_key(&key, &text)?
        }
    };
    builder
        .set_private_key(&key)
        .and_then(|()| builder.check_private_key())
        .map_err(|why| {
            let source = Source {
                config,
                key: "key",
                path: config.key.as_ref().unwrap_or(&config.certificate),
            };
            source.refused(format!(
                "the key does not belong to the certificate in {} ({})",
                config.certificate.display(),
                reasons(&why)
            ))
        })
}

/// The first private key in `text`.
fn private_key(source: &Source, text: &[u8]) -> Result<PKey<Private>, TlsError> {
    let blocks = pem::blocks(text);
    let Some(block) = blocks.iter().find(|block| block.is_key()) else {
        let mut problem = nothing("private key", text);
        if source.key == "certificate" {
            problem.push_str("; name its file by the setting `key`");
        }
        return Err(source.refused(problem));
    };
    let mut password = Vec::new();
    if block.is_encrypted {
        let given = source.config.password.read();
        password = given
            .and_then(|given| given.ok_or_else(missing_password))
            .map_err(|problem| source.refused(problem))?;
    }
    // Also without a password: then OpenSSL does not ask for one.
    PKey::private_key_from_pem_passphrase(text, &password).map_err(|why| {
        let why = reasons(&why);
        source.refused(if block.is_encrypted {
            format!("the private key can't be decrypted; is it the right password? ({why})")
        } else {
            format!("the private key can't be read ({why})")
        })
    })
}

fn missing_password() -> String {
    format!(
        "the private key is encrypted; give its password by {}",
        password::OPTIONS
    )
}

/// Sets who vouches for clients; returns that in words, and whether there are revocation lists.
fn trust(
    builder: &mut SslContextBuilder,
    config: &SslConfig,
    warnings: &mut Vec<String>,
) -> Result<(String, bool), TlsError> {
    let source = |path| Source {
        config,
        key: "authenticate",
        path,
    };
    match &config.authenticate {
        Authorities::File(path) => {
            let source = source(path.as_path());
            let text = source.read()?;
            let found = pem::blocks(&text);
            let certificates = found.iter().filter(|block| block.is_certificate()).count();
            if certificates == 0 {
                return Err(source.refused(nothing("certificate", &text)));
            }
            builder
                .load_verify_locations(Some(path), None)
                .map_err(|why| source.refused(reasons(&why)))?;
            let crls = found.iter().filter(|block| block.is_crl()).count();
            let lists = match crls {
                0 => String::new(),
                _ => format!(" and {}", counted(crls, "revocation list")),
            };
            let certificates = counted(certificates, "certificate");
            let trusted = format!("{certificates}{lists} in {}", path.display());
            Ok((trusted, crls > 0))
        }
        Authorities::Directory(path) => {
            let source = source(path.as_path());
            let entries = path
                .read_dir()
                .map_err(|why| source.refused(why.to_string()))?;
            let mut names = entries.flatten().map(|entry| entry.file_name());
            if !names.any(|name| name.to_str().is_some_and(is_hashed)) {
                let path = path.display();
                warnings.push(format!(
                    "<ssl>: authenticate {path}: no certificate with a name like 1a2b3c4d.0 in this \
                     directory (openssl rehash makes them), so nobody can connect yet"
                ));
            }
            builder
                .load_verify_locations(None, Some(path))
                .map_err(|why| source.refused(reasons(&why)))?;
            Ok((format!("the certificates in {}", path.display()), false))
        }
        Authorities::System => {
            builder.set_default_verify_paths()?;
            // Each replaces one of two places; the other still counts.
            let given =
                ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| std::env::var_os(name).is_some());
            if given == [false, false] {
                add_system_places(builder);
            }
            if given != [true, true] {
                warnings.push(
                    "<ssl>: authenticate DYNAMIC: everybody can connect who has a certificate of \
                     any authority that this system trusts"
                        .to_owned(),
                );
            }
            let crls = std::env::var_os("SSL_CERT_FILE").is_some_and(|path| {
                let text = read(Path::new(&path));
                text.is_ok_and(|text| pem::blocks(&text).iter().any(Block::is_crl))
            });
            Ok(("the system's authorities".to_owned(), crls))
        }
    }
}

/// Adds the places where Linux distributions keep their authorities: an OpenSSL that was built with
/// the server looks for them where it would itself be installed.
fn add_system_places(builder: &mut SslContextBuilder) {
    let found = openssl_probe::probe();
    let directories = found
        .cert_dir
        .iter()
        .map(|path| (None, Some(path.as_path())));
    let files = found
        .cert_file
        .iter()
        .map(|path| (Some(path.as_path()), None));
    for (file, directory) in directories.chain(files) {
        // One that holds nothing vouches for nobody.
        let _ = builder.load_verify_locations(file, directory);
    }
}

/// Whether a file in a directory of certificates is looked for: 8 digits, a dot and a number.
pub(super) fn is_hashed(name: &str) -> bool {
    name.split_once('.').is_some_and(|(hash, number)| {
        hash.len() == 8
            && hash.bytes().all(|c| c.is_ascii_hexdigit())
            && !number.is_empty()
            && number.bytes().all(|c| c.is_ascii_digit())
    })
}

/// A number of things in words.
fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// What is wrong with a certificate's dates today.
fn out_of_time(own: &X509Ref) -> Result<Option<String>, ErrorStack> {
    let now = Asn1Time::days_from_now(0)?;
    Ok(if own.not_after() < now {
        Some(format!("it has expired on {}", own.not_after()))
    } else if own.not_before() > now {
        Some(format!("it is not valid before {}", own.not_before()))
    } else {
        None
    })
}

impl Source<'_> {
    fn read(&self) -> Result<Vec<u8>, TlsError> {
        read(self.path).map_err(|why| self.refused(why.to_string()))
    }

    fn refused(&self, problem: String) -> TlsError {
        TlsError::File {
            key: self.key,
            path: self.path.to_owned(),
            problem,
            place: self.config.place.clone(),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(path)?;
    file.take(LONGEST_FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST_FILE_BYTES {
        return Err(io::Error::other("the file is too large"));
    }
    Ok(text)
}

/// Why there is nothing of this kind in `text`.
fn nothing(what: &str, text: &[u8]) -> String {
    if pem::is_der(text) {
        "the file is in DER; PEM is needed (openssl x509 -inform DER -in FILE)".to_owned()
    } else {
        format!("no {what} in this file")
    }
}

/// What OpenSSL has to say, from the cause on.
fn reasons(errors: &ErrorStack) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for error in errors.errors() {
        let reason = error.reason().map(str::to_owned);
        let reason = reason.unwrap_or_else(|| format!("error {:x}", error.code()));
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    // OpenSSL's words: "ee key too small", "ca md too weak".
    if reasons.iter().any(|why| why.contains(" too ")) {
        reasons.push("at least 2048 bits (RSA) and SHA-256 are needed".to_owned());
    }
    reasons.join(", ")
}
