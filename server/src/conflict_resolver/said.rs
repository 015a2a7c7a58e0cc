//! What a resolver's process prints goes into the log.

use std::io::{self, BufRead, BufReader, PipeReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use slog::{Logger, warn};

use crate::status::conflict_counts::one_line;

/// How much of a line is logged, in bytes.
const LINE_MAX: u64 = 1000;
/// How many lines are logged in a minute.
const LINES_A_MINUTE: u32 = 200;
const MINUTE: Duration = Duration::from_secs(60);

/// The last line that a process has printed.
#[derive(Default)]
pub(super) struct LastWords(Arc<Printed>);

#[derive(Default)]
struct Printed {
    last: Mutex<Last>,
    ended: Condvar,
}

#[derive(Default)]
struct Last {
    line: Option<String>,
    /// There will be no other line.
    is_last: bool,
}

impl LastWords {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, line: String) {
        self.last().line = Some(line);
    }

    fn end(&self) {
        self.last().is_last = true;
        self.0.ended.notify_all();
    }

    /// The last line, after the end of the output, or after `patience`.
    pub fn wait(&self, patience: Duration) -> Option<String> {
        let more = |last: &mut Last| !last.is_last;
        let waited = self.0.ended.wait_timeout_while(self.last(), patience, more);
        let (mut last, _) = waited.unwrap_or_else(PoisonError::into_inner);
        last.line.take()
    }
}

/// Logs each line of `output`, of the process `pid`, on a thread of its own.
///
/// # Errors
/// There is no thread left.
pub(super) fn listen(output: PipeReader, pid: u32, log: &Logger) -> io::Result<LastWords> {
    let words = LastWords::default();
    let (told, log) = (LastWords(Arc::clone(&words.0)), log.clone());
    let run = move || {
        let mut budget = Budget::default();
        let mut output = BufReader::new(output);
        while let Ok(Some(line)) = next_line(&mut output) {
            if line.trim().is_empty() {
                continue;
            }
            match budget.take() {
                Line::Log => warn!(log, "conflict resolver (process {pid}) prints: {line}"),
                Line::Full => warn!(
                    log,
                    "conflict resolver (process {pid}) prints more than {LINES_A_MINUTE} lines in \
                     a minute: the rest is not logged"
                ),
                Line::Drop => {}
            }
            told.set(line);
        }
        told.end();
    };
    thread::Builder::new()
        .name("resolver's output".into())
        .spawn(run)?;
    Ok(words)
}

/// The next line, or as much of it as is logged; what is longer comes as several lines.
fn next_line(output: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let read = output
        .by_ref()
        .take(LINE_MAX)
        .read_until(b'\n', &mut line)?;
    let text = String::from_utf8_lossy(&line);
    let text = one_line(text.trim_end(), LINE_MAX as usize);
    Ok((read > 0).then_some(text))
}

enum Line {
    Log,
    /// This one is too much.
    Full,
    Drop,
}

/// How many lines there were since when.
struct Budget {
    since: Instant,
    lines: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            lines: 0,
        }
    }
}

impl Budget {
    fn take(&mut self) -> Line {
        if self.since.elapsed() > MINUTE {
            *self = Self::default();
        }
        self.lines = self.lines.saturating_add(1);
        match self.lines.cmp(&(LINES_A_MINUTE + 1)) {
            std::cmp::Ordering::Less => Line::Log,
            std::cmp::Ordering::Equal => Line::Full,
            std::cmp::Ordering::Greater => Line::Drop,
        }
    }
}
