//! A transaction of which it is not known whether it is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use zeo_proto::{Oid, Tid};
use zeo_storage::storage::TransactionMeta;

/// A transaction that was being finished when the connection was lost:
/// [`ClientStorage::outcome`](crate::ClientStorage::outcome) tells what has become of it.
#[derive(Clone, Debug, Default)]
pub struct Unfinished {
    since: Tid,
    meta: TransactionMeta,
    /// A text in its extension that no other transaction has.
    mark: Option<String>,
    oids: BTreeSet<Oid>,
    written: BTreeMap<Oid, Written>,
}

/// What a transaction has written of an object.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// The revision that it was made from.
    serial: Tid,
    /// Tells the record from others; none: there is no record, or only the server knows it.
    record: Option<u64>,
}

impl Unfinished {
    pub(super) fn new(meta: &TransactionMeta) -> Self {
        Self {
            meta: meta.clone(),
            ..Self::default()
        }
    }

    /// Its extension has this text, and that of no other.
    pub(super) fn marked(&mut self, mark: String) {
        self.mark = Some(mark);
    }

    /// The transaction writes this over the revision `serial`.
    pub(super) fn wrote(&mut self, oid: Oid, serial: Tid, data: Option<&[u8]>) {
        self.oids.insert(oid);
        let record = data.map(fingerprint);
        self.written.insert(oid, Written { serial, record });
    }

    /// The server has written something else.
    pub(super) fn changed(&mut self, oid: Oid) {
        let serial = self.serial(oid);
        self.wrote(oid, serial, None);
    }

    /// It is being finished.
    pub(super) fn finishing(mut self, last: Tid) -> Self {
        self.since = last;
        self
    }

    /// If it is committed, its id is later than this.
    pub fn since(&self) -> Tid {
        self.since
    }

    /// What it says of itself.
    pub fn meta(&self) -> &TransactionMeta {
        &self.meta
    }

    /// The objects that it changes.
    pub fn oids(&self) -> &BTreeSet<Oid> {
        &self.oids
    }

    /// The revision that it was made from.
    pub(super) fn serial(&self, oid: Oid) -> Tid {
        let written = self.written.get(&oid);
        written.map_or(Tid::ZERO, |written| written.serial)
    }

    /// The revisions of other transactions that it replaces.
    pub(super) fn replaced(&self) -> impl Iterator<Item = (Oid, Tid)> {
        let written = self.written.iter();
        let all = written.map(|(oid, written)| (*oid, written.serial));
        all.filter(|(_, serial)| *serial != Tid::ZERO)
    }

    /// Whether it may have said this of itself. (In a database without history, where all is
    /// packed, nothing is kept of that.)
    pub(super) fn may_say(&self, meta: &TransactionMeta) -> bool {
        let is_mute =
            meta.user.is_empty() && meta.description.is_empty() && meta.extension.is_empty();
        let has = |mark: &String| {
            let mut parts = meta.extension.windows(mark.len());
            parts.any(|part| part == mark.as_bytes())
        };
        is_mute && meta.status == b'p'
            || self.meta.user == meta.user
                && self.meta.description == meta.description
                && self.mark.as_ref().is_none_or(has)
    }

    /// Whether it may have written this.
    pub(super) fn may_be(&self, oid: Oid, data: Option<&[u8]>) -> bool {
        let expected = self.written.get(&oid).and_then(|written| written.record);
        expected.is_none_or(|expected| data.map(fingerprint) == Some(expected))
    }
}

/// A number that other records hardly have.
fn fingerprint(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}
