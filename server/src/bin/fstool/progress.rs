//! The progress of a subcommand on standard error: a bar on a terminal, else a
//! line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use zeo_storage::log::Level;
use zeo_storage::observer::{Cancelled, Observer};

use crate::interrupt;
use crate::outcome::tell;

const BAR: &str = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
/// How often a line is written.
const LINES: Duration = Duration::from_secs(10);
/// How much is done between two looks at the clock, in bytes.
const STEP: u64 = 1 << 20;

/// Shows progress, and cancels when a signal came. Dropping it removes the
/// bar.
pub struct Progress {
    quiet: bool,
    /// Show the steps that are taken, too.
    steps: bool,
    phase: Option<Phase>,
}

/// A phase that goes over a number of bytes.
struct Phase {
    doing: &'static str,
    total: u64,
    noted: u64,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    /// When the last line was written.
    Lines(Instant),
}

impl Progress {
    /// With `quiet`, nothing is shown but what could not be done.
    pub fn new(quiet: bool, steps: bool) -> Self {
        Self {
            quiet,
            steps,
            phase: None,
        }
    }
}

impl Observer for Progress {
    fn begin(&mut self, doing: &'static str, total: Option<u64>) {
        self.phase = None;
        let Some(total) = total.filter(|_| !self.quiet) else {
            return;
        };
        let shown = if std::io::stderr().is_terminal() {
            Shown::Bar(bar(doing, total))
        } else {
            Shown::Lines(Instant::now())
        };
        self.phase = Some(Phase {
            doing,
            total,
            noted: 0,
            shown,
        });
    }

    fn set(&mut self, done: u64) -> Result<(), Cancelled> {
        if let Some(phase) = &mut self.phase {
            phase.set(done);
        }
        if interrupt::came() {
            return Err(Cancelled);
        }
        Ok(())
    }

    fn say(&mut self, level: Level, line: &str) {
        if level == Level::Info && !self.steps {
            return;
        }
        match &self.phase {
            Some(Phase {
                shown: Shown::Bar(bar),
                ..
            }) => bar.suspend(|| tell(line)),
            _ => tell(line),
        }
    }
}

impl Phase {
    fn set(&mut self, done: u64) {
        if done.abs_diff(self.noted) < STEP {
            return;
        }
        self.noted = done;
        match &mut self.shown {
            Shown::Bar(bar) => bar.set_position(done),
            Shown::Lines(last) if last.elapsed() < LINES => {}
            Shown::Lines(last) => {
                *last = Instant::now();
                let percent = u128::from(done) * 100 / u128::from(self.total.max(1));
                let (doing, megabytes) = (self.doing, self.total / 1_000_000);
                tell(format_args!("{doing}: {percent} % of {megabytes} MB"));
            }
        }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(doing: &'static str, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    bar.set_message(doing);
    match ProgressStyle::with_template(BAR) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_has_a_style() {
        ProgressStyle::with_template(BAR).unwrap();
    }
}
