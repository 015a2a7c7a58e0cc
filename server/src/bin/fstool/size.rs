//! `fstool size`: ZODB's `analyze` and `space`.

use std::collections::HashMap;
use std::io::Write;

use serde_json::{Value, json};
use zeo_proto::Oid;
use zeo_storage::file_storage::index::{Index, POSITION_END};
use zeo_storage::file_storage::tools::reading::{NO_CLASS, Reading};

use crate::context::{Context, FileArguments, Run};
use crate::outcome::{Result, Verdict};
use zeo_server::tools::table::{Align, Table};

/// Show how much space the objects of each class take (analyze, space)
///
/// For each class: the number of records, their bytes (of the pickles as they are stored), the
/// percentage of all bytes, and the average; then how many of the records are current, and their
/// bytes. The next pack removes records that are not current and objects that nothing refers to.
/// Classes with the most bytes come first. A record that points back to older data counts with the
/// size of that data. Needs 4 to 8 bytes of memory per object.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: FileArguments,
}

impl Run for Arguments {
    fn run(&self, context: &mut Context) -> Result<Verdict> {
        let file = self.file.open()?;
        let mut progress = context.progress();
        let mut reading = Reading::new(&file, &mut progress)?;
        let mut sizes = Sizes::default();
        while let Some(txn) = reading.txn()? {
            sizes.transactions += u64::from(txn.header.status != b'u');
            while let Some((position, header)) = reading.transactions.record()? {
                let Some(source) = reading.source(position, &header)? else {
                    continue;
                };
                let record = match source.data {
                    Some(data) => Some((reading.class(data)?, data.1)),
                    None => None,
                };
                sizes.record(header.oid, record);
            }
        }
        let verdict = Verdict::of(reading.problems());
        drop(progress);
        if self.json {
            writeln!(context.out, "{:#}", sizes.to_json())?;
        } else {
            sizes.write(&mut context.out)?;
        }
        Ok(verdict)
    }
}

