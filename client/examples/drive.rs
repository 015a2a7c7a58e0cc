//! A client that does what it is told, for tests: a command a line, and a line in answer, `ok` with
//! what there is to tell, or `error` and why.
//!
//! ```text
//! open FILE [DATABASE]         the last tid
//! try FILE SECONDS             connects once, without a storage: the last tid
//! load OID                     the serial, and the record
//! close
//! ```
//!
//! Ids are in hexadecimal, so are records and contents. The password of a key is in the variable `KEY_PASSWORD`.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use zeo_client::config::Config;
use zeo_client::{ClientStorage, Connection, Options};
use zeo_proto::{Oid, Tid};

fn main() -> Result<(), Box<dyn Error>> {
    let mut storage = None;
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match answer(&mut storage, &words) {
            Ok(text) => format!("ok {text}"),
            Err(why) => format!("error {why}"),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", answer.replace('\n', " "))?;
        out.flush()?;
    }
    Ok(())
}

fn answer(storage: &mut Option<ClientStorage>, words: &[&str]) -> Result<String, Box<dyn Error>> {
    let open = || storage.as_ref().ok_or("nothing is open");
    match *words {
        ["open", file] => open_file(storage, file, None),
        ["open", file, database] => open_file(storage, file, Some(database)),
        ["try", file, seconds] => attempt(file, seconds),
        ["load", oid] => {
            let revision = open()?.load(Oid::new(number(oid)?))?;
            Ok(format!(
                "{} {}",
                revision.serial,
                hexadecimal(&revision.data)
            ))
        }
        ["close"] => {
            if let Some(storage) = storage.take() {
                storage.close()?;
            }
            Ok(String::new())
        }
        _ => Err("no such command".into()),
    }
}

fn open_file(
    storage: &mut Option<ClientStorage>,
    file: &str,
    database: Option<&str>,
) -> Result<String, Box<dyn Error>> {
    let mut config = config(file);
    if let Some(name) = database {
        config = config.database(name);
    }
    let mut settings = config.read()?.storage;
    // Tests that wait for a failure don't wait for long pauses.
    settings.max_disconnect_poll = Duration::from_secs(1);
    let opened = storage.insert(ClientStorage::open(settings)?);
    Ok(opened.last_tid().to_string())
}

fn config(file: &str) -> Config {
    let config = Config::file(file);
    match std::env::var("KEY_PASSWORD") {
        Ok(password) => config.key_password(password),
        Err(_) => config,
    }
}

fn attempt(file: &str, seconds: &str) -> Result<String, Box<dyn Error>> {
    let settings = config(file).read()?.storage;
    let address = settings.addresses.first().ok_or("no address")?;
    let mut options = Options::within(Duration::from_secs_f64(seconds.parse()?));
    options.tls = settings.tls;
    let mut connection = Connection::open(address, &options)?;
    let last = connection.register(&settings.storage, true)?;
    Ok(last.unwrap_or(Tid::ZERO).to_string())
}

fn number(text: &str) -> Result<u64, std::num::ParseIntError> {
    u64::from_str_radix(text, 16)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
