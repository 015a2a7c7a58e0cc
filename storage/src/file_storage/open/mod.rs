//! FileStorage: opening, with locks, the saved index, the scan behind it, and
//! what a crash has left.

mod lost_blobs;
mod recovery;
pub(crate) mod saved_index;
pub(crate) mod scan;
pub(crate) mod torn;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use zeo_proto::{Oid, Tid};

use self::scan::{LoggedProgress, Scanned, scan};
use crate::blob::{BlobDirectory, Layout};
use crate::disk::backend::{Backend, MemoryBackend};
use crate::disk::paths::{beside, failed, resolve};
use crate::disk::{Disk, FileSystem, sync_directory};
use crate::file_storage::commit::room::Room;
use crate::file_storage::commit::space::Space;
use crate::file_storage::commit::writer::Writer;
use crate::file_storage::files::{self, Files, indexes};
use crate::file_storage::format::room::data_end;
use crate::file_storage::format::{FIRST, MAGIC, MAGIC_PYTHON_2, Reader};
use crate::file_storage::index::file::Loaded;
use crate::file_storage::index::{self, Index};
use crate::file_storage::options::Options;
use crate::file_storage::read::generation::Generation;
use crate::file_storage::storage::FileStorage;
use crate::log::Level;
use crate::{Error, Result};

/// After scanning this much, the index is worth saving at once.
const LONG_SCAN_BYTES: u64 = 64 << 20;
/// A last transaction this far in the future, in seconds, is an error, not
/// just a clock that is a bit off.
const FAR_FUTURE_SECONDS: f64 = 30.0 * 60.0;

