//! A client that does what it is told, for tests: a command a line, and a line in answer, `ok` with
//! what there is to tell, or `error` and why.
//!
//! ```text
//! open FILE [DATABASE]         the last tid
//! try FILE SECONDS             connects once, without a storage: the last tid
//! load OID                     the serial, and the record
//! blob OID SERIAL              the content of a blob
//! store-blob FILE [OID SERIAL] commits a file as a new blob, or a new revision: oid and tid
//! abort-blob FILE              the same, aborted behind the vote
//! close
//! ```
//!
//! and those of `storage.rs`.
//!
//! Ids are in hexadecimal, so are records and contents. The password of a key is in the variable `KEY_PASSWORD`.

mod storage;

use std::error::Error;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use zeo_client::config::Config;
use zeo_client::{ClientStorage, Connection, Options, Tpc};
use zeo_proto::{Oid, Tid};
use zeo_storage::storage::TransactionMeta;

/// The record of a blob.
const BLOB: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N.";

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
        ["blob", oid, serial] => {
            let mut content = Vec::new();
            let mut file = open()?.open_blob(Oid::new(number(oid)?), Tid::new(number(serial)?))?;
            file.read_to_end(&mut content)?;
            Ok(hexadecimal(&content))
        }
        ["store-blob", file] => {
            let oid = open()?.new_oid()?;
            let transaction = with_blob(open()?, file, oid, Tid::ZERO)?;
            Ok(format!("{:016x} {}", oid.as_u64(), transaction.finish()?))
        }
        ["store-blob", file, oid, serial] => {
            let (oid, serial) = (Oid::new(number(oid)?), Tid::new(number(serial)?));
            let transaction = with_blob(open()?, file, oid, serial)?;
            Ok(format!("{:016x} {}", oid.as_u64(), transaction.finish()?))
        }
        ["abort-blob", file] => {
            let oid = open()?.new_oid()?;
            with_blob(open()?, file, oid, Tid::ZERO)?.abort();
            Ok(String::new())
        }
        ["close"] => {
            if let Some(storage) = storage.take() {
                storage.close()?;
            }
            Ok(String::new())
        }
        _ => storage::answer(open()?, words).unwrap_or_else(|| Err("no such command".into())),
    }
}

/// A transaction that has voted for the file as a revision of a blob.
fn with_blob<'a>(
    storage: &'a ClientStorage,
    file: &str,
    oid: Oid,
    serial: Tid,
) -> Result<Tpc<'a>, Box<dyn Error>> {
    let mut transaction = storage.begin(TransactionMeta {
        status: b' ',
        ..TransactionMeta::default()
    })?;
    transaction.store_blob(oid, serial, BLOB.to_vec(), Path::new(file))?;
    transaction.vote()?;
    Ok(transaction)
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
