//! `zeo pack`.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use zeo_client::{Address, Connection};
use zeo_proto::message::Call;
use zeo_server::tools::monitor::Monitor;
use zeo_server::tools::output::tell;

use crate::arguments::{ServerArguments, chosen};
use crate::{Result, show};

/// Pack a storage, with progress
///
/// Waits for the end of the pack. With the server's monitor, it shows progress, and Ctrl-C cancels the
/// pack (the data stay as they were). Without it, Ctrl-C ends this program only: the server goes on
/// packing.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    server: ServerArguments,
    /// The storage
    #[arg(long, value_name = "NAME", default_value = "1")]
    storage: String,
    /// Keep what is not older than so many days
    #[arg(short, long, default_value_t = 0.0, value_parser = days)]
    days: f64,
    /// Have the server pack in the background, and don't wait for the end
    #[arg(long)]
    no_wait: bool,
    /// Don't show progress
    #[arg(short, long)]
    quiet: bool,
    /// The server's monitor, best at its Unix socket; also $RZEO_MONITOR
    #[arg(long, value_name = "ADDRESS")]
    monitor: Vec<Address>,
}

/// How often progress is asked for.
const LOOK: Duration = Duration::from_millis(500);
/// How often a line is written where there is no terminal.
const LINES: Duration = Duration::from_secs(10);
/// How often signals are looked for.
const STEP: Duration = Duration::from_millis(50);

pub fn run(arguments: &Arguments) -> Result<()> {
    let address = &arguments.server.address;
    let mut connection = Connection::open(address, &arguments.server.options()?)?;
    // Whoever may read may pack.
    let read_only = true;
    connection.register(&arguments.storage, read_only)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let time = now.as_secs_f64() - arguments.days * 86400.0;
    if arguments.no_wait {
        let () = connection.call(&Call::Pack { time, wait: false }, &mut |_| {})?;
        return Ok(writeln!(
            io::stdout(),
            "{address}: the server packs storage {}",
            arguments.storage
        )?);
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends the program, whatever it waits for.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&interrupted))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)))
            .map_err(|why| format!("catching signals: {why}"))?;
    }
    connection.set_call_limit(None);
    let (done, is_done) = channel();
    let begin = Instant::now();
    thread::spawn(move || {
        let result = connection.call::<()>(&Call::Pack { time, wait: true }, &mut |_| {});
        // Nobody waits for it any more when the program ends.
        let _ = done.send(result);
    });
    let mut watch = Watch {
        monitor: chosen(&arguments.monitor, arguments.server.timeout()),
        storage: &arguments.storage,
        progress: Progress::new(arguments.quiet),
        looked: None,
        is_cancelled: false,
    };
    watch.wait(&is_done, &interrupted)?;
    let took = show::duration(begin.elapsed().as_secs_f64());
    Ok(writeln!(
        io::stdout(),
        "{address}: storage {} is packed, after {took}",
        arguments.storage
    )?)
}

/// What is done until the pack has ended.
struct Watch<'a> {
    monitor: Option<Monitor>,
    storage: &'a str,
    progress: Progress,
    /// When the monitor was asked last.
    looked: Option<Instant>,
    is_cancelled: bool,
}

impl Watch<'_> {
    fn wait(
        &mut self,
        done: &Receiver<std::result::Result<(), zeo_client::ConnectionError>>,
        interrupted: &AtomicBool,
    ) -> Result<()> {
        loop {
            match done.recv_timeout(STEP) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) if self.is_cancelled => {
                    return Err(format!("the pack was cancelled ({why})").into());
                }
                Ok(Err(why)) => return Err(why.into()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("the thread that waited for the pack has ended"
                        .to_owned()
                        .into());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if interrupted.load(Ordering::Relaxed) && !self.is_cancelled {
                self.cancel()?;
            }
            if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                self.looked = Some(Instant::now());
                self.look();
            }
        }
    }

    /// Asks the server to cancel the pack, whose call fails then.
    fn cancel(&mut self) -> Result<()> {
        let goes_on = "the server goes on packing";
        let Some(monitor) = self.monitor.as_ref().filter(|monitor| monitor.is_local()) else {
            return Err(format!(
                "{goes_on}: only at the Unix socket of its monitor (--monitor PATH) could it be told to \
                 cancel"
            )
            .into());
        };
        let order = monitor.control("cancel-pack", &json!({"storage": self.storage}));
        order.map_err(|why| format!("{goes_on}: {why}"))?;
        self.is_cancelled = true;
        self.progress.say("cancelling; again to end at once");
        Ok(())
    }

    fn look(&mut self) {
        // That it can't be told is no reason to give up.
        let status = self
            .monitor
            .as_ref()
            .and_then(|monitor| monitor.status().ok());
        let storages = status
            .as_ref()
            .map_or(&Value::Null, |status| &status["storages"]);
        let storage = { show::list(storages).iter() }
            .find(|storage| storage["name"].as_str() == Some(self.storage));
        self.progress
            .show(storage.map_or(&Value::Null, |storage| &storage["pack"]));
    }
}

/// Progress on standard error: a bar on a terminal, else a line now and then.
enum Progress {
    Quiet,
    Bar(ProgressBar),
    Lines(Instant),
}

impl Progress {
    fn new(quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !io::stderr().is_terminal() {
            return Self::Lines(Instant::now());
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_message("packing");
        Self::Bar(bar)
    }

    /// Shows the pack as the monitor has it; null if that is not known.
    fn show(&mut self, pack: &Value) {
        let text = match pack["text"].as_str() {
            Some(_) => show::text(&pack["text"]),
            None => "packing".to_owned(),
        };
        match self {
            Self::Quiet => {}
            Self::Bar(bar) => {
                bar.set_style(style(pack["total"].as_u64().is_some()));
                if let Some(total) = pack["total"].as_u64() {
                    bar.set_length(total);
                    bar.set_position(pack["done"].as_u64().unwrap_or_default());
                }
                bar.set_message(text);
                bar.tick();
            }
            Self::Lines(last) if last.elapsed() < LINES => {}
            Self::Lines(last) => {
                *last = Instant::now();
                tell(text);
            }
        }
    }

    fn say(&self, line: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| tell(line)),
            _ => tell(line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

const BAR: &str = "{msg} {wide_bar} {percent} %, {elapsed}";
const SPINNER: &str = "{spinner} {msg}, {elapsed}";

fn style(has_total: bool) -> ProgressStyle {
    let template = if has_total { BAR } else { SPINNER };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A number of days, zero or more.
fn days(text: &str) -> std::result::Result<f64, String> {
    let days = text
        .parse()
        .ok()
        .filter(|days: &f64| *days >= 0.0 && days.is_finite());
    days.ok_or_else(|| format!("{text:?} is not a number of days"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_a_style() {
        for template in [BAR, SPINNER] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
