//! Looks at objects of a live database, and changes them, by commands, one a line of JSON; each is a
//! transaction, and answered by a line.
//!
//! ```text
//! runzeo -a 8100 -f Data.fs
//! cargo run --example objects -- localhost:8100
//! ["new", [], "home", "app.Page", {"title": "Home"}]
//! ["set", ["home"], "visits", 3]
//! ["get", ["home"]]
//! {"class":"app.Page","state":{"title":"Home","visits":3}}
//! ```
//!
//! An object is named by the keys or attributes that lead to it from the root. Values are in the form
//! of `zeo_client::record`'s JSON. Other commands: `["delete", OBJECT, NAME]`, `["link", OBJECT, NAME,
//! OTHER]`, `["blob", OBJECT, NAME, FILE]` and, after a second argument BLOB_DIR, `["read", BLOB]`.
use std::io::{BufRead, Read, Write};

use serde_json::Value as Json;
use zeo_client::ClientStorage;
use zeo_client::db::{Db, Object, Transaction};
use zeo_client::record::Value;

type Done<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Done<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().ok_or("usage: objects ADDRESS [BLOB_DIR]")?;
    // Each transaction sees all that others have committed before.
    let mut storage = ClientStorage::builder(address.parse()?).server_sync(true);
    if let Some(directory) = args.next() {
        storage = storage.blob_dir(directory);
    }
    let db = Db::new(storage.open()?);
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let command: Vec<Json> = serde_json::from_str(&line?)?;
        let answer = db.transact(|t| run(t, &command));
        let answer = answer.unwrap_or_else(|error| Json::from(error.to_string()).to_string());
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn run(t: &Transaction<'_>, command: &[Json]) -> Done<String> {
    let at = |n: usize| command.get(n).ok_or("arguments are missing");
    let text = |n: usize| at(n)?.as_str().ok_or("a name is no text");
    let value =
        |n: usize| Ok::<Value, Box<dyn std::error::Error>>(Value::from_json(&at(n)?.to_string())?);
    let object = find(t, at(1)?)?;
    match text(0)? {
        "get" => return Ok(object.record()?.to_json()),
        "read" => {
            let mut content = String::new();
            object.open_blob()?.read_to_string(&mut content)?;
            return Ok(Json::from(content).to_string());
        }
        "set" => put(&object, text(2)?, value(3)?)?,
        "new" => {
            let new = t.new_object(text(3)?.parse()?, value(4)?);
            put(&object, text(2)?, new.into())?;
        }
        "link" => put(&object, text(2)?, find(t, at(3)?)?.into())?,
        "blob" => put(&object, text(2)?, t.new_blob(text(3)?).into())?,
        "delete" => match object.mapping() {
            Ok(mapping) => drop(mapping.remove(text(2)?)?),
            Err(_) => drop(object.remove(text(2)?)?),
        },
        other => return Err(format!("unknown: {other}").into()),
    }
    Ok("null".to_owned())
}

/// The object to which these keys or attributes lead.
fn find<'t>(t: &'t Transaction<'_>, path: &Json) -> Done<Object<'t>> {
    let mut object = t.root()?;
    for name in path.as_array().ok_or("a path is no array")? {
        let name = name.as_str().ok_or("a name is no text")?;
        object = match object.mapping() {
            Ok(mapping) => mapping.follow(name)?,
            Err(_) => object.follow(name)?,
        };
    }
    Ok(object)
}

fn put(object: &Object<'_>, name: &str, value: Value) -> Done<()> {
    match object.mapping() {
        Ok(mapping) => mapping.insert(name, value)?,
        Err(_) => object.set(name, value)?,
    }
    Ok(())
}