impl FileStorage {
    /// Opens the file at `path` (a missing one is created, unless read-only)
    /// with its `.index`, or scans it. A torn tail is saved as `.tr0`,
    /// `.tr1`, ... and cut off; read-only, it is left alone and not seen.
    ///
    /// # Errors
    /// The file can't be opened or is not a FileStorage; another process has it open for writing;
    /// or, with the position, it is damaged elsewhere than at its end.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        Self::open_on(Arc::new(Disk), path.as_ref(), &options)
    }

    /// As `open`, on the given file system.
    pub(crate) fn open_on(
        disk: Arc<dyn FileSystem>,
        path: &Path,
        options: &Options,
    ) -> Result<Self> {
        let name = path.display().to_string();
        if options.read_only && options.create {
            return Err(Error::Value("can't create a read-only file".to_owned()));
        }
        let path = std::path::absolute(path).map_err(opening(path))?;
        check_directory(&path)?;
        let data = resolve(&path).map_err(opening(&path))?;
        check_directory(&data)?;
        let locks = if options.read_only {
            Vec::new()
        } else {
            files::lock(&path, &data)?
        };
        if !options.read_only && !options.create && recovery::take_back(&*disk, &data)? {
            let what = format!(
                "{name}: the file was missing, as after a pack that was killed on a file system \
                 without hard links; it was restored from .old"
            );
            (options.log)(Level::Warning, &what);
        }
        let file = open_file(&path, &data, options)?;
        let backend = disk.backend(file, path.clone());
        check_magic(&*backend, options.read_only)?;
        let index = beside(&path, ".index");
        let loaded = index::file::load(&index, &*backend)
            .map_err(|why| format!("{}: {why}", index.display()));
        let files = Files {
            path,
            data,
            locks: Mutex::new(locks),
            saved: Mutex::new(None),
            disk: Arc::clone(&disk),
        };
        let blobs = open_blobs(options, disk)?;
        let storage = Self::recover(backend, name, options, loaded, (Some(files), blobs))?;
        storage.resume_blobs();
        storage.warn_of_future(storage.generation().last_tid());
        Ok(storage)
    }

    /// A storage over any backend, without files beside it: an empty backend
    /// begins an empty storage; a torn tail is cut off, and lost.
    ///
    /// # Errors
    /// What the backend holds is not a FileStorage, or is damaged elsewhere than at its end; or it
    /// can't be read or written.
    pub fn over(
        backend: Arc<dyn Backend>,
        name: impl Into<String>,
        options: &Options,
    ) -> Result<Self> {
        Self::over_with_index(backend, name.into(), options, None)
    }

    /// As `over`, with the contents of the index file, if there was one.
    pub(super) fn over_with_index(
        backend: Arc<dyn Backend>,
        name: String,
        options: &Options,
        loaded: Option<Loaded>,
    ) -> Result<Self> {
        check_magic(&*backend, options.read_only)?;
        let blobs = open_blobs(options, Arc::new(Disk))?;
        Self::recover(backend, name, options, Ok(loaded), (None, blobs))
    }

    /// An empty storage in memory.
    ///
    /// # Errors
    /// None that are known; they have the type of [`FileStorage::over`].
    pub fn in_memory() -> Result<Self> {
        Self::in_memory_with_blobs(None)
    }

    /// As [`in_memory`](Self::in_memory), with blobs on disk if a directory is
    /// given. A pack keeps no old blobs.
    ///
    /// # Errors
    /// The blob directory can't be made or used.
    pub fn in_memory_with_blobs(blob_dir: Option<PathBuf>) -> Result<Self> {
        let backend = Arc::new(MemoryBackend::default());
        let options = Options {
            pack_keep_old: false,
            blob_dir,
            ..Options::default()
        };
        Self::over(backend, "memory", &options)
    }

    /// Lets packs keep what is referred to only after the pack time; the rules
    /// of Python's FileStorage don't.
    pub(crate) fn keeping_later_references(mut self) -> Self {
        self.later_references = true;
        self
    }

    /// Scans what the index does not cover, cuts a torn end off, and makes
    /// the rest durable.
    fn recover(
        backend: Arc<dyn Backend>,
        name: String,
        options: &Options,
        loaded: std::result::Result<Option<Loaded>, String>,
        (files, blobs): (Option<Files>, Option<Arc<BlobDirectory>>),
    ) -> Result<Self> {
        let log = &options.log;
        let start = saved_index::start(&*backend, loaded, log)?;
        let (index, from, known) = (start.index, start.from, start.known);
        let reading = failed("reading the end of", backend.path());
        let (size, end) = backend
            .len()
            .and_then(|size| Ok((size, data_end(&*backend)?)))
            .map_err(reading)?;
        let reader = Reader {
            backend: &*backend,
            end,
        };
        let mut progress = LoggedProgress::new(log, backend.path().to_owned(), reader.end);
        let last_tid = start.last_tid;
        let found = scan(reader, &index, from, last_tid, known, log, &mut progress)?;
        if !options.read_only {
            match (&found.torn, &files) {
                (Some(why), Some(files)) => {
                    recovery::cut_off(&files.path, &*backend, found.end, why, log)?;
                }
                (Some(_), None) => recovery::truncate(&*backend, found.end)?,
                // Prepared room, which was not used.
                (None, _) if end < size => recovery::truncate(&*backend, end)?,
                (None, _) => make_durable(&*backend)?,
            }
        }
        let read = found.end.saturating_sub(from);
        // A scan of all of it that met none needs none.
        let accepted = match (from, found.accepted) {
            (FIRST, None) => 0,
            _ => known.accepted.min(found.end),
        };
        let storage = Self::build(
            backend,
            index,
            &found,
            accepted,
            name,
            options,
            (files, blobs),
        );
        storage.mend_blobs()?;
        let saved = if start.has_own_index && read <= LONG_SCAN_BYTES {
            storage.keep_index(from, known.is_open)
        } else {
            storage.write_index(true)
        };
        if let Err(error) = saved {
            let what = format!(
                "the index was not saved: {error}. After a power failure, the file may need \
                 repair before it opens again"
            );
            storage.say(Level::Warning, &what);
        }
        Ok(storage)
    }

    /// Goes on with the index on disk, which covers this much.
    fn keep_index(&self, position: u64, is_open: bool) -> Result<()> {
        let Some(files) = self.files.as_ref().filter(|_| !self.read_only) else {
            return Ok(());
        };
        *files.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
        if is_open {
            Ok(())
        } else {
            index::file::mark_open(&files.path)
        }
    }

    fn build(
        backend: Arc<dyn Backend>,
        index: Index,
        found: &Scanned,
        accepted: u64,
        name: String,
        options: &Options,
        (files, blobs): (Option<Files>, Option<Arc<BlobDirectory>>),
    ) -> Self {
        let &Scanned { end, last_tid, .. } = found;
        let last_oid = index.max_oid().map_or(0, last_oid_that_clients_may_hold);
        let space = Space::new(Arc::clone(&backend), end);
        let prepared = match options.sync_every {
            0 => options.prepare_room,
            _ => 0,
        };
        let room = Room::new(prepared, Arc::clone(&space), options.log.clone());
        let mut generation = Generation::new(backend, index, end, last_tid);
        generation.accepted = accepted;
        Self {
            name,
            generation: ArcSwap::from_pointee(generation),
            space,
            writer: Mutex::new(Writer {
                end,
                durable: end,
                last_tid,
                buffer: Vec::new(),
                room,
            }),
            failure: OnceLock::new(),
            closed: AtomicBool::new(false),
            last_oid: AtomicU64::new(last_oid),
            read_only: options.read_only,
            quota: options.quota,
            files,
            blobs,
            pack_gc: options.pack_gc,
            later_references: false,
            pack_keep_old: options.pack_keep_old,
            sync_every: options.sync_every,
            packing: Arc::default(),
            moves: Mutex::default(),
            log: options.log.clone(),
        }
    }

    fn warn_of_future(&self, last_tid: Tid) {
        let now = Tid::from_time(SystemTime::now());
        if last_tid > now {
            let seconds = last_tid.unix_time() - now.unix_time();
            let level = if seconds > FAR_FUTURE_SECONDS {
                Level::Error
            } else {
                Level::Warning
            };
            let what = format!(
                "{}: the last transaction, {last_tid}, is {seconds:.0} seconds in the future: \
                 check the clock",
                self.name
            );
            self.say(level, &what);
        }
    }
}

