//! The calls of the workloads: loads patched into frames made before, and
//! transactions sent as Python's client sends them.

use zeo_proto::marshal::Encoding;
use zeo_proto::message::{Call, Incoming, Revision, TpcBegin, encode_reply};
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
        let key = (MARK_OID, MARK_TID);
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        { load_before(key).encode(&mut request, encoding, &key) }
            .and_then(|()| encode_reply(&mut reply, encoding, &key, &()))
            .map_err(|why| Error::Protocol(why.to_string()))?;
        // What stands before the result in every reply: without the length,
        // and None with what ends the message cut off.
        let mut reply = reply.split_off(4);
        let end = match encoding {
            Encoding::Pickle => b"Nt.".len(),
            Encoding::Msgpack => 1,
        };
        reply.truncate(reply.len().saturating_sub(end));
        Ok(Self {
            request: Patched::new(request),
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
        let Incoming::Reply(reply) = decode(frame, self.encoding)? else {
            return Ok(false);
        };
        let key = load_id((oid, before));
        if reply.id != key {
            let what = format!("a reply to {:?} where {key:?} is due", reply.id);
            return Err(Error::Protocol(what));
        }
        result::<Option<Revision<'_>>>("loadBefore", reply).map(|_| true)
    }
}

/// The call whose arguments are its id, too.
fn load_before((oid, before): (Oid, Tid)) -> Call<'static> {
    Call::LoadBefore { oid, before }
}

/// The id of such a call, as it comes back.
pub fn load_id((oid, before): (Oid, Tid)) -> Value<'static> {
    Value::Tuple(vec![oid.into(), before.into()])
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
        self.begin(to, &mut out)?;
        for &(oid, serial, data) in stores {
            let store = Call::Store {
                oid,
                serial,
                data: data.into(),
                id: self.id(),
            };
            to.encode_async(&mut out, &store)?;
        }
        self.send_vote(to, out, notice)
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
        self.begin(to, &mut out)?;
        to.send(&out)?;
        to.send(content)?;
        out.clear();
        let end = Call::StoreBlobEnd {
            oid,
            serial,
            data: data.into(),
            id: self.id(),
        };
        to.encode_async(&mut out, &end)?;
        self.send_vote(to, out, notice)
    }

    fn begin(&mut self, to: &Connection, out: &mut Vec<u8>) -> Result<()> {
        self.transaction = (self.transaction + 64) % (1 << 40);
        let begin = TpcBegin {
            id: self.id(),
            user: b"".into(),
            description: b"load".into(),
            extension: Value::Dict(vec![]),
            tid: None,
            status: b' ',
        };
        to.encode_async(out, &Call::TpcBegin(Box::new(begin)))
    }

    fn send_vote(
        &mut self,
        to: &mut Connection,
        mut out: Vec<u8>,
        notice: Notice<'_>,
    ) -> Result<()> {
        let vote = Call::Vote { id: self.id() };
        let id = to.encode_call(&mut out, &vote)?;
        to.send(&out)?;
        let resolved: Vec<Oid> = to.reply(vote.method(), id, notice)?;
        match &*resolved {
            [] => Ok(()),
            _ => Err(Error::Protocol(format!("vote returned {resolved:?}"))),
        }
    }

    /// Finishes the transaction that was voted; returns its tid.
    pub fn finish(&mut self, to: &mut Connection, notice: Notice<'_>) -> Result<Tid> {
        to.call(&Call::TpcFinish { id: self.id() }, notice)
    }

    /// Aborts the transaction, as a client does after a failed vote.
    pub fn abort(&mut self, to: &mut Connection, notice: Notice<'_>) -> Result<()> {
        to.call(&Call::TpcAbort { id: self.id() }, notice)
    }

    fn id(&self) -> Value<'static> {
        Value::Int(0x7F00_0000_0000 + self.transaction)
    }
}

/// A hundred oids that no one else has.
pub fn new_oids(from: &mut Connection) -> Result<Vec<Oid>> {
    let oids: Vec<Oid> = from.call(&Call::NewOids { count: 100 }, &mut |_| Ok(()))?;
    if oids.is_empty() {
        return Err(Error::Protocol("new_oids returned none".into()));
    }
    Ok(oids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeo_proto::Exception;
    use zeo_proto::marshal::decode_message;
    use zeo_proto::message::encode_error;

    #[test]
    fn requests_and_replies_are_patched() {
        for encoding in [Encoding::Pickle, Encoding::Msgpack] {
            let mut loader = Loader::new(encoding).expect("encodes");
            for (oid, tid) in [(Oid::new(7), Tid::MAX), (Oid::new(8), Tid::new(5))] {
                let key = load_id((oid, tid));
                let frame = loader.request(oid, tid).to_vec();
                let message = decode_message(&frame[4..], encoding).expect("decodes");
                assert_eq!((&message.id, &message.args), (&key, &key));
                assert_eq!(message.name, "loadBefore");

                let revision = Revision {
                    data: b"data".into(),
                    serial: tid,
                    next: None,
                };
                let reply = |key: &Value<'_>| {
                    let mut out = Vec::new();
                    encode_reply(&mut out, encoding, key, &revision).expect("encodes");
                    out.split_off(4)
                };
                let good = reply(&key);
                assert!(
                    good.starts_with(loader.reply.set(oid, tid)),
                    "the quick way"
                );
                assert!(loader.is_reply(&good, oid, tid).expect("is a reply"));
                let mut failed = Vec::new();
                let exception = Exception::pos_key_error(oid);
                encode_error(&mut failed, encoding, &key, &exception).expect("encodes");
                let failed = loader.is_reply(&failed[4..], oid, tid);
                assert!(matches!(failed, Err(Error::Refused { .. })), "{failed:?}");
                let other = loader.is_reply(&reply(&Value::Int(3)), oid, tid);
                assert!(matches!(other, Err(Error::Protocol(_))), "{other:?}");
            }
        }
    }
}
