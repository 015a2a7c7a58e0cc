//! Writes a BTree of a live database to standard output: one JSON line `[key, value]` an item.
//!
//! ```text
//! runzeo -a 8100 -f Data.fs
//! cargo run --example export_tree -- localhost:8100 people > people.jsonl
//! ```
//!
//! All is of one transaction, whatever others commit meanwhile. The tree is that of this key in the
//! root object; with more keys, it is in the mapping or tree that the first ones lead to.
use std::error::Error;
use std::io::{BufWriter, Write, stdout};

use indicatif::{ProgressBar, ProgressStyle};
use zeo_client::ClientStorage;
use zeo_client::db::{Db, Object, Transaction};
use zeo_client::record::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().ok_or("usage: export_tree ADDRESS KEY...")?;
    let keys: Vec<String> = args.collect();
    let storage = ClientStorage::builder(address.parse()?)
        .read_only(true)
        .open()?;
    let mut connection = Db::new(storage).connect();
    let transaction = connection.begin()?;
    let tree = find(&transaction, &keys)?.tree()?;

    // The second walk finds most in the cache.
    let bar = ProgressBar::new(tree.len()? as u64);
    bar.set_style(ProgressStyle::with_template(
        "{wide_bar} {pos}/{len} items, {eta} left",
    )?);
    let mut out = BufWriter::new(stdout().lock());
    for item in tree.iter() {
        let (key, value) = item?;
        writeln!(out, "{}", Value::List(vec![key, value]).to_json())?;
        bar.inc(1);
    }
    out.flush()?;
    bar.finish();
    Ok(())
}

/// What the keys lead to, from the root on.
fn find<'t>(t: &'t Transaction<'t>, keys: &[String]) -> Result<Object<'t>, Box<dyn Error>> {
    let mut object = t.root()?;
    for key in keys {
        object = match object.mapping() {
            Ok(mapping) => mapping.follow(key.as_str())?,
            Err(_) => match object.tree()?.get(key.as_str())? {
                Some(Value::Reference(reference)) => t.follow(&reference)?,
                _ => return Err(format!("there is no object at key {key:?}").into()),
            },
        };
    }
    Ok(object)
}
