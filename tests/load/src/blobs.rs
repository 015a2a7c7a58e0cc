//! Blobs, sent and received as Python's client does: in chunks, without an
//! answer to each.

use serde_json::{Value, json};
use zeo_proto::message::{Call, Notification};
use zeo_proto::{Oid, Tid};

use crate::connection::Connection;
use crate::drive::{Group, Run, Step, drive};
use crate::error::{Error, Result};
use crate::requests::{Committer, new_oids};
use crate::workloads::Target;

/// How much Python's client puts into a chunk.
const CHUNK: usize = 59_000;
/// Class and state of a `ZODB.blob.Blob`.
const RECORD: &[u8] = b"\x80\x03cZODB.blob\nBlob\n.\x80\x03N.";

/// Each client commits blobs of `size` bytes, one a transaction.
pub fn uploads(target: Target<'_>, run: &Run, clients: usize, size: usize) -> Result<Value> {
    let make = |_| {
        let mut uploader = Uploader::new(target, size)?;
        Ok(Box::new(move || uploader.commit().map(|_| 1_u64)) as Step)
    };
    drive_one("uploads", run, clients, size, &make)
}

/// Each client receives a blob of `size` bytes again and again, which it has
/// committed before.
pub fn downloads(target: Target<'_>, run: &Run, clients: usize, size: usize) -> Result<Value> {
    let make = |_| {
        let mut uploader = Uploader::new(target, size)?;
        let (oid, tid) = uploader.commit()?;
        let mut connection = uploader.connection;
        Ok(Box::new(move || download(&mut connection, oid, tid, size).map(|()| 1_u64)) as Step)
    };
    drive_one("downloads", run, clients, size, &make)
}

fn drive_one(
    name: &'static str,
    run: &Run,
    clients: usize,
    size: usize,
    make: &(dyn Fn(usize) -> Result<Step> + Sync),
) -> Result<Value> {
    let group = Group {
        name,
        clients,
        pace: None,
        ends_run: false,
        make,
    };
    let mut report = drive(run, &[group])?;
    let each = report[name]["per_second"].as_f64().unwrap_or(0.0);
    report[name]["bytes_per_second"] = json!(each * size as f64);
    Ok(report)
}

struct Uploader {
    connection: Connection,
    committer: Committer,
    oids: Vec<Oid>,
    /// The calls that carry the content.
    content: Vec<u8>,
}

impl Uploader {
    fn new(target: Target<'_>, size: usize) -> Result<Self> {
        let connection = target.open()?;
        let mut content = Vec::new();
        connection.encode_async(&mut content, &Call::StoreBlobStart)?;
        let bytes: Vec<u8> = (0..size).map(|at| at as u8 ^ (at >> 8) as u8).collect();
        for chunk in bytes.chunks(CHUNK) {
            let chunk = chunk.into();
            connection.encode_async(&mut content, &Call::StoreBlobChunk { chunk })?;
        }
        Ok(Self {
            connection,
            committer: Committer::default(),
            oids: Vec::new(),
            content,
        })
    }

    /// Commits one new blob.
    fn commit(&mut self) -> Result<(Oid, Tid)> {
        let to = &mut self.connection;
        if self.oids.is_empty() {
            self.oids = new_oids(to)?;
        }
        let oid = self.oids.pop().unwrap_or_default();
        let store = (oid, Tid::ZERO, RECORD);
        let committer = &mut self.committer;
        committer.vote_blob(to, store, &self.content, &mut |_| Ok(()))?;
        Ok((oid, committer.finish(to, &mut |_| Ok(()))?))
    }
}

/// Receives a blob; fails unless it comes in order, and whole.
fn download(from: &mut Connection, oid: Oid, tid: Tid, size: usize) -> Result<()> {
    let (mut length, mut expected) = (0, "receiveBlobStart");
    let call = Call::SendBlob { oid, serial: tid };
    from.call::<()>(&call, &mut |notification| {
        expected = match &notification {
            Notification::ReceiveBlobStart { .. } if expected == "receiveBlobStart" => {
                "receiveBlobChunk"
            }
            Notification::ReceiveBlobChunk { chunk, .. } if expected == "receiveBlobChunk" => {
                length += chunk.len();
                expected
            }
            Notification::ReceiveBlobStop { .. } if length == size => "the reply",
            Notification::InvalidateTransaction { .. } | Notification::Info(_) => expected,
            other => {
                let what = format!("{} after {length} of {size} bytes", other.method());
                return Err(Error::Protocol(what));
            }
        };
        Ok(())
    })?;
    match expected {
        "the reply" => Ok(()),
        missing => Err(Error::Protocol(format!("a reply without {missing}"))),
    }
}
