//! Clients with a cache on disk, through losses of the connection, and ends of their process: what
//! they read is held to the truth.
//!
//! The objects come in groups. Each transaction writes all objects of a group, with the same stamp. So
//! in any snapshot they have the same serial and the same stamp; and who has committed
//! sees that, or something later, in each later snapshot.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use serde_json::{Value, json};
use zeo_client::{Address, ClientStorage};
use zeo_proto::{Oid, Tid};
use zeo_storage::storage::{Revision, TransactionMeta};

use crate::error::{Error, Result};
use crate::record::{record, stamp};

const THREADS: usize = 4;
const GROUPS: u64 = 12;
const SIZE: u64 = 4;
/// Less than all records take, so that some are evicted.
const CACHE_SIZE: u64 = 24_000;
/// A line of progress comes after so many transactions.
const PROGRESS: u64 = 25;

struct Storm {
    storage: ClientStorage,
    /// The last transaction of each group that was acknowledged.
    acknowledged: Vec<AtomicU64>,
    reads: AtomicU64,
    commits: AtomicU64,
    over: AtomicBool,
}

/// Reads and commits until standard input ends; prints a line now and then. The cache is at `cache`.
pub fn storm(server: &Address, cache: &Path) -> Result<Value> {
    let storm = Storm {
        storage: connected(server, Some(cache))?,
        acknowledged: (0..GROUPS).map(|_| AtomicU64::default()).collect(),
        reads: AtomicU64::default(),
        commits: AtomicU64::default(),
        over: AtomicBool::default(),
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| storm.work())).collect();
        let mut sink = [0; 64];
        while std::io::stdin()
            .read(&mut sink)
            .is_ok_and(|count| count > 0)
        {}
        storm.over.store(true, SeqCst);
        threads
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => Err(Error::Usage("a thread has panicked".to_owned())),
            })
    })?;
    storm.compare(&connected(server, None)?)?;
    Ok(json!({"reads": storm.reads.into_inner(), "commits": storm.commits.into_inner()}))
}

fn connected(server: &Address, cache: Option<&Path>) -> Result<ClientStorage> {
    let mut builder = ClientStorage::builder(server.clone())
        .wait_timeout(Duration::from_secs(120))
        .disconnect_poll(Duration::from_millis(20), Duration::from_millis(200));
    if let Some(cache) = cache {
        builder = builder.cache(cache, CACHE_SIZE);
    }
    builder.open().map_err(wrong)
}

impl Storm {
    fn work(&self) -> Result<()> {
        let mut random = fastrand::Rng::new();
        while !self.over.load(SeqCst) {
            let group = random.u64(..GROUPS);
            match self.transaction(group, random.u8(..3) == 0, random.u64(..)) {
                Ok(()) => {}
                Err(Failed::Wrong(why)) => {
                    // So that the tester sees it at once.
                    let _ = writeln!(std::io::stdout(), "wrong: {why}");
                    return Err(Error::Usage(why));
                }
                Err(Failed::Lost) => {}
            }
        }
        Ok(())
    }

    fn transaction(&self, group: u64, commits: bool, new: u64) -> std::result::Result<(), Failed> {
        let acknowledged = &self.acknowledged[group as usize];
        let oldest = Tid::new(acknowledged.load(SeqCst));
        let at = self.storage.last_tid();
        if at < oldest {
            return Err(Failed::Wrong(format!(
                "{at} is behind what was acknowledged, {oldest}"
            )));
        }
        let before = Tid::new(at.as_u64() + 1);
        let first = group * SIZE + 1;
        let oids = (first..first + SIZE).map(Oid::new);
        let mut found = Vec::new();
        for oid in oids.clone() {
            let revision = self.storage.load_before(oid, before);
            found.push((oid, revision.or_else(unknown)?));
        }
        let seen = one(&found, at, oldest)?;
        // What is current is not older than the snapshot.
        if let Ok(latest) = self.storage.load(Oid::new(first))
            && Some(latest.serial) < seen
        {
            return Err(Failed::Wrong(format!(
                "{first} is of {} after {seen:?}",
                latest.serial
            )));
        }
        self.reads.fetch_add(1, SeqCst);
        if !commits {
            return Ok(());
        }
        let mut transaction = self.storage.begin(TransactionMeta::default())?;
        for oid in oids {
            transaction.store(oid, seen.unwrap_or(Tid::ZERO), record(oid, new, 200))?;
        }
        transaction.vote()?;
        let tid = transaction.finish()?;
        acknowledged.fetch_max(tid.as_u64(), SeqCst);
        if self.commits.fetch_add(1, SeqCst) % PROGRESS == PROGRESS - 1 {
            let _ = writeln!(std::io::stdout(), "{tid}");
        }
        Ok(())
    }

    /// All that this client reads now, another one reads that has no cache on disk.
    fn compare(&self, other: &ClientStorage) -> Result<()> {
        self.storage.ping().map_err(wrong)?;
        let at = self.storage.last_tid().min(other.last_tid());
        let before = Tid::new(at.as_u64() + 1);
        for oid in (1..=GROUPS * SIZE).map(Oid::new) {
            let ours = self.storage.load_before(oid, before).map_err(wrong)?;
            let theirs = other.load_before(oid, before).map_err(wrong)?;
            let shown = |found: &Option<Revision>| found.as_ref().map(|found| found.serial);
            let data = |found: &Option<Revision>| found.as_ref().map(|found| found.data.to_vec());
            if shown(&ours) != shown(&theirs) || data(&ours) != data(&theirs) {
                let (ours, theirs) = (shown(&ours), shown(&theirs));
                return Err(wrong(format!("{oid} at {at}: {ours:?}, not {theirs:?}")));
            }
        }
        Ok(())
    }
}

/// The serial of all these revisions, which must be the same, and not too old.
fn one(
    found: &[(Oid, Option<Revision>)],
    at: Tid,
    oldest: Tid,
) -> std::result::Result<Option<Tid>, Failed> {
    let mut all = found.iter().map(|(oid, revision)| {
        let revision = revision.as_ref()?;
        Some((revision.serial, stamp(*oid, &revision.data)))
    });
    let seen = all.next().flatten();
    let is_whole =
        seen.is_none_or(|(serial, stamp)| stamp.is_some() && serial >= oldest && serial <= at);
    if !is_whole || all.any(|other| other != seen) || (seen.is_none() && oldest > Tid::ZERO) {
        let shown: Vec<String> = { found.iter() }
            .map(|(oid, revision)| {
                let serial = revision.as_ref().map(|revision| revision.serial);
                format!("{oid}: {serial:?}")
            })
            .collect();
        return Err(Failed::Wrong(format!(
            "at {at}, where {oldest} was acknowledged: {}",
            shown.join(", ")
        )));
    }
    Ok(seen.map(|(serial, _)| serial))
}

/// Why a transaction has not come to its end.
enum Failed {
    /// The data are wrong.
    Wrong(String),
    /// A conflict, or a loss of the connection.
    Lost,
}

impl From<zeo_client::Error> for Failed {
    fn from(why: zeo_client::Error) -> Self {
        match why {
            zeo_client::Error::OutcomeUnknown(_) => Self::Lost,
            why if why.is_retryable() => Self::Lost,
            why => Self::Wrong(why.to_string()),
        }
    }
}

/// An object that was not created yet.
fn unknown(why: zeo_client::Error) -> std::result::Result<Option<Revision>, Failed> {
    match why {
        zeo_client::Error::NoObject { .. } => Ok(None),
        why => Err(why.into()),
    }
}

fn wrong(why: impl std::fmt::Display) -> Error {
    Error::Usage(why.to_string())
}
