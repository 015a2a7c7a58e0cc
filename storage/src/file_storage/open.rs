//! Opening a storage: locks, the saved index, the scan behind it, and what
//! a crash has left.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use zeo_proto::Tid;

use super::append::Writer;
use super::core::{FileStorage, Files};
use super::format::{FIRST, MAGIC, MAGIC_PYTHON_2, Reader};
use super::generation::Generation;
use super::index::Index;
use super::lock_file::LockFile;
use super::sanity::Rejected;
use super::scan::{Scanned, scan};
use super::space::Space;
use super::{index_file, recovery, sanity};
use crate::backend::{Backend, FileBackend, MemoryBackend};
use crate::log::{Level, Log, silent};
use crate::{Error, Result};

/// After scanning this much, the index is worth saving at once.
const LONG_SCAN: u64 = 64 << 20;
/// A last transaction this far in the future, in seconds, is an error, not
/// just a clock that is a bit off.
const FAR_FUTURE: f64 = 30.0 * 60.0;

/// How to open a [`FileStorage`]: the settings of `<filestorage>`.
#[derive(Clone)]
pub struct Options {
    /// Replace an existing file by a new one.
    pub create: bool,
    /// Take no writes, change no file, need no lock.
    pub read_only: bool,
    /// Refuse stores that begin behind this position of the file.
    pub quota: Option<u64>,
    /// Remove unreachable objects when packing.
    pub pack_gc: bool,
    /// Keep the file from before a pack as `.old`.
    pub pack_keep_old: bool,
    /// Where messages go.
    pub log: Log,
}

impl Default for Options {
    /// Python's defaults; messages go nowhere.
    fn default() -> Self {
        Self {
            create: false,
            read_only: false,
            quota: None,
            pack_gc: true,
            pack_keep_old: true,
            log: silent(),
        }
    }
}

impl FileStorage {
    /// Opens the file at `path` (a missing one is created, unless read-only)
    /// with its `.index`, or scans it. A torn tail is saved as `.tr0`,
    /// `.tr1`, ... and cut off; read-only, it is left alone and not seen.
    ///
    /// Fails when the file can't be opened or is no FileStorage, when another
    /// process has it open for writing, and, with the position, when it is
    /// damaged elsewhere than at its end.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let name = path.as_ref().display().to_string();
        if options.read_only && options.create {
            return Err(Error::Value("can't create a read-only file".to_owned()));
        }
        let path = std::path::absolute(&path).map_err(opening(path.as_ref()))?;
        check_directory(&path)?;
        let lock = match options.read_only {
            true => None,
            false => Some(LockFile::acquire(beside(&path, ".lock"))?),
        };
        let file = open_file(&path, &options)?;
        let backend = Arc::new(FileBackend::new(file, path.clone()));
        check_magic(&*backend, options.read_only)?;
        let start = restore_index(&path, &*backend, &options.log)?;
        let (index, scanned, had_index) = (start.index, start.start, start.had_index);
        let log = &options.log;
        let found = scan(
            &*backend,
            &index,
            scanned,
            start.last_tid,
            start.durable,
            log,
        )?;
        if !options.read_only {
            match &found.torn {
                Some(why) => recovery::cut_off(&path, &*backend, found.end, why, log)?,
                None => make_durable(&*backend, scanned, found.end)?,
            }
        }
        let saved_position = had_index.then_some(scanned);
        let read = found.end.saturating_sub(scanned);
        let files = Files {
            path,
            lock: Mutex::new(lock),
            saved: Mutex::new(saved_position),
        };
        let storage = Self::build(backend, index, &found, name, &options, Some(files));
        storage.warn_of_future(found.last_tid);
        if (!had_index || read > LONG_SCAN)
            && let Err(error) = storage.write_index(true)
        {
            storage.say(Level::Warning, &format!("the index was not saved: {error}"));
        }
        Ok(storage)
    }

    /// A storage over any backend, without files beside it: an empty backend
    /// begins an empty storage; a torn tail is cut off, and lost.
    pub fn over(
        backend: Arc<dyn Backend>,
        name: impl Into<String>,
        options: &Options,
    ) -> Result<Self> {
        check_magic(&*backend, options.read_only)?;
        let index = Index::default();
        let found = scan(&*backend, &index, FIRST, Tid::ZERO, FIRST, &options.log)?;
        if !options.read_only {
            match found.torn {
                Some(_) => recovery::truncate(&*backend, found.end)?,
                None => make_durable(&*backend, FIRST, found.end)?,
            }
        }
        Ok(Self::build(
            backend,
            index,
            &found,
            name.into(),
            options,
            None,
        ))
    }

    /// An empty storage in memory.
    pub fn in_memory() -> Result<Self> {
        let backend = Arc::new(MemoryBackend::default());
        Self::over(backend, "memory", &Options::default())
    }

    fn build(
        backend: Arc<dyn Backend>,
        index: Index,
        found: &Scanned,
        name: String,
        options: &Options,
        files: Option<Files>,
    ) -> Self {
        let &Scanned { end, last_tid, .. } = found;
        let last_oid = index.max_oid().unwrap_or_default();
        let generation = Generation::new(backend, index, end, last_tid);
        Self {
            name,
            generation: ArcSwap::from_pointee(generation),
            space: Space::new(end),
            writer: Mutex::new(Writer {
                end,
                last_tid,
                buffer: Vec::new(),
            }),
            failure: OnceLock::new(),
            closed: AtomicBool::new(false),
            last_oid: AtomicU64::new(last_oid.as_u64()),
            read_only: options.read_only,
            quota: options.quota,
            files,
            log: options.log.clone(),
        }
    }

    fn warn_of_future(&self, last_tid: Tid) {
        let now = Tid::from_time(SystemTime::now());
        if last_tid > now {
            let seconds = last_tid.unix_time() - now.unix_time();
            let level = match seconds > FAR_FUTURE {
                true => Level::Error,
                false => Level::Warning,
            };
            let what = format!(
                "{}: the last transaction, {last_tid}, lies {seconds:.0} seconds in the future: \
                 check the clock",
                self.name
            );
            self.say(level, &what);
        }
    }
}

