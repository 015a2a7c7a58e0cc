//! `fstool copy`: `copyTransactionsFrom` between any two storages.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeo_server::configured_storages;
use zeo_storage::config::{self, FileStorageConfig, StorageKind};
use zeo_storage::copy::{Copied, CopyError, copy};
use zeo_storage::file_storage::format::MAGIC;
use zeo_storage::storage::TransactionRecord;
use zeo_storage::{FileId, Storage, zconfig};

use crate::context::{Context, Run};
use crate::interrupt;
use crate::outcome::{Failure, Result, Verdict, Written, counted, tell};

/// Bytes written to the new file between two syncs.
const SYNC_EVERY: u64 = 256 << 20;

/// Copy all transactions from one storage to another, or convert a storage
///
/// Each storage is given as a Data.fs, or as a configuration file with a storage section, such as a
/// server's zeo.conf; if it has several, write FILE#NAME. Copying to a `<zlibstorage>` compresses
/// the records, and copying blobs to a new directory changes their layout. Transactions keep their
/// tids, user, description, extension, status and records, including deletions and undone changes.
/// A `<relstorage>` without history gets the last revision of each object.
///
/// The source is only read, and may be in use by a server: the copy has all transactions that were
/// complete when it started. (If the server packs meanwhile, blobs may be missing; they are
/// reported: copy again.) Blob files are hard-linked where possible, otherwise copied. When this
/// ends, the copy is on disk; if it was interrupted, resume it with --continue.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Resume after the last transaction of the destination, which the source must have, too
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
    /// Source storage; or a configuration file that names both, as for zodbconvert
    source: PathBuf,
    /// Destination storage; the sections `source` and `destination` of the file if this is left out
    destination: Option<PathBuf>,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        let (source, destination) = self.named();
        let (source, files) = self.open_source(&source, context)?;
        let destination = self.open_destination(&destination, context)?;
        interrupt::cancels()?;
        let mut progress = context.progress();
        let (out, mut written) = (&mut context.out, Written::default());
        let mut on_event = |txn: &TransactionRecord| {
            let (tid, time) = (txn.tid, txn.tid.time_stamp());
            if !self.verbose {
                return Ok(());
            }
            written.or_cancel(|| writeln!(out, "transaction {tid}, {time}"))
        };
        let copied = copy(
            &*source,
            &*destination,
            self.go_on,
            &mut on_event,
            &mut progress,
        );
        drop(progress);
        // What was copied until an error stays.
        let closed = destination.close();
        written.result()?;
        let copied = copied.map_err(message_for)?;
        closed?;
        let Copied {
            transactions,
            records,
            blobs,
            missing_blobs: missing,
            lone_records,
            ..
        } = copied;
        writeln!(
            context.out,
            "copied {}, {}, {}",
            counted(transactions, "transaction"),
            counted(records, "record"),
            counted(blobs, "blob")
        )?;
        if lone_records > 0 {
            let lone = counted(lone_records, "record");
            tell(format!(
                "{lone} of blobs copied without the blob files: give the blob directory of the source \
                 with --source-blobs"
            ));
        }
        if missing > 0 && files.iter().any(|(path, id)| FileId::of(path) != *id) {
            tell(
                "The source was packed during the copy, which removes blobs. Copy again while no pack is running.",
            );
        }
        Ok(Verdict::of(missing))
    }
}

/// A file, and which one it was.
type Named = (PathBuf, Option<FileId>);

impl Arguments {
    /// What names source and destination.
    fn named(&self) -> (PathBuf, PathBuf) {
        if let Some(destination) = &self.destination {
            return (self.source.clone(), destination.clone());
        }
        let section = |name: &str| {
            let mut text = self.source.clone().into_os_string();
            text.push(name);
            PathBuf::from(text)
        };
        (section("#source"), section("#destination"))
    }

    /// The source, and the files that it is read from.
    fn open_source(
        &self,
        source: &Path,
        context: &Context,
    ) -> Result<(Arc<dyn Storage>, Vec<Named>)> {
        let mut kind = storage_at(source)?;
        kind.only_read();
        let named = |file: &&FileStorageConfig| (file.path.clone(), FileId::of(&file.path));
        let files = kind.files().iter().map(named).collect();
        let blobs = self.source_blobs.as_deref();
        Ok((config::open(&kind, blobs, &context.log())?, files))
    }

    fn open_destination(&self, destination: &Path, context: &Context) -> Result<Arc<dyn Storage>> {
        let mut kind = storage_at(destination)?;
        for file in kind.files_mut() {
            file.sync_every = SYNC_EVERY;
        }
        let blobs = self.destination_blobs.as_deref();
        Ok(config::open(&kind, blobs, &context.log())?)
    }
}

/// The message for a failed copy, with what to do.
fn message_for(error: CopyError) -> Failure {
    match error {
        CopyError::Storage(error) => error.into(),
        CopyError::NoBlobDirectory => Failure::Other(format!(
            "{error}: give it one with --destination-blobs, or blob-dir in a <relstorage>"
        )),
        CopyError::NotEmpty { .. } => {
            let what = "use --continue to resume an interrupted copy";
            Failure::Other(format!("{error}; {what}"))
        }
        error => Failure::Other(error.to_string()),
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
        (None, _) => Err(Failure::Usage(format!(
            "{text}: the configuration has no such storage"
        ))),
        (Some(_), _) => {
            let what = format!(
                "{text}: the configuration has several storages; choose one with {text}#NAME"
            );
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
