//! The calls of the workloads: loads patched into frames made before, and
//! transactions sent as Python's client sends them.

use zeo_proto::marshal::{Encoding, Flag, REPLY, encode_message};
use zeo_proto::{Oid, Tid, Value};

use crate::connection::{Connection, Notice, decode, result};
use crate::error::{Error, Result};

/// `loadBefore` with the id `(oid, tid)`, as Python's client sends it; only
/// the ids change from one request to the next.
#[derive(Debug)]
pub struct Loader {
    request: Patched,
    reply: Patched,
    encoding: Encoding,
}

impl Loader {
    /// Prepares requests for connections with this encoding.
    pub fn new(encoding: Encoding) -> Result<Self> {
        let key = Value::Tuple(vec![MARK_OID.into(), MARK_TID.into()]);
        let frame = |flag, name, args| {
            let mut out = Vec::new();
            let encoded = encode_message(&mut out, encoding, &key, flag, name, args);
            encoded.map_err(|why| Error::Protocol(why.to_string()))?;
            Ok(out)
        };
        // What stands before the result in every reply: without the length,
        // and None with what ends the message cut off.
        let mut reply = frame(Flag::Reply, REPLY, &Value::None)?.split_off(4);
        let end = match encoding {
            Encoding::Pickle => b"Nt.".len(),
            Encoding::Msgpack => 1,
        };
        reply.truncate(reply.len().saturating_sub(end));
        Ok(Self {
            request: Patched::new(frame(Flag::Call, "loadBefore", &key)?),
            reply: Patched::new(reply),
            encoding,
        })
    }

    /// The frame that asks for the revision of `oid` before `before`.
    pub fn request(&mut self, oid: Oid, before: Tid) -> &[u8] {
        self.request.set(oid, before)
    }

    /// Whether this frame answers [`Self::request`] with data. The result is
    /// not parsed, so that the server has the processors for itself. False
    /// for a notification.
    pub fn is_reply(&mut self, frame: &[u8], oid: Oid, before: Tid) -> Result<bool> {
        if frame.starts_with(self.reply.set(oid, before)) {
            return Ok(true);
        }
        let message = decode(frame, self.encoding)?;
        if message.flag == Flag::Async {
            return Ok(false);
        }
        let key = Value::Tuple(vec![oid.into(), before.into()]);
        if message.id != key {
            let what = format!("a reply to {:?} where {key:?} is due", message.id);
            return Err(Error::Protocol(what));
        }
        result("loadBefore", message).map(|_| true)
    }
}

const MARK_OID: Oid = Oid::new(0xA5A5_0102_0304_5A5A);
const MARK_TID: Tid = Tid::new(0xB6B6_0102_0304_6B6B);

/// Bytes with an oid and a tid to be filled in.
#[derive(Debug)]
struct Patched {
    bytes: Vec<u8>,
    oids: Vec<usize>,
    tids: Vec<usize>,
}

impl Patched {
    fn new(bytes: Vec<u8>) -> Self {
        let find = |mark: [u8; 8]| -> Vec<usize> {
            let windows = bytes.windows(8).enumerate();
            windows
                .filter(|(_, w)| *w == mark)
                .map(|(at, _)| at)
                .collect()
        };
        let (oids, tids) = (find(MARK_OID.to_bytes()), find(MARK_TID.to_bytes()));
        Self { bytes, oids, tids }
    }

    fn set(&mut self, oid: Oid, tid: Tid) -> &[u8] {
        let oids = self.oids.iter().map(|at| (*at, oid.to_bytes()));
        let tids = self.tids.iter().map(|at| (*at, tid.to_bytes()));
        for (at, id) in oids.chain(tids) {
            if let Some(space) = self.bytes.get_mut(at..at + 8) {
                space.copy_from_slice(&id);
            }
        }
        &self.bytes
    }
}

/// An object to be stored: its oid, the serial it had, and its record.
pub type Store<'a> = (Oid, Tid, &'a [u8]);

/// Transactions on one connection, one after the other.
#[derive(Debug, Default)]
pub struct Committer {
    /// Python's client sends the address of an object: a large number.
    transaction: i128,
}

