//! `fstool recover`: ZODB's `fsrecover`.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};
use zeo_proto::{Oid, Tid};
use zeo_storage::file_storage::salvage::{Copied, Damage, Event, Salvaged, salvage};
use zeo_storage::file_storage::{DataFile, FileStorage, Options};
use zeo_storage::{Error, Storage};

use crate::context::{Context, Run};
use crate::outcome::{Failure, Result, Verdict};

/// The new file is synced whenever so much was written.
const SYNC_EVERY: u64 = 256 << 20;
/// How many records of a kind are shown for one damage.
const SHOWN: usize = 10;

/// Copy what is readable of a damaged file into a new one (fsrecover)
///
/// Damage is told by lengths, record headers, and the checksums of this server. What can't be read
/// is skipped, and shown: where it is, what is wrong, how much is lost of which objects. The input
/// is never changed. A transaction is left out when a part of it is lost, unless -p is given. When
/// its checksum tells that it is not what was written, but all its records are there and readable,
/// it is copied: look at its objects.
///
/// The new file can be used at once. When this is interrupted, run it again with -f. Exit code 1
/// says that something was wrong in the input.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Overwrite the output file if it exists
    #[arg(short, long)]
    force: bool,
    /// Copy the readable records of damaged transactions, and mark these as packed
    #[arg(short, long)]
    partial: bool,
    /// Afterwards, pack the new file to so many seconds ago (with -p, say 0)
    #[arg(short = 'P', long, value_name = "SECONDS")]
    pack: Option<f64>,
    /// Show more: 1 transactions, 2 and their records
    #[arg(short, long, value_name = "LEVEL", default_value_t = 0)]
    verbose: u8,
    /// Print JSON
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
    /// The damaged file
    input: PathBuf,
    /// The new file
    output: PathBuf,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        let input = DataFile::open(&self.input)?;
        // It goes on with a damaged beginning, but not with another file.
        let wrong = input.check_magic().err();
        self.check_output()?;
        let options = Options {
            create: true,
            sync_every: SYNC_EVERY,
            log: context.log(),
            ..Options::default()
        };
        if let Some(wrong) = &wrong
            && zeo_storage::file_storage::resync::next_transaction(&input.reader(), 0)?.is_none()
        {
            return Err(Failure::Other(format!("nothing can be recovered: {wrong}")));
        }
        let output = FileStorage::open(&self.output, options)?;
        let mut report = Report::new(self);
        if let Some(wrong) = wrong {
            report.begin(context, &wrong)?;
        }
        let mut progress = context.progress("recovering", input.size());
        let out = &mut context.out;
        let done = salvage(&input, &output, self.partial, &mut |event| match event {
            Event::Progress(position) => {
                progress.set(position);
                Ok(())
            }
            event => report.hear(out, event),
        })?;
        drop(progress);
        self.pack(&output, context)?;
        report.end(context, &done, &output)?;
        output.close()?;
        Ok(Verdict::of(
            done.damages + u64::from(report.magic.is_some()),
        ))
    }
}

impl Arguments {
    /// Fails when the output is there without `-f`, and when it is the input.
    fn check_output(&self) -> Result<()> {
        let (input, output) = (&self.input, &self.output);
        if same_file(input, output) {
            let what = "the output is the input".to_owned();
            return Err(Failure::Usage(what));
        }
        if output.exists() && !self.force {
            let what = format!("{} exists; -f overwrites it", output.display());
            return Err(Failure::Other(what));
        }
        Ok(())
    }

