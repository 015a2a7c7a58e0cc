//! Making a backup.

use std::path::{Path, PathBuf};

use zeo_proto::Tid;

use super::blobs::{self, Entry, Known, Pool};
use super::chain::{Chain, Plan, Reason, Source, plan};
use super::content::{Output, Sum, read_range};
use super::error::{Problem, Result};
use super::name::Name;
use super::repository::{Line, Repository};
use crate::FileId;
use crate::Storage;
use crate::blob::is_blob;
use crate::disk::paths::{failed, rename, unfinished};
use crate::file_storage::format::Reader;
use crate::file_storage::format::walk::Backwards;
use crate::file_storage::{self, FileStorage};
use crate::log::{Level, Log};
use crate::observer::Observer;

/// How often a backup begins again when packs remove blobs meanwhile.
const BACKUP_TRIES_MAX: usize = 5;
/// About how many bytes a record takes besides its data.
const RECORD_OVERHEAD_BYTES: u64 = 42;

/// How to make a backup.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Options {
    /// Make a full backup in any case.
    pub full: bool,
    /// Compare only the last backup with the file, by its checksum, not all of
    /// them byte by byte.
    pub quick: bool,
    /// Compress.
    pub gzip: bool,
    /// After a full backup, remove all older ones.
    pub kill_old_on_full: bool,
    /// The blob directory of the file, if blobs are to be backed up, too.
    pub blobs: Option<PathBuf>,
}

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// The new data file; `None` when nothing was new.
    pub data_file: Option<PathBuf>,
    /// How many blobs were left out, as their files are missing, or can't be
    /// read.
    pub missing_blobs: u64,
}

/// Backs up what is new in a FileStorage's file, also while a server writes to
/// it: all transactions that were whole when this began. `log` hears of what is
/// odd in the file.
///
/// Reads the file, with its index, its blobs, and the repository, a directory
/// that must exist. Writes to the repository only; all is on the disk when this
/// returns. `observer` is told each step, and each blob that is left out.
///
/// # Errors
///
/// When the file can't be read or is damaged, the repository can't be read or
/// written, another process makes a backup to it, or packs remove blobs again
/// and again. After these, and when `observer` cancels, the backups are those
/// from before; what was begun is removed, but for files of blobs, which the
/// next backup uses.
pub fn create(
    repository: &Path,
    file: &Path,
    options: &Options,
    log: &Log,
    observer: &mut dyn Observer,
) -> Result<Created> {
    let repository = Repository::lock(repository)?;
    for _ in 0..BACKUP_TRIES_MAX {
        repository.clean()?;
        match try_to(options, &repository, file, log, observer) {
            Ok(Some(created)) => return Ok(created),
            Ok(None) => observer.say(Level::Info, "a pack replaced the file: starting again"),
            Err(error) => {
                // What can't be removed now is by the next backup.
                let _ = repository.clean();
                return Err(error);
            }
        }
    }
    repository.clean()?;
    let file = file.to_owned();
    Err(crate::Error::Replaced { file }.into())
}

/// Makes a backup; `None` when blobs were missing because the file was packed
/// meanwhile.
fn try_to(
    options: &Options,
    repository: &Repository,
    file: &Path,
    log: &Log,
    observer: &mut dyn Observer,
) -> Result<Option<Created>> {
    let id = FileId::of(file);
    let is_replaced = || FileId::of(file) != id;
    // All that follows is about this one file, up to this end, whatever a
    // server does meanwhile.
    let storage = FileStorage::open(
        file,
        file_storage::Options {
            read_only: true,
            blob_dir: options.blobs.clone(),
            log: log.clone(),
            ..file_storage::Options::default()
        },
    )?;
    let backend = storage.backend();
    let source = Source {
        backend: &*backend,
        end: storage.size(),
    };
    let plan = if options.full {
        Plan::Full(Reason::Demanded)
    } else {
        plan(repository, &source, options.quick, observer)?
    };
    let backup = Backup {
        options,
        repository,
        storage: &storage,
        source: &source,
        is_replaced: &is_replaced,
    };
    backup.make(plan, observer)
}

struct Backup<'a> {
    options: &'a Options,
    repository: &'a Repository,
    storage: &'a FileStorage,
    source: &'a Source<'a>,
    /// Whether a pack has put another file in the place of the source.
    is_replaced: &'a dyn Fn() -> bool,
}

