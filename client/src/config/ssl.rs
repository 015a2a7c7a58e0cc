//! `<ssl>` in `<clientstorage>`: who the client is, and which servers it trusts.

use zeo_storage::zconfig::datatypes::{boolean, file_path};
use zeo_storage::zconfig::reader::{self, Reader};
use zeo_storage::zconfig::{ConfigError, Section};

use crate::tls::{Authorities, Tls, TlsSettings};

const KEYS: [&str; 6] = [
    "certificate",
    "key",
    "password-function",
    "authenticate",
    "check-hostname",
    "server-hostname",
];

/// Reads the section, and the files that it names. `password` is for the key, if that is
/// encrypted.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong with the section or a file.
pub(super) fn from_section(section: &Section, password: Option<&[u8]>) -> Result<Tls, ConfigError> {
    let reader = Reader::new(section, &KEYS)?;
    let certificate = reader.required("certificate", file_path)?;
    let key = reader.optional("key", file_path)?;
    reader.python_code(
        "password-function",
        &[],
        "leave the key out, and let the program give the password (Config::key_password)",
    )?;
    let authenticate = reader.optional("authenticate", authorities)?;
    let server_name = reader.optional("server-hostname", |name| Ok(name.to_owned()))?;
    let check = reader.optional("check-hostname", boolean)?;
    let settings = TlsSettings {
        authorities: authenticate.unwrap_or(Authorities::System),
        certificate: Some(certificate),
        key,
        server_name: server_name.filter(|name| !name.is_empty()),
        check_host_name: check.unwrap_or(true),
    };
    reader::no_sections(section)?;
    Tls::new(&settings, password).map_err(|why| reader.conflict(&why.to_string()))
}

fn authorities(text: &str) -> Result<Authorities, String> {
    match text {
        "SIGNED" | "-" => Err(format!(
            "{text:?} is not supported; use DYNAMIC or leave the key out for the authorities of the system"
        )),
        _ => file_path(text).map(|path| Authorities::named(&path)),
    }
}
