//! `fstool copy`: `copyTransactionsFrom` between any two storages.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeo_proto::{Oid, Tid};
use zeo_server::configured_storages;
use zeo_storage::blob::is_blob;
use zeo_storage::config::{self, FileStorageConfig, StorageKind};
use zeo_storage::file_storage::format::MAGIC;
use zeo_storage::storage::{DataRecord, Op, TransactionMeta, TransactionRecord};
use zeo_storage::{Error, Storage, bulk, zconfig};

use crate::context::{Context, Run};
use crate::files::inode_of;
use crate::outcome::{Failure, Result, Verdict, tell};
use crate::progress::Progress;

/// The new file is synced whenever so much was written.
const SYNC_EVERY: u64 = 256 << 20;
/// About how much a record takes besides its data.
const OVERHEAD: u64 = 42;

/// Copy all transactions from one storage to another, or convert it
///
/// Each storage is a Data.fs, or a configuration file with a storage section (or several: say
/// FILE#NAME), which may be that of a server. So a copy compresses when the destination is a
/// `<zlibstorage>`, and moves blobs to another layout. Transactions keep their tids, texts, status
/// and records, deletions and undone changes among them.
///
/// The source is only read, and may be in use by a server: all is copied that was there when this
/// began. (But a pack in a server removes blobs, which are named then: copy again.) Blob files get a second name (hard link) where that can be, else they are copied. What
/// is copied is on the disk when this ends; when it is interrupted, go on with --continue.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Go on behind the last transaction of the destination, which must be one of the source
    #[arg(short, long = "continue")]
    go_on: bool,
    /// Show each transaction
    #[arg(short, long)]
    verbose: bool,
    /// The blob directory of the source
    #[arg(long, value_name = "DIR")]
    source_blobs: Option<PathBuf>,
    /// The blob directory of the destination; a new one gets the bushy layout
    #[arg(long, value_name = "DIR")]
    destination_blobs: Option<PathBuf>,
    /// From where to copy
    source: PathBuf,
    /// To where
    destination: PathBuf,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        let (source, files) = self.open_source(context)?;
        let destination = self.open_destination(context)?;
        let copied = self.copy(&*source, &*destination, context);
        // What was copied until an error stays.
        let closed = destination.close();
        let copied = copied?;
        closed?;
        let Copied {
            transactions,
            records,
            blobs,
            missing,
            ..
        } = copied;
        let what = format!("{transactions} transactions, {records} records, {blobs} blobs");
        writeln!(context.out, "copied {what}")?;
        if missing > 0 && files.iter().any(|(path, inode)| inode_of(path) != *inode) {
            tell(
                "The source was packed meanwhile, which removes blobs. Copy again while no pack goes on.",
            );
        }
        Ok(Verdict::of(missing))
    }
}

/// A file, and which one it was.
type Named = (PathBuf, Option<(u64, u64)>);

/// How much was copied.
#[derive(Default)]
struct Copied {
    transactions: u64,
    records: u64,
    blobs: u64,
    /// Blobs without a file that can be read.
    missing: u64,
    bytes: u64,
}

impl Arguments {
    /// The source, and the files that it is read from.
    fn open_source(&self, context: &Context) -> Result<(Arc<dyn Storage>, Vec<Named>)> {
        let mut kind = storage_at(&self.source)?;
        let mut files = Vec::new();
        for file in kind.files_mut() {
            (file.read_only, file.create) = (true, false);
            files.push((file.path.clone(), inode_of(&file.path)));
        }
        let blobs = self.source_blobs.as_deref();
        Ok((config::open(&kind, blobs, &context.log())?, files))
    }

    fn open_destination(&self, context: &Context) -> Result<Arc<dyn Storage>> {
        let mut kind = storage_at(&self.destination)?;
        for file in kind.files_mut() {
            file.sync_every = SYNC_EVERY;
        }
        let blobs = self.destination_blobs.as_deref();
        Ok(config::open(&kind, blobs, &context.log())?)
    }

    fn copy(
        &self,
        source: &dyn Storage,
        destination: &dyn Storage,
        context: &mut Context,
    ) -> Result<Copied> {
        if source.blobs().is_some() && destination.blobs().is_none() {
            let what = "the source has blobs, and the destination no directory for them: give it one \
                        with --destination-blobs";
            return Err(Failure::Other(what.to_owned()));
        }
        let start = self.start(source, destination)?;
        let mut copy = Copy {
            source,
            destination,
            progress: context.progress("copying", source.size()),
            copied: Copied::default(),
        };
        for txn in source.iterator(start, None)? {
            let txn = txn?;
            copy.transaction(&txn)?;
            if self.verbose {
                writeln!(
                    context.out,
                    "transaction {}, {}",
                    txn.tid,
                    txn.tid.time_stamp()
                )?;
            }
        }
        Ok(copy.copied)
    }

    /// Where to begin: behind what the destination has.
    fn start(&self, source: &dyn Storage, destination: &dyn Storage) -> Result<Option<Tid>> {
        let last = destination.last_tid();
        if last == Tid::ZERO {
            return Ok(None);
        }
        let name = destination.name();
        if !self.go_on {
            let what =
                format!("{name} is not empty; --continue goes on with a copy that was interrupted");
            return Err(Failure::Other(what));
        }
        if !same_transaction(source, destination, last)? {
            let what = format!(
                "{name} can't be continued: its last transaction, {last}, is not the same in {}",
                source.name()
            );
            return Err(Failure::Other(what));
        }
        Ok(Some(Tid::new(last.as_u64().saturating_add(1))))
    }
}

