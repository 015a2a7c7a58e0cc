//! Metrics of the server as a whole.

use std::time::{SystemTime, UNIX_EPOCH};

use super::text::Kind::{Counter, Gauge};
use super::text::Text;
use crate::monitor::snapshot::Snapshot;

pub(super) fn write(text: &mut Text, snapshot: &Snapshot<'_>) {
    identity(text, snapshot);
    resources(text, snapshot);
    connections(text, snapshot);
}

fn identity(text: &mut Text, snapshot: &Snapshot<'_>) {
    let mut build = text.metric("build_info", Gauge, "1, with the version of the server.");
    build.value(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let started = snapshot.server.started();
    let since = |time: SystemTime| started.duration_since(time).ok().map(|t| t.as_secs_f64());
    let help = "When the server started, in seconds since 1970.";
    text.single("start_time_seconds", Gauge, help, since(UNIX_EPOCH));
    let uptime = snapshot.server.uptime();
    let help = "For how long the server has been running.";
    text.single("uptime_seconds", Gauge, help, Some(uptime.as_secs_f64()));
    let is_ready = f64::from(u8::from(snapshot.faults.is_ready()));
    text.single(
        "ready",
        Gauge,
        "1 if clients can commit, as /readyz.",
        Some(is_ready),
    );
}

fn resources(text: &mut Text, snapshot: &Snapshot<'_>) {
    let process = &snapshot.process;
    let number = |number: Option<u64>| number.map(|number| number as f64);
    text.single(
        "resident_memory_bytes",
        Gauge,
        "Resident memory.",
        number(process.memory),
    );
    let help = "Processor time, user and system.";
    text.single("cpu_seconds_total", Counter, help, process.cpu);
    text.single("threads", Gauge, "Threads.", number(process.threads));
    let help = "Open file descriptors.";
    text.single("open_descriptors", Gauge, help, number(process.descriptors));
    let help = "How many file descriptors may be open.";
    text.single(
        "max_descriptors",
        Gauge,
        help,
        number(process.descriptor_limit),
    );
}

fn connections(text: &mut Text, snapshot: &Snapshot<'_>) {
    let clients = &snapshot.clients;
    let tls = clients
        .present
        .iter()
        .filter(|client| client.status.tls)
        .count();
    let plain = clients.present.len() - tls;
    let mut connections = text.metric("connections", Gauge, "Connections of clients.");
    connections.value(&[("tls", "true")], tls as f64);
    connections.value(&[("tls", "false")], plain as f64);
    let number = |number: u64| Some(number as f64);
    let help = "Connections accepted.";
    text.single(
        "connections_accepted_total",
        Counter,
        help,
        number(clients.accepted),
    );
    let mut refusals = text.metric(
        "tls_refusals_total",
        Counter,
        "Connections refused for TLS.",
    );
    for (reason, count) in snapshot.server.tls_refusals().all() {
        refusals.value(&[("reason", reason)], count as f64);
    }
    let traffic = &clients.traffic;
    let help = "Bytes from clients, before encryption.";
    text.single(
        "received_bytes_total",
        Counter,
        help,
        number(traffic.received),
    );
    let help = "Bytes to clients, before encryption.";
    text.single("sent_bytes_total", Counter, help, number(traffic.sent));
}
