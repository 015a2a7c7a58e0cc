//! `/status.json`. `docs/monitoring.md` tells what each field means.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use zeo_proto::Tid;
use zeo_storage::storage::PackProgress;

use super::served::Served;
use super::snapshot::{Snapshot, StorageSnapshot};
use crate::clients::Client;
use crate::messages::report::{CoordinatorReport, Wait};
use crate::messages::request::ClientId;
use crate::status::client::{Phase, TransactionStatus};
use crate::status::database::{self, database_users};
use crate::status::histogram::{Buckets, Histogram};
use crate::status::json::json;

/// The meaning of the fields: grows when one of them gets another.
const FORMAT: u64 = 1;

/// The whole answer.
pub(super) fn status(snapshot: &Snapshot<'_>, served: &Served) -> Value {
    let locks = Locks::of(snapshot);
    json!({
        "format": FORMAT,
        "time": seconds_of(snapshot.time),
        "server": server(snapshot, served),
        "storages": snapshot.storages.iter().map(|s| storage(s, snapshot)).collect::<Vec<_>>(),
        "clients": snapshot.clients.present.iter()
            .map(|c| client(c, &locks, snapshot)).collect::<Vec<_>>(),
    })
}

fn server(snapshot: &Snapshot<'_>, served: &Served) -> Value {
    let (server, clients, process) = (snapshot.server, &snapshot.clients, &snapshot.process);
    let faults = &snapshot.faults;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "started": seconds_of(server.started()),
        "uptime": server.uptime().as_secs_f64(),
        "addresses": server.addresses(),
        "monitors": served.monitors,
        "stopping": server.is_stopping(),
        "alive": faults.is_alive(),
        "ready": faults.is_ready(),
        "faults": faults.lines(),
        "memory": process.memory,
        "cpu": process.cpu,
        "threads": process.threads,
        "descriptors": process.descriptors,
        "descriptor_limit": process.descriptor_limit,
        "connections": clients.present.len(),
        "connections_tls": clients.present.iter().filter(|c| c.status.tls).count(),
        "connections_accepted": clients.accepted,
        "tls_refusals": counts(server.tls_refusals().all()),
        "bytes_received": clients.traffic.received,
        "bytes_sent": clients.traffic.sent,
    })
}

fn storage(of: &StorageSnapshot<'_>, snapshot: &Snapshot<'_>) -> Value {
    let (storage, stats) = (&of.served.storage, &of.served.stats);
    let last = storage.last_tid();
    let has_last = last > Tid::ZERO;
    let now = seconds_of(snapshot.time);
    json!({
        "name": of.name,
        "file": storage.name(),
        "read_only": storage.is_read_only(),
        "failure": storage.latched(),
        "size": storage.size(),
        "objects": storage.len(),
        "index_size": storage.index_memory(),
        "last_tid": last.to_string(),
        "last_tid_time": has_last.then(|| last.unix_time()),
        "last_tid_age": has_last.then(|| (now - last.unix_time()).max(0.0)),
        "clients": stats.connections.load(Relaxed),
        "loads": stats.loads.load(Relaxed),
        "stores": stats.stores.load(Relaxed),
        "commits": stats.commits.load(Relaxed),
        "aborts": stats.aborts.load(Relaxed),
        "conflicts": stats.conflicts.load(Relaxed),
        "conflicts_resolved": stats.conflicts_resolved.load(Relaxed),
        "conflict_classes": conflict_classes(of),
        "transactions": stats.active_txns.load(Relaxed),
        "coordinator": of.coordinator.as_ref().map(|report| coordinator(report, now)),
        "queued_requests": of.served.coordinator.len(),
        "queued_appends": of.coordinator.as_ref().map(|report| report.queued_appends),
        "log_writer_busy": stats.log_writer.busy().map(|busy| busy.as_secs_f64()),
        "mailbox_events": of.mailbox_events,
        "mailbox_fullest": of.mailbox_fullest,
        "verifications": counts(stats.verifications.all()),
        "slow": counts(stats.slow.all()),
        "database": database_users(&**storage).map(|users| json(&database::value(&users))),
        "pack": storage.packing().map(|progress| pack(&progress, snapshot.now)),
        "packs": counts(stats.packs.all()),
        "durations": stats.durations.all().into_iter()
            .map(|(name, all)| (name.to_owned(), histogram(all)))
            .collect::<Map<_, _>>(),
    })
}

