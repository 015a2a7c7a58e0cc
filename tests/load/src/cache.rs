//! A client cache by lines of JSON: what tests hand from Python's client to this one and back.
//!
//! Each line is a command with its arguments, each answer a line. Oids and tids are numbers, data
//! hexadecimal, a revision is `[start, end or null, data]`.
//!
//! | command | answer |
//! |---|---|
//! | `["open", path, size]` | last tid |
//! | `["load", oid]`, `["before", oid, tid]` | a revision, or null |
//! | `["store", oid, start, end or null, data]` | null |
//! | `["invalidate", oid, tid or null]` | null |
//! | `["tid", tid]`, `["clear"]`, `["close"]` | null |
//! | `["held"]` | all as `[oid, start, end or null, length]` |
//! | `["time", path, size, loads]` | seconds to open a file, seconds to load at random, records, bytes of memory that opening took at most |

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use zeo_client::cache::Cache;
use zeo_proto::{Oid, Tid};

use crate::error::{Error, Result};

/// Does what the lines say, until there are no more.
pub fn cache() -> Result<Value> {
    let mut cache = None;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(Error::io("standard input"))?;
        let command: Vec<Value> = serde_json::from_str(&line).map_err(wrong)?;
        let answer = answer(&mut cache, &command)?;
        let written = writeln!(out, "{answer}").and_then(|()| out.flush());
        written.map_err(Error::io("standard output"))?;
    }
    Ok(Value::Null)
}

fn answer(slot: &mut Option<Cache>, command: &[Value]) -> Result<Value> {
    let text = |at: usize| command.get(at).and_then(Value::as_str).unwrap_or_default();
    let number = |at: usize| command.get(at).and_then(Value::as_u64);
    let oid = Oid::new(number(1).unwrap_or_default());
    let tid = |at| number(at).map(Tid::new);
    match text(0) {
        "open" => {
            let size = number(2).unwrap_or_default();
            let log: zeo_storage::log::Log = std::sync::Arc::new(|_, message: &str| {
                let _ = writeln!(std::io::stderr(), "{message}");
            });
            let cache = Cache::open(Some(Path::new(text(1))), size, log).map_err(wrong)?;
            return Ok(slot.insert(cache).last_tid().as_u64().into());
        }
        "time" => {
            return timed(
                text(1),
                number(2).unwrap_or_default(),
                number(3).unwrap_or_default(),
            );
        }
        "close" => {
            slot.take().map_or(Ok(()), Cache::close).map_err(wrong)?;
            return Ok(Value::Null);
        }
        _ => {}
    }
    let cache = slot.as_mut().ok_or_else(|| wrong("no cache is open"))?;
    match text(0) {
        "load" => {
            let found = cache.load(oid);
            return Ok(found.map_or(Value::Null, |(data, start)| revision(start, None, &data)));
        }
        "before" => {
            let found = cache.load_before(oid, tid(2).unwrap_or(Tid::MAX));
            return Ok(found.map_or(Value::Null, |found| {
                revision(found.serial, found.next, &found.data)
            }));
        }
        "store" => {
            let data = from_hex(text(4)).ok_or_else(|| wrong("data"))?;
            cache.store(oid, tid(2).unwrap_or(Tid::ZERO), tid(3), &data);
        }
        "invalidate" => cache.invalidate(oid, tid(2)),
        "tid" => cache
            .set_last_tid(tid(1).unwrap_or(Tid::ZERO))
            .map_err(wrong)?,
        "clear" => cache.clear(),
        "held" => {
            let held = cache.held().map_err(wrong)?;
            let held = held.iter().map(|held| {
                let end = held.end.map(Tid::as_u64);
                json!([held.oid.as_u64(), held.start.as_u64(), end, held.length])
            });
            return Ok(held.collect());
        }
        other => return Err(wrong(format!("no command {other:?}"))),
    }
    Ok(Value::Null)
}

/// Opens a file and loads from it at random.
fn timed(path: &str, size: u64, loads: u64) -> Result<Value> {
    let before = resident("VmRSS:")?;
    let start = Instant::now();
    let cache = Cache::open(Some(Path::new(path)), size, zeo_storage::log::silent());
    let mut cache = cache.map_err(wrong)?;
    let opening = start.elapsed().as_secs_f64();
    let memory = resident("VmHWM:")?.saturating_sub(before);
    let oids: Vec<Oid> = cache
        .held()
        .map_err(wrong)?
        .iter()
        .map(|held| held.oid)
        .collect();
    let start = Instant::now();
    for _ in 0..loads {
        if let Some(&oid) = oids.get(fastrand::usize(..oids.len().max(1))) {
            cache.load_before(oid, Tid::MAX);
        }
    }
    Ok(json!([
        opening,
        start.elapsed().as_secs_f64(),
        cache.len(),
        memory
    ]))
}

/// Bytes of memory of this process, by a line of its status.
fn resident(which: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status");
    let status = status.map_err(Error::io("/proc/self/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.unwrap_or_default() * 1024)
}

fn revision(start: Tid, end: Option<Tid>, data: &[u8]) -> Value {
    let data: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
    json!([start.as_u64(), end.map(Tid::as_u64), data])
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

fn wrong(why: impl std::fmt::Display) -> Error {
    Error::Usage(why.to_string())
}
