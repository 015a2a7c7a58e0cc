//! `fstool index`: the `.index` beside a file.

use std::io::Write;

use serde_json::json;
use zeo_storage::file_storage::tools::index::{Difference, Saved, check_index, rebuild_index};

use crate::context::{Context, FileArguments, Run};
use crate::outcome::{Result, Verdict, counted};
use zeo_server::tools::table::{Align, Table};

/// Rebuild the index of a file, or check it
///
/// Scans the whole file and writes Data.fs.index, replacing an existing one. Takes the file's lock,
/// so no server may have the file open. A server does the same when it opens a file whose index is
/// missing or does not belong to it; use this to replace a wrong index (see --check), or so that
/// the server starts without delay. A damaged file gets no index.
///
/// Nor does a file with a transaction whose checksum does not match although its structure is
/// intact: either bytes have changed, or another tool has copied checksums along with other data
/// (zodbconvert and back, for example) or changed the file on purpose. If you know that it was
/// another tool, --accept accepts all such transactions as they are; the next pack gives them new
/// checksums. Don't use --accept after a crash of the server or the machine: it would accept
/// transactions that were written only in part.
///
/// With --check, nothing is written and no lock is needed: the index is compared with the file,
/// object by object. Exit code 1 means that the index is wrong, missing or unusable; but while a
/// server has the file open, it may be missing or unusable, as the server saves it only from time
/// to time and when it stops.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only compare the index with the file
    #[arg(long)]
    check: bool,
    /// Accept transactions whose checksum does not match, if their structure is intact
    #[arg(long, conflicts_with = "check")]
    accept: bool,
    /// With --check: print JSON, with the objects for which the index is wrong
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
                "accepted transactions whose checksums do not match; the first is at {first}"
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
            format!("the index is unusable, so a server scans the file: {why}")
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
