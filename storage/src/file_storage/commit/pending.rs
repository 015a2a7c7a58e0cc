//! The records that a transaction has laid out so far, before its vote ends.

use std::collections::HashMap;

use zeo_proto::Oid;

/// What follows a record's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    /// The position of the record that holds the data; 0: the object is gone.
    Back(u64),
    /// The data.
    Data(Vec<u8>),
}

/// The records of a transaction at work.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    latest: HashMap<Oid, Payload>,
}

impl Pending {
    /// The latest record of an object in this transaction, if it has one.
    pub fn latest(&self, oid: Oid) -> Option<&Payload> {
        self.latest.get(&oid)
    }

    /// Adds a record.
    pub fn push(&mut self, oid: Oid, payload: Payload) {
        self.latest.insert(oid, payload);
    }
}
