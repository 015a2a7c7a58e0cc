//! The calls of a storage.

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use zeo_client::{ClientStorage, Error, Tpc, Unfinished};
use zeo_storage::storage::TransactionMeta;

use crate::args::{Args, Failure};
use crate::length;
use crate::shown::{entries, hex, oids, revision, value};

type Done = Result<Value, Failure>;

/// The last transaction of which it is not known whether it is committed.
static UNFINISHED: Mutex<Option<Arc<Unfinished>>> = Mutex::new(None);

/// Calls that need no transaction of the caller.
pub fn read(storage: &ClientStorage, call: &str, args: &Args<'_>) -> Done {
    Ok(match call {
        "load" => revision(&storage.load(args.oid()?)?),
        "load_before" => {
            let found = storage.load_before(args.oid()?, args.tid("before")?)?;
            json!(found.as_ref().map(revision))
        }
        "load_serial" => json!(hex(&storage.load_serial(args.oid()?, args.tid("serial")?)?)),
        "prefetch" => {
            storage.prefetch(&args.oids()?, args.tid("before")?);
            Value::Null
        }
        "new_oid" => json!(hex(&storage.new_oid()?.to_bytes())),
        "last_tid" => json!(hex(&storage.last_tid().to_bytes())),
        "is_read_only" => json!(storage.is_read_only()),
        "is_connected" => json!(storage.is_connected()),
        "info" => {
            let info = storage.info();
            json!({"name": info.name, "length": info.sizes.length, "size": info.sizes.size,
                   "supports_undo": info.supports_undo})
        }
        "ping" => json!(storage.ping()?),
        "sync" => json!(storage.sync()?),
        "get_tid" => json!(hex(&storage.get_tid(args.oid()?)?.to_bytes())),
        "server_last_tid" => json!(hex(&storage.server_last_tid()?.to_bytes())),
        "server_status" => {
            let status = storage.server_status()?;
            { status.iter() }
                .map(|(name, found)| (name.clone(), value(found)))
                .collect()
        }
        "add" => {
            let (threads, times) = (args.number("threads")?, args.number("times")?);
            json!(length::add(storage, args.oid()?, threads, times)?)
        }
        "pack" => {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(args.seconds("time")?);
            json!(storage.pack(time, true)?)
        }
        _ => return told(storage, call, args),
    })
}

/// What a storage tells of its history.
fn told(storage: &ClientStorage, call: &str, args: &Args<'_>) -> Done {
    Ok(match call {
        "history" => {
            let found = storage.history(args.oid()?, args.number("size")? as usize)?;
            entries(found.iter().map(|entry| entry.items()))
        }
        "undo_log" => entries(storage.undo_log(0, -20)?.iter().map(|entry| entry.items())),
        "undo_info" => entries(
            storage
                .undo_info(0, -20, None)?
                .iter()
                .map(|entry| entry.items()),
        ),
        "record_iternext" => {
            let from = args.optional("oid", Args::oid)?;
            let found = storage.record_iternext(from)?;
            let next = found.next.map(|next| hex(&next.to_bytes()));
            json!([
                hex(&found.oid.to_bytes()),
                hex(&found.serial.to_bytes()),
                hex(&found.data),
                next
            ])
        }
        "iterate" => iterate(storage, args)?,
        "current_records" => current_records(storage)?,
        "open_blob" => {
            let mut content = Vec::new();
            storage
                .open_blob(args.oid()?, args.tid("serial")?)?
                .read_to_end(&mut content)?;
            json!(hex(&content))
        }
        "outcome" => {
            let last = UNFINISHED
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let last = last.ok_or_else(|| Failure::Usage("there is none".to_owned()))?;
            json!(storage.outcome(&last)?.map(|tid| hex(&tid.to_bytes())))
        }
        _ => return Err(Failure::Usage(format!("there is no call {call}"))),
    })
}

