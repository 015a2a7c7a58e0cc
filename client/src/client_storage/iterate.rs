//! Iterators over the transactions of a storage.

use std::fmt;
use std::sync::{Arc, Mutex};

use zeo_proto::Tid;
use zeo_storage::storage::{DataRecord, TransactionMeta};

use super::driver::{Driver, extension};
use super::error::Error;
use super::storage::ClientStorage;
use crate::lock::locked;

impl ClientStorage {
    /// Transactions with `start <= tid <= stop`, in the order in which they were committed, each
    /// with its records; none later than [`last_tid`](Self::last_tid) is now. While the program works
    /// on one, the next ones are asked for.
    ///
    /// ```
    /// # fn show(storage: &zeo_client::ClientStorage) -> Result<(), zeo_client::Error> {
    /// for transaction in storage.iterator(None, None)? {
    ///     for record in transaction?.records {
    ///         let record = record?;
    ///         println!("{} {}", record.tid, record.oid);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load). After an error, the iterator has no more items.
    pub fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<Transactions, Error> {
        let link = self.shared.link("iterator_start")?;
        let last = self.last_tid();
        let driver = Driver::new(link, start, stop.map_or(last, |stop| stop.min(last)))?;
        Ok(Transactions {
            driver: Arc::new(Mutex::new(driver)),
        })
    }
}

/// The transactions of a storage: see [`ClientStorage::iterator`].
pub struct Transactions {
    driver: Arc<Mutex<Driver>>,
}

/// A transaction met by an iterator.
pub struct IteratedTransaction {
    /// Its id.
    pub tid: Tid,
    /// The status byte of the file: a space; `p` if it was packed, `u` if it was undone.
    pub status: u8,
    /// User, description, extension; `tid` and `status` are set as well.
    pub meta: TransactionMeta,
    /// Its records, each once; those that are left out are not asked for.
    pub records: Records,
}

/// The records of a transaction, in the order of the file.
pub struct Records {
    driver: Arc<Mutex<Driver>>,
    number: u64,
}

impl Iterator for Transactions {
    type Item = Result<IteratedTransaction, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = locked(&self.driver).transaction()?;
        Some(next.map(|(number, transaction)| IteratedTransaction {
            tid: transaction.tid,
            status: transaction.status,
            meta: TransactionMeta {
                user: transaction.user.into_owned(),
                description: transaction.description.into_owned(),
                extension: extension(transaction.extension),
                tid: Some(transaction.tid),
                status: transaction.status,
            },
            records: Records {
                driver: Arc::clone(&self.driver),
                number,
            },
        }))
    }
}

impl Iterator for Records {
    type Item = Result<DataRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        locked(&self.driver).record(self.number)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        locked(&self.driver).forget(self.number);
    }
}

impl fmt::Debug for Transactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactions").finish_non_exhaustive()
    }
}

impl fmt::Debug for IteratedTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IteratedTransaction")
            .field("tid", &self.tid)
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
