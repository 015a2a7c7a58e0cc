//! Puts rows into an OOBTree of a live database: `[key, value]` in JSON, one a line, from standard
//! input (as `export_tree` writes them).
//!
//! ```text
//! runzeo -a 8100 -f Data.fs
//! cargo run --example import_rows -- localhost:8100 people < people.jsonl
//! ```
//!
//! The tree is that of this key in the root object; it is made if it is not there. Each transaction
//! has up to 1,000 rows, and is made again if it conflicts with another one.
use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};

use zeo_client::ClientStorage;
use zeo_client::db::{self, Db};
use zeo_client::record::Value;

const BATCH: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, name] = args.as_slice() else {
        return Err("usage: import_rows ADDRESS KEY < ROWS".into());
    };
    let db = Db::new(ClientStorage::builder(address.parse()?).open()?);
    let (mut rows, mut imported) = (Vec::new(), 0);
    for (number, line) in stdin().lock().lines().enumerate() {
        let line = line?;
        match Value::from_json(&line) {
            Ok(Value::List(row)) if row.len() == 2 => rows.push(row),
            Ok(_) => return Err(format!("line {}: no key and value", number + 1).into()),
            Err(error) => return Err(format!("line {}: {error}", number + 1).into()),
        }
        if rows.len() == BATCH {
            insert(&db, name, &rows)?;
            imported += rows.len();
            rows.clear();
        }
    }
    insert(&db, name, &rows)?;
    writeln!(stdout(), "{} rows imported", imported + rows.len())?;
    Ok(())
}

fn insert(db: &Db, name: &str, rows: &[Vec<Value>]) -> Result<(), db::Error> {
    db.transact(|t| {
        let root = t.root()?.mapping()?;
        let tree = match root.get(name)? {
            Some(_) => root.follow(name)?.tree()?,
            None => {
                let tree = t.new_tree("OOBTree")?;
                root.insert(name, &tree)?;
                tree
            }
        };
        for row in rows {
            if let [key, value] = row.as_slice() {
                tree.insert(key.clone(), value.clone())?;
            }
        }
        Ok(())
    })
}
