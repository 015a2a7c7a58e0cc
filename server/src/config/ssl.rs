//! `<ssl>` in `<zeo>`: the server's certificate, and whom it lets in.

use std::path::Path;

use zeo_storage::zconfig::reader::{self, Reader};
use zeo_storage::zconfig::{ConfigError, Section, datatypes};

use crate::net::tls::{Authorities, SslConfig};

/// The keys of the section.
const KEYS: [&str; 4] = ["certificate", "key", "password-function", "authenticate"];

/// Reads an ssl section. The files are looked at later.
///
/// # Errors
/// The first thing that is wrong with the section.
pub fn from_section(section: &Section) -> Result<SslConfig, ConfigError> {
    let reader = Reader::new(section, &KEYS)?;
    let certificate = reader.required("certificate", datatypes::file_path)?;
    let key = reader.optional("key", datatypes::file_path)?;
    reader.python_code(
        "password-function",
        &[],
        "leave the key out and give the password by --tls-password-file, --tls-password-command \
         or the variable RZEO_TLS_PASSWORD",
    )?;
    let authenticate = reader.required("authenticate", authorities)?;
    reader::no_sections(section)?;
    let mut ssl = SslConfig::new(certificate, authenticate);
    ssl.key = key;
    ssl.place = Some(section.place.clone());
    Ok(ssl)
}

/// A directory, the word for the system's authorities, or a file. Paths are taken as they are, as
/// by Python.
fn authorities(text: &str) -> Result<Authorities, String> {
    let path = Path::new(text);
    match text {
        "" => Err("the name of a file or directory is missing".to_owned()),
        "DYNAMIC" => Ok(Authorities::System),
        "SIGNED" | "-" => Err(format!(
            "{text:?} is not supported; DYNAMIC stands for the authorities of the system"
        )),
        _ if path.is_dir() => Ok(Authorities::Directory(path.to_owned())),
        _ => Ok(Authorities::File(path.to_owned())),
    }
}