fn opening(path: &Path) -> impl Fn(io::Error) -> Error {
    failed("opening", path)
}

/// A storage that is made anew gets an empty blob directory, as in Python.
fn open_blobs(options: &Options, disk: Arc<dyn FileSystem>) -> Result<Option<Arc<BlobDirectory>>> {
    let Some(path) = &options.blob_dir else {
        return Ok(None);
    };
    if options.create && path.exists() {
        let emptied = resolve(path).and_then(std::fs::remove_dir_all);
        emptied.map_err(failed("emptying the blob directory", path))?;
    }
    let directory = if options.read_only {
        BlobDirectory::open_read_only(path)
    } else {
        BlobDirectory::open_on(disk, path)
    };
    let directory = Arc::new(directory?);
    if directory.layout() == Layout::Lawn {
        let what = format!(
            "the blob directory {} has the lawn layout, which is slow with many blobs",
            path.display()
        );
        (options.log)(Level::Warning, &what);
    }
    Ok(Some(directory))
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

/// Opens the file that is called `path` and is at `data`, or makes it there.
fn open_file(path: &Path, data: &Path, options: &Options) -> Result<File> {
    let mut how = OpenOptions::new();
    how.read(true).write(!options.read_only);
    if !options.create {
        match how.open(data) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !options.read_only => {}
            result => return result.map_err(opening(path)),
        }
    }
    // The indexes first: none may stand beside another file.
    for index in indexes(path, data)? {
        Disk.remove(&index).map_err(failed("removing", &index))?;
    }
    Disk.remove(data).map_err(failed("removing", data))?;
    create_file(data, how.create_new(true)).map_err(failed("creating", data))
}

fn create_file(path: &Path, how: &OpenOptions) -> io::Result<File> {
    let mut file = how.open(path)?;
    file.write_all(MAGIC)?;
    file.sync_all()?;
    sync_directory(path)?;
    Ok(file)
}

/// Fails unless the file begins as a FileStorage; begins an empty one, and
/// one whose beginning was never synced.
fn check_magic(backend: &dyn Backend, read_only: bool) -> Result<()> {
    let mut magic = [0; MAGIC.len() + 1];
    let got = backend
        .read_at(&mut magic, 0)
        .map_err(failed("reading", backend.path()))?;
    if magic.starts_with(MAGIC) {
        return Ok(());
    }
    let mut begun = magic.iter().zip(MAGIC);
    if got <= MAGIC.len() && begun.all(|(&found, &byte)| found == byte || found == 0) {
        if read_only {
            return Ok(());
        }
        return backend
            .write_all_at(MAGIC, 0)
            .and_then(|()| backend.sync())
            .map_err(failed("creating", backend.path()));
    }
    let what = if magic.starts_with(MAGIC_PYTHON_2) {
        "this is a FileStorage of Python 2; convert it with zodbupdate"
    } else {
        "this is not a FileStorage: it does not begin with FS30"
    };
    Err(Error::Corrupt {
        file: backend.path().to_owned(),
        position: 0,
        what: what.to_owned(),
    })
}

/// What was read may have been written by a process that died before it
/// could sync it. What is written next relies on it.
fn make_durable(backend: &dyn Backend) -> Result<()> {
    backend.sync().map_err(failed("syncing", backend.path()))
}

/// The oid behind which new ones begin, for a file whose last is `oid`. Clients ask for oids by the hundred
/// and keep them over a restart of the server: which ones is nowhere written. Two that store a new
/// object under one oid get a conflict that nobody understands. So a distance is left, longer than
/// what thousands of clients can hold, and at random, since nothing may be stored until the next
/// start.
fn last_oid_that_clients_may_hold(oid: Oid) -> u64 {
    let distance = fastrand::u64(1 << 20..1 << 30);
    let last = oid.as_u64();
    last.checked_add(distance).unwrap_or(last)
}
