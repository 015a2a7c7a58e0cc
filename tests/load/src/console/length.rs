//! Threads that change one object at the same time.

use std::thread;

use zeo_client::{ClientStorage, Error};
use zeo_proto::pickle::{Memo, Policy, Unpickler, encode};
use zeo_proto::{Oid, Value};
use zeo_storage::storage::TransactionMeta;

use crate::args::Failure;

/// So many threads add one to a Length, so many times each, as often as it takes. Returns how many
/// conflicts there were.
pub fn add(storage: &ClientStorage, oid: Oid, threads: u64, times: u64) -> Result<u64, Failure> {
    let work = || {
        (0..times).try_fold(0, |conflicts, _| {
            Ok(conflicts + add_one_at_last(storage, oid)?)
        })
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let done = threads.into_iter().map(|thread| {
            let panicked = |_| Err(Failure::Other("a thread has panicked".to_owned()));
            thread.join().unwrap_or_else(panicked)
        });
        done.sum()
    })
}

/// Adds one; returns how many conflicts there were before.
fn add_one_at_last(storage: &ClientStorage, oid: Oid) -> Result<u64, Failure> {
    let mut conflicts = 0;
    loop {
        match add_one(storage, oid) {
            Err(Failure::Storage(why)) if why.is_retryable() => conflicts += 1,
            done => return done.map(|()| conflicts),
        }
    }
}

fn add_one(storage: &ClientStorage, oid: Oid) -> Result<(), Failure> {
    let revision = storage.load(oid)?;
    let record = larger(&revision.data)
        .ok_or_else(|| Failure::Other(format!("object {oid} is no Length")))?;
    let done = || -> Result<(), Error> {
        let mut transaction = storage.begin(TransactionMeta::default())?;
        transaction.store(oid, revision.serial, record)?;
        transaction.vote()?;
        transaction.finish().map(drop)
    };
    Ok(done()?)
}

/// The record of a Length that is larger by one.
fn larger(record: &[u8]) -> Option<Vec<u8>> {
    let mut pickles = Unpickler::new(record, &Policy::FILE);
    pickles.value().ok()?;
    let class = pickles.position();
    let Value::Int(number) = pickles.value().ok()? else {
        return None;
    };
    let mut larger = record.get(..class)?.to_vec();
    encode(&Value::Int(number + 1), &mut larger, Memo::Fast).ok()?;
    Some(larger)
}
