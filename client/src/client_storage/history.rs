//! What a storage tells of its transactions, and the calls that concern all of it.

use std::borrow::Cow;
use std::time::SystemTime;

use zeo_proto::message::{Call, CurrentRecord, HistoryEntry, UndoEntry};
use zeo_proto::{Oid, Tid, Value};

use super::error::Error;
use super::storage::ClientStorage;

impl ClientStorage {
    /// The newest `size` revisions of an object, newest first.
    ///
    /// # Errors
    ///
    /// `NoObject`, and as of [`load`](Self::load).
    pub fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry<'static>>, Error> {
        self.call(&Call::History { oid, size })
    }

    /// The current serial of an object, as the server has it.
    ///
    /// # Errors
    ///
    /// `NoObject`, and as of [`load`](Self::load).
    pub fn get_tid(&self, oid: Oid) -> Result<Tid, Error> {
        self.call(&Call::GetTid { oid })
    }

    /// Transactions that can be undone, newest first: those from number `first` (from 0) to before
    /// `last`; below zero, `last` is how many.
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load); `Server` if the storage can't undo.
    pub fn undo_log(&self, first: i64, last: i64) -> Result<Vec<UndoEntry<'static>>, Error> {
        self.call(&Call::UndoLog { first, last })
    }

    /// The same, of transactions that have all these items: a dict such as `{"user_name": "/ jane"}`;
    /// none: of all.
    ///
    /// # Errors
    ///
    /// As of [`undo_log`](Self::undo_log).
    pub fn undo_info(
        &self,
        first: i64,
        last: i64,
        specification: Option<Value<'_>>,
    ) -> Result<Vec<UndoEntry<'static>>, Error> {
        self.call(&Call::UndoInfo {
            first,
            last,
            specification: specification.unwrap_or(Value::None),
        })
    }

    /// The current record of the first object at or behind `from`, and the object that comes next;
    /// none behind the last one.
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load); `NoObject` for an object that was deleted; `Server` behind the last
    /// object, or if the storage can't do it.
    pub fn record_iternext(&self, from: Option<Oid>) -> Result<CurrentRecord<'static>, Error> {
        self.call(&Call::RecordIternext { from })
    }

    /// Removes revisions that were not current any more at `time`. With `wait`, waits for the end,
    /// which may take hours.
    ///
    /// # Errors
    ///
    /// `ReadOnly`; as of [`load`](Self::load); `Server` with what is in the way of a pack.
    pub fn pack(&self, time: SystemTime, wait: bool) -> Result<(), Error> {
        self.check_writable()?;
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        let time = since.map_or(0.0, |since| since.as_secs_f64());
        let link = self.shared.link("pack")?;
        if link.read_only {
            return Err(Error::ReadOnly);
        }
        link.call_without_limit(&Call::Pack { time, wait })
    }

    /// The server's counters for this storage, by their names.
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load).
    pub fn server_status(&self) -> Result<Vec<(String, Value<'static>)>, Error> {
        let status: Value<'static> = self.call(&Call::ServerStatus)?;
        let pairs = match status {
            Value::Dict(pairs) => pairs,
            _ => Vec::new(),
        };
        let named = |(name, value): (Value<'static>, _)| match name {
            Value::Str(name) => Some((Cow::into_owned(name), value)),
            _ => None,
        };
        Ok(pairs.into_iter().filter_map(named).collect())
    }

    /// The last transaction of the server, which may be later than [`last_tid`](Self::last_tid).
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load).
    pub fn server_last_tid(&self) -> Result<Tid, Error> {
        self.call(&Call::LastTransaction)
    }

    fn call<T>(&self, call: &Call<'_>) -> Result<T, Error>
    where
        T: zeo_proto::marshal::Decode<'static>,
    {
        self.shared.link(call.method())?.call(call)
    }
}