impl Committer {
    /// Begins a transaction, stores the objects (both without an answer) and
    /// votes.
    pub fn vote(
        &mut self,
        to: &mut Connection,
        stores: &[Store<'_>],
        notice: Notice<'_>,
    ) -> Result<()> {
        let mut out = Vec::new();
        let id = self.begin(to, &mut out)?;
        for &(oid, serial, data) in stores {
            let args = vec![oid.into(), serial.into(), Value::bytes(data), id.clone()];
            to.encode_async(&mut out, "storea", &Value::Tuple(args))?;
        }
        Self::send_vote(to, out, id, notice)
    }

    /// Begins a transaction, stores a new blob with this record, of which
    /// `content` has all calls of `storeBlobStart` and `storeBlobChunk`, and
    /// votes.
    pub fn vote_blob(
        &mut self,
        to: &mut Connection,
        (oid, serial, data): Store<'_>,
        content: &[u8],
        notice: Notice<'_>,
    ) -> Result<()> {
        let mut out = Vec::new();
        let id = self.begin(to, &mut out)?;
        to.send(&out)?;
        to.send(content)?;
        out.clear();
        let args = vec![oid.into(), serial.into(), Value::bytes(data), id.clone()];
        to.encode_async(&mut out, "storeBlobEnd", &Value::Tuple(args))?;
        Self::send_vote(to, out, id, notice)
    }

    fn begin(&mut self, to: &Connection, out: &mut Vec<u8>) -> Result<Value<'static>> {
        self.transaction = (self.transaction + 64) % (1 << 40);
        let id = Value::Int(0x7F00_0000_0000 + self.transaction);
        let (user, text) = (Value::bytes(b""), Value::bytes(b"load"));
        let begin = vec![
            id.clone(),
            user,
            text,
            Value::Dict(vec![]),
            Value::None,
            Value::str(" "),
        ];
        to.encode_async(out, "tpc_begin", &Value::Tuple(begin))?;
        Ok(id)
    }

    fn send_vote(
        to: &mut Connection,
        mut out: Vec<u8>,
        id: Value<'_>,
        notice: Notice<'_>,
    ) -> Result<()> {
        let vote = to.encode_call(&mut out, "vote", &Value::Tuple(vec![id]))?;
        to.send(&out)?;
        let resolved = to.reply("vote", vote, notice)?;
        match resolved.as_items() {
            Some([]) => Ok(()),
            _ => Err(Error::Protocol(format!("vote returned {resolved:?}"))),
        }
    }

    /// Finishes the transaction that was voted; returns its tid.
    pub fn finish(&mut self, to: &mut Connection, notice: Notice<'_>) -> Result<Tid> {
        let tid = to.call("tpc_finish", &self.args(), notice)?;
        tid.as_tid()
            .ok_or_else(|| Error::Protocol(format!("tpc_finish returned {tid:?}")))
    }

    /// Aborts the transaction, as a client does after a failed vote.
    pub fn abort(&mut self, to: &mut Connection, notice: Notice<'_>) -> Result<()> {
        to.call("tpc_abort", &self.args(), notice).map(|_| ())
    }

    fn args(&self) -> Value<'static> {
        Value::Tuple(vec![Value::Int(0x7F00_0000_0000 + self.transaction)])
    }
}

/// A hundred oids that no one else has.
pub fn new_oids(from: &mut Connection) -> Result<Vec<Oid>> {
    let args = Value::Tuple(vec![Value::Int(100)]);
    let oids = from.call("new_oids", &args, &mut |_| Ok(()))?;
    let items = oids.as_items().unwrap_or_default();
    let found: Option<Vec<Oid>> = items.iter().map(Value::as_oid).collect();
    found
        .filter(|oids| !oids.is_empty())
        .ok_or_else(|| Error::Protocol(format!("new_oids returned {oids:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeo_proto::marshal::decode_message;

    #[test]
    fn requests_and_replies_are_patched() {
        for encoding in [Encoding::Pickle, Encoding::Msgpack] {
            let mut loader = Loader::new(encoding).expect("encodes");
            for (oid, tid) in [(Oid::new(7), Tid::MAX), (Oid::new(8), Tid::new(5))] {
                let key = Value::Tuple(vec![oid.into(), tid.into()]);
                let frame = loader.request(oid, tid).to_vec();
                let message = decode_message(&frame[4..], encoding).expect("decodes");
                assert_eq!((&message.id, &message.args), (&key, &key));
                assert_eq!(message.name, "loadBefore");

                let reply = |key: &Value<'_>, flag| {
                    let mut out = Vec::new();
                    let args = Value::Tuple(vec![Value::bytes(b"data"), tid.into(), Value::None]);
                    encode_message(&mut out, encoding, key, flag, REPLY, &args).expect("encodes");
                    out.split_off(4)
                };
                let good = reply(&key, Flag::Reply);
                assert!(
                    good.starts_with(loader.reply.set(oid, tid)),
                    "the quick way"
                );
                assert!(loader.is_reply(&good, oid, tid).expect("is a reply"));
                let failed = loader.is_reply(&reply(&key, Flag::Error), oid, tid);
                assert!(matches!(failed, Err(Error::Refused { .. })), "{failed:?}");
                let other = loader.is_reply(&reply(&Value::Int(3), Flag::Reply), oid, tid);
                assert!(matches!(other, Err(Error::Protocol(_))), "{other:?}");
            }
        }
    }
}
