//! The file that keeps the counters from one run to the next; Python's script reads and writes
//! the same.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::check::{Report, Status};

/// The counters of the run before.
#[derive(Debug)]
pub struct Before {
    pub status: Status,
    /// How long ago that was, in seconds; above zero.
    pub age: f64,
    /// The time now, in seconds since 1970.
    pub now: f64,
}

/// Reads the file; none if there is none, or if it is from the future.
pub fn read(path: &Path) -> Result<Option<Before>, Report> {
    let failed = |why: &dyn std::fmt::Display| {
        let path = path.display();
        Report::unclear(format!(
            "can't read the status file {path}: {why}; remove it"
        ))
    };
    let written = match fs::metadata(path).and_then(|found| found.modified()) {
        Ok(written) => written,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(failed(&why)),
    };
    let (now, written) = (seconds(SystemTime::now()), seconds(written));
    if now <= written {
        return Ok(None);
    }
    let text = fs::read(path).map_err(|why| failed(&why))?;
    let status = serde_json::from_slice(&text).map_err(|why| failed(&why))?;
    let age = now - written;
    Ok(Some(Before { status, age, now }))
}

/// Writes the file.
pub fn write(path: &Path, status: &Status) -> Result<(), Report> {
    let text = serde_json::Value::Object(status.clone()).to_string();
    fs::write(path, text).map_err(|why| {
        let path = path.display();
        Report::unclear(format!("can't write the status file {path}: {why}"))
    })
}

fn seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}
