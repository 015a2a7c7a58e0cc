//! What the tests here share.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use zeo_proto::{Oid, Tid};

use crate::file_storage::{FileStorage, Options};
use crate::log::{Level, Log};
use crate::storage::{Commit, OnConflict, Op, Prepared, TransactionMeta, Vote};
use crate::{Error, Result, Storage};

pub fn oid(number: u64) -> Oid {
    Oid::new(number)
}

pub fn tid(number: u64) -> Tid {
    Tid::new(number)
}

pub fn meta() -> TransactionMeta {
    TransactionMeta {
        status: b' ',
        ..TransactionMeta::default()
    }
}

pub fn store(number: u64, serial: u64, data: &str) -> Op {
    Op::Store {
        oid: oid(number),
        serial: tid(serial),
        data: data.into(),
    }
}

pub fn vote(storage: &FileStorage, ops: Vec<Op>, on_conflict: OnConflict) -> Result<Vote> {
    storage.prepare(&meta(), &mut ops.into_iter().map(Ok), on_conflict)
}

pub fn prepare(storage: &FileStorage, ops: Vec<Op>) -> Result<Prepared> {
    match vote(storage, ops, OnConflict::Resolve)? {
        Vote::Ready(prepared) => Ok(prepared),
        Vote::Conflicts(conflicts) => panic!("{conflicts:?}"),
    }
}

pub fn commit(storage: &FileStorage, number: u64, ops: Vec<Op>) -> Result<()> {
    let prepared = prepare(storage, ops)?;
    let mut batch = [Commit {
        tid: tid(number),
        prepared,
    }];
    storage.append(&mut batch)?;
    storage.publish(&batch[0]);
    Ok(())
}

/// The current data of an object; `None` when there is no such object.
pub fn load(storage: &FileStorage, number: u64) -> Option<String> {
    match storage.load_before(oid(number), Tid::MAX) {
        Ok(found) => Some(String::from_utf8(found?.data.to_vec()).unwrap()),
        Err(Error::NoObject(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// What a storage said.
pub type Messages = Arc<Mutex<Vec<(Level, String)>>>;

/// Options whose messages are kept.
pub fn listening() -> (Options, Messages) {
    let messages = Messages::default();
    let kept = Arc::clone(&messages);
    let log: Log = Arc::new(move |level, text| kept.lock().unwrap().push((level, text.to_owned())));
    let options = Options {
        log,
        ..Options::default()
    };
    (options, messages)
}

pub fn read_only() -> Options {
    Options {
        read_only: true,
        ..Options::default()
    }
}

/// A file that Python made: see `testdata/generate/make_commit_data.py`.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/commits")
        .join(name)
}
