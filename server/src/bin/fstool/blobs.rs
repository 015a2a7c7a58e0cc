//! `fstool blobs`: a blob directory beside its file.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zeo_proto::{Oid, Tid};
use zeo_storage::blob::{BlobDirectory, Found, is_blob};
use zeo_storage::file_storage::DataFile;
use zeo_storage::record::is_compressed;

use crate::context::{Context, Run};
use crate::files::{failed, inode_of};
use crate::outcome::{Failure, Result, Verdict};
use crate::reading::Reading;

/// How many of a kind are shown, unless all are asked for.
const SHOWN: usize = 100;
/// How much of a record is read to see whether it is that of a blob.
const CLASS_PREFIX: u64 = 1 << 8;
/// How often it begins again when a pack puts another file in its place.
const TRIES: usize = 5;

/// Check a blob directory against its file
///
/// Reads all records of the file, older ones too: each that is a blob's must have its own file in the
/// directory, which can be opened. Then goes through the directory: a file that belongs to no record
/// does no harm, but tells that transactions are missing in Data.fs (it may be an older copy), or
/// that a crash has left it there. Both are problems. What a blob holds is not known from Data.fs:
/// cut or changed files are found by `fstool repozo -V`, if they were backed up with --blobs. Only
/// the empty ones are shown (as a power cut may leave them), and count for nothing; so do files that
/// are not named as blobs are.
///
/// May run beside a server: files newer than what was read, and those that a pack is about to
/// remove, count for nothing. Takes 16 bytes of memory a blob.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Show all, not just the first 100 of a kind
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The file, as Data.fs
    file: PathBuf,
    /// Its blob directory
    directory: PathBuf,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        if !self.directory.is_dir() {
            let what = format!("{} is no directory", self.directory.display());
            return Err(Failure::Other(what));
        }
        let blobs = BlobDirectory::open_read_only(&self.directory)?;
        for _ in 0..TRIES {
            if let Some((report, verdict)) = self.check(&blobs, context)? {
                match self.json {
                    true => writeln!(context.out, "{:#}", report.to_json(self))?,
                    false => report.write(&mut context.out)?,
                }
                return Ok(verdict.max(Verdict::of(report.problems())));
            }
        }
        let what = "packs put other files in its place, again and again";
        Err(Failure::Other(what.to_owned()))
    }
}

impl Arguments {
    /// `None` when a pack came in between.
    fn check(&self, blobs: &BlobDirectory, context: &Context) -> Result<Option<(Report, Verdict)>> {
        let inode = inode_of(&self.file);
        let file = DataFile::open(&self.file)?;
        let most = if self.all { usize::MAX } else { SHOWN };
        let mut report = Report::new(blobs, most);
        let mut reading = Reading::new(&file, Some(context))?;
        let last = report.read(blobs, &mut reading)?;
        let verdict = reading.verdict();
        drop(reading);
        if report.missing.count > 0 && inode_of(&self.file) != inode {
            return Ok(None);
        }
        report.walk(blobs, file.is_in_use().then_some(last))?;
        Ok(Some((report, verdict)))
    }
}

/// Things of one kind: how many, and the first ones.
struct List {
    count: u64,
    most: usize,
    shown: Vec<Value>,
}

impl List {
    fn new(most: usize) -> Self {
        Self {
            count: 0,
            most,
            shown: Vec::new(),
        }
    }

    fn push(&mut self, what: Value) {
        self.count += 1;
        if self.shown.len() < self.most {
            self.shown.push(what);
        }
    }

    fn path(&mut self, path: &Path) {
        self.push(json!({"path": path.display().to_string()}));
    }
}

/// What was found.
struct Report {
    layout: &'static str,
    /// All revisions, in order.
    revisions: Vec<(Oid, Tid)>,
    bytes: u64,
    /// Revisions without a file that can be read.
    missing: List,
    /// Files without a revision.
    strays: List,
    /// Files that lie as in another layout.
    misplaced: List,
    /// Directories that can't be read.
    unreadable: List,
    empty: List,
    others: List,
    /// How many files a pack is about to remove.
    listed: u64,
}

impl Report {
    fn new(blobs: &BlobDirectory, most: usize) -> Self {
        let list = || List::new(most);
        Self {
            layout: blobs.layout().name(),
            revisions: Vec::new(),
            bytes: 0,
            missing: list(),
            strays: list(),
            misplaced: list(),
            unreadable: list(),
            empty: list(),
            others: list(),
            listed: 0,
        }
    }

    fn problems(&self) -> u64 {
        let kinds = [
            &self.missing,
            &self.strays,
            &self.misplaced,
            &self.unreadable,
        ];
        kinds.iter().map(|list| list.count).sum()
    }