impl Backup<'_> {
    /// Does what was planned; `None` when a pack may have removed blobs, and
    /// nothing was done.
    fn make(&self, plan: Plan, observer: &mut dyn Observer) -> Result<Option<Created>> {
        let chain = match plan {
            Plan::Nothing(chain) => {
                let missing = self.older_blobs(&chain, observer)?;
                observer.say(Level::Info, "No changes, nothing to do");
                return Ok(missing.map(|missing_blobs| Created {
                    data_file: None,
                    missing_blobs,
                }));
            }
            Plan::Full(why) => {
                observer.say(Level::Info, &format!("doing a full backup: {why}"));
                None
            }
            Plan::Incremental(chain) => {
                let what = format!("doing incremental, starting at: {}", chain.end);
                observer.say(Level::Info, &what);
                Some(chain)
            }
        };
        let older = match &chain {
            Some(chain) => self.older_blobs(chain, observer)?,
            None => Some(0),
        };
        let Some(older) = older else {
            return Ok(None);
        };
        let mut created = self.add(chain, observer)?;
        if let Some(created) = &mut created {
            created.missing_blobs += older;
        }
        Ok(created)
    }

    /// Makes an incremental backup behind `chain`, or a full one.
    fn add(&self, chain: Option<Chain>, observer: &mut dyn Observer) -> Result<Option<Created>> {
        let repository = self.repository;
        let is_full = chain.is_none();
        let name = Name::new(&repository.new_root()?, is_full, self.options.gzip);
        self.storage
            .save_index_as(&repository.companion(&name, "index"))?;
        let (start, end) = (chain.as_ref().map_or(0, |chain| chain.end), self.source.end);
        let known = if is_full && self.options.blobs.is_some() {
            blobs::known(repository, &repository.data_files()?)?
        } else {
            Known::new()
        };
        let Some(missing_blobs) = self.blobs(&name, (start, end), &known, observer)? else {
            return Ok(None);
        };
        let temporary = unfinished(&repository.temporary())?;
        let sum = self.copy(start, observer)?;
        let path = repository.path(name.as_str());
        rename(&temporary, &path)?;
        let line = Line {
            file: repository.written_down(&name),
            start,
            end,
            sum,
        };
        match chain {
            Some(mut chain) => {
                chain.lines.push(line);
                repository.save_lines(&chain.full, &chain.lines)?;
            }
            None => {
                repository.save_lines(&name, &[line])?;
                self.remove_older(&name, observer)?;
            }
        }
        let what = format!("wrote {} bytes to {}", end - start, path.display());
        observer.say(Level::Info, &what);
        Ok(Some(Created {
            data_file: Some(path),
            missing_blobs,
        }))
    }

    /// Adds the blobs of backups that were made without them, by Python for
    /// instance.
    fn older_blobs(&self, chain: &Chain, observer: &mut dyn Observer) -> Result<Option<u64>> {
        let mut missing = 0;
        for line in &chain.lines {
            if let Some(name) = Name::parse(line.name())
                && self.options.blobs.is_some()
                && blobs::list(self.repository, &name)?.is_none()
            {
                let range = (line.start, line.end);
                match self.blobs(&name, range, &Known::new(), observer)? {
                    Some(more) => missing += more,
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(missing))
    }

    /// Adds the blobs of the transactions in a range of the file, and lists
    /// them for the data file of that range. Tells how many are missing.
    fn blobs(
        &self,
        name: &Name,
        (start, end): (u64, u64),
        known: &Known,
        observer: &mut dyn Observer,
    ) -> Result<Option<u64>> {
        if self.options.blobs.is_none() {
            return Ok(Some(0));
        }
        let pool = Pool::open(self.repository)?;
        observer.begin("backing up blobs", Some(end.saturating_sub(start)));
        let (mut entries, mut missing, mut done) = (Vec::<Entry>::new(), 0, 0_u64);
        let first = Tid::new(self.tid_before(start)?.as_u64().saturating_add(1));
        let last = self.tid_before(end)?;
        for txn in self.storage.iterator(Some(first), Some(last))? {
            for record in (txn?.records)() {
                let record = record?;
                let length = record.data.as_ref().map_or(0, |data| data.len() as u64);
                done = done
                    .saturating_add(length)
                    .saturating_add(RECORD_OVERHEAD_BYTES);
                observer.set(done)?;
                if !record.data.as_deref().is_some_and(is_blob) {
                    continue;
                }
                let (oid, tid) = (record.oid, record.tid);
                if entries
                    .last()
                    .is_some_and(|last| (last.oid, last.tid) == (oid, tid))
                {
                    continue;
                }
                let added = match self.storage.load_blob(oid, tid) {
                    Ok(path) => pool.add(&path, oid, tid, known)?,
                    Err(crate::Error::NoBlob { path, .. }) => Err(Problem::Missing(path)),
                    Err(error) => return Err(error.into()),
                };
                match added {
                    Ok(entry) => entries.push(entry),
                    // A pack removes blobs after that.
                    Err(_) if (self.is_replaced)() => return Ok(None),
                    Err(problem) => {
                        missing += 1;
                        observer.say(Level::Warning, &problem.to_string());
                    }
                }
            }
        }
        pool.sync()?;
        blobs::save_list(self.repository, name, &entries)?;
        Ok(Some(missing))
    }

    /// The tid of the last transaction that ends at a position, or before.
    fn tid_before(&self, position: u64) -> Result<Tid> {
        let reader = Reader {
            backend: self.source.backend,
            end: position,
        };
        let last = Backwards::new(reader).next().transpose()?;
        Ok(last.map_or(Tid::ZERO, |txn| txn.header.tid))
    }

    /// Copies the source from `start` on to the temporary file, synced.
    /// Gives the checksum of what was copied.
    fn copy(&self, start: u64, observer: &mut dyn Observer) -> Result<String> {
        let (path, end) = (self.repository.temporary(), self.source.end);
        let mut out = Output::create(&path, self.options.gzip)?;
        observer.begin("backing up", Some(end.saturating_sub(start)));
        let mut sum = Sum::default();
        let writing = failed("writing", &path);
        read_range(self.source.backend, start, end, &mut |piece| {
            sum.add(piece);
            observer.set(sum.size)?;
            Ok(out.write(piece).map_err(&writing)?)
        })?;
        out.finish().map_err(&writing)?;
        observer.set(sum.size)?;
        Ok(sum.finish())
    }

    /// Removes all that is older than a new full backup, if that is wanted.
    fn remove_older(&self, full: &Name, observer: &mut dyn Observer) -> Result<()> {
        if !self.options.kill_old_on_full {
            return Ok(());
        }
        for name in self.repository.data_files()? {
            if name < *full {
                let path = self.repository.path(name.as_str());
                let what = format!("removing old backup {}", path.display());
                observer.say(Level::Info, &what);
                self.repository.remove(&name)?;
            }
        }
        if self.options.blobs.is_none() {
            return Ok(());
        }
        let needed = blobs::known(self.repository, &self.repository.data_files()?)?;
        Pool::open(self.repository)?.remove_others(&needed)
    }
}
