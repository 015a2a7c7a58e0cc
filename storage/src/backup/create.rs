//! `repozo --backup`.

use std::path::Path;

use zeo_proto::Tid;
use zeo_storage::blob::is_blob;
use zeo_storage::file_storage::format::Reader;
use zeo_storage::file_storage::walk::Backwards;
use zeo_storage::file_storage::{FileStorage, Options};
use zeo_storage::{Error, Storage};

use super::Arguments;
use super::blobs::{self, Entry, Known, Pool};
use super::chain::{Chain, Plan, Source, plan};
use super::content::{Output, Sum, read_range};
use super::repository::{Line, Name, Repository};
use crate::context::Context;
use crate::files::{failed, inode_of, rename};
use crate::outcome::{Failure, Result, Verdict};
use crate::unfinished::Unfinished;

/// How often a backup begins again when packs remove blobs meanwhile.
const TRIES: usize = 5;
/// About how much a record takes besides its data.
const OVERHEAD: u64 = 42;

/// Backs up what is new in the file.
pub fn backup(arguments: &Arguments, file: &Path, context: &mut Context) -> Result<Verdict> {
    let repository = Repository::lock(&arguments.repository)?;
    for _ in 0..TRIES {
        repository.clean()?;
        if let Some(missing) = try_to(arguments, &repository, file, context)? {
            return Ok(Verdict::of(missing));
        }
        arguments.say("a pack has put another file in its place: beginning again");
    }
    let what = "packs put other files in its place, again and again";
    Err(Failure::Other(what.to_owned()))
}

/// Makes a backup, and tells how many blobs were missing; `None` when some
/// were because the file was packed meanwhile.
fn try_to(
    arguments: &Arguments,
    repository: &Repository,
    file: &Path,
    context: &Context,
) -> Result<Option<u64>> {
    let options = Options {
        read_only: true,
        blob_dir: arguments.blobs.clone(),
        log: context.log(),
        ..Options::default()
    };
    let inode = inode_of(file);
    let is_replaced = || inode_of(file) != inode;
    // All that follows is about this one file, up to this end, whatever a
    // server does meanwhile.
    let storage = FileStorage::open(file, options)?;
    let backend = storage.backend();
    let source = Source {
        backend: &*backend,
        end: storage.size(),
    };
    let plan = match arguments.full {
        true => Plan::Full("as demanded".to_owned()),
        false => {
            let mut progress = context.progress("comparing", source.end);
            plan(repository, &source, arguments.quick, &mut progress)?
        }
    };
    let backup = Backup {
        arguments,
        repository,
        storage: &storage,
        source: &source,
        is_replaced: &is_replaced,
    };
    backup.make(plan, context)
}

struct Backup<'a> {
    arguments: &'a Arguments,
    repository: &'a Repository,
    storage: &'a FileStorage,
    source: &'a Source<'a>,
    /// Whether a pack has put another file in the place of the source.
    is_replaced: &'a dyn Fn() -> bool,
}

