//! Counts the objects of a live database, and the bytes of their records, by class.
//!
//! ```text
//! runzeo -a 8100 -f Data.fs
//! cargo run --example census -- localhost:8100
//! ```
use std::collections::HashMap;
use std::error::Error;
use std::io::{Write, stdout};

use zeo_client::ClientStorage;
use zeo_client::record::class_name;

#[derive(Default)]
struct Count {
    objects: u64,
    bytes: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: census ADDRESS")?;
    let storage = ClientStorage::builder(address.parse()?)
        .read_only(true)
        .open()?;
    let mut classes: HashMap<String, Count> = HashMap::new();
    for record in storage.current_records()? {
        let record = record?;
        let class = class_name(&record.data).unwrap_or_else(|| "(unknown)".to_owned());
        let count = classes.entry(class).or_default();
        count.objects += 1;
        count.bytes += record.data.len() as u64;
    }
    let mut classes: Vec<_> = classes.into_iter().collect();
    classes.sort_by(|(a, x), (b, y)| (y.bytes, a).cmp(&(x.bytes, b)));
    let mut out = stdout().lock();
    writeln!(out, "{:>12} {:>15}  class", "objects", "bytes")?;
    for (class, Count { objects, bytes }) in classes {
        writeln!(out, "{objects:>12} {bytes:>15}  {class}")?;
    }
    Ok(())
}
