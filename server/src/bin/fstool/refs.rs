//! `fstool refs`: ZODB's `fsrefs`.

use std::io::Write;

use serde_json::{Value, json};
use zeo_proto::{Oid, repr};
use zeo_storage::file_storage::tools::reading::NO_CLASS;
use zeo_storage::file_storage::tools::refs::{Referrer, Refs, check_refs};

use crate::context::{Context, FileArguments, Run};
use crate::outcome::{Result, Verdict, counted};

/// How many objects with dangling references are shown, unless all are asked
/// for.
const SHOWN: usize = 1000;

/// Check for dangling references (fsrefs)
///
/// Reads the current record of every object. Shows the objects that can't be read, and those that
/// refer to an object that is missing, undone, deleted or unreadable, each with its last change and
/// the path to it from the root. Weak references and references to other databases are ignored.
/// Nothing in a record is ever executed, so the classes need not be installed.
///
/// Takes the objects from Data.fs.index, as a server does, so a wrong index shows as objects that
/// can't be read (check it with `fstool index --check`). In a damaged file, the objects are taken
/// from the intact transactions. Needs at most 20 bytes of memory per object, and as much again if
/// there are problems.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Show all objects with dangling references, not just the first 1000
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: FileArguments,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        let file = self.file.open()?;
        let most = if self.all { usize::MAX } else { SHOWN };
        let mut progress = context.progress();
        let report = Report(check_refs(&file, most, &context.log(), &mut progress)?);
        drop(progress);
        if self.json {
            writeln!(context.out, "{:#}", report.to_json())?;
        } else {
            report.write(&mut context.out)?;
        }
        Ok(Verdict::of(
            report.0.damages.saturating_add(report.problems()),
        ))
    }
}

struct Report(Refs);

impl Report {
    fn problems(&self) -> u64 {
        let shown = self.0.problems.unreadable.len() + self.0.problems.referrers.len();
        self.0.problems.hidden.saturating_add(shown as u64)
    }

    fn write(&self, out: &mut impl Write) -> Result<()> {
        for (oid, why) in &self.0.problems.unreadable {
            writeln!(out, "oid {:#x}", oid.as_u64())?;
            writeln!(out, "failed to load: {why}")?;
            writeln!(out, "{}\n", self.path_in_words(*oid))?;
        }
        for from in &self.0.problems.referrers {
            self.write_referrer(out, from)?;
        }
        if self.0.problems.hidden > 0 {
            writeln!(out, "and {} more; --all shows them", self.0.problems.hidden)?;
        }
        let objects = counted(self.0.objects, "object");
        match self.problems() {
            0 => write!(out, "no errors detected in {objects}")?,
            1 => write!(out, "1 of {objects} has errors")?,
            count => write!(out, "{count} of {objects} have errors")?,
        }
        if self.0.damages > 0 {
            write!(out, "; the file is damaged, and others may be lost")?;
        }
        Ok(writeln!(out)?)
    }

    /// The lines of fsrefs, and the path.
    fn write_referrer(&self, out: &mut impl Write, from: &Referrer) -> Result<()> {
        let class = from.class.as_deref().unwrap_or(NO_CLASS);
        let plural = if from.to.len() > 1 { "s" } else { "" };
        let (time, tid) = (from.tid.time_stamp(), from.tid.as_u64());
        writeln!(out, "oid {:#x} {class}", from.oid.as_u64())?;
        writeln!(out, "last updated: {time}, tid={tid:#x}")?;
        writeln!(out, "refers to invalid object{plural}:")?;
        for (oid, (class, invalid)) in &from.to {
            let class = repr::text(class.as_deref().unwrap_or(NO_CLASS));
            writeln!(out, "\toid {oid} {}: {class}", invalid.words())?;
        }
        writeln!(out, "{}\n", self.path_in_words(from.oid))?;
        Ok(())
    }

    fn path_in_words(&self, oid: Oid) -> String {
        let Some(path) = self.0.paths.get(&oid) else {
            return "not reachable from the root: the next pack removes it".to_owned();
        };
        let words = |(oid, class): &(Oid, String)| format!("{oid} {class}");
        let mut places: Vec<_> = path.begin.iter().map(words).collect();
        if path.left_out > 0 {
            places.push(format!("... {} more ...", path.left_out));
        }
        places.extend(path.end.iter().map(words));
        format!("path from the root: {}", places.join(" -> "))
    }

    /// The path as a list of objects; those left out are one null.
    fn path_as_json(&self, oid: Oid) -> Option<Value> {
        let path = self.0.paths.get(&oid)?;
        let place = |(oid, class): &(Oid, String)| json!({"oid": oid.to_string(), "class": class});
        let left_out = (path.left_out > 0).then_some(Value::Null);
        let begin = path.begin.iter().map(place).chain(left_out);
        Some(begin.chain(path.end.iter().map(place)).collect())
    }

    fn to_json(&self) -> Value {
        let path = |oid| self.path_as_json(oid);
        let unreadable = self
            .0
            .problems
            .unreadable
            .iter()
            .map(|(oid, why)| json!({"oid": oid.to_string(), "why": why, "path": path(*oid)}));
        let referrers = self.0.problems.referrers.iter().map(|from| {
            let to = from.to.iter().map(|(oid, (class, invalid))| {
                json!({"oid": oid.to_string(), "class": class, "why": invalid.words()})
            });
            json!({
                "oid": from.oid.to_string(),
                "class": from.class,
                "tid": from.tid.to_string(),
                "time": from.tid.time_stamp(),
                "position": from.position,
                "refers_to": to.collect::<Value>(),
                "path": path(from.oid),
            })
        });
        json!({
            "objects": self.0.objects,
            "errors": self.problems(),
            "hidden": self.0.problems.hidden,
            "damaged": self.0.damages > 0,
            "unreadable": unreadable.collect::<Value>(),
            "dangling": referrers.collect::<Value>(),
        })
    }
}
