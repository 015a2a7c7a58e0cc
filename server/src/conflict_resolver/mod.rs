//! `--conflict-resolver`: processes of Python that merge conflicts of the application's classes.
//!
//! There is one process; while it is busy for long (it imports the application, or hangs), up to
//! three more are started, which end when nobody needs them any more. Each is asked by one helper
//! thread at a time. One that fails is killed, and the next question starts another, but not more
//! often than [`pause`] allows. The processes end with the server: its end of their socket closes.

mod program;
mod said;
mod wire;

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use program::{Broken, Program, Starting};
use slog::{Logger, error, info, o};
use zeo_storage::conflict::{Question, Resolver, Unmerged};

/// How many processes there may be.
const MAX_PROCESSES: usize = 4;
/// How long a question waits for a busy process before another one is started.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a failing resolver rests at most.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How long the first process may take to start, at least: nobody waits for it yet.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// A time limit that is as good as none.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Why nothing is resolved after [`ConflictResolver::stop`].
const STOPPING: &str = "the server is stopping";
/// How long a stop waits for processes to be killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A conflict resolver that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the conflict resolver {} does not work: {reason}", .program.display())]
pub struct ResolverError {
    program: PathBuf,
    reason: String,
}

/// Merges conflicts of the application's classes in processes of Python.
#[derive(Debug)]
pub struct ConflictResolver {
    program: PathBuf,
    timeout: Duration,
    log: Logger,
    pool: Mutex<Pool>,
    changed: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Program>,
    /// The sockets of all processes, by process id.
    lines: HashMap<u32, UnixStream>,
    /// How many processes there are, those that are starting included.
    running: usize,
    /// How many threads wait for a process.
    waiting: usize,
    /// How often processes have failed since the last answer.
    failures: u32,
    /// No process is started before.
    rests_until: Option<Instant>,
    stopped: bool,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool of {} processes", self.running)
    }
}