/// How many records, and their bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sum {
    count: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }

    fn minus(self, other: Sum) -> Sum {
        Sum {
            count: self.count.saturating_sub(other.count),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn percent_of(self, all: Sum) -> f64 {
        100.0 * self.bytes as f64 / all.bytes.max(1) as f64
    }

    fn average(self) -> f64 {
        self.bytes as f64 / self.count.max(1) as f64
    }
}

#[derive(Debug, Default)]
struct Class {
    all: Sum,
    current: Sum,
}

#[derive(Default)]
struct Sizes {
    transactions: u64,
    /// Those without data as well.
    records: u64,
    names: HashMap<String, usize>,
    classes: Vec<Class>,
    /// What the current record of each object is, packed by [`word`].
    current: Index,
}

/// Lower bits of a word for the class; those above hold the size, which is
/// mostly small.
const CLASS_BITS: u32 = 20;
const SIZE_MAX: u64 = (POSITION_END >> CLASS_BITS) - 1;
const CLASSES_MAX: usize = (1 << CLASS_BITS) - CLASS_FIRST;
/// The word of an object that is gone: no class has this number,
const GONE: u64 = 1;
/// or a lower one than this.
const CLASS_FIRST: usize = 2;

fn word(class: usize, size: u64) -> u64 {
    size.min(SIZE_MAX) << CLASS_BITS | (class + CLASS_FIRST) as u64
}

/// The class and size in a word; `None` when the object is gone.
fn parse(word: u64) -> Option<(usize, u64)> {
    let class = word as usize % (1 << CLASS_BITS);
    Some((class.checked_sub(CLASS_FIRST)?, word >> CLASS_BITS))
}

impl Sizes {
    /// Takes the next record of an object: its class and size, `None` when it
    /// says that the object is gone.
    fn record(&mut self, oid: Oid, record: Option<(String, u64)>) {
        self.records += 1;
        if let Some((class, bytes)) = self.current.get(oid).and_then(parse)
            && let Some(class) = self.classes.get_mut(class)
        {
            class.current = class.current.minus(Sum { count: 1, bytes });
        }
        let Some((name, size)) = record else {
            self.current.set(oid, GONE);
            return;
        };
        let number = self.class(name);
        if let Some(class) = self.classes.get_mut(number) {
            class.all.add(size);
            class.current.add(size.min(SIZE_MAX));
        }
        self.current.set(oid, word(number, size));
    }

    fn class(&mut self, mut name: String) -> usize {
        // A word has no room for the number of more.
        if self.names.len() + 2 > CLASSES_MAX && !self.names.contains_key(&name) {
            NO_CLASS.clone_into(&mut name);
        }
        let next = self.classes.len();
        let number = *self.names.entry(name).or_insert(next);
        if number == next {
            self.classes.push(Class::default());
        }
        number
    }

    fn total(&self) -> (Sum, Sum) {
        let mut total = (Sum::default(), Sum::default());
        for class in &self.classes {
            for (total, sum) in [(&mut total.0, class.all), (&mut total.1, class.current)] {
                total.count += sum.count;
                total.bytes += sum.bytes;
            }
        }
        total
    }

    fn table(&self) -> Table {
        let (all, _) = self.total();
        let mut table = Table::new(&[
            ("Class Name", Align::Left),
            ("Count", Align::Right),
            ("TBytes", Align::Right),
            ("Pct", Align::Right),
            ("AvgSize", Align::Right),
            ("Current", Align::Right),
            ("CBytes", Align::Right),
        ]);
        let named = self.names.iter();
        let mut classes: Vec<_> = named
            .filter_map(|(name, &number)| Some((name, self.classes.get(number)?)))
            .collect();
        classes.sort_by_key(|(name, class)| (std::cmp::Reverse(class.all.bytes), *name));
        for (name, class) in classes {
            table.push(vec![
                json!(name),
                json!(class.all.count),
                json!(class.all.bytes),
                json!(class.all.percent_of(all)),
                json!(class.all.average()),
                json!(class.current.count),
                json!(class.current.bytes),
            ]);
        }
        table
    }

    fn write(&self, out: &mut impl Write) -> Result<()> {
        let (all, current) = self.total();
        let (records, transactions) = (self.records, self.transactions);
        let average = |count: u64| all.bytes as f64 / count.max(1) as f64;
        writeln!(
            out,
            "Processed {records} records in {transactions} transactions"
        )?;
        writeln!(out, "Average record size is {:.2} bytes", average(records))?;
        writeln!(
            out,
            "Average transaction size is {:.2} bytes",
            average(transactions)
        )?;
        writeln!(out, "Types used:")?;
        self.table().write(out)?;
        for (what, sum) in [
            ("Total Records", all),
            ("Current Objects", current),
            ("Old Objects", all.minus(current)),
        ] {
            let Sum { count, bytes } = sum;
            let (percent, average) = (sum.percent_of(all), sum.average());
            writeln!(
                out,
                "{what:15} {count:10} {bytes:14} bytes {percent:6.2}% {average:10.2}"
            )?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let (all, current) = self.total();
        let old = all.minus(current);
        json!({
            "transactions": self.transactions,
            "records": self.records,
            "bytes": all.bytes,
            "current": {"count": current.count, "bytes": current.bytes},
            "old": {"count": old.count, "bytes": old.bytes},
            "classes": self.table().to_json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_and_old() {
        let mut sizes = Sizes::default();
        let of = |class: &str, size| Some((class.to_owned(), size));
        let (a, b) = (Oid::new(1), Oid::new(2));
        sizes.record(a, of("C", 10));
        sizes.record(b, of("C", 20));
        sizes.record(a, of("D", SIZE_MAX + 5));
        sizes.record(b, None);
        sizes.record(b, None);
        sizes.record(b, of("D", 1));
        assert_eq!(sizes.records, 6);
        let class = |name: &str| &sizes.classes[sizes.names[name]];
        let sum = |count, bytes| Sum { count, bytes };
        assert_eq!(
            (class("C").all, class("C").current),
            (sum(2, 30), sum(0, 0))
        );
        assert_eq!(class("D").all, sum(2, SIZE_MAX + 6));
        assert_eq!(class("D").current, sum(2, SIZE_MAX + 1));
    }
}
