//! A transaction: begin, store, vote, finish.

use std::collections::BTreeSet;
use std::sync::Arc;

use zeo_proto::message::{Call, TpcBegin, Voted};
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::storage::TransactionMeta;

use super::error::{Disconnected, Error};
use super::link::Link;
use super::shared::TurnGuard;
use super::storage::ClientStorage;
use super::unfinished::Unfinished;

/// A transaction under way. Dropping it aborts it.
///
/// The stores are sent at once and answered by the vote, which tells what is wrong with one of them.
/// If the connection is lost meanwhile, the server has aborted the transaction, and each further
/// step fails with `Disconnected`, also when there is a connection again.
pub struct Tpc<'a> {
    storage: &'a ClientStorage,
    link: Arc<Link>,
    id: u64,
    meta: TransactionMeta,
    stored: BTreeSet<Oid>,
    phase: Phase,
    _turn: TurnGuard<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Begun,
    Voted,
    Over,
}

impl ClientStorage {
    /// Begins a transaction. A storage has one at a time: this waits for the end of the other one,
    /// so a thread must not begin two.
    ///
    /// The extension of `meta` is a pickle (of a dict) or empty; a `tid`, if there is one, is the
    /// one to commit under.
    ///
    /// # Errors
    ///
    /// `ReadOnly`; `Disconnected`, without waiting; `Closed`.
    pub fn begin(&self, mut meta: TransactionMeta) -> Result<Tpc<'_>, Error> {
        let turn = self.shared.committing.take()?;
        let link = self.shared.link_now("tpc_begin")?;
        if link.read_only {
            return Err(Error::ReadOnly);
        }
        if meta.status == 0 {
            meta.status = b' ';
        }
        let id = link.next_transaction();
        link.send_async(&Call::TpcBegin(Box::new(TpcBegin {
            id: number(id),
            user: meta.user.as_slice().into(),
            description: meta.description.as_slice().into(),
            extension: match meta.extension.as_slice() {
                [] => Value::Dict(Vec::new()),
                pickle => Value::bytes(pickle),
            },
            tid: meta.tid,
            status: meta.status,
        })))?;
        Ok(Tpc {
            storage: self,
            link,
            id,
            meta,
            stored: BTreeSet::new(),
            phase: Phase::Begun,
            _turn: turn,
        })
    }
}

