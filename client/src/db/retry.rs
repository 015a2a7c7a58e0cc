//! Transactions that are made again when others were faster.

use std::time::Duration;

use super::database::{Connection, Db};
use super::error::Error;
use super::transaction::Transaction;
use crate::client_storage::{Disconnected, Error as StorageError};

/// How often a transaction is tried, and how long the pauses are.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// How often in all. Default: 10.
    pub attempts: u32,
    /// The first pause. Each further one is twice as long, up to `longest`; all vary by chance,
    /// between a half and the whole. Default: 10 milliseconds.
    pub pause: Duration,
    /// The longest pause. Default: 2 seconds.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 10,
            pause: Duration::from_millis(10),
            longest: Duration::from_secs(2),
        }
    }
}

impl Db {
    /// Makes a transaction: what `work` does is committed, and its result returned. If others have
    /// changed the same objects meanwhile, or the connection was lost, it is made again from the
    /// beginning, up to 10 times; so `work` should do nothing else that lasts. Without a connection
    /// it waits for one before that, up to the storage's `wait_timeout`, and fails if none comes.
    ///
    /// Where the connection is lost during the last step, it finds out whether that was done
    /// ([`ClientStorage::outcome`](crate::ClientStorage::outcome)).
    ///
    /// If `work` fails otherwise, nothing is committed, and its error is returned.
    ///
    /// # Errors
    /// Those of `work` and of [`Transaction::commit`].
    pub fn transact<R, E: From<Error>>(
        &self,
        work: impl FnMut(&Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.transact_with(Retry::default(), work)
    }

    /// The same, with other numbers of attempts and pauses.
    ///
    /// # Errors
    /// As of [`transact`](Self::transact).
    pub fn transact_with<R, E: From<Error>>(
        &self,
        retry: Retry,
        mut work: impl FnMut(&Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut connection = self.connect();
        let mut pause = retry.pause;
        let mut attempt = 1;
        loop {
            match self.attempt(&mut connection, &mut work)? {
                Attempt::Done(result) => return Ok(result),
                Attempt::Failed(error) if attempt >= retry.attempts => return Err(error),
                Attempt::Failed(_) => {}
            }
            self.wait_for_connection()?;
            std::thread::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0));
            pause = pause.saturating_mul(2).min(retry.longest);
            attempt += 1;
        }
    }

    /// After a loss, waits for a connection: the cache may answer all that `work` asks for, and a
    /// commit does not wait.
    fn wait_for_connection(&self) -> Result<(), Error> {
        if self.storage().is_connected() {
            return Ok(());
        }
        match self.storage().ping() {
            Ok(()) => Ok(()),
            Err(StorageError::Disconnected {
                why: Disconnected::Lost { .. },
                ..
            }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// One attempt. An error is one that won't go away.
    fn attempt<R, E: From<Error>>(
        &self,
        connection: &mut Connection,
        work: &mut impl FnMut(&Transaction<'_>) -> Result<R, E>,
    ) -> Result<Attempt<R, E>, E> {
        let transaction = match connection.begin() {
            Ok(transaction) => transaction,
            Err(error) if error.is_tried_again() => return Ok(Attempt::Failed(error.into())),
            Err(error) => return Err(error.into()),
        };
        let result = match work(&transaction) {
            Ok(result) => result,
            Err(error) if transaction.failed_retryably() => return Ok(Attempt::Failed(error)),
            Err(error) => return Err(error),
        };
        let error = match transaction.send() {
            Ok(_) => return Ok(Attempt::Done(result)),
            Err(error) => error,
        };
        if let Error::Storage(StorageError::OutcomeUnknown(unfinished)) = &error {
            return match self.storage().outcome(unfinished) {
                Ok(Some(_)) => Ok(Attempt::Done(result)),
                Ok(None) => {
                    let error = StorageError::Disconnected {
                        what: "tpc_finish",
                        why: Disconnected::NotCommitted,
                    };
                    Ok(Attempt::Failed(Error::Storage(error).into()))
                }
                Err(_) => Err(error.into()),
            };
        }
        if error.is_tried_again() {
            Ok(Attempt::Failed(error.into()))
        } else {
            Err(error.into())
        }
    }
}

/// What came of a transaction.
enum Attempt<R, E> {
    Done(R),
    /// It may be tried again.
    Failed(E),
}
