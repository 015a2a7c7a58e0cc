//! What `fstool recover` reports.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};
use zeo_proto::{Oid, Tid};
use zeo_storage::file_storage::tools::salvage::{Copied, Damage, LostBlob, SalvageEvent, Salvaged};
use zeo_storage::file_storage::{DataFile, FileStorage};
use zeo_storage::{Error, Storage};

use super::Arguments;
use crate::context::Context;
use crate::outcome::{Result, Verdict, counted};

/// How many records of a kind are shown for one damage.
const SHOWN: usize = 10;

/// What is written during the copy and at its end.
pub struct Report<'a> {
    arguments: &'a Arguments,
    /// What is wrong with the beginning of the file.
    magic: Option<String>,
    /// For JSON.
    damages: Vec<Value>,
    lost_blobs: Vec<Value>,
    /// The last lost record of each object.
    lost: BTreeMap<Oid, Tid>,
}

impl<'a> Report<'a> {
    /// An empty report.
    pub fn new(arguments: &'a Arguments) -> Self {
        Self {
            arguments,
            magic: None,
            damages: Vec::new(),
            lost_blobs: Vec::new(),
            lost: BTreeMap::new(),
        }
    }

    /// Reports what is wrong with the beginning of the file.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub fn begin(&mut self, context: &mut Context, wrong: &Error) -> Result<()> {
        if !self.arguments.json {
            writeln!(context.out, "{wrong}; taken for a FileStorage nevertheless")?;
        }
        self.magic = Some(wrong.to_string());
        Ok(())
    }

    /// Reports one event.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn on_event(
        &mut self,
        out: &mut impl Write,
        event: SalvageEvent<'_>,
    ) -> std::io::Result<()> {
        match event {
            SalvageEvent::Copied(copied) => self.show_copied(out, copied),
            SalvageEvent::Damage(damage) => self.show_damage(out, damage),
            SalvageEvent::NoBlob(lost) => self.show_blob(out, lost),
            _ => Ok(()),
        }
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

    fn show_blob(&mut self, out: &mut impl Write, lost: &LostBlob) -> std::io::Result<()> {
        let LostBlob {
            oid,
            tid,
            path,
            why,
        } = lost;
        let path = path.display();
        if self.arguments.json {
            let (oid, tid, path) = (oid.to_string(), tid.to_string(), path.to_string());
            let lost = json!({"oid": oid, "tid": tid, "path": path, "why": why});
            self.lost_blobs.push(lost);
            return Ok(());
        }
        writeln!(
            out,
            "object {oid} of transaction {tid}: its blob {path} is lost: {why}"
        )?;
        out.flush()
    }

    /// Whether anything was wrong.
    pub fn verdict(&self, done: &Salvaged) -> Verdict {
        let damages = done.damages.saturating_add(done.lost_blobs);
        Verdict::of(damages.saturating_add(self.magic.is_some().into()))
    }

    /// Writes the summary.
    ///
    /// # Errors
    /// Standard output can't be written, or the new file not be read.
    pub fn end(
        &self,
        context: &mut Context,
        done: &Salvaged,
        input: &DataFile,
        output: &FileStorage,
    ) -> Result<()> {
        let objects = self.states(output)?;
        let unreadable = input.unreadable();
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
                "unreadable": unreadable.iter().map(|hole| json!([hole.start, hole.end])).collect::<Value>(),
                "blobs": done.blobs,
                "lost_blobs": self.lost_blobs,
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
        let transactions = counted(done.transactions, "transaction");
        let records = counted(done.records, "record");
        writeln!(out, "recovered {transactions} with {records}")?;
        writeln!(
            out,
            "{} bytes were lost, by damage at {} places",
            done.lost, done.damages
        )?;
        for hole in &unreadable {
            writeln!(
                out,
                "the disk could not read {} to {}",
                hole.start, hole.end
            )?;
        }
        if self.arguments.input_blobs.is_some() {
            let (blobs, lost) = (done.blobs, done.lost_blobs);
            writeln!(out, "{blobs} blobs were copied, and {lost} were lost")?;
        }
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
