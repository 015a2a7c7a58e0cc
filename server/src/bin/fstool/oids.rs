//! `fstool oids`: ZODB's `fsoids`.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use zeo_proto::{Oid, Tid, repr};
use zeo_storage::file_storage::format::DataHeader;
use zeo_storage::file_storage::format::walk::Txn;
use zeo_storage::file_storage::tools::reading::{NO_CLASS, Reading};
use zeo_storage::references::references_with_classes;

use crate::context::{Context, FileArguments, Run};
use crate::outcome::{Failure, Result, Verdict};

/// Trace objects through the file (fsoids)
///
/// For each oid, shows all revisions of the object, all objects that they refer to, and all
/// revisions of other objects that refer to it, by transaction, oldest first. Reads every record of
/// the file.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A file with one oid per line
    #[arg(short = 'f', value_name = "OID_FILE")]
    oid_file: Option<PathBuf>,
    #[command(flatten)]
    file: FileArguments,
    /// Oids as numbers, such as 0x2a or 42
    #[arg(value_name = "OID", value_parser = parse_oid)]
    oids: Vec<Oid>,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        let mut oids = self.oids.clone();
        if let Some(path) = &self.oid_file {
            oids.extend(read_oids(path)?);
        }
        if oids.is_empty() {
            return Err(Failure::Usage("no oids specified".to_owned()));
        }
        let file = self.file.open()?;
        let mut progress = context.progress();
        let mut reading = Reading::new(&file, &mut progress)?;
        let mut tracer = Tracer::new(oids);
        while let Some(txn) = reading.txn()? {
            tracer.transaction(&mut reading, &txn)?;
        }
        let verdict = Verdict::of(reading.problems());
        drop(progress);
        tracer.report(&mut context.out)?;
        Ok(verdict)
    }
}

/// A number as Python writes it: decimal, or with 0x, 0o or 0b before it.
fn parse_oid(text: &str) -> std::result::Result<Oid, String> {
    let lower = text.trim().to_ascii_lowercase();
    let number = match lower.get(..2) {
        Some("0x") => u64::from_str_radix(&lower[2..], 16),
        Some("0o") => u64::from_str_radix(&lower[2..], 8),
        Some("0b") => u64::from_str_radix(&lower[2..], 2),
        _ => lower.parse(),
    };
    let wrong = |why| format!("{why}; an oid is a number like 0x2a or 42");
    number.map(Oid::new).map_err(wrong)
}

fn read_oids(path: &Path) -> Result<Vec<Oid>> {
    let name = path.display();
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|why| Failure::Other(format!("reading {name}: {why}")))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let oids = lines.map(|line| {
        parse_oid(line).map_err(|why| Failure::Other(format!("reading {name}: {line:?}: {why}")))
    });
    oids.collect()
}

/// What is known of an object that is traced.
#[derive(Default)]
struct Traced {
    revisions: u64,
    class: Option<String>,
    /// What to tell, by transaction.
    lines: BTreeMap<Tid, Vec<String>>,
}

struct Tracer {
    oids: BTreeMap<Oid, Traced>,
    /// Of the transactions in which something is told.
    transactions: HashMap<Tid, Vec<String>>,
    /// The class names that were met.
    classes: HashMap<Oid, String>,
}

impl Tracer {
    fn new(oids: Vec<Oid>) -> Self {
        Self {
            oids: oids
                .into_iter()
                .map(|oid| (oid, Traced::default()))
                .collect(),
            transactions: HashMap::new(),
            classes: HashMap::new(),
        }
    }

    fn transaction(&mut self, reading: &mut Reading<'_>, txn: &Txn) -> Result<()> {
        // A restored record may have an earlier tid.
        let tid = txn.header.tid;
        let mut records = HashMap::new();
        let mut told = false;
        let mut order = Vec::new();
        while let Some((position, header)) = reading.transactions.record()? {
            let Some(source) = reading.source(position, &header)? else {
                continue;
            };
            if self.oids.contains_key(&header.oid) {
                self.revision(reading, position, &header, tid, source.data)?;
                told = true;
            }
            if let Some(data) = source.data {
                records.insert(header.oid, data);
                order.push((position, header.oid, data));
            }
        }
        for (position, oid, data) in order {
            told |= self.references(reading, &records, (position, oid, tid), data)?;
        }
        if told {
            let info = about(reading, txn)?;
            self.transactions.insert(tid, info);
        }
        Ok(())
    }