impl Backup<'_> {
    /// Does what was planned. Tells how many blobs were missing; `None` when
    /// a pack may have removed them, and nothing was done.
    fn make(&self, plan: Plan, context: &Context) -> Result<Option<u64>> {
        let arguments = self.arguments;
        let chain = match plan {
            Plan::Nothing(chain) => {
                let missing = self.older_blobs(&chain, context)?;
                arguments.say("No changes, nothing to do");
                return Ok(missing);
            }
            Plan::Full(why) => {
                arguments.say(&format!("doing a full backup: {why}"));
                None
            }
            Plan::Incremental(chain) => {
                arguments.say(&format!("doing incremental, starting at: {}", chain.end));
                Some(chain)
            }
        };
        let older = match &chain {
            Some(chain) => self.older_blobs(chain, context)?,
            None => Some(0),
        };
        let Some(older) = older else {
            return Ok(None);
        };
        let missing = self.add(chain, context)?;
        Ok(missing.map(|missing| missing + older))
    }

    /// Makes an incremental backup behind `chain`, or a full one.
    fn add(&self, chain: Option<Chain>, context: &Context) -> Result<Option<u64>> {
        let repository = self.repository;
        let is_full = chain.is_none();
        let name = Name::new(&repository.new_root()?, is_full, self.arguments.gzip);
        self.storage
            .save_index_as(&repository.companion(&name, "index"))?;
        let (start, end) = (chain.as_ref().map_or(0, |chain| chain.end), self.source.end);
        let known = match is_full && self.arguments.blobs.is_some() {
            true => blobs::known(repository, &repository.data_files()?)?,
            false => Known::new(),
        };
        let Some(missing) = self.blobs(&name, (start, end), &known, context)? else {
            return Ok(None);
        };
        let sum = self.copy(start, context)?;
        let path = repository.path(name.as_str());
        rename(&repository.temporary(), &path)?;
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
                self.remove_older(&name)?;
            }
        }
        let what = format!("wrote {} bytes to {}", end - start, path.display());
        self.arguments.say(&what);
        Ok(Some(missing))
    }

    /// Adds the blobs of backups that were made without them, by Python for
    /// instance.
    fn older_blobs(&self, chain: &Chain, context: &Context) -> Result<Option<u64>> {
        let mut missing = 0;
        for line in &chain.lines {
            if let Some(name) = Name::parse(line.name())
                && self.arguments.blobs.is_some()
                && blobs::list(self.repository, &name)?.is_none()
            {
                let range = (line.start, line.end);
                match self.blobs(&name, range, &Known::new(), context)? {
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
        context: &Context,
    ) -> Result<Option<u64>> {
        if self.arguments.blobs.is_none() {
            return Ok(Some(0));
        }
        let pool = Pool::open(self.repository)?;
        let mut progress = context.progress("backing up blobs", end.saturating_sub(start));
        let (mut entries, mut missing, mut done) = (Vec::<Entry>::new(), 0, 0_u64);
        let first = Tid::new(self.tid_before(start)?.as_u64().saturating_add(1));
        let last = self.tid_before(end)?;
        for txn in self.storage.iterator(Some(first), Some(last))? {
            for record in (txn?.records)() {
                let record = record?;
                let length = record.data.as_ref().map_or(0, |data| data.len() as u64);
                done = done.saturating_add(length).saturating_add(OVERHEAD);
                progress.set(done);
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
                    Err(Error::NoBlob { path, .. }) => {
                        Err(format!("{} is missing", path.display()))
                    }
                    Err(error) => return Err(error.into()),
                };
                match added {
                    Ok(entry) => entries.push(entry),
                    // A pack removes blobs after that.
                    Err(_) if (self.is_replaced)() => return Ok(None),
                    Err(what) => {
                        missing += 1;
                        progress.say(&what);
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
    fn copy(&self, start: u64, context: &Context) -> Result<String> {
        let (path, end) = (self.repository.temporary(), self.source.end);
        let unfinished = Unfinished::new(vec![path.clone()]);
        let mut out = Output::create(&path, self.arguments.gzip)?;
        let mut progress = context.progress("backing up", end.saturating_sub(start));
        let mut sum = Sum::default();
        let writing = failed("writing", &path);
        read_range(self.source.backend, start, end, &mut |piece| {
            sum.add(piece);
            progress.set(sum.size);
            out.write(piece).map_err(&writing)
        })?;
        out.finish().map_err(&writing)?;
        unfinished.keep();
        Ok(sum.finish())
    }

    /// Removes all that is older than a new full backup, if that is wanted.
    fn remove_older(&self, full: &Name) -> Result<()> {
        if !self.arguments.kill_old_on_full {
            return Ok(());
        }
        for name in self.repository.data_files()? {
            if name < *full {
                let path = self.repository.path(name.as_str());
                self.arguments
                    .say(&format!("removing old backup {}", path.display()));
                self.repository.remove(&name)?;
            }
        }
        if self.arguments.blobs.is_none() {
            return Ok(());
        }
        let needed = blobs::known(self.repository, &self.repository.data_files()?)?;
        Pool::open(self.repository)?.remove_others(&needed)
    }
}
