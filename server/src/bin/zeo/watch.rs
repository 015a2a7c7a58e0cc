//! `zeo watch`.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use console::Term;
use serde_json::Value;
use zeo_server::tools::connect::time_limit;

use crate::arguments::MonitorArguments;
use crate::{Result, clients, show};

/// Watch a server: rates, locks, transactions, a running pack
///
/// On a terminal, the picture is drawn anew each time, until Ctrl-C. Elsewhere there is one line for
/// each storage and time.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    monitor: MonitorArguments,
    /// How often, in seconds
    #[arg(short, long, value_parser = time_limit, default_value = "2", value_name = "SECONDS")]
    interval: Duration,
    /// End after so many times; default: go on until Ctrl-C
    #[arg(short = 'n', long, value_name = "NUMBER")]
    count: Option<u64>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let monitor = arguments.monitor.monitor()?;
    // The first answer must come: a wrong address is told at once. Later the server may be away.
    let mut last = monitor.status()?;
    let mut term = Term::buffered_stdout();
    let mut shown = 0;
    while arguments.count.is_none_or(|count| shown < count) {
        sleep(arguments.interval);
        shown += 1;
        let now = monitor.status();
        if term.is_term() {
            let lines = match &now {
                Ok(now) => picture(now, &last),
                Err(why) => vec![why.clone()],
            };
            draw(&term, &lines)?;
        } else {
            match &now {
                Ok(now) => lines(now, &last).try_for_each(|line| writeln!(term, "{line}"))?,
                Err(why) => writeln!(term, "{why}")?,
            }
            term.flush()?;
        }
        last = now.unwrap_or(last);
    }
    Ok(())
}

/// Draws lines over what stood there before, as far as the terminal has room.
fn draw(term: &Term, lines: &[String]) -> io::Result<()> {
    let (height, width) = term.size();
    let (height, width) = (usize::from(height).max(2), usize::from(width).max(20));
    term.move_cursor_to(0, 0)?;
    for line in lines.iter().take(height - 1) {
        term.clear_line()?;
        term.write_line(&line.chars().take(width - 1).collect::<String>())?;
    }
    term.clear_to_end_of_screen()?;
    term.flush()
}

/// How often something was done in a second, by counters in two answers of one server.
struct Rates<'v> {
    now: &'v Value,
    last: Option<&'v Value>,
    seconds: f64,
}

impl<'v> Rates<'v> {
    fn of(storage: &'v Value, now: &Value, last: &'v Value) -> Self {
        let is_same_server = ["pid", "started"]
            .iter()
            .all(|key| now["server"][key] == last["server"][key]);
        let before = { show::list(&last["storages"]).iter() }
            .find(|before| before["name"] == storage["name"] && is_same_server);
        Self {
            now: storage,
            last: before,
            // By a clock that nobody sets.
            seconds: show::number(&now["server"]["uptime"])
                - show::number(&last["server"]["uptime"]),
        }
    }

    /// As a text with its name: `12.5 loads/s`.
    fn rate(&self, name: &str) -> String {
        let before = self.last.map(|last| show::number(&last[name]));
        let rate = before
            .filter(|_| self.seconds > 0.0)
            .map(|before| (show::number(&self.now[name]) - before).max(0.0) / self.seconds);
        let rate = rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
        format!("{rate} {name}/s")
    }

    fn all(&self) -> String {
        ["loads", "stores", "commits", "aborts", "conflicts"]
            .map(|name| self.rate(name))
            .join(", ")
    }
}

/// A line for each storage.
fn lines<'v>(now: &'v Value, last: &'v Value) -> impl Iterator<Item = String> + 'v {
    let time = show::moment(show::number(&now["time"]));
    show::list(&now["storages"]).iter().map(move |storage| {
        format!(
            "{time} {}: {}, {}",
            show::text(&storage["name"]),
            Rates::of(storage, now, last).all(),
            state(storage)
        )
    })
}

