//! Sets an attribute of all objects of a class, in a live database.
//!
//! ```text
//! runzeo -a 8100 -f Data.fs
//! cargo run --example change_field -- localhost:8100 app.models.Page language '"en"'
//! ```
//!
//! The value is JSON. Objects that have it already are left alone. Each transaction changes up to
//! 100 objects, and is made again if somebody else has changed one of them meanwhile.
use std::error::Error;
use std::io::{Write, stdout};

use zeo_client::db::{self, Db};
use zeo_client::record::{Value, class_name};
use zeo_client::{ClientStorage, Oid};

const BATCH: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, class, field, value] = args.as_slice() else {
        return Err("usage: change_field ADDRESS CLASS FIELD VALUE".into());
    };
    let value = Value::from_json(value)?;
    let db = Db::new(ClientStorage::builder(address.parse()?).open()?);
    let mut changed = 0;
    for batch in oids_of(db.storage(), class)?.chunks(BATCH) {
        changed += db.transact(|t| {
            t.note(&format!("{class}.{field} changed"));
            t.prefetch(batch.iter().copied());
            let mut changed = 0;
            for &oid in batch {
                let object = t.get(oid)?;
                // It may have become another one, or have been deleted, since it was found.
                if object.is_a(class)? && object.get(field)?.as_ref() != Some(&value) {
                    object.set(field, value.clone())?;
                    changed += 1;
                }
            }
            Ok::<_, db::Error>(changed)
        })?;
    }
    writeln!(stdout(), "{changed} objects changed")?;
    Ok(())
}

/// All objects of a class, as they are now.
fn oids_of(storage: &ClientStorage, class: &str) -> Result<Vec<Oid>, zeo_client::Error> {
    let mut oids = Vec::new();
    for record in storage.current_records()? {
        let record = record?;
        if class_name(&record.data).as_deref() == Some(class) {
            oids.push(record.oid);
        }
    }
    Ok(oids)
}
