//! `zeo status`.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Map, Value, json};
use zeo_client::{Address, Connection, Options, probe};
use zeo_proto::message::{Call, StorageInfo};
use zeo_proto::{Tid, repr};

use crate::Result;
use crate::arguments::ServerArguments;
use crate::show;

/// Show the state of all storages of a server
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    server: ServerArguments,
    /// Show it as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let (address, options) = (&arguments.server.address, arguments.server.options()?);
    let (greeting, mut storages) = counters(address, &options)?;
    for (name, counters) in &mut storages {
        if let Value::Object(counters) = counters {
            counters.insert("storage".to_owned(), info(address, &options, name)?);
        }
    }
    let mut out = io::stdout().lock();
    if arguments.json {
        let address = address.to_string();
        let all = json!({"address": address, "greeting": greeting, "storages": storages});
        writeln!(out, "{all:#}")?;
    } else {
        writeln!(out, "{address}: answers ({greeting})")?;
        for (name, counters) in &storages {
            write_storage(&mut out, name, counters)?;
        }
    }
    Ok(())
}

/// The server's greeting, and the counters of all storages by name.
pub fn counters(address: &Address, options: &Options) -> Result<(String, Map<String, Value>)> {
    let answer = probe(address, options)?;
    let greeting = String::from_utf8_lossy(&answer.greeting).into_owned();
    let status = serde_json::from_slice(&answer.status)
        .map_err(|why| format!("{address}: its status makes no sense: {why}"))?;
    Ok((repr::printable(&greeting), status))
}

/// What a storage is, and how large.
fn info(address: &Address, options: &Options, storage: &str) -> Result<Value> {
    let mut connection = Connection::open(address, options)?;
    let read_only = true;
    let last = connection.register(storage, read_only)?;
    let info = connection.call_with(&Call::GetInfo, &mut |_| {}, |reply| {
        let info: StorageInfo<'_> = reply.result("get_info")?;
        Ok(json!({
            "name": info.name,
            "objects": info.sizes.length,
            "bytes": info.sizes.size,
            "supports_undo": info.supports_undo,
            "last_tid": last.map(|tid| tid.to_string()),
            "last_tid_time": last.filter(|tid| *tid != Tid::ZERO).map(Tid::unix_time),
        }))
    })?;
    Ok(info)
}

fn write_storage(out: &mut impl Write, name: &str, of: &Value) -> io::Result<()> {
    let storage = &of["storage"];
    let number = |name: &str| show::count(show::number(&of[name]) as u64);
    let last = match storage["last_tid_time"].as_f64() {
        Some(time) => format!(
            "{} (tid {})",
            show::moment(time),
            show::text(&storage["last_tid"])
        ),
        None => "none yet".to_owned(),
    };
    let locks = match of["lock_time"].as_f64() {
        Some(since) => format!("held since {}", show::moment(since)),
        None => "free".to_owned(),
    };
    let size = |name: &str| show::number(&storage[name]) as u64;
    let (conflicts, resolved) = (number("conflicts"), number("conflicts_resolved"));
    let lines = [
        ("storage", show::text(&storage["name"])),
        ("size", show::bytes(size("bytes"))),
        ("objects", show::count(size("objects"))),
        ("last transaction", last),
        ("clients", number("connections")),
        (
            "transactions",
            format!(
                "{} begun, {} waiting for locks",
                number("active_txns"),
                number("waiting")
            ),
        ),
        ("locks", locks),
        (
            "loads, stores",
            format!("{}, {}", number("loads"), number("stores")),
        ),
        (
            "commits, aborts",
            format!("{}, {}", number("commits"), number("aborts")),
        ),
        (
            "conflicts",
            format!("{conflicts} unresolved, {resolved} resolved"),
        ),
        ("counted since", show::text(&of["start"])),
    ];
    writeln!(out, "\nStorage {}", repr::printable(name))?;
    for (title, value) in lines {
        writeln!(out, "  {title:<17} {value}")?;
    }
    write_database(out, &of["database"])
}

/// The servers on the storage's database, if it is in one that others use too.
fn write_database(out: &mut impl Write, database: &Value) -> io::Result<()> {
    let servers = database["servers"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    for (place, server) in servers.iter().enumerate() {
        let title = if place == 0 { "database servers" } else { "" };
        writeln!(out, "  {title:<17} {}", server_line(server))?;
    }
    let relstorage = show::number(&database["relstorage_connections"]);
    if relstorage > 0.0 {
        let count = show::count(relstorage as u64);
        writeln!(out, "  {:<17} {count} connections", "RelStorage")?;
    }
    Ok(())
}

/// `127.0.0.1:8101 (from 10.0.0.7): 12 s behind, at tid 03f0...`.
fn server_line(server: &Value) -> String {
    let address = match show::text(&server["address"]) {
        none if none.is_empty() => "a server that does not listen yet".to_owned(),
        address => address,
    };
    let host = match (&server["this"], &server["host"]) {
        (Value::Bool(true), _) => " (this one)".to_owned(),
        (_, Value::Null) => String::new(),
        (_, host) => format!(" (from {})", show::text(host)),
    };
    let is_late = server["late"].as_bool().unwrap_or_default();
    let (behind, silent) = (
        show::number(&server["behind"]),
        show::number(&server["silent"]),
    );
    let state = match is_late {
        false => "up to date".to_owned(),
        true if behind > 0.0 => format!("{} behind", show::duration(behind)),
        true => format!("not heard of for {}", show::duration(silent)),
    };
    format!(
        "{address}{host}: {state}, at tid {}",
        show::text(&server["last_tid"])
    )
}
