//! What one call commits.

use zeo_proto::Tid;

use super::commit::Work;
use super::ids::{number, tid_of};
use super::lockers::Held;
use crate::Result;

/// The parameters of the call: a transaction is one element of the first five, a record (or an object
/// that is only to stay as it is) one of the others.
#[derive(Default)]
pub(super) struct Batch<'a> {
    pub wanted: Vec<i64>,
    pub packed: Vec<bool>,
    pub users: Vec<&'a [u8]>,
    pub descriptions: Vec<&'a [u8]>,
    pub extensions: Vec<&'a [u8]>,
    pub numbers: Vec<i32>,
    pub objects: Vec<i64>,
    pub bases: Vec<i64>,
    pub states: Vec<Option<&'a [u8]>>,
    /// That of the connection that holds the locks of each transaction.
    pub locks: Vec<i64>,
    /// The places in the log writer's batch.
    pub places: Vec<usize>,
}

impl<'a> Batch<'a> {
    pub fn add(&mut self, place: usize, work: &'a Work, held: &Held) -> Result<()> {
        self.places.push(place);
        self.locks.push(held.own_lock());
        let number_of_transaction = i32::try_from(self.places.len()).unwrap_or(i32::MAX);
        let meta = &work.meta;
        self.wanted.push(meta.tid.map_or(Ok(0), tid_of)?);
        self.packed.push(meta.status == b'p');
        self.users.push(&meta.user);
        self.descriptions.push(&meta.description);
        self.extensions.push(&meta.extension);
        for (&oid, record) in &work.records {
            self.numbers.push(number_of_transaction);
            self.objects.push(number(oid)?);
            self.bases.push(record.base);
            self.states.push(record.state.as_deref());
        }
        for (&oid, &serial) in &work.checked {
            self.numbers.push(-number_of_transaction);
            self.objects.push(number(oid)?);
            self.bases.push(tid_of(serial)?);
            self.states.push(None);
        }
        Ok(())
    }

    /// The lock of the connection that holds the locks of this transaction.
    pub fn lock(&self, transaction: i64) -> Option<i64> {
        let index = usize::try_from(transaction).ok()?.checked_sub(1)?;
        self.locks.get(index).copied()
    }

    /// The serial that this transaction has read of an object that is to stay as it is.
    pub fn read(&self, transaction: i64, oid: i64) -> Tid {
        let objects = self.numbers.iter().zip(&self.objects).zip(&self.bases);
        let mut read = objects
            .filter(|((number, object), _)| i64::from(**number) == -transaction && **object == oid);
        let base = read.next().map_or(0, |(_, &base)| base);
        Tid::new(base.cast_unsigned())
    }
}
