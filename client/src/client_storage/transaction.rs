//! A transaction: begin, store, vote, finish.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use zeo_proto::message::{Call, TpcBegin, Voted};
use zeo_proto::pickle::{self, Memo};
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::log::Level;
use zeo_storage::storage::TransactionMeta;

use super::blobs;
use super::conflicts;
use super::error::{Disconnected, Error};
use super::known::Stored;
use super::link::Link;
use super::storage::ClientStorage;
use super::turn::TurnGuard;
use super::unfinished::Unfinished;
use crate::blob_cache::Staged;

/// How often conflicts are resolved before the transaction fails, as by Python's client.
const VOTES_MAX: usize = 10;
/// How many bytes of records a transaction keeps for the cache. What is more is loaded again.
const KEPT_MAX: usize = 32 << 20;
/// The key of an extension whose value no other transaction has.
const MARK: &str = "rzeo_id";

/// A transaction under way. Dropping it aborts it.
///
/// The stores are sent as they come, a few together, and answered by the vote, which tells what is
/// wrong with one of them.
/// If the connection is lost meanwhile, the server has aborted the transaction, and each further
/// step fails with `Disconnected`, also when there is a connection again.
///
/// ```
/// use zeo_client::{ClientStorage, Error};
/// use zeo_proto::Tid;
/// use zeo_storage::storage::TransactionMeta;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = zeo_server::serve(zeo_server::AdHoc::in_memory())?;
/// # let storage = ClientStorage::builder(server.address().parse()?).open()?;
/// let record = b"\x80\x03capp\nThing\n.\x80\x03N.".to_vec();
/// let oid = storage.new_oid()?;
/// let store = |serial| {
///     let mut transaction = storage.begin(TransactionMeta::default())?;
///     transaction.store(oid, serial, record.clone())?;
///     transaction.vote()?;
///     transaction.finish()
/// };
/// let tid = store(Tid::ZERO)?;
/// store(tid)?;
/// // Made from a revision that is not the current one any more:
/// let error = store(tid).unwrap_err();
/// assert!(matches!(error, Error::Conflict(_)) && error.is_retryable());
/// # Ok(())
/// # }
/// ```
pub struct Tpc<'a> {
    storage: &'a ClientStorage,
    link: Arc<Link>,
    id: u64,
    /// What is to be known of it if the connection is lost while it is finished.
    unfinished: Unfinished,
    stored: Stored,
    /// How many bytes of records are kept for the cache.
    kept: usize,
    blobs: Vec<Staged>,
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
        self.check_writable()?;
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
            unfinished: Unfinished::new(&meta),
            stored: Stored::new(),
            kept: 0,
            blobs: Vec::new(),
            phase: Phase::Begun,
            _turn: turn,
        })
    }

    /// The same, with an extension by which [`outcome`](Self::outcome) tells the transaction from
    /// others that write the same.
    pub(crate) fn begin_marked(&self, mut meta: TransactionMeta) -> Result<Tpc<'_>, Error> {
        let mark = format!("{:016x}", fastrand::u64(..));
        let extension = Value::Dict(vec![(Value::str(MARK), Value::str(&mark))]);
        // It can be written: it is text.
        let _ = pickle::encode(&extension, &mut meta.extension, Memo::Memoizing);
        let mut begun = self.begin(meta)?;
        begun.unfinished.marked(mark);
        Ok(begun)
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
        self.keep(oid, serial, Some(data));
        Ok(())
    }

    /// Stores the record of a blob, and its file, which is moved away from `path` (copied and removed
    /// where it can't be moved). `serial` is that of the revision before; zero for a new object.
    ///
    /// # Errors
    ///
    /// As of [`store`](Self::store). `Blob`: the file can't be read or moved; `Unsupported`: the
    /// storage has no blob directory.
    pub fn store_blob(
        &mut self,
        oid: Oid,
        serial: Tid,
        data: Vec<u8>,
        path: &Path,
    ) -> Result<(), Error> {
        self.step("storeBlob")?;
        let staged = self.storage.blob_cache()?.upload(path, oid, serial)?;
        let id = number(self.id);
        blobs::send(&self.link, &staged, (oid, serial, &data, id))?;
        self.blobs.push(staged);
        self.keep(oid, serial, Some(data));
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
        self.keep(oid, serial, None);
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
        self.keep(oid, serial, data);
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
        let mut changed = BTreeSet::new();
        for _ in 0..VOTES_MAX {
            let mut conflicts = Vec::new();
            for voted in self.vote_once()? {
                match voted {
                    Voted::Resolved(oid) => drop(changed.insert(oid)),
                    Voted::Conflict(conflict) => conflicts.push(conflict),
                    _ => {}
                }
            }
            if conflicts.is_empty() {
                return Ok(changed.into_iter().collect());
            }
            for conflict in conflicts {
                let (oid, committed) = (conflict.oid, conflict.committed);
                let merged = conflicts::merge(self.storage, &self.link, conflict)?;
                self.store(oid, committed, merged)?;
                changed.insert(oid);
            }
        }
        let why = "others change the same objects faster than conflicts are resolved";
        Err(Error::Transaction(why.to_owned()))
    }

    /// Votes. If there are conflicts in what it returns, the caller has to resolve and store them, and
    /// to vote once more.
    pub(crate) fn vote_once(&mut self) -> Result<Vec<Voted<'static>>, Error> {
        self.step("vote")?;
        let id = number(self.id);
        let voted: Option<Vec<Voted<'static>>> = self.link.call(&Call::Vote { id })?;
        let voted = voted.unwrap_or_default();
        let mut is_done = true;
        for one in &voted {
            if let Voted::Resolved(oid) = *one {
                // Only the server knows the data.
                self.unfinished.changed(oid);
                self.keep(oid, self.unfinished.serial(oid), None);
            } else {
                is_done = false;
            }
        }
        if is_done {
            self.phase = Phase::Voted;
        }
        Ok(voted)
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
        let unfinished = std::mem::take(&mut self.unfinished).finishing(self.storage.last_tid());
        let id = number(self.id);
        let finished = self.link.finish(&Call::TpcFinish { id }, stored)?;
        let tid = finished.map_err(|why| match why {
            Error::Disconnected { .. } | Error::Closed | Error::Reply { .. } => {
                Error::OutcomeUnknown(Arc::new(unfinished))
            }
            why => why,
        })?;
        for blob in std::mem::take(&mut self.blobs) {
            if let Err(why) = blob.commit(tid) {
                // It is downloaded when it is wanted.
                self.storage.shared.log(Level::Warning, &why.to_string());
            }
        }
        Ok(tid)
    }

    /// Aborts. (So does dropping it.)
    pub fn abort(self) {}

    /// Notes what the transaction changes; the record as well, as long as that is not too much.
    fn keep(&mut self, oid: Oid, serial: Tid, data: Option<Vec<u8>>) {
        self.unfinished.wrote(oid, serial, data.as_deref());
        let data = data.filter(|data| self.kept.saturating_add(data.len()) <= KEPT_MAX);
        self.kept += data.as_ref().map_or(0, Vec::len);
        if let Some(Some(before)) = self.stored.insert(oid, data) {
            self.kept -= before.len();
        }
    }

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