impl ConflictResolver {
    /// A resolver whose `program` runs Python scripts, as `python` or buildout's `zopepy` do; no
    /// process is started yet. One vote waits no longer than `timeout` for its conflicts to be
    /// resolved.
    pub fn new(program: &Path, timeout: Duration, log: &Logger) -> Self {
        Self {
            program: program.to_owned(),
            timeout: timeout.min(MAX_TIMEOUT),
            log: log.new(o!("logger" => "ZODB.ConflictResolution")),
            pool: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Starts the first process, and waits until it is ready.
    ///
    /// # Errors
    /// [`ResolverError`]: it can't be started, or has no ZODB.
    pub fn start(&self) -> Result<(), ResolverError> {
        self.start_within(self.timeout.max(START_PATIENCE))
    }

    fn start_within(&self, patience: Duration) -> Result<(), ResolverError> {
        self.pool().running += 1;
        match self.start_one(Instant::now() + patience.min(MAX_TIMEOUT)) {
            Ok(first) => {
                self.give_back(first);
                Ok(())
            }
            Err(Broken(reason)) => {
                let program = self.program.clone();
                Err(ResolverError { program, reason })
            }
        }
    }

    /// What answers the questions of one vote.
    pub(crate) fn for_vote(&self) -> ForVote<'_> {
        ForVote {
            resolver: self,
            deadline: Instant::now() + self.timeout,
        }
    }

    /// Ends all processes; nothing is resolved any more.
    pub fn stop(&self) {
        let mut pool = self.pool();
        pool.stopped = true;
        let idle = std::mem::take(&mut pool.idle);
        for line in pool.lines.values() {
            // One that is closed already needs no end.
            let _ = line.shutdown(Shutdown::Both);
        }
        drop(pool);
        for program in idle {
            self.end(program);
        }
        self.changed.notify_all();
        let is_running = |pool: &mut Pool| pool.running > 0;
        // Whoever asks a process ends it.
        drop(
            self.changed
                .wait_timeout_while(self.pool(), STOP_TIMEOUT, is_running),
        );
    }

    fn ask(
        &self,
        question: &Question<'_>,
        deadline: Instant,
    ) -> Result<Result<Vec<u8>, Unmerged>, Broken> {
        let mut program = self.take(deadline)?;
        match program.ask(question, deadline) {
            Ok(answer) => {
                self.give_back(program);
                Ok(answer)
            }
            Err(broken) => {
                let class = question.class.unwrap_or("(unknown)");
                let (pid, Broken(why)) = (program.pid(), &broken);
                self.end(program);
                let pause = self.failed();
                if !self.pool().stopped {
                    error!(
                        self.log,
                        "conflict resolver (process {pid}) is ended: {why} (a conflict of class \
                         {class}); another one starts when it is needed, {}",
                        after(pause)
                    );
                }
                Err(broken)
            }
        }
    }

    /// A process to ask: one that has nothing to do, or a new one.
    fn take(&self, deadline: Instant) -> Result<Program, Broken> {
        let patient_until = deadline.min(Instant::now() + PATIENCE);
        let mut pool = self.pool();
        loop {
            let now = Instant::now();
            if pool.stopped {
                return Err(Broken(STOPPING.to_owned()));
            }
            if let Some(mut program) = pool.idle.pop() {
                let Some(how) = program.ended() else {
                    return Ok(program);
                };
                drop(pool);
                let pid = program.pid();
                self.end(program);
                error!(self.log, "conflict resolver (process {pid}): {how}");
                pool = self.pool();
                continue;
            }
            let may_start = pool.running < MAX_PROCESSES && now >= patient_until;
            if pool.running == 0 || may_start {
                if let Some(until) = pool.rests_until.filter(|&until| until > now) {
                    let left = (until - now).as_secs() + 1;
                    let why = format!("it has failed again and again, and rests for {left} s");
                    return Err(Broken(why));
                }
                pool.running += 1;
                drop(pool);
                return self.start_one(deadline).inspect_err(|Broken(why)| {
                    let pause = self.failed();
                    error!(
                        self.log,
                        "the conflict resolver can't be started: {why}; it is tried again when it \
                         is needed, {}",
                        after(pause)
                    );
                });
            }
            if now >= deadline {
                return Err(Broken("all its processes are busy".to_owned()));
            }
            let until = if now < patient_until {
                patient_until
            } else {
                deadline
            };
            pool.waiting += 1;
            let waited = self.changed.wait_timeout(pool, until - now);
            pool = waited.unwrap_or_else(PoisonError::into_inner).0;
            pool.waiting -= 1;
        }
    }

    /// Starts a process that is counted already. A stop ends it while it starts, too.
    fn start_one(&self, deadline: Instant) -> Result<Program, Broken> {
        let starting = Starting::new(&self.program, &self.log);
        let starting = starting.inspect_err(|_| self.gone(None))?;
        let pid = starting.program().pid();
        let line = starting.program().line();
        let started = match line.map(|line| self.enters(pid, line)) {
            Ok(true) => starting.ready(deadline),
            Ok(false) => {
                drop(starting);
                Err(Broken(STOPPING.to_owned()))
            }
            Err(why) => Err(Broken(why.to_string())),
        };
        let (program, told) = started.inspect_err(|_| self.gone(Some(pid)))?;
        info!(
            self.log,
            "conflict resolver {} is process {pid}: {told}",
            self.program.display()
        );
        Ok(program)
    }

    /// Enters a process, so that a stop finds it; false when everything has stopped.
    fn enters(&self, pid: u32, line: UnixStream) -> bool {
        let mut pool = self.pool();
        let goes_on = !pool.stopped;
        if goes_on {
            pool.lines.insert(pid, line);
        }
        goes_on
    }

    /// The process has answered. It stays, if it is the only one or somebody waits for it.
    fn give_back(&self, program: Program) {
        let mut pool = self.pool();
        pool.failures = 0;
        pool.rests_until = None;
        if pool.stopped || (!pool.idle.is_empty() && pool.waiting == 0) {
            drop(pool);
            return self.end(program);
        }
        pool.idle.push(program);
        drop(pool);
        self.changed.notify_one();
    }

    fn end(&self, program: Program) {
        let pid = program.pid();
        drop(program);
        self.gone(Some(pid));
    }

    fn gone(&self, pid: Option<u32>) {
        let mut pool = self.pool();
        pool.running -= 1;
        if let Some(pid) = pid {
            pool.lines.remove(&pid);
        }
        drop(pool);
        self.changed.notify_all();
    }

    /// Counts a failure; how long nothing is started now.
    fn failed(&self) -> Duration {
        let mut pool = self.pool();
        let pause = pause(pool.failures);
        pool.failures = pool.failures.saturating_add(1);
        pool.rests_until = Some(Instant::now() + pause);
        pause
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait before a restart, after so many failures before: 0, 1, 2, 4 ... 30 seconds.
fn pause(failures: u32) -> Duration {
    let seconds = 1_u64.checked_shl(failures).unwrap_or(u64::MAX) / 2;
    Duration::from_secs(seconds).min(MAX_PAUSE)
}

fn after(pause: Duration) -> String {
    match pause.as_secs() {
        0 => "at once".to_owned(),
        seconds => format!("after {seconds} s"),
    }
}

/// Answers the questions of one vote, within its time.
#[derive(Debug)]
pub(crate) struct ForVote<'a> {
    resolver: &'a ConflictResolver,
    deadline: Instant,
}

impl Resolver for ForVote<'_> {
    fn resolve(&self, question: &Question<'_>) -> Result<Vec<u8>, Unmerged> {
        let failed = |Broken(why)| Unmerged::Failed(format!("the conflict resolver failed: {why}"));
        self.resolver.ask(question, self.deadline).map_err(failed)?
    }
}

#[cfg(test)]
mod tests;