/// Clients, locks, and what else is worth knowing.
fn state(storage: &Value) -> String {
    let locks = &storage["coordinator"];
    let mut parts = vec![format!("{} clients", show::text(&storage["clients"]))];
    if locks.is_object() {
        let (holding, waiting) = (show::text(&locks["holding"]), show::text(&locks["waiting"]));
        parts.push(format!("locks held by {holding}, {waiting} waiting"));
    } else {
        parts.push("the coordinator does not answer".to_owned());
    }
    if let Some(age) = locks["oldest_lock_age"].as_f64() {
        parts.push(format!("oldest lock {}", show::duration(age)));
    }
    if storage["pack"].is_object() {
        parts.push(format!("pack: {}", show::text(&storage["pack"]["text"])));
    }
    if !storage["failure"].is_null() {
        parts.push(format!(
            "accepts no commits: {}",
            show::text(&storage["failure"])
        ));
    }
    parts.join(", ")
}

/// All that a screen shows.
fn picture(now: &Value, last: &Value) -> Vec<String> {
    let server = &now["server"];
    let up = show::duration(show::number(&server["uptime"]));
    let memory = show::bytes(show::number(&server["memory"]) as u64);
    let addresses: Vec<String> = show::list(&server["addresses"])
        .iter()
        .map(show::text)
        .collect();
    let time = show::moment(show::number(&now["time"]));
    let mut lines = vec![format!(
        "{time}  {}  pid {}  up {up}  memory {memory}  {} connections",
        addresses.join(" "),
        show::text(&server["pid"]),
        show::text(&server["connections"]),
    )];
    lines.extend(
        show::list(&server["faults"])
            .iter()
            .map(|fault| format!("! {}", show::text(fault))),
    );
    for storage in show::list(&now["storages"]) {
        let name = show::text(&storage["name"]);
        let size = show::bytes(show::number(&storage["size"]) as u64);
        let objects = show::count(show::number(&storage["objects"]) as u64);
        lines.push(String::new());
        lines.push(format!("Storage {name}: {size}, {objects} objects"));
        lines.push(format!("  {}", Rates::of(storage, now, last).all()));
        lines.push(format!("  {}", state(storage)));
    }
    let busy = { show::list(&now["clients"]).iter() }
        .filter(|client| client["transaction"].is_object())
        .map(|client| {
            let (id, name) = (show::text(&client["id"]), clients::name(client));
            format!(
                "  {id} {name}: {}",
                clients::transaction(&client["transaction"])
            )
        });
    lines.extend([String::new(), "Transactions".to_owned()]);
    lines.extend(busy);
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The clock is set back meanwhile.
    fn status(uptime: f64, pid: u64, loads: u64) -> Value {
        json!({
            "time": 1e9 - 3600.0 * uptime,
            "server": {"pid": pid, "started": 5.0, "uptime": uptime, "addresses": ["127.0.0.1:8100"], "faults": ["slow"]},
            "storages": [{
                "name": "1", "loads": loads, "commits": 3, "clients": 2, "pack": null, "failure": null,
                "coordinator": {"holding": 1, "waiting": 4, "oldest_lock_age": 2.5},
            }],
            "clients": [{
                "id": 7, "label": "web", "address": "10.0.0.1:5000", "tls": true,
                "transaction": {"phase": "waiting", "phase_age": 1.5, "waits_for": {"clients": [8]}},
            }],
        })
    }

    #[test]
    fn rates_are_of_one_server() {
        let line = |now: &Value, last: &Value| lines(now, last).next().unwrap();
        let (first, second) = (status(10.0, 1, 100), status(12.0, 1, 125));
        let shown = line(&second, &first);
        assert!(
            shown.contains("1: 12.5 loads/s, 0.0 stores/s, 0.0 commits/s"),
            "{shown}"
        );
        assert!(
            shown.ends_with("2 clients, locks held by 1, 4 waiting, oldest lock 2.50 s"),
            "{shown}"
        );
        // Restarted: no rates of what was counted by another process.
        let shown = line(&status(14.0, 2, 3), &second);
        assert!(shown.contains("1: - loads/s"), "{shown}");
        assert!(line(&json!({"storages": [{}]}), &json!(null)).contains("does not answer"));
    }

    #[test]
    fn the_picture_shows_who_waits() {
        let all = picture(&status(12.0, 1, 0), &status(10.0, 1, 0)).join("\n");
        for expected in [
            "! slow",
            "Storage 1: ",
            "web 10.0.0.1:5000 (TLS)",
            "waiting for 1.50 s, behind client 8",
        ] {
            assert!(all.contains(expected), "{expected}: {all}");
        }
    }
}
