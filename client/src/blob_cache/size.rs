//! Keeps a cache below its size: what was not used for longest is removed.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use zeo_storage::blob::SUFFIX;
use zeo_storage::log::{Level, Log};
use zeo_storage::paths::{failed, remove};
use zeo_storage::{LockFile, Result};

use super::layout;
use crate::lock::locked;

/// Held by who removes what is too much.
const LOCK: &str = "check_size.lock";
/// Says that somebody else wanted to.
const ATTEMPT: &str = "check_size.attempt";
/// How long to wait for the other one, before that one is told to look again.
const PATIENCE: Duration = Duration::from_secs(1);
/// What the name of an unfinished download of Python ends in.
pub(super) const UNFINISHED: &str = ".dl";

/// The size of a cache, and who sees to it.
pub(super) struct Limit {
    directory: PathBuf,
    /// To how many bytes a cache is reduced.
    target: u64,
    /// After how many new bytes the size is looked at.
    interval: u64,
    /// Bytes that have come in since.
    new: AtomicU64,
    checks: Mutex<Checks>,
    stopped: Condvar,
    log: Log,
}

#[derive(Default)]
struct Checks {
    thread: Option<JoinHandle<()>>,
    /// A check is wanted that begins later than now.
    wanted: bool,
    running: bool,
    stop: bool,
}

impl Limit {
    /// A cache of at most `size` bytes, looked at whenever `percent` of that have come in.
    pub fn new(directory: &Path, size: u64, percent: u32, log: Log) -> Arc<Self> {
        let interval = u128::from(size) * u128::from(percent) / 100;
        let interval = u64::try_from(interval).unwrap_or(size);
        Arc::new(Self {
            directory: directory.to_owned(),
            target: size.saturating_sub(interval),
            interval,
            new: AtomicU64::new(0),
            checks: Mutex::default(),
            stopped: Condvar::new(),
            log,
        })
    }

    /// So many bytes have come in.
    pub fn add(self: &Arc<Self>, bytes: u64) {
        let new = self.new.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if new >= self.interval {
            self.check();
        }
    }

    /// Looks at the size, in a thread of its own.
    pub fn check(self: &Arc<Self>) {
        self.new.store(0, Ordering::Relaxed);
        let mut checks = self.checks();
        if checks.stop {
            return;
        }
        checks.wanted = true;
        if checks.running {
            return;
        }
        if let Some(done) = checks.thread.take() {
            let _ = done.join();
        }
        let this = Arc::clone(self);
        let name = "blob cache size".to_owned();
        match thread::Builder::new().name(name).spawn(move || this.run()) {
            Ok(thread) => {
                checks.running = true;
                checks.thread = Some(thread);
            }
            Err(why) => self.complain(&format!("no thread can be started: {why}")),
        }
    }

    /// Ends the thread, and waits for its end. There are no more checks.
    pub fn stop(&self) {
        let thread = {
            let mut checks = self.checks();
            checks.stop = true;
            checks.thread.take()
        };
        self.stopped.notify_all();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn run(&self) {
        loop {
            {
                let mut checks = self.checks();
                if checks.stop || !checks.wanted {
                    checks.running = false;
                    return;
                }
                checks.wanted = false;
            }
            if let Err(why) = self.reduce() {
                self.complain(&why.to_string());
            }
        }
    }

    fn complain(&self, why: &str) {
        let directory = self.directory.display();
        let what = format!("the size of the blob cache {directory} can't be kept: {why}");
        (self.log)(Level::Warning, &what);
    }

    fn checks(&self) -> MutexGuard<'_, Checks> {
        locked(&self.checks)
    }

    fn is_stopped(&self) -> bool {
        self.checks().stop
    }

    /// The lock, or none if another process has it, which is told then.
    fn lock(&self) -> Result<Option<LockFile>> {
        let path = self.directory.join(LOCK);
        let lock = LockFile::try_acquire(&path)?;
        if lock.is_some() {
            return Ok(lock);
        }
        let go_on = |checks: &mut Checks| !checks.stop;
        let waited = self
            .stopped
            .wait_timeout_while(self.checks(), PATIENCE, go_on);
        drop(waited);
        let lock = LockFile::try_acquire(&path)?;
        if lock.is_none() && !self.is_stopped() {
            let attempt = self.directory.join(ATTEMPT);
            File::create(&attempt).map_err(failed("creating", &attempt))?;
        }
        Ok(lock)
    }

    /// Removes files until the rest is no larger than the target.
    fn reduce(&self) -> Result<()> {
        layout::check(&self.directory)?;
        let Some(_lock) = self.lock()? else {
            return Ok(());
        };
        let attempt = self.directory.join(ATTEMPT);
        loop {
            let is_reduced = self.pass()?;
            // Who came meanwhile has seen files that were not there before.
            let again = attempt.exists();
            if again {
                remove(&attempt)?;
            }
            if self.is_stopped() || is_reduced && !again {
                return Ok(());
            }
        }
    }

    /// One look at all files. True if there is nothing more to do: the rest is small enough, or in
    /// use.
    fn pass(&self) -> Result<bool> {
        let mut files = Vec::new();
        let listing = failed("reading the directory", &self.directory);
        for entry in fs::read_dir(&self.directory).map_err(&listing)? {
            let entry = entry.map_err(&listing)?;
            if self.is_stopped() {
                return Ok(true);
            }
            let name = entry.file_name();
            if name.to_str().is_some_and(layout::is_directory_name) {
                list(&entry.path(), &mut files)?;
            }
        }
        let mut size: u64 = files.iter().map(|file| file.size).sum();
        // The oldest at the end.
        files.sort_by_key(|file| Reverse(file.used));
        let mut is_removed = false;
        while size > self.target
            && !self.is_stopped()
            && let Some(file) = files.pop()
        {
            if remove_unused(&file.path)? {
                size -= file.size;
                is_removed = true;
            }
        }
        Ok(size <= self.target || !is_removed)
    }
}

/// A file in the cache.
struct Blob {
    /// Seconds and nanoseconds.
    used: (i64, i64),
    size: u64,
    path: PathBuf,
}

/// Adds the files of a directory. Downloads that a killed process of Python has left are removed:
/// Python would append to them.
fn list(directory: &Path, files: &mut Vec<Blob>) -> Result<()> {
    let listing = failed("reading the directory", directory);
    let mut unfinished = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(why) if is_gone(&why) => return Ok(()),
        entries => entries.map_err(&listing)?,
    };
    for entry in entries {
        let path = entry.map_err(&listing)?.path();
        let name = path.as_os_str().as_encoded_bytes();
        if name.ends_with(UNFINISHED.as_bytes()) {
            unfinished.push(path);
        } else if name.ends_with(SUFFIX.as_bytes()) {
            match fs::metadata(&path) {
                Ok(found) if found.is_file() => files.push(Blob {
                    used: (found.atime(), found.atime_nsec()),
                    size: found.len(),
                    path,
                }),
                Err(why) if !is_gone(&why) => return Err(failed("reading", &path)(why)),
                _ => {}
            }
        }
    }
    // Who downloads holds the lock.
    if !unfinished.is_empty()
        && let Some(_lock) = layout::try_lock(directory)?
    {
        unfinished.iter().try_for_each(|path| remove(path))?;
    }
    Ok(())
}

fn is_gone(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Removes a file, unless its directory is in use. True if it is gone.
fn remove_unused(path: &Path) -> Result<bool> {
    let Some(directory) = path.parent() else {
        return Ok(false);
    };
    let lock = layout::try_lock(directory)?;
    if lock.is_some() {
        remove(path)?;
    }
    Ok(lock.is_some())
}