    fn revision(
        &mut self,
        reading: &mut Reading<'_>,
        position: u64,
        header: &DataHeader,
        tid: Tid,
        data: Option<(u64, u64)>,
    ) -> Result<()> {
        let line = match data {
            Some(data) => {
                let class = reading.class(data)?;
                self.classes.insert(header.oid, class.clone());
                format!("new revision {class} at {position}")
            }
            None => format!("creation undo at {position}"),
        };
        if let Some(traced) = self.oids.get_mut(&header.oid) {
            traced.revisions += u64::from(data.is_some());
            if data.is_some() {
                traced.class = self.classes.get(&header.oid).cloned();
            }
            traced.lines.entry(tid).or_default().push(line);
        }
        Ok(())
    }

    /// Tells of the references of one record to objects that are traced, and
    /// of all of them, if it is traced itself. Gives whether there was one.
    fn references(
        &mut self,
        reading: &mut Reading<'_>,
        records: &HashMap<Oid, (u64, u64)>,
        (position, oid, tid): (u64, Oid, Tid),
        data: (u64, u64),
    ) -> Result<bool> {
        let is_traced = self.oids.contains_key(&oid);
        let found = match references_with_classes(reading.transactions.data(data, None)?) {
            Ok(found) => found,
            Err(why) => {
                reading.tell(position, format!("object {oid} can't be read: {why}"));
                return Ok(false);
            }
        };
        let mut told = false;
        for reference in found {
            if self.oids.contains_key(&reference.oid) {
                let class = self.class_of(reading, oid, data)?;
                let line = format!("referenced by {oid} {class} at {position}");
                self.push(reference.oid, tid, line);
                told = true;
            }
            if is_traced {
                let class = match (reference.class, records.get(&reference.oid)) {
                    (Some(class), _) => repr::printable(&class),
                    (None, Some(&data)) => self.class_of(reading, reference.oid, data)?,
                    (None, None) => {
                        let known = self.classes.get(&reference.oid);
                        known.map_or(NO_CLASS, String::as_str).to_owned()
                    }
                };
                let line = format!("references {} {class} at {position}", reference.oid);
                self.push(oid, tid, line);
                told = true;
            }
        }
        Ok(told)
    }

    fn class_of(
        &mut self,
        reading: &mut Reading<'_>,
        oid: Oid,
        data: (u64, u64),
    ) -> Result<String> {
        if let Some(class) = self.classes.get(&oid) {
            return Ok(class.clone());
        }
        let class = reading.class(data)?;
        self.classes.insert(oid, class.clone());
        Ok(class)
    }

    fn push(&mut self, oid: Oid, tid: Tid, line: String) {
        if let Some(traced) = self.oids.get_mut(&oid) {
            traced.lines.entry(tid).or_default().push(line);
        }
    }

    fn report(self, out: &mut impl Write) -> Result<()> {
        for (oid, traced) in self.oids {
            let class = traced.class.as_deref().unwrap_or(NO_CLASS);
            let count = traced.revisions;
            let plural = if count == 1 { "" } else { "s" };
            writeln!(out, "oid {oid} {class} {count} revision{plural}")?;
            if traced.class.is_none() {
                writeln!(
                    out,
                    "    this oid was not defined (no data record for it found)"
                )?;
            }
            for (tid, mut lines) in traced.lines {
                for line in self.transactions.get(&tid).into_iter().flatten() {
                    writeln!(out, "    {line}")?;
                }
                lines.sort();
                for line in lines {
                    writeln!(out, "        {line}")?;
                }
            }
        }
        Ok(())
    }
}

/// The lines about a transaction.
fn about(reading: &Reading<'_>, txn: &Txn) -> Result<Vec<String>> {
    let meta = reading.transactions.meta(txn)?;
    let tid = txn.header.tid;
    let shown = Oid::new(tid.as_u64());
    Ok(vec![
        format!("tid {shown} offset={} {}", txn.position, tid.time_stamp()),
        format!("    tid user={}", repr::bytes(&shorten(&meta.user))),
        format!(
            "    tid description={}",
            repr::bytes(&shorten(&meta.description))
        ),
    ])
}

/// A text of at most 50 bytes, or its begin and end.
fn shorten(text: &[u8]) -> Vec<u8> {
    const SIZE: usize = 50;
    if text.len() <= SIZE {
        return text.to_vec();
    }
    let begin = text.get(..(SIZE - 5) / 2).unwrap_or_default();
    let end = text
        .get(text.len() - (SIZE - begin.len())..)
        .unwrap_or_default();
    [begin, b" ... ", end].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_as_python_reads_them() {
        for (text, expected) in [("42", 42), ("0x2A\n", 42), ("0b11", 3), ("0o17", 15)] {
            assert_eq!(parse_oid(text), Ok(Oid::new(expected)));
        }
        for text in ["", "x", "-1", "0x", "0xé", "18446744073709551616"] {
            assert!(parse_oid(text).is_err(), "{text}");
        }
    }
}
