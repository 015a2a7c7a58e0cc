//! Session: the calls of a registered client, by name.

use std::sync::Arc;

use zeo_proto::Value;
use zeo_proto::exception::Exception;
use zeo_proto::message::Call;

use super::undo_info::Specification;
use super::values::current_record_value;
use super::{Answer, Outcome, Session};
use crate::errors::exception_from;
use crate::messages::notice::size_info;
use crate::storages::ServedStorage;

/// How many oids one call gives at most (Python's limit).
const MAX_NEW_OIDS: i64 = 100;

impl Session {
    /// Does what a call asks for, once the client has registered.
    pub(super) fn dispatch(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        call: Call<'_>,
    ) -> Outcome {
        match call {
            Call::LoadBefore { oid, before } => self.load_before(storage, id, oid, before),
            Call::LoadSerial { oid, serial } => self.load_serial(storage, id, oid, serial),
            Call::GetTid { oid } => value(storage.storage.get_tid(oid).map_err(raise)?.into()),
            Call::LastTransaction => value(storage.storage.last_tid().into()),
            Call::GetInfo => value(get_info(storage)),
            Call::GetInvalidations { since } => self.get_invalidations(storage, id, since),
            Call::History { oid, size } => self.history(storage, id, oid, size),
            Call::RecordIternext { from } => {
                let record = storage.storage.record_iternext(from).map_err(raise)?;
                value(current_record_value(&record))
            }
            Call::UndoLog { first, last } => self.undo_log(storage, id, first, last, None),
            Call::UndoInfo {
                first,
                last,
                specification,
            } => {
                let specification = Specification::new(specification)?;
                self.undo_log(storage, id, first, last, specification)
            }
            Call::IteratorStart { start, stop } => self.iterator_start(storage, id, start, stop),
            Call::IteratorNext { id } => self.iterator_next(id),
            Call::IteratorRecordStart { id, tid } => self.iterator_record_start(id, tid),
            Call::IteratorRecordNext { id } => self.iterator_record_next(id),
            Call::IteratorGc { ids } => {
                self.iterators.drop_all(&ids);
                value(Value::None)
            }
            Call::NewOid => value(self.new_oids(storage, 1)?.pop().unwrap_or(Value::None)),
            Call::NewOids { count } => value(Value::List(self.new_oids(storage, count)?)),
            Call::ServerStatus => value(storage.status()),
            Call::SetClientLabel { label } => {
                self.set_label(&label);
                value(Value::None)
            }
            Call::Ping => value(Value::None),
            Call::Pack { time, wait } => self.pack(storage, id, time, wait),
            Call::StoreBlobStart => self.store_blob_start(storage),
            Call::StoreBlobChunk { chunk } => self.store_blob_chunk(&chunk),
            Call::SendBlob { oid, serial } => self.send_blob(storage, id, oid, serial),
            commit => self.commit_call(storage, id, commit),
        }
    }

    fn new_oids(
        &self,
        storage: &ServedStorage,
        count: i64,
    ) -> Result<Vec<Value<'static>>, Exception> {
        if self.read_only {
            return Err(Exception::read_only());
        }
        let oids = (0..count.clamp(1, MAX_NEW_OIDS)).map(|_| storage.storage.new_oid());
        oids.map(|oid| oid.map(Value::from).map_err(raise))
            .collect()
    }
}

fn value(value: Value<'static>) -> Outcome {
    Ok(Answer::Value(value))
}

fn raise(error: zeo_storage::Error) -> Exception {
    exception_from(&error)
}

fn get_info(storage: &ServedStorage) -> Value<'static> {
    let able = storage.storage.capabilities();
    let names = able
        .interfaces
        .iter()
        .map(|(module, name)| Value::Tuple(vec![Value::str(module), Value::str(name)]));
    let Value::Dict(mut info) = size_info(storage.storage.len(), storage.storage.size()) else {
        return Value::None;
    };
    info.extend([
        (
            Value::str("name"),
            Value::Str(storage.storage.name().into()),
        ),
        (Value::str("supportsUndo"), Value::Bool(able.undo)),
        (
            Value::str("supports_record_iternext"),
            Value::Bool(able.record_iternext),
        ),
        (Value::str("interfaces"), Value::Tuple(names.collect())),
    ]);
    Value::Dict(info)
}
