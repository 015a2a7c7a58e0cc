//! Works on a BTree of a live database by commands, one a line of JSON; each is answered by a line.
//!
//! ```text
//! runzeo -a 8100 -f Data.fs
//! cargo run --example trees -- localhost:8100 people OOBTree
//! ["insert", "ann", 34]
//! ["range", "a", "b"]
//! ["commit"]
//! ```
//!
//! The tree is that of this key in the root object; with a class it is made if it is not there.
//! Bytes are `{"bytes": "616e6e"}`. Other commands: new, add, delete, remove, get, contains, first,
//! last, back, len, clear, savepoint, abort.
use std::io::{BufRead, Write};

use serde_json::{Value as Json, json};
use zeo_client::ClientStorage;
use zeo_client::btrees::Tree;
use zeo_client::db::{Db, Error, Transaction};
use zeo_client::record::Value;

type Done<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Done<()> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(key), class) = (args.next(), args.next(), args.next()) else {
        return Err("usage: trees ADDRESS KEY [CLASS]".into());
    };
    let db = Db::new(ClientStorage::builder(address.parse()?).open()?);
    let mut connection = db.connect();
    let mut lines = std::io::stdin().lock().lines();
    let mut out = std::io::stdout().lock();
    loop {
        // A call goes behind all that the server has told before: this transaction sees what others
        // have committed until now.
        let _nothing = db.storage().load(zeo_client::Oid::new(u64::MAX >> 1));
        let transaction = connection.begin()?;
        let tree = open(&transaction, &key, class.as_deref())?;
        // Until this transaction ends.
        let end = loop {
            let Some(line) = lines.next() else {
                return Ok(());
            };
            let command: Vec<Json> = serde_json::from_str(&line?)?;
            let name = command.first().and_then(Json::as_str).unwrap_or_default();
            if matches!(name, "commit" | "abort") {
                break name.to_owned();
            }
            let answer = match name {
                "savepoint" => transaction
                    .savepoint()
                    .map(|_| Json::Null)
                    .map_err(Into::into),
                name => operate(&tree, name, command.get(1..).unwrap_or_default()),
            };
            writeln!(
                out,
                "{}",
                answer.unwrap_or_else(|error| refused(&*error, false))
            )?;
            out.flush()?;
        };
        let answer = match end.as_str() {
            "commit" => match transaction.commit() {
                Ok(tid) => json!(tid.map(|tid| format!("{:016x}", tid.as_u64()))),
                Err(error) => refused(&error, error.is_retryable()),
            },
            _ => Json::Null,
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
}

fn refused(error: &dyn std::error::Error, retryable: bool) -> Json {
    json!({"error": error.to_string(), "retryable": retryable})
}

fn open<'t>(t: &'t Transaction<'_>, key: &str, class: Option<&str>) -> Result<Tree<'t>, Error> {
    let root = t.root()?.mapping()?;
    match (root.get(key)?, class) {
        (None, Some(class)) => {
            let tree = t.new_tree(class)?;
            root.insert(key, &tree)?;
            Ok(tree)
        }
        _ => root.follow(key)?.tree(),
    }
}

fn operate(tree: &Tree<'_>, name: &str, args: &[Json]) -> Done<Json> {
    let at = |at: usize| args.get(at).map(value).transpose();
    let key = || at(0).map(Option::unwrap_or_default);
    let given = || at(1).map(Option::unwrap_or_default);
    let item = |item: Option<(Value, Value)>| match item {
        Some((key, value)) => json!([shown(&key), shown(&value)]),
        None => Json::Null,
    };
    let old = |old: Option<Value>| old.map_or(Json::Null, |value| shown(&value));
    Ok(match name {
        "insert" => old(tree.insert(key()?, given()?)?),
        "new" => json!(tree.insert_new(key()?, given()?)?),
        "add" => json!(tree.add(key()?)?),
        "delete" => json!(tree.delete(key()?)?),
        "remove" => old(tree.remove(key()?)?),
        "get" => old(tree.get(key()?)?),
        "contains" => json!(tree.contains(key()?)?),
        "first" => item(tree.first()?),
        "last" => item(tree.last()?),
        "len" => json!(tree.len()?),
        "clear" => {
            tree.clear()?;
            Json::Null
        }
        "range" | "back" => {
            let items = match (name, at(0)?, at(1)?) {
                ("range", Some(low), Some(high)) => tree.range(low..high)?,
                ("range", Some(low), None) => tree.range(low..)?,
                ("range", None, _) => tree.iter(),
                (_, Some(low), Some(high)) => tree.range_back(low..high)?,
                _ => tree.range_back::<Value>(..)?,
            };
            let items: Result<Vec<_>, _> = items.map(|found| Ok(item(Some(found?)))).collect();
            Json::Array(items.map_err(|error: zeo_client::btrees::Error| error)?)
        }
        other => return Err(format!("there is no command {other:?}").into()),
    })
}

/// A value as it is given.
fn value(json: &Json) -> Done<Value> {
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(bool) => Value::Bool(*bool),
        Json::String(text) => Value::from(text.as_str()),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(int), ..) => Value::Int(int),
            (_, Some(int), _) => Value::from(int),
            (.., float) => Value::Float(float.ok_or("no number")?),
        },
        Json::Array(items) => Value::tuple(items.iter().map(value).collect::<Done<Vec<_>>>()?),
        Json::Object(fields) => {
            let digits = fields
                .get("bytes")
                .and_then(Json::as_str)
                .ok_or("bytes are hexadecimal")?;
            let pairs = digits.as_bytes().chunks(2).map(std::str::from_utf8);
            let bytes = pairs.map(|pair| Ok(u8::from_str_radix(pair?, 16)?));
            Value::Bytes(bytes.collect::<Done<Vec<u8>>>()?.into())
        }
    })
}

fn shown(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(bool) => json!(bool),
        Value::Int(int) => json!(int),
        Value::Float(float) => json!(float),
        Value::Str(text) => json!(&**text),
        Value::Bytes(bytes) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"bytes": digits})
        }
        Value::Tuple(items) => items.iter().map(shown).collect(),
        Value::BigInt(int) => json!(u64::try_from(&**int).ok()),
        other => json!({"kind": other.kind()}),
    }
}