fn pack(progress: &PackProgress, now: Instant) -> Value {
    json!({
        "doing": progress.doing,
        "text": progress.to_string(),
        "done": progress.done,
        "total": progress.total,
        "started": seconds_of(progress.started),
        "age": age(progress.begun, now),
    })
}

/// By class, with names that programs can use.
fn conflict_classes(of: &StorageSnapshot<'_>) -> Value {
    let classes = of.served.stats.conflict_classes.counts();
    let classes = classes
        .into_iter()
        .map(|(class, outcomes)| (class, counts(outcomes.to_vec())));
    Value::Object(classes.collect())
}

fn coordinator(report: &CoordinatorReport, now: f64) -> Value {
    let queue = &report.queue;
    let oldest = queue.oldest.filter(|tid| *tid > Tid::ZERO);
    json!({
        "holding": report.holding.len(),
        "waiting": report.votes_waiting,
        "oldest_lock_age": report.holding.first().map(|(_, age)| age.as_secs_f64()),
        "invalidation_queue": {
            "transactions": queue.transactions,
            "limit": queue.limit,
            "oldest_tid": oldest.map(|tid| tid.to_string()),
            "reach": oldest.map(|tid| (now - tid.unix_time()).max(0.0)),
        },
    })
}

/// Who holds locks, and who waits for whom, in all storages.
struct Locks<'a> {
    holding: HashMap<ClientId, Duration>,
    waiting: HashMap<ClientId, &'a Wait>,
}

impl<'a> Locks<'a> {
    fn of(snapshot: &'a Snapshot<'_>) -> Self {
        let reports = || {
            snapshot
                .storages
                .iter()
                .flat_map(|storage| &storage.coordinator)
        };
        let waiting = reports().flat_map(|report| &report.waiting);
        Self {
            holding: reports()
                .flat_map(|report| report.holding.iter().copied())
                .collect(),
            waiting: waiting.map(|wait| (wait.client, wait)).collect(),
        }
    }
}

fn client(client: &Client, locks: &Locks<'_>, snapshot: &Snapshot<'_>) -> Value {
    let status = &client.status;
    let (events, bytes) = client.mailbox.load();
    json!({
        "id": status.id,
        "label": status.label(),
        "address": status.address,
        "tls": status.tls,
        "storage": status.storage.get(),
        "read_only": status.read_only.load(Relaxed),
        "since": seconds_of(status.since),
        "age": age(status.connected, snapshot.now),
        "loads": status.loads.get(),
        "stores": status.stores.get(),
        "commits": status.commits.get(),
        "bytes_received": status.received.get(),
        "bytes_sent": status.sent.get(),
        "mailbox_events": events,
        "mailbox_bytes": bytes,
        "transaction": status.transaction().map(|transaction| {
            let stores = status.stores.get().saturating_sub(transaction.stores_before);
            let seen = Seen { now: snapshot.now, time: snapshot.time };
            seen.transaction(&transaction, stores, status.id, locks)
        }),
    })
}

/// The moment of a snapshot, by both clocks.
struct Seen {
    now: Instant,
    time: SystemTime,
}

impl Seen {
    fn transaction(
        &self,
        transaction: &TransactionStatus,
        stores: u64,
        id: ClientId,
        locks: &Locks<'_>,
    ) -> Value {
        let since = |phase| {
            let began = transaction.began(phase)?;
            Some(age(began, self.now))
        };
        let open = since(Phase::Open).unwrap_or_default();
        json!({
            "begun": seconds_of(self.time) - open,
            "age": open,
            "phase": transaction.phase.name(),
            "phase_age": since(transaction.phase),
            "user": transaction.user,
            "description": transaction.description,
            "stores": stores,
            "holds_locks": locks.holding.contains_key(&id),
            "waits_for": locks.waiting.get(&id).map(|wait| json!({
                "clients": wait.behind,
                "oid": wait.oid.map(|oid| oid.to_string()),
                "age": since(Phase::Waiting),
            })),
        })
    }
}

fn histogram(histogram: &Histogram) -> Value {
    let buckets = histogram.buckets();
    json!({
        "bounds": Buckets::bounds().collect::<Vec<_>>(),
        "counts": buckets.counts,
        "count": buckets.count(),
        "sum": buckets.sum,
    })
}

fn counts(counts: Vec<(&'static str, u64)>) -> Value {
    let counts = counts
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count.into()));
    Value::Object(counts.collect())
}

/// Seconds since 1970.
fn seconds_of(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

fn age(since: Instant, now: Instant) -> f64 {
    now.saturating_duration_since(since).as_secs_f64()
}
