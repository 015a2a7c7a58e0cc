//! Whether a transaction is committed whose connection was lost while it was being finished.

use std::collections::BTreeMap;
use std::sync::Arc;

use zeo_proto::Tid;
use zeo_storage::storage::TransactionMeta;

use super::error::Error;
use super::storage::ClientStorage;
use super::unfinished::Unfinished;

/// How many objects, and how many revisions of each, are looked at to know that nothing is gone.
const OBJECTS_MAX: usize = 100;
const REVISIONS_MAX: usize = 10_000;

impl ClientStorage {
    /// Finds out whether a transaction is committed: its id, or none if it is not, and never will
    /// be. Waits for a connection.
    ///
    /// It is found by what it says of itself and by the objects and records that it has written,
    /// among all transactions since. Those of a [`Db`](crate::db::Db) say who they are in their extension. Two
    /// others that write the same records over the same revisions with the same user and
    /// description can't be told apart, nor can any two in a database without history.
    ///
    /// If it is not there, the server may still be about to commit it: this takes the locks of one of
    /// its objects, which the server gives only when that is settled, and looks again.
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load), and [`begin`](Self::begin): then it may be called again.
    /// `ReadOnly` if it is not there so far, and the only server is read-only. `OutcomeUnknown` if it
    /// would not be there any more: all revisions that it replaces are gone, as after a pack, or
    /// in a database without history when others have changed the same objects.
    pub fn outcome(&self, unfinished: &Unfinished) -> Result<Option<Tid>, Error> {
        self.ping()?;
        if let Some(tid) = self.find(unfinished)? {
            return Ok(Some(tid));
        }
        self.settle(unfinished)?;
        let found = self.find(unfinished)?;
        if found.is_none() && !self.would_be_there(unfinished)? {
            return Err(Error::OutcomeUnknown(Arc::new(unfinished.clone())));
        }
        Ok(found)
    }

    /// Whether it would be found: a revision that it replaces is older, and goes before it.
    fn would_be_there(&self, unfinished: &Unfinished) -> Result<bool, Error> {
        let mut replaces = false;
        for (oid, serial) in unfinished.replaced().take(OBJECTS_MAX) {
            replaces = true;
            let revisions = match self.history(oid, REVISIONS_MAX) {
                Err(Error::NoObject { .. }) => continue,
                found => found?,
            };
            if revisions.iter().any(|one| one.tid() == Some(serial)) {
                return Ok(true);
            }
        }
        Ok(!replaces)
    }

    fn find(&self, unfinished: &Unfinished) -> Result<Option<Tid>, Error> {
        let start = Tid::new(unfinished.since().as_u64().saturating_add(1));
        for transaction in self.iterator(Some(start), None)? {
            let transaction = transaction?;
            if !unfinished.may_say(&transaction.meta) {
                continue;
            }
            let mut found = BTreeMap::new();
            for record in transaction.records {
                let record = record?;
                found.insert(record.oid, record.data);
            }
            let is_it = found.keys().eq(unfinished.oids().iter())
                && found
                    .iter()
                    .all(|(oid, data)| unfinished.may_be(*oid, data.as_deref()));
            if is_it {
                return Ok(Some(transaction.tid));
            }
        }
        Ok(None)
    }

    /// Waits until the server has settled it: nobody else gets the lock of an object before.
    fn settle(&self, unfinished: &Unfinished) -> Result<(), Error> {
        let Some(&oid) = unfinished.oids().first() else {
            return Ok(());
        };
        let meta = TransactionMeta::default();
        let mut transaction = self.begin(meta)?;
        transaction.check_current(oid, unfinished.serial(oid))?;
        match transaction.vote() {
            // Whether it is current is another question.
            Ok(_) | Err(Error::ReadConflict(_) | Error::Conflict(_) | Error::NoObject { .. }) => {
                Ok(())
            }
            Err(why) => Err(why),
        }
    }
}
