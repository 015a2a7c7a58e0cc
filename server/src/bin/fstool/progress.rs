//! How far a subcommand is, on standard error: a bar on a terminal, else a
//! line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::outcome::tell;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const BAR: &str = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
/// How often a line is written.
const LINES: Duration = Duration::from_secs(10);
/// How much is done between two looks at the clock, in bytes.
const STEP: u64 = 1 << 20;

/// The progress of work that goes over a number of bytes. Dropping it removes
/// the bar.
pub struct Progress {
    doing: &'static str,
    total: u64,
    noted: u64,
    shown: Shown,
}

enum Shown {
    Not,
    Bar(ProgressBar),
    /// When the last line was written.
    Lines(Instant),
}

impl Progress {
    /// Begins at 0 of `total`; `doing` is as "reading".
    pub fn new(doing: &'static str, total: u64, quiet: bool) -> Self {
        let shown = if quiet {
            Shown::Not
        } else if std::io::stderr().is_terminal() {
            Shown::Bar(bar(doing, total))
        } else {
            Shown::Lines(Instant::now())
        };
        Self {
            doing,
            total,
            noted: 0,
            shown,
        }
    }

    /// Takes note that so much is done. Cheap: call it as often as you like.
    pub fn set(&mut self, done: u64) {
        if done.abs_diff(self.noted) < STEP {
            return;
        }
        self.noted = done;
        match &mut self.shown {
            Shown::Not => {}
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

    /// Writes a line to standard error without disturbing the bar.
    pub fn say(&self, line: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| tell(line)),
            _ => tell(line),
        }
    }
}

impl Drop for Progress {
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