/// The path with something added to its end.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes creations and renamings in the directory of `path` durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn opening(path: &Path) -> impl Fn(io::Error) -> Error {
    failed("opening", path)
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io {
        doing,
        file: path.to_owned(),
        source,
    }
}

fn check_directory(path: &Path) -> Result<()> {
    match path.parent() {
        Some(directory) if !directory.is_dir() => {
            let what = format!("there is no directory {}", directory.display());
            Err(opening(path)(io::Error::new(io::ErrorKind::NotFound, what)))
        }
        _ => Ok(()),
    }
}

fn open_file(path: &Path, options: &Options) -> Result<File> {
    let mut how = OpenOptions::new();
    how.read(true).write(!options.read_only);
    if !options.create {
        match how.open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !options.read_only => {}
            result => return result.map_err(opening(path)),
        }
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(failed("removing", path)(e));
        }
        _ => {}
    }
    create_file(path, how.create_new(true)).map_err(failed("creating", path))
}

fn create_file(path: &Path, how: &OpenOptions) -> io::Result<File> {
    let mut file = how.open(path)?;
    file.write_all(MAGIC)?;
    file.sync_all()?;
    sync_directory(path)?;
    Ok(file)
}

/// Fails unless the file begins as a FileStorage; begins an empty one.
fn check_magic(backend: &dyn Backend, read_only: bool) -> Result<()> {
    let mut magic = [0; MAGIC.len()];
    let got = backend
        .read_at(&mut magic, 0)
        .map_err(failed("reading", backend.path()))?;
    if got == 0 {
        if read_only {
            return Ok(());
        }
        return backend
            .write_all_at(MAGIC, 0)
            .and_then(|()| backend.sync())
            .map_err(failed("creating", backend.path()));
    }
    if magic != *MAGIC {
        let what = match &magic == MAGIC_PYTHON_2 {
            true => "this is a FileStorage of Python 2; convert it with zodbupdate",
            false => "this is not a FileStorage, which begins with FS30",
        };
        return Err(Error::Corrupt {
            file: backend.path().to_owned(),
            position: 0,
            what: what.to_owned(),
        });
    }
    Ok(())
}

/// What was read may have been written by a process that died before it
/// could sync it. What is written next relies on it.
fn make_durable(backend: &dyn Backend, scanned: u64, end: u64) -> Result<()> {
    match end > scanned {
        true => backend.sync().map_err(failed("syncing", backend.path())),
        false => Ok(()),
    }
}

/// Where the scan begins: what the index file knew.
struct Start {
    index: Index,
    start: u64,
    last_tid: Tid,
    /// The file was durable up to here, if the index belongs to it.
    durable: u64,
    had_index: bool,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            index: Index::default(),
            start: FIRST,
            last_tid: Tid::ZERO,
            durable: FIRST,
            had_index: false,
        }
    }
}

/// The saved index, if there is a good one; else the beginning. Fails when
/// the index shows that the file is damaged.
fn restore_index(path: &Path, backend: &dyn Backend, log: &Log) -> Result<Start> {
    let file = beside(path, ".index");
    let ignored = |why: &str| {
        let what = format!("ignoring the index {}: {why}", file.display());
        log(Level::Warning, &what);
        Start::default()
    };
    let loaded = match index_file::load(&file) {
        Ok(Some(loaded)) => loaded,
        Ok(None) => return Ok(Start::default()),
        Err(why) => return Ok(ignored(&why.to_string())),
    };
    let (index, end) = (loaded.index, loaded.position);
    match sanity::check(&Reader { backend, end }, &index) {
        Ok(last_tid) => Ok(Start {
            index,
            start: end,
            last_tid,
            durable: end,
            had_index: true,
        }),
        Err(Rejected::Damaged(error)) => Err(error),
        Err(Rejected::Foreign(why)) => {
            let size = backend.len().map_err(failed("reading the size of", path))?;
            Ok(Start {
                durable: if end <= size { end } else { FIRST },
                ..ignored(&why)
            })
        }
    }
}