    fn pack(&self, output: &FileStorage, context: &Context) -> Result<()> {
        let Some(seconds) = self.pack else {
            return Ok(());
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let progress = context.progress("packing", output.size());
        let packed = output.pack(now.unwrap_or_default().as_secs_f64() - seconds, None);
        drop(progress);
        packed.map_err(|why| Failure::Other(format!("all was recovered, but not packed: {why}")))
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// What is written while the copy goes on, and in the end.
struct Report<'a> {
    arguments: &'a Arguments,
    /// What is wrong with the beginning of the file.
    magic: Option<String>,
    /// For JSON.
    damages: Vec<Value>,
    /// The last lost record of each object.
    lost: BTreeMap<Oid, Tid>,
}

impl<'a> Report<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        Self {
            arguments,
            magic: None,
            damages: Vec::new(),
            lost: BTreeMap::new(),
        }
    }

    fn begin(&mut self, context: &mut Context, wrong: &Error) -> Result<()> {
        if !self.arguments.json {
            writeln!(context.out, "{wrong}; taken for a FileStorage nevertheless")?;
        }
        self.magic = Some(wrong.to_string());
        Ok(())
    }

    fn hear(&mut self, out: &mut impl Write, event: Event<'_>) -> zeo_storage::Result<()> {
        let written = match event {
            Event::Copied(copied) => self.show_copied(out, copied),
            Event::Damage(damage) => self.show_damage(out, damage),
            Event::Progress(_) => Ok(()),
        };
        // It goes on when nobody listens.
        drop(written);
        Ok(())
    }

    fn show_copied(&self, out: &mut impl Write, copied: &Copied) -> std::io::Result<()> {
        let level = self.arguments.verbose;
        if level == 0 {
            return Ok(());
        }
        let (position, time) = (copied.position, copied.tid.time_stamp());
        let count = copied.records.len();
        writeln!(out, "transaction at {position}: {time}, {count} records")?;
        for (oid, length) in copied.records.iter().filter(|_| level > 1) {
            match length {
                Some(length) => writeln!(out, "    object {oid}: {length} bytes")?,
                None => writeln!(out, "    object {oid}: gone")?,
            }
        }
        Ok(())
    }

    fn show_damage(&mut self, out: &mut impl Write, damage: &Damage) -> std::io::Result<()> {
        for &(oid, tid) in &damage.records {
            let last = self.lost.entry(oid).or_default();
            *last = tid.max(*last);
        }
        if self.arguments.json {
            self.damages.push(as_json(damage));
            return Ok(());
        }
        let Damage {
            position,
            what,
            range,
            lost,
            records,
            doubtful,
        } = damage;
        write!(out, "at {position}: {what}; ")?;
        match lost {
            0 => writeln!(out, "nothing was left out")?,
            _ => writeln!(
                out,
                "lost: {lost} bytes of those from {} to {}",
                range.start, range.end
            )?,
        }
        show_records(out, "lost", records)?;
        show_records(out, "kept, but perhaps not what was written", doubtful)?;
        // It may be long until the next one.
        out.flush()
    }

    fn end(&self, context: &mut Context, done: &Salvaged, output: &FileStorage) -> Result<()> {
        let objects = self.states(output)?;
        if self.arguments.json {
            let summary = json!({
                "input": self.arguments.input.display().to_string(),
                "output": self.arguments.output.display().to_string(),
                "magic": self.magic,
                "transactions": done.transactions,
                "records": done.records,
                "damages": self.damages,
                "lost_bytes": done.lost,
                "undone_bytes": done.undone,
                "objects": objects.iter().map(|&(oid, lost, now)| json!({
                    "oid": oid.to_string(),
                    "lost": lost.to_string(),
                    "now": now.map(|now| now.to_string()),
                })).collect::<Value>(),
            });
            return Ok(writeln!(context.out, "{summary:#}")?);
        }
        let out = &mut context.out;
        for (oid, lost, now) in &objects {
            match now {
                None => writeln!(out, "object {oid} is gone: its record of {lost} was lost")?,
                Some(now) => writeln!(
                    out,
                    "object {oid} is as it was at {now}: its record of {lost} was lost"
                )?,
            }
        }
        let (transactions, records) = (done.transactions, done.records);
        writeln!(
            out,
            "recovered {transactions} transactions with {records} records"
        )?;
        writeln!(
            out,
            "{} bytes were lost, by damage at {} places",
            done.lost, done.damages
        )?;
        if done.undone > 0 {
            let undone = done.undone;
            writeln!(out, "{undone} bytes of undone transactions were left out")?;
        }
        Ok(())
    }

    /// The objects whose current record may be among those lost: with the tid
    /// of that, and of the one that is current now.
    fn states(&self, output: &FileStorage) -> Result<Vec<(Oid, Tid, Option<Tid>)>> {
        let mut states = Vec::new();
        for (&oid, &lost) in &self.lost {
            match output.get_tid(oid) {
                Ok(now) if now > lost => {}
                Ok(now) => states.push((oid, lost, Some(now))),
                Err(Error::NoObject(_)) => states.push((oid, lost, None)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(states)
    }
}

fn show_records(out: &mut impl Write, what: &str, records: &[(Oid, Tid)]) -> std::io::Result<()> {
    for (oid, tid) in records.iter().take(SHOWN) {
        writeln!(out, "    object {oid} of transaction {tid}: {what}")?;
    }
    if records.len() > SHOWN {
        writeln!(out, "    and {} more: {what}", records.len() - SHOWN)?;
    }
    Ok(())
}

fn as_json(damage: &Damage) -> Value {
    let pairs = |records: &[(Oid, Tid)]| -> Value {
        let pairs = records.iter();
        pairs
            .map(|(oid, tid)| json!([oid.to_string(), tid.to_string()]))
            .collect()
    };
    json!({
        "position": damage.position,
        "what": damage.what,
        "range": [damage.range.start, damage.range.end],
        "lost": damage.lost,
        "records": pairs(&damage.records),
        "doubtful": pairs(&damage.doubtful),
    })
}
