//! Copies a live database, with its history and its blobs, into a new Data.fs.
//!
//! ```text
//! runzeo -a 8100 -f Data.fs
//! cargo run --example copy_database -- localhost:8100 copy/Data.fs copy/blobs
//! ```
//!
//! What is committed while it runs may be left out. Without a directory for blobs, there must be
//! none.
use std::collections::HashSet;
use std::error::Error;
use std::io::{self, Write, stdout};
use std::sync::Arc;

use zeo_client::zeo_storage::blob::is_blob;
use zeo_client::zeo_storage::file_storage::{FileStorage, Options};
use zeo_client::zeo_storage::storage::{Commit, DataRecord, OnConflict, Op, Vote};
use zeo_client::zeo_storage::{Error as StorageError, Storage};
use zeo_client::{ClientStorage, IteratedTransaction, Tid};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (address, file, blobs) = match args.as_slice() {
        [address, file] => (address, file, None),
        [address, file, blobs] => (address, file, Some(blobs)),
        _ => return Err("usage: copy_database ADDRESS DATA.FS [BLOBS]".into()),
    };
    let mut builder = ClientStorage::builder(address.parse()?).read_only(true);
    // Its own files come and go.
    let cache = tempfile::tempdir()?;
    if blobs.is_some() {
        builder = builder.blob_dir(cache.path());
    }
    let source = builder.open()?;
    let options = Options::with(|options| options.blob_dir = blobs.map(Into::into));
    let copy = FileStorage::open(file, options)?;
    if copy.last_tid() != Tid::ZERO {
        return Err(format!("{file} is not empty").into());
    }
    let mut count = 0;
    for transaction in source.iterator(None, None)? {
        put(&source, &copy, transaction?)?;
        count += 1;
    }
    copy.close()?;
    writeln!(stdout(), "{count} transactions copied")?;
    Ok(())
}

/// Writes a transaction as it was.
fn put(
    source: &ClientStorage,
    copy: &FileStorage,
    transaction: IteratedTransaction,
) -> Result<(), Box<dyn Error>> {
    let IteratedTransaction {
        tid, meta, records, ..
    } = transaction;
    let mut done = HashSet::new();
    let mut ops = records.flat_map(|record| match record {
        Ok(record) => {
            // Python's client stores the record of a blob twice.
            let is_new = done.insert(record.oid);
            let file = is_new.then(|| blob(source, copy, &record)).flatten();
            let restore = Op::Restore {
                oid: record.oid,
                serial: record.tid,
                data: record.data.map(|data| data.to_vec()),
                prev_tid: record.data_txn,
            };
            [Some(Ok(restore)), file].into_iter().flatten().collect()
        }
        Err(error) => vec![Err(StorageError::Value(error.to_string()))],
    });
    let Vote::Ready(prepared) = copy.prepare(&meta, &mut ops, OnConflict::Resolve)? else {
        return Err(format!("transaction {tid} conflicts with another one").into());
    };
    let mut batch = [Commit { tid, prepared }];
    if let Some((_, why)) = copy.append(&mut batch)?.refused.into_iter().next() {
        return Err(why.into());
    }
    batch.iter().for_each(|commit| copy.publish(commit));
    Ok(())
}

/// The file of a record's blob, if it has one.
fn blob(
    source: &ClientStorage,
    copy: &FileStorage,
    record: &DataRecord,
) -> Option<Result<Op, StorageError>> {
    if !record.data.as_deref().is_some_and(is_blob) {
        return None;
    }
    let failed = |what: &dyn std::fmt::Display| {
        let oid = record.oid;
        StorageError::Value(format!("the blob of object {oid} can't be copied: {what}"))
    };
    let Some(blobs) = copy.blobs() else {
        return Some(Err(failed(&"no directory for blobs is given")));
    };
    let copied = source.open_blob(record.oid, record.tid);
    let copied = copied.map_err(|error| failed(&error)).and_then(|mut from| {
        let (mut to, file) = blobs.new_file()?;
        io::copy(&mut from, &mut to).map_err(|error| failed(&error))?;
        Ok(Op::Blob {
            oid: record.oid,
            serial: Some(record.tid),
            file: Arc::new(file),
        })
    });
    Some(copied)
}
