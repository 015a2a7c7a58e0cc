//! The ordering check: many connections load a few objects while others
//! commit them, and each holds the server to the rules of [`Witness`] and
//! [`History`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use zeo_proto::{Oid, Tid};

use client::{Client, lock};

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::history::History;
use crate::record::record;
use crate::requests::{Committer, new_oids};
use crate::witness::{Violation, Witness};
use crate::workloads::Target;

mod client;

/// How long a connection that comes and goes stays.
const VISIT: Duration = Duration::from_millis(30);
/// How long the last invalidations may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most objects that one transaction writes.
const WRITES: usize = 3;

/// What all clients share.
struct Check<'a> {
    target: Target<'a>,
    oids: Vec<Oid>,
    size: usize,
    history: Mutex<History>,
    /// Committers stop.
    stop: AtomicBool,
    /// The last tid, once all committers have stopped: readers stop when
    /// they have been told of it.
    last: OnceLock<Tid>,
    /// The connections that have ended well, to be checked at the end.
    ended: Mutex<Vec<Witness>>,
    stamps: AtomicU64,
    loads: AtomicU64,
    current: AtomicU64,
    conflicts: AtomicU64,
}

/// Runs `clients` connections for so long: half of them read, a quarter
/// commit, a quarter come and go. No one else may commit meanwhile.
pub fn check(
    target: Target<'_>,
    time: Duration,
    clients: usize,
    objects: usize,
    size: usize,
) -> Result<Json> {
    let check = Check::prepare(target, objects, size)?;
    let quarter = (clients / 4).max(1);
    thread::scope(|scope| {
        let check = &check;
        let start = |kind: &'static str, number: usize| {
            scope.spawn(move || {
                let name = format!("{kind} {number}");
                let done = match kind {
                    "committer" => check.commit(name, number, quarter),
                    "visitor" => check.visit(name),
                    _ => check.read(name, None),
                };
                check.stop.fetch_or(done.is_err(), Ordering::Relaxed);
                done
            })
        };
        let committers: Vec<_> = (0..quarter).map(|n| start("committer", n)).collect();
        let readers = (0..clients.saturating_sub(2 * quarter).max(1)).map(|n| start("reader", n));
        let mut others: Vec<_> = readers.collect();
        others.extend((0..quarter).map(|n| start("visitor", n)));
        let begun = Instant::now();
        while begun.elapsed() < time && !check.stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        check.stop.store(true, Ordering::Relaxed);
        let join = |thread: thread::ScopedJoinHandle<'_, Result<()>>| {
            let failed = || Error::Usage("a client thread failed".into());
            thread.join().map_err(|_| failed())?
        };
        let mut all: Vec<_> = committers.into_iter().map(join).collect();
        // Set in any case, since readers wait for it.
        let _ = check.last.set(lock(&check.history).last());
        all.extend(others.into_iter().map(join));
        // A broken rule says more than what it has led to.
        let broken = all
            .iter()
            .position(|it| matches!(it, Err(Error::Violation(_))));
        match broken {
            Some(at) => all.swap_remove(at),
            None => all.into_iter().collect(),
        }
    })?;
    check.report()
}

impl<'a> Check<'a> {
    fn prepare(target: Target<'a>, objects: usize, size: usize) -> Result<Self> {
        let (mut connection, _) = Connection::open(target.address, target.storage)?;
        let mut oids = Vec::new();
        while oids.len() < objects.max(WRITES) {
            oids.extend(new_oids(&mut connection)?);
        }
        oids.truncate(objects.max(WRITES));
        let records: Vec<_> = oids.iter().map(|oid| record(*oid, 0, size)).collect();
        let stores = oids.iter().zip(&records);
        let stores: Vec<_> = stores
            .map(|(oid, data)| (*oid, Tid::ZERO, data.as_slice()))
            .collect();
        let mut committer = Committer::default();
        committer.vote(&mut connection, &stores, &mut |_| Ok(()))?;
        let tid = committer.finish(&mut connection, &mut |_| Ok(()))?;
        let mut history = History::default();
        let written = oids.iter().map(|oid| (*oid, 0)).collect();
        // The first of all: it can't be there.
        let _ = history.publish(tid, written);
        Ok(Self {
            target,
            oids,
            size,
            history: Mutex::new(history),
            stop: AtomicBool::new(false),
            last: OnceLock::new(),
            ended: Mutex::new(Vec::new()),
            stamps: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            current: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
        })
    }

    /// Loads until all commits are done and told, or until `until`.
    fn read(&self, name: String, until: Option<Instant>) -> Result<()> {
        let mut client = Client::open(self, name)?;
        let mut ended = None;
        loop {
            let last = self.last.get();
            let done = match until {
                Some(until) => Instant::now() >= until,
                None => last.is_some_and(|last| client.witness.last() >= *last),
            };
            if !done {
                // Not to take the processors from the committers, and so that
                // messages meet connections that work and that wait.
                if fastrand::u8(..16) == 0 {
                    thread::sleep(Duration::from_micros(fastrand::u64(..4000)));
                }
                client.ask()?;
            } else if client.asked.is_empty() {
                return client.end();
            }
            client.hear()?;
            if let Some(&tid) = last
                && ended.get_or_insert_with(Instant::now).elapsed() > PATIENCE
            {
                return client.broken(Violation::NeverTold { tid });
            }
        }
    }

    /// Connects again and again, so that registering meets commits.
    fn visit(&self, name: String) -> Result<()> {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            self.read(
                format!("{name}, visit {number}"),
                Some(Instant::now() + VISIT),
            )?;
        }
        Ok(())
    }

    /// Commits until told to stop. Each of `share` committers has objects
    /// that only it writes, beside those that all write.
    fn commit(&self, name: String, number: usize, share: usize) -> Result<()> {
        let mut client = Client::open(self, name)?;
        let mut committer = Committer::default();
        let own: Vec<Oid> = self
            .oids
            .iter()
            .skip(number)
            .step_by(share)
            .copied()
            .collect();
        while !self.stop.load(Ordering::Relaxed) {
            let any = own.is_empty() || fastrand::bool();
            let from = if any { &self.oids } else { &own };
            let mut chosen = fastrand::choose_multiple(from, fastrand::usize(1..=WRITES));
            chosen.sort_unstable();
            let chosen: Vec<Oid> = chosen.into_iter().copied().collect();
            client.commit(&mut committer, &chosen)?;
        }
        client.end()
    }

    fn random_oid(&self) -> Oid {
        let at = fastrand::usize(..self.oids.len());
        self.oids.get(at).copied().unwrap_or_default()
    }

    /// Holds every connection to what was committed, and counts.
    fn report(self) -> Result<Json> {
        let history = self
            .history
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let ended = self
            .ended
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let revisions = history.revisions();
        for witness in &ended {
            let checked = history.check(&revisions, witness);
            checked.map_err(|broken| Error::Violation(Box::new(witness.evidence(broken))))?;
        }
        let told: usize = ended.iter().map(|witness| witness.told.len()).sum();
        Ok(json!({
            "connections": ended.len(),
            "transactions": history.len(),
            "conflicts": self.conflicts.into_inner(),
            "loads": self.loads.into_inner(),
            "current": self.current.into_inner(),
            "told": told,
            "violations": 0,
        }))
    }
}
