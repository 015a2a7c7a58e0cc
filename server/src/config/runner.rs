//! `<runner>`: what only zdaemon uses. It is read so that mistakes show, and then ignored.

use zeo_storage::zconfig::reader::{self, Reader};
use zeo_storage::zconfig::{ConfigError, Section, datatypes};

const BOOLEANS: [&str; 4] = ["daemon", "forever", "hang-around", "default-to-interactive"];
const INTEGERS: [&str; 3] = ["backoff-limit", "start-timeout", "stop-timeout"];

/// The keys of the section.
const KEYS: [&str; 19] = [
    "program",
    "python",
    "zdrun",
    "socket-name",
    "directory",
    "start-test-program",
    "user",
    "logfile",
    "transcript",
    "prompt",
    "daemon",
    "forever",
    "hang-around",
    "default-to-interactive",
    "backoff-limit",
    "start-timeout",
    "stop-timeout",
    "exit-codes",
    "umask",
];

/// Checks the keys and values of a runner section. Paths need not exist, since this server does
/// not use them.
///
/// # Errors
/// The first thing that is wrong with the section.
pub fn check(section: &Section) -> Result<(), ConfigError> {
    let reader = Reader::new(section, &KEYS)?;
    reader.required("program", any)?;
    for key in BOOLEANS {
        reader.optional(key, datatypes::boolean)?;
    }
    for key in INTEGERS {
        reader.optional(key, datatypes::integer)?;
    }
    reader.optional("exit-codes", integers)?;
    reader.optional("umask", octal)?;
    let mut log = None;
    for inner in &section.sections {
        match inner.kind.as_str() {
            "eventlog" | "logger" => reader::only("eventlog", &mut log, inner)?,
            _ => {
                return Err(reader::unknown_section(
                    inner,
                    "<runner>",
                    vec!["<eventlog>"],
                ));
            }
        }
    }
    log.map(super::eventlog::check).transpose()?;
    Ok(())
}

fn any(_: &str) -> Result<(), String> {
    Ok(())
}

/// Integers with commas between.
fn integers(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    text.split(',')
        .try_for_each(|n| datatypes::integer(n).map(drop))
}

fn octal(text: &str) -> Result<(), String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match i64::from_str_radix(digits, 8) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{text:?} is not an octal number")),
    }
}
