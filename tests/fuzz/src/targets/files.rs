//! What stands in files.

use std::fs;
use std::sync::Arc;

use zeo_proto::pickle::{self, Memo, Policy};
use zeo_proto::{Oid, Tid, Value};
use zeo_server::Config;
use zeo_storage::backend::{Backend, MemoryBackend};
use zeo_storage::file_storage::Options;
use zeo_storage::storage::{Op, TransactionMeta};
use zeo_storage::{FileStorage, Storage, conflict, record, zconfig};

use super::{MIB, Subject, Target};
use crate::corpus;

pub const CLASS_NAME: Target = Target {
    name: "class-name",
    corpus: corpus::records,
    prepare: || {
        Box::new(|input| {
            let _ = record::class_name(input);
            Ok(())
        })
    },
    slack: 16 * MIB,
};

pub const EXTENSION: Target = Target {
    name: "extension",
    corpus: || vec![corpus::extension()],
    prepare: || {
        Box::new(|input| {
            if let Ok(value @ Value::Dict(_)) = pickle::decode(input, &Policy::FILE) {
                let mut out = Vec::new();
                let _ = pickle::encode(&value.into_owned(), &mut out, Memo::Memoizing);
            }
            Ok(())
        })
    },
    slack: 16 * MIB,
};

pub const RESOLVE: Target = Target {
    name: "resolve",
    corpus: || {
        let split = |record: Vec<u8>| [&record[..], b"|||", &record, b"|||", &record].concat();
        corpus::records().into_iter().map(split).collect()
    },
    prepare: || Box::new(resolve),
    // Compressed records are taken up to 64 MiB each.
    slack: 256 * MIB,
};

/// Three states, divided by `|||`.
fn resolve(input: &[u8]) -> Result<(), String> {
    let mut states = [&[][..]; 3];
    let mut rest = input;
    for state in &mut states {
        let end = rest
            .windows(3)
            .position(|three| three == b"|||")
            .unwrap_or(rest.len());
        *state = rest.get(..end).unwrap_or_default();
        rest = rest.get(end + 3..).unwrap_or_default();
    }
    let [old, committed, new] = states;
    let _ = conflict::resolve(old, committed, new, None);
    Ok(())
}

/// An index page holds many oids, and a file may name far-apart ones.
const FILE_SLACK: usize = 64 * MIB;

pub const FILE: Target = Target {
    name: "file",
    corpus: corpus::files,
    prepare: || Box::new(|input| over(input, true)),
    slack: FILE_SLACK,
};

pub const WRITABLE_FILE: Target = Target {
    name: "writable-file",
    corpus: corpus::files,
    prepare: || Box::new(|input| over(input, false)),
    slack: FILE_SLACK,
};

fn over(input: &[u8], read_only: bool) -> Result<(), String> {
    let backend = MemoryBackend::default();
    backend
        .write_all_at(input, 0)
        .map_err(|why| why.to_string())?;
    let options = Options::with(|options| options.read_only = read_only);
    if let Ok(storage) = FileStorage::over(Arc::new(backend), "fuzz", &options) {
        read_everything(&storage);
        if !read_only {
            write_something(&storage)?;
            read_everything(&storage);
        }
    }
    Ok(())
}

fn read_everything(storage: &FileStorage) {
    let mut oids: Vec<Oid> = [0, 1, 2, 3, u64::MAX].map(Oid::new).to_vec();
    let mut tids = vec![Tid::ZERO, Tid::MAX, storage.last_tid()];
    if let Ok(transactions) = storage.iterator(None, None) {
        for transaction in transactions.take(1000).flatten() {
            tids.push(transaction.tid);
            oids.extend(
                (transaction.records)()
                    .take(100)
                    .flatten()
                    .map(|record| record.oid),
            );
        }
    }
    oids.sort_unstable();
    oids.dedup();
    tids.truncate(30);
    for &oid in oids.iter().take(50) {
        let _ = storage.get_tid(oid);
        let _ = storage.history(oid, 100);
        let _ = storage.record_iternext(Some(oid));
        for &tid in &tids {
            let _ = storage.load_before(oid, tid);
            let _ = storage.load_serial(oid, tid);
        }
    }
    for &tid in &tids {
        let _ = storage
            .iterator(Some(tid), None)
            .map(|found| found.take(3).count());
    }
    let _ = storage.undo_log(0, 100, &mut |_| Ok(true));
    let _ = storage.last_invalidations(100);
    let _ = (
        storage.new_oid(),
        storage.len(),
        storage.size(),
        storage.capabilities(),
    );
}

