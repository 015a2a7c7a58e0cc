//! What the tests of this crate share: transactions in few words, here; files
//! built in memory ([`files`]); a disk that counts its steps ([`disk`]); and an
//! observer that cancels ([`Cancelling`]).

mod cancelling;
pub mod disk;
pub mod files;

use std::sync::{Arc, Mutex};

use zeo_proto::{Oid, Tid};

pub use self::cancelling::Cancelling;
use crate::file_storage::Options;
use crate::log::{Level, Log};
use crate::storage::{Commit, OnConflict, Op, Prepared, TransactionMeta, Vote};
use crate::{Error, Result, Storage};

pub fn oid(number: u64) -> Oid {
    Oid::new(number)
}

pub fn tid(number: u64) -> Tid {
    Tid::new(number)
}

pub fn store(number: u64, serial: u64, data: impl AsRef<[u8]>) -> Op {
    Op::Store {
        oid: oid(number),
        serial: tid(serial),
        data: data.as_ref().to_vec(),
    }
}

/// Of a transaction without texts.
pub fn meta() -> TransactionMeta {
    TransactionMeta {
        status: b' ',
        ..TransactionMeta::default()
    }
}

pub fn vote(storage: &dyn Storage, ops: impl AsRef<[Op]>, mode: OnConflict) -> Result<Vote> {
    let ops = ops.as_ref().iter().cloned();
    storage.prepare(&meta(), &mut ops.map(Ok), mode)
}

/// A vote that succeeds, or fails for another reason than conflicts.
pub fn prepare(storage: &dyn Storage, ops: impl AsRef<[Op]>) -> Result<Prepared> {
    match vote(storage, ops, OnConflict::Resolve)? {
        Vote::Ready(prepared) => Ok(prepared),
        Vote::Conflicts(conflicts) => panic!("{conflicts:?}"),
    }
}

/// Appends a transaction with this tid; it is not visible yet.
pub fn append(storage: &dyn Storage, tid: Tid, prepared: Prepared) -> Result<Commit> {
    let mut batch = [Commit { tid, prepared }];
    storage.append(&mut batch)?;
    let [commit] = batch;
    Ok(commit)
}

/// Appends and publishes a transaction with this tid.
pub fn finish(storage: &dyn Storage, tid: Tid, prepared: Prepared) -> Result<()> {
    storage.publish(&append(storage, tid, prepared)?);
    Ok(())
}

/// Commits a transaction of user "u" that asks for this tid; the oids that the
/// vote answers.
pub fn commit_under(storage: &dyn Storage, number: u64, ops: impl AsRef<[Op]>) -> Result<Vec<Oid>> {
    let meta = TransactionMeta {
        user: b"u".to_vec(),
        tid: Some(tid(number)),
        ..meta()
    };
    let mut ops = ops.as_ref().iter().cloned().map(Ok);
    let Vote::Ready(prepared) = storage.prepare(&meta, &mut ops, OnConflict::Resolve)? else {
        panic!("conflicts are reported, though they were to be resolved");
    };
    let resolved = prepared.resolved.clone();
    finish(storage, tid(number), prepared)?;
    Ok(resolved)
}

/// Commits a transaction with this tid.
pub fn commit(storage: &dyn Storage, number: u64, ops: impl AsRef<[Op]>) -> Result<()> {
    finish(storage, tid(number), prepare(storage, ops)?)
}

/// The current data of an object; `None` when there is no such object.
pub fn load(storage: &dyn Storage, number: u64) -> Option<String> {
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
    (Options::with(|options| options.log = log), messages)
}

pub fn read_only() -> Options {
    Options::with(|options| options.read_only = true)
}