/// Each transaction: its id, status, user, description, and records.
fn iterate(storage: &ClientStorage, args: &Args<'_>) -> Done {
    let start = args.optional("start", |args| args.tid("start"))?;
    let stop = args.optional("stop", |args| args.tid("stop"))?;
    let mut found = Vec::new();
    for transaction in storage.iterator(start, stop)? {
        let transaction = transaction?;
        let (tid, status, meta) = (transaction.tid, transaction.status, transaction.meta);
        let mut records = Vec::new();
        for record in transaction.records {
            let record = record?;
            let data = record.data.map(|data| hex(&data));
            let data_txn = record.data_txn.map(|tid| hex(&tid.to_bytes()));
            records.push(json!([
                hex(&record.oid.to_bytes()),
                hex(&record.tid.to_bytes()),
                data,
                data_txn
            ]));
        }
        found.push(json!([
            hex(&tid.to_bytes()),
            char::from(status).to_string(),
            hex(&meta.user),
            hex(&meta.description),
            records,
        ]));
    }
    Ok(json!(found))
}

/// Each object: its oid, serial and record.
fn current_records(storage: &ClientStorage) -> Done {
    let mut found = Vec::new();
    for record in storage.current_records()? {
        let record = record?;
        found.push(json!([
            hex(&record.oid.to_bytes()),
            hex(&record.serial.to_bytes()),
            hex(&record.data)
        ]));
    }
    Ok(json!(found))
}

/// Calls of a transaction; none if this is no such call.
pub fn write<'a>(
    storage: &'a ClientStorage,
    transaction: &mut Option<Tpc<'a>>,
    call: &str,
    args: &Args<'_>,
) -> Option<Done> {
    let done = match call {
        "begin" => begin(storage, args).map(|begun| *transaction = Some(begun)),
        "abort" => {
            drop(transaction.take());
            Ok(())
        }
        "finish" => return Some(finish(transaction.take())),
        "vote" => return Some(vote(transaction)),
        "store" | "store_blob" | "delete" | "check_current" | "undo" | "restore" => {
            match transaction {
                Some(transaction) => step(transaction, call, args),
                None => Err(Failure::Usage(format!("{call} without a transaction"))),
            }
        }
        _ => return None,
    };
    Some(done.map(|()| Value::Null))
}

fn begin<'a>(storage: &'a ClientStorage, args: &Args<'_>) -> Result<Tpc<'a>, Failure> {
    let bytes = |name: &str| args.text(name).unwrap_or_default().as_bytes().to_vec();
    let meta = TransactionMeta {
        user: bytes("user"),
        description: bytes("description"),
        extension: args.bytes("extension").unwrap_or_default(),
        tid: args.optional("tid", |args| args.tid("tid"))?,
        ..TransactionMeta::default()
    };
    Ok(storage.begin(meta)?)
}

fn vote(transaction: &mut Option<Tpc<'_>>) -> Done {
    match transaction {
        Some(transaction) => Ok(oids(&transaction.vote()?)),
        None => Err(Failure::Usage("vote without a transaction".to_owned())),
    }
}

/// Finishes a transaction.
pub fn finish(transaction: Option<Tpc<'_>>) -> Done {
    match transaction {
        Some(transaction) => match transaction.finish() {
            Ok(tid) => Ok(json!(hex(&tid.to_bytes()))),
            Err(why) => {
                if let Error::OutcomeUnknown(unfinished) = &why {
                    let last = &mut *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
                    *last = Some(Arc::clone(unfinished));
                }
                Err(why.into())
            }
        },
        None => Err(Failure::Usage("finish without a transaction".to_owned())),
    }
}

fn step(transaction: &mut Tpc<'_>, call: &str, args: &Args<'_>) -> Result<(), Failure> {
    let serial = || args.tid("serial");
    match call {
        "store" => transaction.store(args.oid()?, serial()?, args.bytes("data")?)?,
        "store_blob" => {
            let path = Path::new(args.text("path")?);
            transaction.store_blob(args.oid()?, serial()?, args.bytes("data")?, path)?;
        }
        "delete" => transaction.delete(args.oid()?, serial()?)?,
        "check_current" => transaction.check_current(args.oid()?, serial()?)?,
        "undo" => transaction.undo(&args.bytes("undo_id")?)?,
        _ => {
            let data = args.optional("data", |args| args.bytes("data"))?;
            let prev = args.optional("prev_tid", |args| args.tid("prev_tid"))?;
            transaction.restore(args.oid()?, serial()?, data, prev)?;
        }
    }
    Ok(())
}
