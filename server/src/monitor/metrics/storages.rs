//! Metrics of each storage.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::UNIX_EPOCH;

use zeo_proto::Tid;

use super::text::Kind::{Counter, Gauge, Histogram};
use super::text::{Kind, Text};
use crate::messages::report::CoordinatorReport;
use crate::monitor::snapshot::{Snapshot, StorageSnapshot};
use crate::status::database::database_users;
use crate::status::stats::Stats;

pub(super) fn write(text: &mut Text, snapshot: &Snapshot<'_>) {
    let mut all = All { text, snapshot };
    all.counters();
    all.conflicts();
    all.outcomes();
    all.files();
    all.databases();
    all.locks();
    all.queues();
    all.invalidation_queue();
    all.durations();
}

/// The metrics of all storages.
struct All<'t, 's, 'v> {
    text: &'t mut Text,
    snapshot: &'s Snapshot<'v>,
}

impl<'s, 'v> All<'_, 's, 'v> {
    /// A metric with one value for each storage that has one.
    fn each(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        value: impl Fn(&'s StorageSnapshot<'v>) -> Option<f64>,
    ) {
        let mut metric = self.text.metric(name, kind, help);
        for storage in &self.snapshot.storages {
            if let Some(value) = value(storage) {
                metric.value(&[("storage", storage.name)], value);
            }
        }
    }

    /// A gauge that the coordinators tell of.
    fn told(&mut self, name: &str, help: &str, value: impl Fn(&CoordinatorReport) -> Option<f64>) {
        self.each(name, Gauge, help, |storage| {
            value(storage.coordinator.as_ref()?)
        });
    }

    /// A counter for each value of a label.
    fn by(
        &mut self,
        name: &str,
        label: &str,
        help: &str,
        counts: impl Fn(&Stats) -> Vec<(&'static str, u64)>,
    ) {
        let mut metric = self.text.metric(name, Counter, help);
        for storage in &self.snapshot.storages {
            for (value, count) in counts(&storage.served.stats) {
                metric.value(&[("storage", storage.name), (label, value)], count as f64);
            }
        }
    }

    fn counters(&mut self) {
        type Field = fn(&Stats) -> &AtomicU64;
        let all: [(&str, Kind, &str, Field); 8] = [
            ("clients", Gauge, "Registered clients.", |s| &s.connections),
            ("loads_total", Counter, "Objects loaded.", |s| &s.loads),
            ("stores_total", Counter, "Objects stored.", |s| &s.stores),
            ("commits_total", Counter, "Transactions committed.", |s| {
                &s.commits
            }),
            ("aborts_total", Counter, "Transactions aborted.", |s| {
                &s.aborts
            }),
            (
                "conflicts_total",
                Counter,
                "Votes that failed with a conflict.",
                |s| &s.conflicts,
            ),
            (
                "conflicts_resolved_total",
                Counter,
                "Conflicts that the server resolved.",
                |s| &s.conflicts_resolved,
            ),
            (
                "transactions",
                Gauge,
                "Transactions begun and not ended.",
                |s| &s.active_txns,
            ),
        ];
        for (name, kind, help, field) in all {
            self.each(name, kind, help, |storage| {
                Some(field(&storage.served.stats).load(Relaxed) as f64)
            });
        }
    }

    fn conflicts(&mut self) {
        let help = "Conflicts by class, and how they ended.";
        let mut classes = self.text.metric("class_conflicts_total", Counter, help);
        for storage in &self.snapshot.storages {
            let storage_label = ("storage", storage.name);
            for (class, outcomes) in storage.served.stats.conflict_classes.counts() {
                for (outcome, count) in outcomes {
                    let labels = [storage_label, ("class", &class), ("outcome", outcome)];
                    classes.value(&labels, count as f64);
                }
            }
        }
    }

    fn outcomes(&mut self) {
        let help = "How clients that came back could verify their caches.";
        self.by("cache_verifications_total", "outcome", help, |s| {
            s.verifications.all()
        });
        let help = "Operations that took longer than the thresholds.";
        self.by("slow_operations_total", "operation", help, |s| s.slow.all());
        self.by("packs_total", "outcome", "Packs by how they ended.", |s| {
            s.packs.all()
        });
    }

    fn files(&mut self) {
        let now = self.now();
        self.each("file_size_bytes", Gauge, "Size of the data file.", |s| {
            Some(s.served.storage.size() as f64)
        });
        self.each("objects", Gauge, "Objects in the storage.", |s| {
            Some(s.served.storage.len() as f64)
        });
        self.each(
            "index_size_bytes",
            Gauge,
            "Memory that the index takes.",
            |s| Some(s.served.storage.index_memory()? as f64),
        );
        let last = |storage: &StorageSnapshot<'_>| {
            let tid = storage.served.storage.last_tid();
            (tid > Tid::ZERO).then(|| tid.unix_time())
        };
        let help = "When the last transaction was, in seconds since 1970.";
        self.each("last_transaction_timestamp_seconds", Gauge, help, last);
        let help = "How long ago the last transaction was.";
        self.each("last_transaction_age_seconds", Gauge, help, |storage| {
            Some((now - last(storage)?).max(0.0))
        });
        let help = "1 if no more commits are accepted, after a failed write or sync.";
        self.each("storage_failed", Gauge, help, |storage| {
            flag(storage.served.storage.latched().is_some())
        });
        self.each(
            "pack_running",
            Gauge,
            "1 while the storage is being packed.",
            |storage| flag(storage.served.storage.packing().is_some()),
        );
        let help = "How much of the pack's phase is done.";
        self.each("pack_progress_ratio", Gauge, help, |storage| {
            let progress = storage.served.storage.packing()?;
            let total = progress.total.filter(|total| *total > 0)?;
            Some(progress.done as f64 / total as f64)
        });
    }

    fn databases(&mut self) {
        let storages = self.snapshot.storages.iter().filter_map(|storage| {
            let users = database_users(&*storage.served.storage)?;
            Some((storage.name, users.servers))
        });
        let storages: Vec<_> = storages.collect();
        let help = "Servers on the database, this one included.";
        let mut count = self.text.metric("database_servers", Gauge, help);
        for (name, servers) in &storages {
            count.value(&[("storage", name)], servers.len() as f64);
        }
        let help = "Servers on the database that are behind, or not heard of.";
        let mut late = self.text.metric("database_servers_late", Gauge, help);
        for (name, servers) in &storages {
            let count = servers.iter().filter(|server| server.is_late).count();
            late.value(&[("storage", name)], count as f64);
        }
    }

    fn locks(&mut self) {
        let help = "0 if the coordinator did not answer in time.";
        self.each("coordinator_responds", Gauge, help, |s| {
            flag(s.coordinator.is_some())
        });
        self.told("votes_waiting", "Votes that wait for locks.", |report| {
            Some(report.votes_waiting as f64)
        });
        self.told("lock_holders", "Transactions that hold locks.", |report| {
            Some(report.holding.len() as f64)
        });
        let help = "For how long the oldest locks have been held; 0 if there are none.";
        self.told("oldest_lock_age_seconds", help, |report| {
            let oldest = report.holding.first();
            Some(oldest.map_or(0.0, |(_, age)| age.as_secs_f64()))
        });
    }

    fn queues(&mut self) {
        let help = "Requests that wait for the coordinator.";
        self.each("queued_requests", Gauge, help, |s| {
            Some(s.served.coordinator.len() as f64)
        });
        self.told(
            "queued_appends",
            "Tasks that wait for the log writer.",
            |report| Some(report.queued_appends as f64),
        );
        let help = "For how long the log writer has been at work on one batch; 0 when it rests.";
        self.each("log_writer_busy_seconds", Gauge, help, |storage| {
            let busy = storage.served.stats.log_writer.busy();
            Some(busy.unwrap_or_default().as_secs_f64())
        });
        let help = "Events that wait in clients' mailboxes.";
        self.each("mailbox_events", Gauge, help, |s| {
            Some(s.mailbox_events as f64)
        });
        let help = "How full the fullest mailbox is; at 1 its client is disconnected.";
        self.each("mailbox_fullest_ratio", Gauge, help, |s| {
            Some(s.mailbox_fullest)
        });
    }

    fn invalidation_queue(&mut self) {
        let now = self.now();
        let help = "Transactions in the invalidation queue.";
        self.told("invalidation_queue_transactions", help, |report| {
            Some(report.queue.transactions as f64)
        });
        let help = "How many transactions the invalidation queue can hold.";
        self.told("invalidation_queue_limit", help, |report| {
            Some(report.queue.limit as f64)
        });
        let help = "How long a client may be away and still verify its cache from the queue.";
        self.told("invalidation_queue_reach_seconds", help, |report| {
            let oldest = report.queue.oldest.filter(|tid| *tid > Tid::ZERO)?;
            Some((now - oldest.unix_time()).max(0.0))
        });
    }

    fn durations(&mut self) {
        let help = [
            ("load", "Time of a load; one of 16 is measured."),
            ("vote_wait", "Time that a vote waits for locks."),
            ("prepare", "Time in which the server checks a vote."),
            ("lock_hold", "Time that a transaction holds its locks."),
            (
                "sync",
                "Time of a write and sync, for all transactions that waited.",
            ),
            ("finish", "Time from tpc_finish to its answer."),
            ("commit", "Time from the vote to the answer to tpc_finish."),
        ];
        for (name, help) in help {
            let full_name = format!("{name}_duration_seconds");
            let mut metric = self.text.metric(&full_name, Histogram, help);
            for storage in &self.snapshot.storages {
                let all = storage.served.stats.durations.all();
                for (_, histogram) in all.iter().filter(|(other, _)| *other == name) {
                    metric.histogram(&[("storage", storage.name)], &histogram.buckets());
                }
            }
        }
    }

    /// Seconds since 1970.
    fn now(&self) -> f64 {
        let now = self.snapshot.time.duration_since(UNIX_EPOCH);
        now.unwrap_or_default().as_secs_f64()
    }
}

fn flag(is_set: bool) -> Option<f64> {
    Some(f64::from(u8::from(is_set)))
}
