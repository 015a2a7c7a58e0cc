//! Whether a transaction is committed whose connection was lost while it was being finished.

use std::collections::BTreeMap;

use zeo_proto::Tid;
use zeo_storage::storage::TransactionMeta;

use super::error::Error;
use super::storage::ClientStorage;
use super::unfinished::Unfinished;

impl ClientStorage {
    /// Finds out whether a transaction is committed: its id, or none if it is not, and never will
    /// be. Waits for a connection.
    ///
    /// It is found by what it says of itself and by the objects and records that it has written,
    /// among all transactions since. Two clients that write the same records over the same revisions
    /// with the same user, description and extension can't be told apart by that.
    ///
    /// If it is not there, the server may still be about to commit it: this takes the locks of one of
    /// its objects, which the server gives only when that is settled, and looks again.
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load), and [`begin`](Self::begin): then it may be called again.
    /// `ReadOnly` if it is not there so far, and the only server is read-only.
    pub fn outcome(&self, unfinished: &Unfinished) -> Result<Option<Tid>, Error> {
        self.ping()?;
        if let Some(tid) = self.find(unfinished)? {
            return Ok(Some(tid));
        }
        self.settle(unfinished)?;
        self.find(unfinished)
    }

    fn find(&self, unfinished: &Unfinished) -> Result<Option<Tid>, Error> {
        let start = Tid::new(unfinished.since().as_u64().saturating_add(1));
        for transaction in self.iterator(Some(start), None)? {
            let transaction = transaction?;
            if !same_words(&transaction.meta, unfinished.meta()) {
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

fn same_words(one: &TransactionMeta, other: &TransactionMeta) -> bool {
    one.user == other.user && one.description == other.description
}
