//! Replies that hold a record, for who sends the record apart: a large one need not stand in a
//! buffer for that.

use std::cell::Cell;

use crate::ids::{Oid, Tid};
use crate::marshal::{Encode, EncodeError, Encoder, Encoding, Flag, REPLY, encode_message_around};

/// A reply that holds a record, without the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// `loadBefore`: a [`Revision`](super::Revision).
    Revision {
        /// The transaction that wrote it.
        serial: Tid,
        /// The transaction that wrote the next one; none: this is current.
        next: Option<Tid>,
    },
    /// `loadSerial`: the record alone.
    Record,
    /// `record_iternext`: a [`CurrentRecord`](super::CurrentRecord).
    Current {
        /// The object.
        oid: Oid,
        /// The transaction that wrote the record.
        serial: Tid,
        /// The object to ask for next; none: this was the last one.
        next: Option<Oid>,
    },
    /// `iterator_record_next`: an [`IteratedRecord`](super::IteratedRecord) with data.
    Iterated {
        /// The object.
        oid: Oid,
        /// The transaction.
        tid: Tid,
        /// The transaction whose data it is, if it is not its own.
        data_txn: Option<Tid>,
    },
}

impl Around {
    /// The whole reply.
    pub fn with<'r>(&'r self, record: &'r [u8]) -> impl Encode + use<'r> {
        Whole(self, record)
    }
}

struct Whole<'r, R: Encode + ?Sized>(&'r Around, &'r R);

impl<R: Encode + ?Sized> Encode for Whole<'_, R> {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        let record: &dyn Encode = &self.1;
        match self.0 {
            Around::Revision { serial, next } => to.tuple(&[record, serial, next]),
            Around::Record => record.encode(to),
            Around::Current { oid, serial, next } => to.tuple(&[oid, serial, record, next]),
            Around::Iterated { oid, tid, data_txn } => to.tuple(&[oid, tid, record, data_txn]),
        }
    }
}

/// What stands before the bytes of a record, which are sent apart.
struct Apart {
    length: usize,
    /// Where they belong.
    place: Cell<usize>,
}

impl Encode for Apart {
    fn encode(&self, to: &mut Encoder<'_>) -> Result<(), EncodeError> {
        self.place.set(to.bytes_apart(self.length)?);
        Ok(())
    }
}

/// Appends the reply to the call with this id to `out` as one frame from which the `length` bytes of
/// its record are left out; returns where in `out` they belong.
///
/// # Errors
///
/// It is too long for a frame, or the encoding can't hold the id; `out` then is as it was.
pub fn encode_reply_around(
    out: &mut Vec<u8>,
    encoding: Encoding,
    id: &dyn Encode,
    around: &Around,
    length: usize,
) -> Result<usize, EncodeError> {
    let place = Cell::new(out.len());
    let apart = Apart { length, place };
    let args = Whole(around, &apart);
    encode_message_around(out, encoding, id, Flag::Reply, REPLY, &args, length)?;
    Ok(apart.place.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{CurrentRecord, IteratedRecord, Revision, encode_reply};

    const OID: Oid = Oid::new(7);
    const TID: Tid = Tid::new(8);

    /// Each reply by its type, with the same without its record.
    fn replies(record: &[u8]) -> Vec<(Box<dyn Encode + '_>, Around)> {
        let mut replies: Vec<(Box<dyn Encode>, Around)> = vec![(Box::new(record), Around::Record)];
        for next in [None, Some(Tid::MAX)] {
            let (data, serial, tid) = (record.into(), TID, TID);
            let revision = Revision { data, serial, next };
            replies.push((Box::new(revision), Around::Revision { serial, next }));
            let (oid, data_txn) = (OID, next);
            let iterated = IteratedRecord {
                oid,
                tid,
                data: Some(record.into()),
                data_txn,
            };
            replies.push((Box::new(iterated), Around::Iterated { oid, tid, data_txn }));
            let next = next.map(|_| Oid::new(9));
            let current = CurrentRecord {
                oid,
                serial,
                data: record.into(),
                next,
            };
            replies.push((Box::new(current), Around::Current { oid, serial, next }));
        }
        replies
    }

    #[test]
    fn a_record_put_into_its_place_makes_the_reply() {
        for length in [0, 1, 255, 256, 65_535, 65_536] {
            let record = vec![5; length];
            for encoding in [Encoding::Pickle, Encoding::Msgpack] {
                for (reply, around) in replies(&record) {
                    let mut whole = b"before".to_vec();
                    encode_reply(&mut whole, encoding, &1_u64, &*reply).unwrap();
                    let mut apart = b"before".to_vec();
                    let place =
                        encode_reply_around(&mut apart, encoding, &1_u64, &around, length).unwrap();
                    apart.splice(place..place, record.iter().copied());
                    assert_eq!(whole, apart, "{around:?}");
                    let mut with = b"before".to_vec();
                    encode_reply(&mut with, encoding, &1_u64, &around.with(&record)).unwrap();
                    assert_eq!(whole, with, "{around:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_too_long_leaves_nothing() {
        for encoding in [Encoding::Pickle, Encoding::Msgpack] {
            for length in [u32::MAX as usize - 10, u32::MAX as usize + 1] {
                let mut out = b"before".to_vec();
                let encoded =
                    encode_reply_around(&mut out, encoding, &1_u64, &Around::Record, length);
                assert!(encoded.is_err());
                assert_eq!(out, b"before");
            }
        }
    }
}
