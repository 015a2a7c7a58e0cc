//! Session: the calls of a registered client, by name.

use std::sync::Arc;

use zeo_proto::Value;
use zeo_proto::exception::Exception;
use zeo_proto::message::{Around, Call, Sizes, StorageInfo};
use zeo_storage::storage::OpenData;

use super::interfaces::interfaces;
use super::undo_info::Specification;
use super::{Outcome, Session};
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
            Call::GetTid { oid } => {
                self.answer_of(storage, id, move |storage| storage.storage.get_tid(oid))
            }
            Call::LastTransaction => self.answer(id, &storage.storage.last_tid()),
            Call::GetInfo => self.answer(id, &storage_info(storage)),
            Call::GetInvalidations { since } => self.get_invalidations(storage, id, since),
            Call::History { oid, size } => self.history(storage, id, oid, size),
            Call::RecordIternext { from } => {
                self.answer_with_record_of(storage, id, move |storage| {
                    let found = storage.storage.record_iternext(from)?;
                    let (oid, serial, next) = (found.oid, found.serial, found.next);
                    let around = Around::Current { oid, serial, next };
                    Ok((around, OpenData::Read(found.data)))
                })
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
            Call::IteratorNext { id: iterator } => self.iterator_next(id, iterator),
            Call::IteratorRecordStart { id: iterator, tid } => {
                self.iterator_record_start(id, iterator, tid)
            }
            Call::IteratorRecordNext { id: iterator } => self.iterator_record_next(id, iterator),
            Call::IteratorGc { ids } => {
                self.iterators.drop_all(&ids);
                self.answer(id, &())
            }
            Call::NewOid => {
                self.check_writable()?;
                self.answer_of(storage, id, |storage| storage.storage.new_oid())
            }
            Call::NewOids { count } => {
                self.check_writable()?;
                let count = count.clamp(1, MAX_NEW_OIDS);
                self.answer_of(storage, id, move |storage| {
                    let oids = (0..count).map(|_| storage.storage.new_oid());
                    oids.collect::<zeo_storage::Result<Vec<_>>>()
                })
            }
            Call::ServerStatus => self.answer(id, &storage.status()),
            Call::SetClientLabel { label } => {
                self.set_label(&label);
                self.answer(id, &())
            }
            Call::Ping => self.ping(storage, id),
            Call::Pack { time, wait } => self.pack(storage, id, time, wait),
            Call::StoreBlobStart => self.store_blob_start(storage),
            Call::StoreBlobChunk { chunk } => self.store_blob_chunk(&chunk),
            Call::SendBlob { oid, serial } => self.send_blob(storage, id, oid, serial),
            commit => self.commit_call(storage, id, commit),
        }
    }

    fn check_writable(&self) -> Result<(), Exception> {
        if self.read_only {
            return Err(Exception::read_only());
        }
        Ok(())
    }
}

fn storage_info(storage: &ServedStorage) -> StorageInfo<'_> {
    let able = storage.storage.capabilities();
    let interfaces = interfaces(&*storage.storage).into_iter();
    StorageInfo {
        sizes: Sizes {
            length: storage.storage.len(),
            size: storage.storage.size(),
        },
        name: storage.storage.name().into(),
        supports_undo: able.undo,
        supports_record_iternext: able.record_iternext,
        interfaces: interfaces
            .map(|(module, name)| (module.into(), name.into()))
            .collect(),
    }
}