    /// Reads the records, and looks at the files of blobs. Gives the last
    /// transaction.
    fn read(&mut self, blobs: &BlobDirectory, reading: &mut Reading<'_>) -> Result<Tid> {
        let mut last = Tid::ZERO;
        while let Some(txn) = reading.txn()? {
            last = txn.header.tid;
            let mut known = HashSet::new();
            while let Some((position, header)) = reading.forwards.record()? {
                let source = reading.source(position, &header)?;
                let Some(data) = source.and_then(|source| source.data) else {
                    continue;
                };
                // Clients store the record of a blob twice.
                if is_blob_at(reading, data)? && known.insert(header.oid) {
                    self.revision(blobs, header.oid, header.tid);
                }
            }
        }
        self.revisions.sort_unstable();
        Ok(last)
    }

    fn revision(&mut self, blobs: &BlobDirectory, oid: Oid, tid: Tid) {
        self.revisions.push((oid, tid));
        let path = || blobs.path_of(oid, tid).display().to_string();
        let words = || (oid.to_string(), tid.to_string());
        match blobs.length_of(oid, tid) {
            Ok(length) => {
                self.bytes = self.bytes.saturating_add(length);
                if length == 0 {
                    let (oid, tid) = words();
                    self.empty
                        .push(json!({"oid": oid, "tid": tid, "path": path()}));
                }
            }
            Err(why) => {
                let ((oid, tid), why) = (words(), why.to_string());
                let missing = json!({"oid": oid, "tid": tid, "path": path(), "why": why});
                self.missing.push(missing);
            }
        }
    }

    /// Goes through the directory. With `last`, a server may be adding files
    /// behind that transaction.
    fn walk(&mut self, blobs: &BlobDirectory, last: Option<Tid>) -> Result<()> {
        let listed = blobs.listed();
        let listed = listed.map_err(failed("reading .removed in", blobs.path()))?;
        blobs.walk(&mut |found| {
            match found {
                Found::Blob(path, oid, tid) => {
                    let is_known = self.revisions.binary_search(&(oid, tid)).is_ok();
                    if is_known || last.is_some_and(|last| tid > last) {
                        return Ok(());
                    }
                    match listed.has(oid, tid) {
                        true => self.listed += 1,
                        false => self.strays.path(&path),
                    }
                }
                Found::OtherLayout(path, _) => self.misplaced.path(&path),
                Found::Other(path) => self.others.path(&path),
                Found::Unreadable(path, why) => {
                    let (path, why) = (path.display().to_string(), why.to_string());
                    self.unreadable.push(json!({"path": path, "why": why}));
                }
            }
            Ok(())
        })
    }

    fn write(&self, out: &mut impl Write) -> Result<()> {
        for (list, what) in self.lists() {
            for found in &list.shown {
                let text = |key: &str| found.get(key).and_then(Value::as_str);
                write!(out, "{what}: {}", text("path").unwrap_or_default())?;
                if let (Some(oid), Some(tid)) = (text("oid"), text("tid")) {
                    write!(out, ", object {oid} of transaction {tid}")?;
                }
                if let Some(why) = text("why") {
                    write!(out, ": {why}")?;
                }
                writeln!(out)?;
            }
            match list.count.saturating_sub(list.shown.len() as u64) {
                0 => {}
                more => writeln!(out, "{what}: {more} more; --all shows them")?,
            }
        }
        if self.misplaced.count > 0 {
            let layout = self.layout;
            writeln!(
                out,
                "the directory has the layout {layout}, and files as in another one: is .layout right?"
            )?;
        }
        if self.listed > 0 {
            let count = self.listed;
            writeln!(
                out,
                "{count} files are still to be removed, as a pack has listed"
            )?;
        }
        match self.problems() {
            0 => write!(out, "no errors detected")?,
            1 => write!(out, "1 error detected")?,
            count => write!(out, "{count} errors detected")?,
        }
        let (blobs, bytes) = (self.revisions.len(), self.bytes);
        writeln!(out, " in {blobs} blobs of {bytes} bytes")?;
        Ok(())
    }

    fn lists(&self) -> [(&List, &'static str); 6] {
        [
            (&self.missing, "missing"),
            (&self.strays, "no record"),
            (&self.misplaced, "other layout"),
            (&self.unreadable, "unreadable"),
            (&self.empty, "empty"),
            (&self.others, "no blob"),
        ]
    }

    fn to_json(&self, arguments: &Arguments) -> Value {
        let mut summary = json!({
            "file": arguments.file.display().to_string(),
            "directory": arguments.directory.display().to_string(),
            "layout": self.layout,
            "blobs": self.revisions.len(),
            "bytes": self.bytes,
            "errors": self.problems(),
            "to_be_removed": self.listed,
        });
        for (list, what) in self.lists() {
            let found = json!({"count": list.count, "first": list.shown});
            if let Some(summary) = summary.as_object_mut() {
                summary.insert(what.replace(' ', "_"), found);
            }
        }
        summary
    }
}

fn is_blob_at(reading: &mut Reading<'_>, data: (u64, u64)) -> Result<bool> {
    let prefix = reading.forwards.data(data, Some(CLASS_PREFIX))?;
    if is_compressed(prefix) {
        return Ok(is_blob(reading.forwards.data(data, None)?));
    }
    Ok(is_blob(prefix))
}
