//! What is measured.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use zeo_client::ClientStorage;
use zeo_client::db::Db;
use zeo_proto::{Oid, Tid};
use zeo_storage::storage::TransactionMeta;

use crate::measured::{Failure, measured};

/// Bytes of a record.
const SIZE: usize = 1000;
/// What a record begins with: a PersistentMapping, so that Python can read it.
const RECORD: &[u8] =
    b"\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}X\x04\0\0\0data}ss.";
/// Later than each transaction.
const LATEST: Tid = Tid::new(i64::MAX as u64);

fn shuffled(objects: u64) -> Vec<Oid> {
    let mut oids: Vec<Oid> = (1..=objects).map(Oid::new).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut oids);
    oids
}

/// Objects that are not in the cache, each once.
pub fn loads(storage: &ClientStorage, objects: u64, threads: usize) -> Result<Value, Failure> {
    let oids = &shuffled(objects);
    let some = |number| {
        for &oid in oids.iter().skip(number).step_by(threads) {
            storage.load(oid)?;
        }
        Ok::<_, Failure>(())
    };
    measured(|| {
        thread::scope(|scope| {
            let running: Vec<_> = (0..threads)
                .map(|number| scope.spawn(move || some(number)))
                .collect();
            for thread in running {
                thread.join().map_err(|_| "a thread failed")??;
            }
            Ok(objects)
        })
    })
}

/// Objects that are in the cache, and were loaded before.
pub fn cached(
    storage: &ClientStorage,
    objects: u64,
    passes: u64,
    threads: usize,
) -> Result<Value, Failure> {
    let oids = &shuffled(objects);
    storage.prefetch(oids, LATEST);
    for &oid in oids {
        storage.load(oid)?;
    }
    let all = || {
        for _ in 0..passes {
            for &oid in oids {
                black_box(storage.load(oid)?);
            }
        }
        Ok::<_, Failure>(())
    };
    measured(|| {
        thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(all)).collect();
            for thread in running {
                thread.join().map_err(|_| "a thread failed")??;
            }
            Ok(objects * passes * threads as u64)
        })
    })
}

/// Objects that are in the cache, and were not loaded before.
pub fn first(storage: &ClientStorage, objects: u64) -> Result<Value, Failure> {
    let mut oids = shuffled(objects);
    storage.prefetch(&oids, LATEST);
    let &last = oids.last().ok_or("no objects")?;
    storage.load_before(last, LATEST)?;
    oids.pop();
    measured(|| {
        for &oid in &oids {
            black_box(storage.load(oid)?);
        }
        Ok(objects - 1)
    })
}

/// Until the last one is there.
pub fn prefetch(storage: &ClientStorage, objects: u64) -> Result<Value, Failure> {
    let oids = shuffled(objects);
    let &last = oids.last().ok_or("no objects")?;
    measured(|| {
        storage.prefetch(&oids, LATEST);
        storage.load_before(last, LATEST)?;
        Ok(objects)
    })
}

/// One object, again and again; the median.
pub fn commit(storage: &ClientStorage, commits: usize) -> Result<Value, Failure> {
    let (oid, mut serial) = (storage.new_oid()?, Tid::ZERO);
    let mut record = RECORD.to_vec();
    record.resize(SIZE, 0);
    let mut times = Vec::with_capacity(commits);
    let mut report = measured(|| {
        for _ in 0..commits {
            let began = Instant::now();
            let mut transaction = storage.begin(TransactionMeta::default())?;
            transaction.store(oid, serial, record.clone())?;
            transaction.vote()?;
            serial = transaction.finish()?;
            times.push(began.elapsed().as_secs_f64());
        }
        Ok(commits as u64)
    })?;
    times.sort_by(f64::total_cmp);
    if let Some(report) = report.as_object_mut() {
        report.insert("median".into(), json!(times.get(commits / 2)));
    }
    Ok(report)
}

/// All records of all transactions.
pub fn iterate(storage: &ClientStorage) -> Result<Value, Failure> {
    measured(|| {
        let mut records = 0;
        for transaction in storage.iterator(None, None)? {
            for record in transaction?.records {
                black_box(record?);
                records += 1;
            }
        }
        Ok(records)
    })
}

/// All items of a BTree, through a connection that has no objects yet.
pub fn walk(storage: ClientStorage) -> Result<Value, Failure> {
    let db = Db::new(storage);
    measured(|| {
        let mut connection = db.connect();
        let transaction = connection.begin()?;
        let tree = transaction.root()?.mapping()?.follow("tree")?.tree()?;
        let mut items = 0;
        for item in tree.iter() {
            black_box(item?);
            items += 1;
        }
        Ok(items)
    })
}
