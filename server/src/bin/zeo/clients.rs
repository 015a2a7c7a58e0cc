//! `zeo clients`.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};
use zeo_server::tools::table::{Align, Table};

use crate::Result;
use crate::arguments::MonitorArguments;
use crate::show;

/// List the clients of a server: who they are, what they do, whom they wait for
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    monitor: MonitorArguments,
    /// Only the clients of this storage
    #[arg(long, value_name = "NAME")]
    storage: Option<String>,
    /// Show them as JSON, as the monitor has them
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let status = arguments.monitor.monitor()?.status()?;
    let wanted = |client: &&Value| match &arguments.storage {
        Some(name) => client["storage"].as_str() == Some(name),
        None => true,
    };
    let clients: Vec<&Value> = show::list(&status["clients"])
        .iter()
        .filter(wanted)
        .collect();
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{:#}", json!(clients))?;
    } else if clients.is_empty() {
        writeln!(out, "no clients")?;
    } else {
        table(&clients).write(&mut out)?;
    }
    Ok(())
}

/// Clients in rows.
fn table(clients: &[&Value]) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Right),
        ("Client", Align::Left),
        ("Storage", Align::Left),
        ("Connected", Align::Right),
        ("Loads", Align::Right),
        ("Stores", Align::Right),
        ("Commits", Align::Right),
        ("Transaction", Align::Left),
    ]);
    for client in clients {
        let mut storage = show::text(&client["storage"]);
        if client["read_only"].as_bool() == Some(true) {
            storage.push_str(" (read-only)");
        }
        table.push(vec![
            client["id"].clone(),
            name(client).into(),
            storage.into(),
            show::duration(show::number(&client["age"])).into(),
            client["loads"].clone(),
            client["stores"].clone(),
            client["commits"].clone(),
            transaction(&client["transaction"]).into(),
        ]);
    }
    table
}

/// The label, if there is one, and the address.
pub fn name(client: &Value) -> String {
    let address = show::text(&client["address"]);
    let tls = match client["tls"].as_bool() {
        Some(true) => " (TLS)",
        _ => "",
    };
    match show::text(&client["label"]) {
        label if label.is_empty() => format!("{address}{tls}"),
        label => format!("{label} {address}{tls}"),
    }
}

/// What a client's transaction does, for how long; nothing if there is none.
pub fn transaction(of: &Value) -> String {
    let Some(phase) = of["phase"].as_str() else {
        return String::new();
    };
    let mut line = format!(
        "{} for {}",
        phase.escape_default(),
        show::duration(show::number(&of["phase_age"]))
    );
    let waits = &of["waits_for"];
    let before: Vec<String> = show::list(&waits["clients"])
        .iter()
        .map(show::text)
        .collect();
    if !before.is_empty() {
        line.push_str(&format!(", behind client {}", before.join(", ")));
    }
    if of["holds_locks"].as_bool() == Some(true) {
        line.push_str(", holds locks");
    }
    line
}
