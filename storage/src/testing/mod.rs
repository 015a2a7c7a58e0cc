//! What the tests of storages share that stand on others.

use zeo_proto::{Oid, Tid};

use crate::storage::{Commit, OnConflict, Op, TransactionMeta, Vote};
use crate::{Result, Storage};

pub fn oid(number: u64) -> Oid {
    Oid::new(number)
}

pub fn tid(number: u64) -> Tid {
    Tid::new(number)
}

pub fn store(number: u64, serial: u64, data: impl Into<Vec<u8>>) -> Op {
    Op::Store {
        oid: oid(number),
        serial: tid(serial),
        data: data.into(),
    }
}

/// A vote on a transaction of user "u" that is to have this tid.
pub fn vote(storage: &dyn Storage, number: u64, ops: &[Op], mode: OnConflict) -> Result<Vote> {
    let meta = TransactionMeta {
        user: b"u".to_vec(),
        description: b"d".to_vec(),
        tid: Some(tid(number)),
        status: b' ',
        ..TransactionMeta::default()
    };
    storage.prepare(&meta, &mut ops.iter().cloned().map(Ok), mode)
}

/// Commits a transaction with this tid; the oids that the vote answers.
pub fn commit(storage: &dyn Storage, number: u64, ops: &[Op]) -> Result<Vec<Oid>> {
    let Vote::Ready(prepared) = vote(storage, number, ops, OnConflict::Resolve)? else {
        panic!("conflicts are reported, though they were to be resolved");
    };
    let resolved = prepared.resolved.clone();
    let tid = tid(number);
    let mut batch = [Commit { tid, prepared }];
    storage.append(&mut batch)?;
    storage.publish(&batch[0]);
    Ok(resolved)
}
