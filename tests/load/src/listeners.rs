//! Idle clients and one that commits: how long it takes from the call of
//! `tpc_finish` to each client's invalidation.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use zeo_proto::Tid;
use zeo_proto::message::{Incoming, Notification};

use crate::connection::{Address, Connection, decode};
use crate::drive::{Run, cpu_time, percentiles};
use crate::error::{Error, Result};
use crate::record::record;
use crate::requests::{Committer, new_oids};
use crate::workloads::Target;

/// Between two commits, once all have heard of the last.
const PAUSE: Duration = Duration::from_millis(2);
/// How long anyone may go without hearing of a commit.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the two threads share.
#[derive(Default)]
struct Shared {
    heard: AtomicUsize,
    over: AtomicBool,
    arrivals: Mutex<Vec<(Tid, Instant)>>,
}

/// One client commits, `clients` others listen, perhaps `at` another server, all in one thread, so
/// that waking them is not what is measured.
pub fn listeners(
    target: Target<'_>,
    run: &Run,
    clients: usize,
    size: usize,
    at: Option<&Address>,
) -> Result<Value> {
    let open = |address| Connection::open(address, target.storage).map(|(it, _)| it);
    let mut committer = open(target.address)?;
    let listen_at = at.unwrap_or(target.address);
    let all: Result<Vec<_>> = (0..clients).map(|_| open(listen_at)).collect();
    let (shared, all) = (Shared::default(), all?);
    let cpu = cpu_time(run.pid)?;
    let calls = thread::scope(|scope| {
        let listener = scope.spawn(|| listen(all, &shared));
        let calls = commit(&mut committer, run, clients, size, &shared);
        shared.over.store(true, Ordering::Relaxed);
        let heard = listener.join();
        heard.map_err(|_| Error::Usage("the listening thread failed".into()))??;
        calls
    })?;
    let cpu = cpu_time(run.pid)? - cpu;
    let arrivals = shared
        .arrivals
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let delays = arrivals
        .iter()
        .filter_map(|(tid, at)| Some((*tid, *at - *calls.get(tid)?)));
    let (mut all, mut last) = (Vec::new(), HashMap::<Tid, Duration>::new());
    for (tid, delay) in delays {
        all.push(delay);
        let last = last.entry(tid).or_default();
        *last = delay.max(*last);
    }
    let mut report = percentiles(&mut all);
    let last = percentiles(&mut last.into_values().collect::<Vec<_>>());
    report.insert("last_us".into(), last["p50_us"].clone());
    report.insert("clients".into(), json!(clients));
    report.insert("operations".into(), json!(calls.len()));
    let each = cpu.as_secs_f64() * 1e6 / calls.len().max(1) as f64;
    let mut report = json!({ "listeners": report });
    if run.pid.is_some() {
        report["cpu_us_per_operation"] = json!(each);
    }
    Ok(report)
}

/// Commits until the end of the run; returns when each finish was called.
fn commit(
    connection: &mut Connection,
    run: &Run,
    clients: usize,
    size: usize,
    shared: &Shared,
) -> Result<HashMap<Tid, Instant>> {
    let oids = new_oids(connection)?;
    let Some(&oid) = oids.first() else {
        return Ok(HashMap::new());
    };
    let (mut committer, mut calls, mut serial) = (Committer::default(), HashMap::new(), Tid::ZERO);
    let begun = Instant::now();
    let goes_on = |done: usize| match run.count {
        Some(count) => (done as u64) < count,
        None => begun.elapsed() < run.time,
    };
    while goes_on(calls.len()) {
        let data = record(oid, calls.len() as u64, size);
        committer.vote(connection, &[(oid, serial, &data)], &mut |_| Ok(()))?;
        let call = Instant::now();
        serial = committer.finish(connection, &mut |_| Ok(()))?;
        calls.insert(serial, call);
        while shared.heard.load(Ordering::Relaxed) < calls.len() * clients {
            if call.elapsed() > PATIENCE {
                return Err(Error::Protocol(format!(
                    "not all clients heard of {serial}"
                )));
            }
            thread::sleep(Duration::from_micros(500));
        }
        thread::sleep(PAUSE);
    }
    Ok(calls)
}

fn listen(mut all: Vec<Connection>, shared: &Shared) -> Result<()> {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    while !shared.over.load(Ordering::Relaxed) {
        let mut fds: Vec<_> = all
            .iter()
            .map(|it| PollFd::new(it, PollFlags::IN))
            .collect();
        let waited = poll(&mut fds, Some(&timeout));
        waited.map_err(|why| Error::io("poll")(why.into()))?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut heard = all.iter_mut().zip(ready).filter(|(_, ready)| *ready);
        heard.try_for_each(|(connection, _)| hear(connection, shared))?;
    }
    Ok(())
}

/// Takes in what has come for one client.
fn hear(connection: &mut Connection, shared: &Shared) -> Result<()> {
    connection.receive()?;
    let (now, encoding) = (Instant::now(), connection.encoding());
    while connection.is_ready()? {
        let tid = connection.take(|frame| {
            Ok::<_, Error>(match decode(frame, encoding)? {
                Incoming::Notification(Notification::InvalidateTransaction { tid, .. }) => {
                    Some(tid)
                }
                _ => None,
            })
        })??;
        if let Some(tid) = tid {
            let mut arrivals = shared
                .arrivals
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            arrivals.push((tid, now));
            shared.heard.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
