//! Commands to a storage.
//!
//! ```text
//! load_before OID TID          the serial, the next one or -, and the record; or none
//! prefetch TID [OID]...
//! new_oid
//! commit WORD [OID SERIAL RECORD]...   the tid, and the objects whose conflicts were resolved
//! add OID THREADS TIMES        adds to a Length: how many conflicts there were
//! undo                         undoes the last transaction: the tid
//! iterate                      all records: TID:OID:DESCRIPTION:RECORD each
//! current                      the current records: OID:SERIAL:RECORD each
//! pack
//! sync                         the last tid, once all is known that was committed before
//! last_tid
//! ```

use std::error::Error;
use std::thread;
use std::time::SystemTime;

use zeo_client::{ClientStorage, Error as Failure};
use zeo_proto::pickle::{Memo, Policy, Unpickler, encode};
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::storage::{Revision, TransactionMeta};

use super::{hexadecimal, number};

/// The answer to a command; none if there is no such command.
pub fn answer(storage: &ClientStorage, words: &[&str]) -> Option<Result<String, Box<dyn Error>>> {
    Some(match *words {
        ["load_before", oid, before] => load_before(storage, oid, before),
        ["prefetch", before, ref oids @ ..] => prefetch(storage, before, oids),
        ["new_oid"] => told(storage.new_oid().map(|oid| id(oid.as_u64()))),
        ["commit", description, ref stores @ ..] => commit(storage, description, stores),
        ["add", oid, threads, times] => add(storage, oid, (threads, times)),
        ["undo"] => undo(storage),
        ["iterate"] => iterate(storage),
        ["current"] => current(storage),
        ["pack"] => told(
            storage
                .pack(SystemTime::now(), true)
                .map(|()| String::new()),
        ),
        ["sync"] => told(storage.ping().map(|()| storage.last_tid().to_string())),
        ["last_tid"] => Ok(storage.last_tid().to_string()),
        _ => return None,
    })
}

fn told(result: Result<String, Failure>) -> Result<String, Box<dyn Error>> {
    Ok(result?)
}

fn bytes(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let digits = (0..text.len()).step_by(2);
    let pairs = digits.map(|at| text.get(at..at + 2).ok_or("half a byte"));
    pairs
        .map(|pair| Ok(u8::from_str_radix(pair?, 16)?))
        .collect()
}

fn id(number: u64) -> String {
    format!("{number:016x}")
}

fn shown(revision: &Revision) -> String {
    let next = revision
        .next
        .map_or("-".to_owned(), |next| next.to_string());
    format!("{} {next} {}", revision.serial, hexadecimal(&revision.data))
}

fn load_before(storage: &ClientStorage, oid: &str, before: &str) -> Result<String, Box<dyn Error>> {
    let found = storage.load_before(Oid::new(number(oid)?), Tid::new(number(before)?))?;
    Ok(found.as_ref().map_or("none".to_owned(), shown))
}

fn prefetch(
    storage: &ClientStorage,
    before: &str,
    oids: &[&str],
) -> Result<String, Box<dyn Error>> {
    let oids: Result<Vec<u64>, _> = oids.iter().map(|oid| number(oid)).collect();
    let oids: Vec<Oid> = oids?.into_iter().map(Oid::new).collect();
    storage.prefetch(&oids, Tid::new(number(before)?));
    // All answers have come by then.
    storage.ping()?;
    Ok(String::new())
}

/// `stores` are oids, serials and records, one behind the other.
fn commit(
    storage: &ClientStorage,
    description: &str,
    stores: &[&str],
) -> Result<String, Box<dyn Error>> {
    let mut transaction = storage.begin(TransactionMeta {
        description: description.as_bytes().to_vec(),
        ..TransactionMeta::default()
    })?;
    for store in stores.chunks_exact(3) {
        let (oid, serial) = (Oid::new(number(store[0])?), Tid::new(number(store[1])?));
        transaction.store(oid, serial, bytes(store[2])?)?;
    }
    let resolved = transaction.vote()?;
    let tid = transaction.finish()?;
    let resolved: Vec<String> = resolved.iter().map(|oid| id(oid.as_u64())).collect();
    Ok(format!("{tid} {}", resolved.join(" ")))
}

/// So many threads add one to a Length, so many times each, as often as it takes. Answers how many
/// conflicts there were.
fn add(
    storage: &ClientStorage,
    oid: &str,
    (threads, times): (&str, &str),
) -> Result<String, Box<dyn Error>> {
    let oid = Oid::new(number(oid)?);
    let (threads, times): (u32, u32) = (threads.parse()?, times.parse()?);
    let add_one = || -> Result<Tid, Failure> {
        let revision = storage.load(oid)?;
        let mut transaction = storage.begin(TransactionMeta::default())?;
        transaction.store(oid, revision.serial, larger(&revision.data))?;
        transaction.vote()?;
        transaction.finish()
    };
    let work = || -> Result<u64, Failure> {
        let mut conflicts = 0;
        for _ in 0..times {
            loop {
                match add_one() {
                    Ok(_) => break,
                    Err(why) if why.is_retryable() => conflicts += 1,
                    Err(why) => return Err(why),
                }
            }
        }
        Ok(conflicts)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut conflicts = 0;
        for thread in threads {
            conflicts += thread.join().map_err(|_| "a thread has panicked")??;
        }
        Ok(conflicts.to_string())
    })
}

/// The record of a Length that is larger by one.
fn larger(record: &[u8]) -> Vec<u8> {
    let mut pickles = Unpickler::new(record, &Policy::FILE);
    let _class = pickles.value();
    let class = pickles.position();
    let Ok(Value::Int(number)) = pickles.value() else {
        return record.to_vec();
    };
    let mut larger = record[..class].to_vec();
    // A number can be written.
    let _ = encode(&Value::Int(number + 1), &mut larger, Memo::Fast);
    larger
}

fn undo(storage: &ClientStorage) -> Result<String, Box<dyn Error>> {
    let log = storage.undo_info(0, 1, None)?;
    let last = log.first().and_then(|entry| entry.id());
    let mut transaction = storage.begin(TransactionMeta::default())?;
    transaction.undo(last.ok_or("there is nothing to undo")?)?;
    transaction.vote()?;
    Ok(transaction.finish()?.to_string())
}

/// A word for each record: tid, oid, what the transaction says, and the record.
fn iterate(storage: &ClientStorage) -> Result<String, Box<dyn Error>> {
    let mut words = Vec::new();
    for transaction in storage.iterator(None, None)? {
        let transaction = transaction?;
        let about = hexadecimal(&transaction.meta.description);
        for record in transaction.records {
            let record = record?;
            let data = record
                .data
                .as_deref()
                .map_or("none".to_owned(), hexadecimal);
            words.push(format!(
                "{}:{}:{about}:{data}",
                record.tid,
                id(record.oid.as_u64())
            ));
        }
    }
    Ok(words.join(" "))
}

fn current(storage: &ClientStorage) -> Result<String, Box<dyn Error>> {
    let mut words = Vec::new();
    for record in storage.current_records()? {
        let record = record?;
        let (oid, data) = (id(record.oid.as_u64()), hexadecimal(&record.data));
        words.push(format!("{oid}:{}:{data}", record.serial));
    }
    Ok(words.join(" "))
}
