//! `fstool index`: the `.index` beside a file.

use std::io::Write;

use serde_json::json;
use zeo_storage::file_storage::tools::index::{Difference, Saved, check_index, rebuild_index};

use crate::context::{Context, FileArguments, Run};
use crate::outcome::{Result, Verdict, counted};
use crate::table::{Align, Table};

/// Rebuild and save the index of a file, or check it
///
/// Scans the whole file and saves Data.fs.index, replacing an existing one. Needs the lock, so no
/// server may have the file open. A server that finds no index, or one that does not belong to the
/// file, does the same when it opens the file; use this for an index that is wrong unnoticed, or to
/// start a server without delay. A damaged file gets no index.
///
/// Nor does a file in which a checksum of this server does not hold, though all else fits together:
/// either bytes have changed, or another tool has copied the checksums along (zodbconvert and
/// back, say), or changed the file on purpose. If you know it to be the latter, --accept accepts all
/// these transactions as they are; the next pack gives them checksums of their own. Don't use it
/// after a crash of this server or of the machine: there it accepts what was written in part.
///
/// With --check nothing is written, and no lock is needed: the index is compared with the file, object
/// by object. Exit code 1 means that it is wrong, or, unless a server has the file open (which saves
/// it now and then, and when it ends), that it is missing or unusable.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only compare the index with the file
    #[arg(long)]
    check: bool,
    /// Accept transactions that don't have their checksum, if all else in them fits together
    #[arg(long, conflicts_with = "check")]
    accept: bool,
    /// Print JSON: the objects of which a checked index is wrong
    #[arg(long, requires = "check")]
    json: bool,
    #[command(flatten)]
    file: FileArguments,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        if self.check {
            self.check(context)
        } else {
            self.rebuild(context)
        }
    }
}

impl Arguments {
    fn rebuild(&self, context: &mut Context) -> Result<Verdict> {
        let mut progress = context.progress();
        let (path, log) = (&self.file.path, context.log());
        let found = rebuild_index(path, self.accept, &log, &mut progress)?;
        drop(progress);
        let (objects, end) = (found.index.len(), found.end);
        writeln!(
            context.out,
            "saved the index: {} in {end} bytes",
            counted(objects, "object")
        )?;
        if let Some(first) = found.accepted {
            writeln!(
                context.out,
                "accepted transactions whose checksums are of another file; the first at {first}"
            )?;
        }
        if let Some(why) = found.torn {
            writeln!(
                context.out,
                "{why} at {end}, as a crash leaves it: a server cuts that off when it opens the file"
            )?;
            return Ok(Verdict::Problems);
        }
        Ok(Verdict::Fine)
    }

    fn check(&self, context: &mut Context) -> Result<Verdict> {
        let mut progress = context.progress();
        let (file, saved) = check_index(&self.file.path, &context.log(), &mut progress)?;
        drop(progress);
        let differences = match &saved {
            Saved::Wrong { first, .. } => table(first),
            _ => table(&[]),
        };
        let out = &mut context.out;
        if self.json {
            writeln!(out, "{:#}", as_json(&saved, &differences))?;
        } else {
            writeln!(out, "{}", in_words(&saved, file.size()))?;
            if let Saved::Wrong { .. } = &saved {
                differences.write(out)?;
            }
        }
        Ok(match saved {
            Saved::Good { .. } => Verdict::Fine,
            Saved::Missing | Saved::Useless(_) if file.is_in_use() => Verdict::Fine,
            _ => Verdict::Problems,
        })
    }
}

fn in_words(saved: &Saved, size: u64) -> String {
    match saved {
        Saved::Missing => "there is no index; a server scans the file to open it".to_owned(),
        Saved::Useless(why) => {
            format!("the index is of no use, and a server scans the file: {why}")
        }
        Saved::Good { position, objects } => {
            let objects = counted(*objects, "object");
            format!("the index is right: {objects} in {position} of {size} bytes")
        }
        Saved::Wrong { count, .. } => {
            let objects = counted(*count, "object");
            format!("the index is wrong for {objects}; rebuild it")
        }
    }
}

/// The objects, where the index has their records, and where these are.
fn table(differences: &[Difference]) -> Table {
    let mut table = Table::new(&[
        ("oid", Align::Left),
        ("index", Align::Right),
        ("file", Align::Right),
    ]);
    for difference in differences {
        let Difference { oid, saved, found } = difference;
        table.push(vec![json!(oid.to_string()), json!(saved), json!(found)]);
    }
    table
}

fn as_json(saved: &Saved, differences: &Table) -> serde_json::Value {
    let (state, why) = match saved {
        Saved::Missing => ("missing", None),
        Saved::Useless(why) => ("useless", Some(why)),
        Saved::Good { .. } => ("good", None),
        Saved::Wrong { .. } => ("wrong", None),
    };
    let (position, wrong) = match saved {
        Saved::Good { position, .. } => (Some(position), 0),
        Saved::Wrong {
            position, count, ..
        } => (Some(position), *count),
        _ => (None, 0),
    };
    json!({
        "index": state,
        "why": why,
        "position": position,
        "wrong": wrong,
        "differences": differences.to_json(),
    })
}
