//! `fstool refs`: ZODB's `fsrefs`.

mod graph;
mod objects;
mod path;
mod referrers;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use zeo_proto::Oid;
use zeo_storage::Error;
use zeo_storage::file_storage::DataFile;
use zeo_storage::file_storage::format::Reader;
use zeo_storage::file_storage::index::Index;

use self::graph::Graph;
use self::path::{Way, ways};
use self::referrers::{Referrer, Wrong, check};
use crate::context::{Context, Run};
use crate::outcome::{Result, Verdict};
use crate::python;
use crate::reading::{NO_CLASS, Reading};

/// How many objects with dangling references are shown, unless all are asked
/// for.
const SHOWN: usize = 1000;

/// Check for dangling references (fsrefs)
///
/// Reads the current record of every object, and shows the objects that can't be read, and those
/// that refer to an object that is missing, was undone or deleted, or can't be read; with the way
/// to them from the root, and when they were written. Weak references and those to other databases
/// don't count. Nothing in a record is ever run, so no class needs to be there.
///
/// Takes the objects from Data.fs.index, as a server does, so a wrong index shows as objects that
/// can't be read (`fstool index --check` tells more). In a damaged file, the objects are taken from
/// the transactions that are whole. Takes at most 20 bytes of memory an object, and as much again if
/// something is wrong.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Show all objects with dangling references, not just the first 1000
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The file, as Data.fs
    file: PathBuf,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        let file = DataFile::open(&self.file)?;
        let (index, end, reading) = index(&file, context)?;
        let reader = Reader {
            end,
            ..file.reader()
        };
        let mut graph = Graph::new(reader, index);
        let most = if self.all { usize::MAX } else { SHOWN };
        let mut progress = context.progress("reading objects", end);
        let wrong = check(&mut graph, most, &mut |at| progress.set(at))?;
        drop(progress);
        let unreadable = wrong.unreadable.iter().map(|(oid, _)| *oid);
        let targets: HashSet<Oid> = unreadable
            .chain(wrong.referrers.iter().map(|from| from.oid))
            .collect();
        let ways = match targets.is_empty() {
            true => HashMap::new(),
            false => ways(&graph, &targets)?,
        };
        let report = Report {
            objects: graph.len(),
            is_damaged: reading != Verdict::Fine,
            wrong,
            ways,
        };
        match self.json {
            true => writeln!(context.out, "{:#}", report.to_json())?,
            false => report.write(&mut context.out)?,
        }
        Ok(reading.max(Verdict::of(report.problems())))
    }
}

/// Where current records stand, and where the file ends. From a damaged file,
/// what can be read.
fn index(file: &DataFile, context: &Context) -> Result<(Index, u64, Verdict)> {
    let mut progress = context.progress("scanning", file.size());
    match file.index(&context.log(), &mut |at, _| progress.set(at)) {
        Ok(found) => return Ok((found.index, found.end, Verdict::Fine)),
        Err(Error::Corrupt { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    drop(progress);
    let mut reading = Reading::new(file, Some(context))?;
    let index = Index::default();
    while reading.txn()?.is_some() {
        while let Some((position, header)) = reading.forwards.record()? {
            index.set(header.oid, position);
        }
    }
    Ok((index, file.size(), reading.verdict()))
}

struct Report {
    objects: u64,
    /// Not all of the file could be read.
    is_damaged: bool,
    wrong: Wrong,
    ways: HashMap<Oid, Way>,
}

impl Report {
    fn problems(&self) -> u64 {
        let shown = self.wrong.unreadable.len() + self.wrong.referrers.len();
        self.wrong.hidden.saturating_add(shown as u64)
    }

    fn write(&self, out: &mut impl Write) -> Result<()> {
        for (oid, why) in &self.wrong.unreadable {
            writeln!(out, "oid {:#x}", oid.as_u64())?;
            writeln!(out, "failed to load: {why}")?;
            writeln!(out, "{}\n", self.path_in_words(*oid))?;
        }
        for from in &self.wrong.referrers {
            self.write_referrer(out, from)?;
        }
        if self.wrong.hidden > 0 {
            writeln!(out, "and {} more; --all shows them", self.wrong.hidden)?;
        }
        match self.problems() {
            0 => write!(out, "no errors detected in {} objects", self.objects)?,
            count => write!(out, "{count} of {} objects have errors", self.objects)?,
        }
        match self.is_damaged {
            true => writeln!(out, "; the file is damaged, and others may be lost")?,
            false => writeln!(out)?,
        }
        Ok(())
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
            let class = python::text(class.as_deref().unwrap_or(NO_CLASS));
            writeln!(out, "\toid {oid} {}: {class}", invalid.words())?;
        }
        writeln!(out, "{}\n", self.path_in_words(from.oid))?;
        Ok(())
    }

    fn path_in_words(&self, oid: Oid) -> String {
        let Some(way) = self.ways.get(&oid) else {
            return "not reachable from the root: the next pack removes it".to_owned();
        };
        let words = |(oid, class): &(Oid, String)| format!("{oid} {class}");
        let mut places: Vec<_> = way.begin.iter().map(words).collect();
        if way.left_out > 0 {
            places.push(format!("... {} more ...", way.left_out));
        }
        places.extend(way.end.iter().map(words));
        format!("path from the root: {}", places.join(" -> "))
    }

    /// The path as a list of objects; those left out are one null.
    fn path_as_json(&self, oid: Oid) -> Option<Value> {
        let way = self.ways.get(&oid)?;
        let place = |(oid, class): &(Oid, String)| json!({"oid": oid.to_string(), "class": class});
        let left_out = (way.left_out > 0).then_some(Value::Null);
        let begin = way.begin.iter().map(place).chain(left_out);
        Some(begin.chain(way.end.iter().map(place)).collect())
    }

    fn to_json(&self) -> Value {
        let path = |oid| self.path_as_json(oid);
        let unreadable = self
            .wrong
            .unreadable
            .iter()
            .map(|(oid, why)| json!({"oid": oid.to_string(), "why": why, "path": path(*oid)}));
        let referrers = self.wrong.referrers.iter().map(|from| {
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
            "objects": self.objects,
            "errors": self.problems(),
            "hidden": self.wrong.hidden,
            "damaged": self.is_damaged,
            "unreadable": unreadable.collect::<Value>(),
            "dangling": referrers.collect::<Value>(),
        })
    }
}
