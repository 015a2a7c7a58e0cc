//! `zeo kick`.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};

use crate::arguments::MonitorArguments;
use crate::{Result, clients, show};

/// End the connection of a client
///
/// What the client has not finished is aborted. It may connect again. Needs the monitor at a Unix
/// socket.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The client: its ID, or its whole label or address, as `zeo clients` shows them
    #[arg(value_name = "CLIENT")]
    client: String,
    #[command(flatten)]
    monitor: MonitorArguments,
    /// If several clients have this label or address, end the connections of all
    #[arg(long)]
    all: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let monitor = arguments.monitor.monitor()?;
    let status = monitor.status()?;
    let meant = meant(show::list(&status["clients"]), &arguments.client);
    match meant.len() {
        0 => {
            return Err(format!(
                "there is no client {:?}; see `zeo clients`",
                arguments.client
            )
            .into());
        }
        1 => {}
        count if !arguments.all => {
            let ids: Vec<String> = meant
                .iter()
                .map(|client| show::text(&client["id"]))
                .collect();
            let (client, ids) = (&arguments.client, ids.join(", "));
            return Err(format!(
                "{count} clients are {client:?}: {ids}; choose one, or give --all"
            )
            .into());
        }
        _ => {}
    }
    for client in meant {
        monitor.control("kick", &json!({"client": client["id"]}))?;
        let (id, name) = (&client["id"], clients::name(client));
        writeln!(io::stdout(), "ended the connection of client {id} ({name})")?;
    }
    Ok(())
}

/// The clients that a text may mean: the one with this id, else all of this label or address.
fn meant<'c>(all: &'c [Value], text: &str) -> Vec<&'c Value> {
    let by_id = text.parse::<u64>().ok();
    let of = |test: &dyn Fn(&Value) -> bool| all.iter().filter(|it| test(it)).collect::<Vec<_>>();
    let found = of(&|client| by_id.is_some() && client["id"].as_u64() == by_id);
    if !found.is_empty() {
        return found;
    }
    of(&|client| {
        [&client["label"], &client["address"]]
            .iter()
            .any(|it| it.as_str() == Some(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_meant() {
        let all = [
            json!({"id": 7, "label": "web", "address": "10.0.0.1:5000"}),
            json!({"id": 8, "label": "web", "address": "10.0.0.2:5000"}),
            json!({"id": 9, "label": "7", "address": "10.0.0.3:5000"}),
            json!({"id": 10, "label": null, "address": "10.0.0.4:5000"}),
        ];
        for (text, ids) in [
            ("7", &[7][..]),
            ("web", &[7, 8]),
            ("10.0.0.2:5000", &[8]),
            ("10.0.0.4:5000", &[10]),
            ("we", &[]),
            ("11", &[]),
            ("null", &[]),
        ] {
            let found: Vec<u64> = { meant(&all, text).into_iter() }
                .filter_map(|client| client["id"].as_u64())
                .collect();
            assert_eq!(found, ids, "{text}");
        }
    }
}
