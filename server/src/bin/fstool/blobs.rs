//! `fstool blobs`: a blob directory beside its file.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};
use zeo_storage::blob::BlobDirectory;
use zeo_storage::file_storage::tools::blobs::{self as tools, CheckedBlobs, Revision, check_blobs};

use crate::context::{Context, FileArguments, Run};
use crate::outcome::{Failure, Result, Verdict, counted};

/// How many of a kind are shown, unless all are asked for.
const SHOWN: usize = 100;

/// Check a blob directory against its file
///
/// Reads all records of the file, including old revisions: each blob record must have a file in the
/// directory that can be opened. Then looks for files in the directory that belong to no record:
/// they do no harm, but either Data.fs lacks transactions (it may be an older copy), or a crash
/// left the files there. Both kinds count as problems. Data.fs does not record what a blob
/// contains: truncated or changed files are found by `fstool repozo -V`, if they were backed up
/// with --blobs. Empty files (which a power cut may leave) and files that are not named like blobs
/// are shown, but don't count as problems.
///
/// May run while a server uses the file: blob files newer than the data that was read, and those
/// that a pack is about to remove, don't count. Needs 16 bytes of memory per blob.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Show all, not just the first 100 of a kind
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: FileArguments,
    /// The blob directory of the file
    directory: PathBuf,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        if !self.directory.is_dir() {
            let what = format!("{} is not a directory", self.directory.display());
            return Err(Failure::Other(what));
        }
        let blobs = BlobDirectory::open_read_only(&self.directory)?;
        let most = if self.all { usize::MAX } else { SHOWN };
        let mut progress = context.progress();
        let found = check_blobs(&self.file.path, &blobs, most, &mut progress)?;
        drop(progress);
        let report = Report {
            layout: blobs.layout().name(),
            lists: lists(&found),
            found,
        };
        if self.json {
            writeln!(context.out, "{:#}", report.to_json(self))?;
        } else {
            report.write(&mut context.out)?;
        }
        let problems = report.found.problems();
        Ok(Verdict::of(report.found.damages.saturating_add(problems)))
    }
}

/// Things of one kind: how many, and the first ones in JSON.
struct List {
    what: &'static str,
    count: u64,
    first: Vec<Value>,
}

struct Report {
    layout: &'static str,
    lists: [List; 6],
    found: CheckedBlobs,
}

fn lists(found: &CheckedBlobs) -> [List; 6] {
    fn list<T>(what: &'static str, of: &tools::List<T>, json: impl Fn(&T) -> Value) -> List {
        let (count, first) = (of.count, of.first.iter().map(json).collect());
        List { what, count, first }
    }
    let path = |path: &PathBuf| json!({"path": path.display().to_string()});
    let revision = |Revision { oid, tid, path }: &Revision| {
        let (oid, tid, path) = (oid.to_string(), tid.to_string(), path.display());
        json!({"oid": oid, "tid": tid, "path": path.to_string()})
    };
    let because = |mut what: Value, why: &io::Error| {
        what["why"] = json!(why.to_string());
        what
    };
    [
        list("missing", &found.missing, |(of, why)| {
            because(revision(of), why)
        }),
        list("no record", &found.strays, path),
        list("other layout", &found.misplaced, path),
        list("unreadable", &found.unreadable, |(of, why)| {
            because(path(of), why)
        }),
        list("empty", &found.empty, revision),
        list("no blob", &found.others, path),
    ]
}

impl Report {
    fn write(&self, out: &mut impl Write) -> Result<()> {
        for List { what, count, first } in &self.lists {
            for found in first {
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
            match count.saturating_sub(first.len() as u64) {
                0 => {}
                more => writeln!(out, "{what}: {more} more; --all shows them")?,
            }
        }
        if self.found.misplaced.count > 0 {
            let layout = self.layout;
            writeln!(
                out,
                "the directory has layout {layout}, but some files are placed as in another layout: is .layout right?"
            )?;
        }
        let count = self.found.to_be_removed;
        if count > 0 {
            writeln!(
                out,
                "{} that a pack has listed for removal",
                counted(count, "file")
            )?;
        }
        match self.found.problems() {
            0 => write!(out, "no errors detected")?,
            count => write!(out, "{} detected", counted(count, "error"))?,
        }
        let (blobs, bytes) = (self.found.blobs, self.found.bytes);
        writeln!(out, " in {} of {bytes} bytes", counted(blobs, "blob"))?;
        Ok(())
    }

    fn to_json(&self, arguments: &Arguments) -> Value {
        let mut summary = json!({
            "file": arguments.file.path.display().to_string(),
            "directory": arguments.directory.display().to_string(),
            "layout": self.layout,
            "blobs": self.found.blobs,
            "bytes": self.found.bytes,
            "errors": self.found.problems(),
            "to_be_removed": self.found.to_be_removed,
        });
        for List { what, count, first } in &self.lists {
            let found = json!({"count": count, "first": first});
            if let Some(summary) = summary.as_object_mut() {
                summary.insert(what.replace(' ', "_"), found);
            }
        }
        summary
    }
}