/// Every kind of step; those that are taken can be read again.
fn write_something(storage: &FileStorage) -> Result<(), String> {
    let data = || b"\x80\x03cm\nC\n.\x80\x03}.".to_vec();
    let oid = Oid::new(1);
    let last = storage.last_tid();
    let serial = storage.get_tid(oid).unwrap_or(Tid::ZERO);
    for op in [
        Op::Store {
            oid,
            serial,
            data: data(),
        },
        Op::Store {
            oid,
            serial: Tid::ZERO,
            data: data(),
        },
        Op::Check { oid, serial },
        Op::Delete { oid, serial },
        Op::Restore {
            oid,
            serial: last,
            data: Some(data()),
            prev_tid: Some(last),
        },
        Op::Undo { tid: last },
        Op::Undo { tid: Tid::ZERO },
    ] {
        let Some(tid) = storage.last_tid().later_than(storage.last_tid()) else {
            return Ok(());
        };
        let is_store = matches!(op, Op::Store { .. });
        let meta = TransactionMeta {
            status: b' ',
            ..TransactionMeta::default()
        };
        if corpus::commit(storage, &meta, vec![op], tid)
            && is_store
            && storage.load_serial(oid, tid).is_err()
        {
            return Err("what was committed can't be loaded".to_owned());
        }
    }
    Ok(())
}

pub const INDEX: Target = Target {
    name: "index",
    corpus: || with_directory(|path| fs::read(path.join("Data.fs.index")).into_iter().collect()),
    prepare: index,
    slack: FILE_SLACK,
};

/// A good file with any index beside it.
fn index() -> Subject {
    let directory = tempfile::tempdir().ok();
    Box::new(move |input| {
        let path = directory.as_ref().ok_or("no directory")?.path();
        let file = corpus::files().pop().unwrap_or_default();
        let write =
            |name, bytes: &[u8]| fs::write(path.join(name), bytes).map_err(|why| why.to_string());
        if !path.join("Data.fs").exists() {
            write("Data.fs", &file)?;
        }
        write("Data.fs.index", input)?;
        let options = Options::with(|options| options.read_only = true);
        // The file itself is good: whatever the index says, it opens.
        let storage =
            FileStorage::open(path.join("Data.fs"), options).map_err(|why| why.to_string())?;
        read_everything(&storage);
        Ok(())
    })
}

/// What can be found where a good file has been opened and closed.
fn with_directory<T: Default>(look: impl Fn(&std::path::Path) -> T) -> T {
    let Ok(directory) = tempfile::tempdir() else {
        return T::default();
    };
    let path = directory.path().join("Data.fs");
    let written = fs::write(&path, corpus::files().pop().unwrap_or_default());
    let opened = written
        .ok()
        .and_then(|()| FileStorage::open(&path, Options::default()).ok());
    let closed = opened.and_then(|storage| storage.close().ok());
    closed.map(|()| look(directory.path())).unwrap_or_default()
}

pub const CONFIGURATION: Target = Target {
    name: "configuration",
    corpus: corpus::configurations,
    prepare: || {
        let directory = tempfile::tempdir().ok();
        Box::new(move |input| {
            let path = directory
                .as_ref()
                .ok_or("no directory")?
                .path()
                .join("zeo.conf");
            fs::write(&path, input).map_err(|why| why.to_string())?;
            let environment = |name: &str| (name == "HOME").then(|| "/home".to_owned());
            if let Ok(root) = zconfig::load(&path, &environment) {
                let _ = Config::from_tree(&root);
            }
            Ok(())
        })
    },
    slack: 16 * MIB,
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs get far only if what they are made of is good.
    #[test]
    fn the_corpus_is_understood() {
        let resolved = corpus::records()
            .iter()
            .filter(|record| conflict::resolve(record, record, record, None).is_ok())
            .count();
        assert!(resolved >= 3, "{resolved} records");
        let backend = MemoryBackend::default();
        let file = corpus::files().pop().unwrap();
        backend.write_all_at(&file, 0).unwrap();
        let storage = FileStorage::over(Arc::new(backend), "corpus", &Options::default()).unwrap();
        assert_eq!(storage.iterator(None, None).unwrap().flatten().count(), 9);
        assert!(with_directory(|path| path.join("Data.fs.index").exists()));
        let good = corpus::configurations();
        assert!(good.iter().all(|text| std::str::from_utf8(text).is_ok()));
    }
}