impl Tpc<'_> {
    /// Stores a record that was made from revision `serial`; zero for a new object.
    ///
    /// # Errors
    ///
    /// `Disconnected`, `Closed`; `Transaction` behind the vote. What is wrong with the store itself
    /// is told by the vote.
    pub fn store(&mut self, oid: Oid, serial: Tid, data: Vec<u8>) -> Result<(), Error> {
        self.step("store")?;
        self.link.send_async(&Call::Store {
            oid,
            serial,
            data: data.as_slice().into(),
            id: number(self.id),
        })?;
        self.stored.insert(oid);
        Ok(())
    }

    /// Fails the vote with `ReadConflict` unless the object is still at this serial.
    ///
    /// # Errors
    ///
    /// As of [`store`](Self::store).
    pub fn check_current(&mut self, oid: Oid, serial: Tid) -> Result<(), Error> {
        self.step("checkCurrentSerialInTransaction")?;
        let id = number(self.id);
        self.link.send_async(&Call::CheckSerial { oid, serial, id })
    }

    /// Deletes an object: for garbage collectors.
    ///
    /// # Errors
    ///
    /// As of [`store`](Self::store).
    pub fn delete(&mut self, oid: Oid, serial: Tid) -> Result<(), Error> {
        self.step("deleteObject")?;
        let id = number(self.id);
        self.link
            .send_async(&Call::DeleteObject { oid, serial, id })?;
        self.stored.insert(oid);
        Ok(())
    }

    /// Undoes a whole transaction: what it has changed becomes as it was before.
    ///
    /// # Errors
    ///
    /// As of [`store`](Self::store). `Undo` comes with the vote.
    pub fn undo(&mut self, undo_id: &[u8]) -> Result<(), Error> {
        self.step("undo")?;
        self.link.send_async(&Call::Undo {
            undo_id: undo_id.into(),
            id: number(self.id),
        })
    }

    /// Writes a record as it was in another storage, without looking at what is current; none: the
    /// creation of the object was undone. `prev_tid` is a transaction that may hold the same data,
    /// which need not be written again then.
    ///
    /// # Errors
    ///
    /// As of [`store`](Self::store).
    pub fn restore(
        &mut self,
        oid: Oid,
        serial: Tid,
        data: Option<Vec<u8>>,
        prev_tid: Option<Tid>,
    ) -> Result<(), Error> {
        self.step("restore")?;
        self.link.send_async(&Call::Restore {
            oid,
            serial,
            data: data.as_deref().map(Into::into),
            prev_tid,
            id: number(self.id),
        })?;
        self.stored.insert(oid);
        Ok(())
    }

    /// Votes: when it returns, what follows can only fail if the server or the connection does.
    /// Returns the objects for which other data were stored than given, since a conflict was resolved,
    /// or a transaction undone: who has a copy of one must load it again.
    ///
    /// # Errors
    ///
    /// `Conflict`, `ReadConflict`, `Undo` and all that was wrong with the stores. The server has
    /// aborted the transaction then.
    pub fn vote(&mut self) -> Result<Vec<Oid>, Error> {
        self.step("vote")?;
        let id = number(self.id);
        let voted: Option<Vec<Voted<'static>>> = self.link.call(&Call::Vote { id })?;
        let mut resolved = Vec::new();
        for voted in voted.into_iter().flatten() {
            if let Voted::Resolved(oid) = voted {
                resolved.push(oid);
            }
        }
        self.stored.extend(&resolved);
        self.phase = Phase::Voted;
        Ok(resolved)
    }

    /// Commits. Returns the transaction's id; the storage's listeners have been told by then.
    ///
    /// # Errors
    ///
    /// `OutcomeUnknown` if the connection is lost meanwhile; `Transaction` before the vote.
    pub fn finish(mut self) -> Result<Tid, Error> {
        if self.phase != Phase::Voted {
            return Err(Error::Transaction(
                "the transaction has not voted".to_owned(),
            ));
        }
        self.check_connection("tpc_finish")?;
        self.phase = Phase::Over;
        let stored = std::mem::take(&mut self.stored);
        let oids = stored.iter().copied().collect();
        let unfinished = Unfinished::new(self.storage.last_tid(), &self.meta, stored);
        let id = number(self.id);
        let finished = self.link.finish(&Call::TpcFinish { id }, oids)?.wait();
        finished.map_err(|why| match why {
            Error::Disconnected { .. } | Error::Closed => {
                Error::OutcomeUnknown(Arc::new(unfinished))
            }
            why => why,
        })
    }

    /// Aborts. (So does dropping it.)
    pub fn abort(self) {}

    fn step(&self, what: &'static str) -> Result<(), Error> {
        if self.phase != Phase::Begun {
            let why = format!("{what} behind the vote");
            return Err(Error::Transaction(why));
        }
        self.check_connection(what)
    }

    fn check_connection(&self, what: &'static str) -> Result<(), Error> {
        if self.storage.shared.is_closed() {
            return Err(Error::Closed);
        }
        if self.link.in_flight.is_over() {
            let why = Disconnected::BegunBefore;
            return Err(Error::Disconnected { what, why });
        }
        Ok(())
    }
}

impl Drop for Tpc<'_> {
    fn drop(&mut self) {
        if self.phase != Phase::Over && !self.link.in_flight.is_over() {
            let id = number(self.id);
            // If it can't be sent, the connection is lost, and the server aborts by itself.
            let _ = self.link.call::<()>(&Call::TpcAbort { id });
        }
    }
}

/// The client's id of a transaction, as it is sent.
fn number(id: u64) -> Value<'static> {
    Value::Int(id.into())
}
