//! `fstool test`: ZODB's `fstest`, with checksums, and going on behind damage.

use std::io::{self, Write};

use serde_json::{Value, json};
use zeo_storage::file_storage::DataFile;
use zeo_storage::file_storage::tools::check::{CheckEvent, Checked, check};
use zeo_storage::file_storage::tools::transaction_reader::Problem;

use crate::context::{Context, FileArguments, Run};
use crate::outcome::{Result, Verdict, Written, counted};

/// How many problems are shown, unless all are asked for.
const SHOWN: usize = 100;

/// Check the structure of a file (fstest)
///
/// Reads the whole file from beginning to end. Checks the lengths of transactions and records, that
/// tids increase, the status of transactions, that records point to older records of the same
/// object, and the checksums that this server writes (storage/FORMAT.md), which reveal any changed
/// byte, also within data. Transactions written by Python have no checksum: `fstool refs` reads
/// their data. Where Data.fs.index says that Python wrote a transaction, or that it was accepted
/// (`fstool index --accept`), a checksum that does not match is that of another file, and not a
/// problem.
///
/// After damage, and after a part that the disk can't read, the check continues with the next
/// intact transaction. An unfinished transaction at the end counts as a problem, unless a server
/// has the file open.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Show each transaction; given twice, also each object
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Show all problems, not just the first 100
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
    #[command(flatten)]
    file: FileArguments,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        let file = DataFile::open_failing(&self.file.path)?;
        let mut progress = context.progress();
        let (mut report, mut written) = (Report::new(self, &mut context.out), Written::default());
        let mut on_event = |event: CheckEvent<'_>| written.or_cancel(|| report.show(event));
        let found = check(&file, &mut on_event, &mut progress);
        drop(progress);
        written.result()?;
        let found = found?;
        report.end(&file, &found)?;
        Ok(Verdict::of(found.problems))
    }
}

/// What is written while the check goes on.
struct Report<'a, W> {
    out: &'a mut W,
    arguments: &'a Arguments,
    problems: Vec<Value>,
    shown: usize,
    transactions: u64,
    objects: u64,
}

impl<'a, W: Write> Report<'a, W> {
    fn new(arguments: &'a Arguments, out: &'a mut W) -> Self {
        Self {
            out,
            arguments,
            problems: Vec::new(),
            shown: 0,
            transactions: 0,
            objects: 0,
        }
    }

    fn show(&mut self, event: CheckEvent<'_>) -> io::Result<()> {
        match event {
            CheckEvent::Record(position, header) if self.arguments.verbose > 1 => {
                let (oid, number) = (header.oid.as_u64(), self.objects);
                self.objects += 1;
                writeln!(self.out, "{position:10}: object oid {oid:#018x} #{number}")
            }
            CheckEvent::Transaction(txn) if self.arguments.verbose > 0 => {
                let (position, number) = (txn.position, self.transactions);
                (self.transactions, self.objects) = (number + 1, 0);
                let tid = txn.header.tid;
                writeln!(
                    self.out,
                    "{position:10}: transaction tid 0x{tid} #{number} "
                )
            }
            CheckEvent::Problem(problem) if self.shown < SHOWN || self.arguments.all => {
                self.shown += 1;
                if self.arguments.json {
                    self.problems.push(problem_as_json(&problem));
                    return Ok(());
                }
                self.show_problem(&problem)
            }
            _ => Ok(()),
        }
    }

    fn show_problem(&mut self, problem: &Problem) -> io::Result<()> {
        write!(self.out, "at {}: {}", problem.position, problem.what)?;
        if let Some(lost) = &problem.lost {
            write!(self.out, "; lost: {} to {}", lost.start, lost.end)?;
        }
        writeln!(self.out)?;
        // It may be long until the next one.
        self.out.flush()
    }

    fn end(self, file: &DataFile, found: &Checked) -> Result<()> {
        if self.arguments.json {
            let problems = Value::Array(self.problems);
            let summary = as_json(file, found, problems);
            return Ok(writeln!(self.out, "{summary:#}")?);
        }
        let hidden = found.problems.saturating_sub(self.shown as u64);
        if hidden > 0 {
            writeln!(self.out, "and {hidden} more; --all shows them")?;
        }
        match found.problems {
            0 => write!(self.out, "no errors detected")?,
            count => write!(self.out, "{} detected", counted(count, "error"))?,
        }
        writeln!(
            self.out,
            " in {} ({} of them with checksums), {}, {}",
            counted(found.transactions, "transaction"),
            found.sealed,
            counted(found.records, "record"),
            counted(found.objects, "object")
        )?;
        if found.foreign_seals > 0 {
            writeln!(
                self.out,
                "{} with the checksum of another file, which was ignored",
                counted(found.foreign_seals, "transaction")
            )?;
        }
        if found.is_growing {
            writeln!(
                self.out,
                "a server is writing to the file after {}",
                found.end
            )?;
        }
        Ok(())
    }
}

fn problem_as_json(problem: &Problem) -> Value {
    let lost = problem.lost.as_ref();
    json!({
        "position": problem.position,
        "what": problem.what,
        "lost": lost.map(|lost| [lost.start, lost.end]),
    })
}

fn as_json(file: &DataFile, found: &Checked, problems: Value) -> Value {
    json!({
        "file": file.path().display().to_string(),
        "size": file.size(),
        "end": found.end,
        "growing": found.is_growing,
        "transactions": found.transactions,
        "checksums": found.sealed,
        "foreign_checksums": found.foreign_seals,
        "records": found.records,
        "objects": found.objects,
        "errors": found.problems,
        "problems": problems,
    })
}