/// Whether both have a transaction, with the same texts and records.
fn same_transaction(one: &dyn Storage, other: &dyn Storage, tid: Tid) -> Result<bool> {
    let find = |storage: &dyn Storage| -> Result<Option<TransactionRecord>> {
        Ok(storage.iterator(Some(tid), Some(tid))?.next().transpose()?)
    };
    let (Some(one), Some(other)) = (find(one)?, find(other)?) else {
        return Ok(false);
    };
    if (one.status, texts(&one.meta)) != (other.status, texts(&other.meta)) {
        return Ok(false);
    }
    let (mut one, mut other) = ((one.records)(), (other.records)());
    loop {
        match (one.next().transpose()?, other.next().transpose()?) {
            (None, None) => return Ok(true),
            (Some(one), Some(other)) if (one.oid, &one.data) == (other.oid, &other.data) => {}
            _ => return Ok(false),
        }
    }
}

fn texts(meta: &TransactionMeta) -> [&[u8]; 3] {
    [&meta.user, &meta.description, &meta.extension]
}

struct Copy<'a> {
    source: &'a dyn Storage,
    destination: &'a dyn Storage,
    progress: Progress,
    copied: Copied,
}

impl Copy<'_> {
    fn transaction(&mut self, txn: &TransactionRecord) -> Result<()> {
        let meta = TransactionMeta {
            tid: Some(txn.tid),
            status: txn.status,
            ..txn.meta.clone()
        };
        let destination = self.destination;
        let mut records = (txn.records)();
        // The file of a blob follows its record, of which clients store two.
        let (mut blob, mut with_files) = (None, HashSet::new());
        let mut ops = std::iter::from_fn(|| {
            if let Some(blob) = blob.take() {
                return Some(Ok(blob));
            }
            let record = match records.next()? {
                Ok(record) => record,
                Err(error) => return Some(Err(error)),
            };
            match self.blob(&record, &mut with_files) {
                Ok(found) => blob = found,
                Err(error) => return Some(Err(error)),
            }
            self.count(&record);
            Some(Ok(Op::Restore {
                oid: record.oid,
                serial: record.tid,
                data: record.data.map(|data| data.to_vec()),
                prev_tid: record.data_txn,
            }))
        });
        bulk::commit(destination, &meta, &mut ops)?;
        self.copied.transactions += 1;
        Ok(())
    }

    fn count(&mut self, record: &DataRecord) {
        let length = record.data.as_ref().map_or(0, |data| data.len() as u64);
        let bytes = self.copied.bytes.saturating_add(length);
        self.copied.records += 1;
        self.copied.bytes = bytes.saturating_add(OVERHEAD);
        self.progress.set(self.copied.bytes);
    }

    /// The file of the record's blob, if it has one that is not done yet.
    fn blob(
        &mut self,
        record: &DataRecord,
        done: &mut HashSet<Oid>,
    ) -> zeo_storage::Result<Option<Op>> {
        let data = record.data.as_deref().filter(|data| is_blob(data));
        let (Some(_), Some(_), Some(blobs)) = (data, self.source.blobs(), self.destination.blobs())
        else {
            return Ok(None);
        };
        if !done.insert(record.oid) {
            return Ok(None);
        }
        let copied = match self.source.load_blob(record.oid, record.tid) {
            Ok(path) => blobs.copy_if_readable(&path)?.map_err(|why| (path, why)),
            Err(Error::NoBlob { path, .. }) => Err((path, io::ErrorKind::NotFound.into())),
            Err(error) => return Err(error),
        };
        let file = match copied {
            Ok(file) => Arc::new(file),
            Err((path, why)) => {
                self.copied.missing += 1;
                let (oid, path) = (record.oid, path.display());
                let what = format!("Object {oid}: its blob {path} is missing: {why}");
                self.progress.say(&what);
                return Ok(None);
            }
        };
        self.copied.blobs += 1;
        Ok(Some(Op::Blob {
            oid: record.oid,
            serial: Some(record.tid),
            file,
        }))
    }
}

/// The storage that an argument names: a file that is a FileStorage, or is to
/// become one, or a section of a configuration file.
fn storage_at(argument: &Path) -> Result<StorageKind> {
    let text = argument.to_string_lossy();
    let (path, name) = match text.rsplit_once('#') {
        Some((path, name)) if !argument.exists() => (Path::new(path), Some(name)),
        _ => (argument, None),
    };
    if name.is_none() && is_data_file(path) {
        let path = path.to_owned();
        return Ok(StorageKind::FileStorage(FileStorageConfig::new(path)));
    }
    let usage = |why: zconfig::ConfigError| Failure::Usage(why.to_string());
    let env = |name: &str| std::env::var(name).ok();
    let root = zconfig::load(path, &env).map_err(usage)?;
    let mut found = configured_storages(&root).map_err(usage)?;
    if let Some(name) = name {
        found.retain(|storage| storage.name == name);
    }
    match (found.pop(), found.len()) {
        (Some(storage), 0) => Ok(storage.kind),
        (None, _) => Err(Failure::Usage(format!("{text}: there is no such storage"))),
        (Some(_), _) => {
            let what = format!("{text}: there are several storages; say {text}#NAME");
            Err(Failure::Usage(what))
        }
    }
}

/// True for what begins as a FileStorage, or is empty, or does not exist.
fn is_data_file(path: &Path) -> bool {
    use std::io::Read;
    let Ok(file) = std::fs::File::open(path) else {
        return true;
    };
    let mut magic = Vec::new();
    let read = file.take(MAGIC.len() as u64).read_to_end(&mut magic);
    read.is_err() || magic.is_empty() || magic == MAGIC || magic.starts_with(b"FS")
}
