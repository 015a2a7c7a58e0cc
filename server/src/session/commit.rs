//! Session: two-phase commit as a client drives it: begin, store, vote (`vote.rs`), finish.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use slog::{debug, error};
use zeo_proto::exception::Exception;
use zeo_proto::message::{Call, TpcBegin};
use zeo_proto::{Tid, Value};
use zeo_storage::storage::TransactionMeta;

use super::commit_log::CommitLog;
use super::extension::extension_pickle;
use super::transaction::{Phase, Transaction};
use super::{Answer, Outcome, Session, Stage};
use crate::errors::exception_from;
use crate::messages::notice::Notice;
use crate::messages::request::{AtWork, Request};
use crate::storages::ServedStorage;

/// Tids from the year 9400 on are not taken from a client: tids only grow, so
/// one near their end would be the storage's last.
const TOO_LATE: Tid = Tid::new(0xf000 << 48);

impl Session {
    /// Does what a call of the commit asks for.
    pub(super) fn commit_call(
        &mut self,
        storage: &Arc<ServedStorage>,
        call_id: &Value<'static>,
        call: Call<'_>,
    ) -> Outcome {
        if self.read_only {
            return Err(Exception::read_only());
        }
        match call {
            Call::Vote { id } => self.vote(storage, call_id, &id),
            Call::TpcAbort { id } => self.tpc_abort(storage, &id),
            _ if self.transaction.as_ref().is_some_and(Transaction::is_busy) => Ok(Answer::Hold),
            Call::TpcBegin(begin) => self.tpc_begin(storage, *begin),
            Call::TpcFinish { id } => self.tpc_finish(storage, call_id, &id),
            Call::Store {
                oid,
                serial,
                data,
                id,
            } => {
                storage.stats.stores.fetch_add(1, Relaxed);
                self.step(&id, |log| log.store(oid, serial, &data))
            }
            Call::StoreBlobEnd {
                oid,
                serial,
                data,
                id,
            } => self.store_blob_end(storage, &id, oid, serial, &data),
            Call::StoreBlobShared {
                oid,
                serial,
                data,
                name,
                id,
            } => self.store_blob_shared(storage, &id, (oid, serial, &data), &name),
            Call::CheckSerial { oid, serial, id } => self.step(&id, |log| log.check(oid, serial)),
            Call::DeleteObject { oid, serial, id } => {
                storage.stats.stores.fetch_add(1, Relaxed);
                self.step(&id, |log| log.delete(oid, serial))
            }
            Call::Restore {
                oid,
                serial,
                data,
                prev_tid,
                id,
            } => {
                storage.stats.stores.fetch_add(1, Relaxed);
                self.step(&id, |log| {
                    log.restore(oid, serial, data.as_deref(), prev_tid)
                })
            }
            Call::Undo { undo_id, id } => self.step(&id, |log| log.undo(undo_tid(&undo_id))),
            other => Err(Exception::type_error(format!(
                "{other:.80?} is not a commit call"
            ))),
        }
    }

    fn tpc_begin(&mut self, storage: &ServedStorage, begin: TpcBegin<'_>) -> Outcome {
        if let Some(current) = &self.transaction {
            if current.id == begin.id {
                debug!(self.log, "duplicate tpc_begin");
                return Ok(Answer::Value(Value::None));
            }
            return Err(Exception::transaction(
                "Multiple simultaneous tpc_begin requests from one client.",
            ));
        }
        if begin.tid.is_some_and(|tid| tid >= TOO_LATE) {
            return Err(Exception::value_error(
                "no later transactions would be possible after this tid",
            ));
        }
        let meta = TransactionMeta {
            user: begin.user.into_owned(),
            description: begin.description.into_owned(),
            extension: extension_pickle(&begin.extension)?,
            tid: begin.tid,
            status: begin.status,
        };
        self.transaction = Some(Transaction {
            id: begin.id.into_owned(),
            log: CommitLog::new(meta.tid.is_some()),
            meta,
            phase: Phase::Open,
            vote: 0,
            at_work: AtWork::default(),
        });
        storage.stats.active_txns.fetch_add(1, Relaxed);
        Ok(Answer::Value(Value::None))
    }

    /// The client's transaction, if `id` names it.
    pub(super) fn current(&mut self, id: &Value<'_>) -> Result<&mut Transaction, Exception> {
        let current = self.transaction.as_ref().map(|current| &current.id);
        if current != Some(id) {
            let current = current.cloned().unwrap_or(Value::None);
            return Err(Exception::wrong_transaction(
                current,
                id.clone().into_owned(),
            ));
        }
        let none = || Exception::transaction("no transaction");
        self.transaction.as_mut().ok_or_else(none)
    }

    pub(super) fn step(
        &mut self,
        id: &Value<'_>,
        add: impl FnOnce(&mut CommitLog) -> zeo_storage::Result<()>,
    ) -> Outcome {
        let transaction = self.current(id)?;
        if matches!(transaction.phase, Phase::Voted(_)) {
            return Err(Exception::transaction("the transaction has voted"));
        }
        add(&mut transaction.log).map_err(|error| exception_from(&error))?;
        Ok(Answer::Value(Value::None))
    }

    fn tpc_finish(
        &mut self,
        storage: &ServedStorage,
        call_id: &Value<'static>,
        id: &Value<'_>,
    ) -> Outcome {
        let Ok(transaction) = self.current(id) else {
            return Ok(Answer::Value(Value::None));
        };
        let finishing = Phase::Finishing(call_id.clone());
        let tid = transaction.meta.tid;
        match std::mem::replace(&mut transaction.phase, finishing) {
            Phase::Voted(prepared) => {
                self.ask(
                    storage,
                    Request::Finish {
                        client: self.id,
                        prepared,
                        tid,
                    },
                );
                Ok(Answer::Later)
            }
            other => {
                transaction.phase = other;
                Err(Exception::message(
                    "builtins.AssertionError",
                    "finished called wo lock",
                ))
            }
        }
    }

    /// The transaction is durable and visible: new sizes, and then its tid.
    pub(super) fn finished(&mut self, tid: Tid) {
        let Stage::Open(_, storage) = &self.stage else {
            return;
        };
        let notice = Notice::info(storage.storage.len(), storage.storage.size());
        if let Some(Phase::Finishing(call_id)) = self.drop_transaction() {
            self.notify(&notice);
            self.reply(&call_id, &tid);
        }
    }

    pub(super) fn finish_failed(&mut self, exception: &Exception) {
        error!(self.log, "tpc_finish failed: {exception}");
        if let Some(Phase::Finishing(call_id)) = self.drop_transaction() {
            self.reply_error(&call_id, exception);
        }
    }

    fn tpc_abort(&mut self, storage: &ServedStorage, id: &Value<'_>) -> Outcome {
        let Ok(transaction) = self.current(id) else {
            return Ok(Answer::Value(Value::None));
        };
        if matches!(transaction.phase, Phase::Preparing(_) | Phase::Finishing(_)) {
            return Ok(Answer::Hold);
        }
        storage.stats.aborts.fetch_add(1, Relaxed);
        match self.drop_transaction() {
            Some(Phase::Waiting(call_id)) => {
                self.ask(storage, Request::Release { client: self.id });
                self.reply_error(&call_id, &Exception::transaction("aborted"));
            }
            Some(Phase::Voted(_)) => self.ask(storage, Request::Release { client: self.id }),
            _ => {}
        }
        Ok(Answer::Value(Value::None))
    }

    pub(super) fn drop_transaction(&mut self) -> Option<Phase> {
        let transaction = self.transaction.take()?;
        if let Stage::Open(_, storage) = &self.stage {
            storage.stats.active_txns.fetch_sub(1, Relaxed);
        }
        Some(transaction.phase)
    }
}

/// The tid that an entry of the undo log is named by: in base64. A name that
/// is none leads to tid 0, which no transaction has, so that the vote says
/// what is wrong (the call itself has no answer).
fn undo_tid(undo_id: &[u8]) -> Tid {
    let trimmed = undo_id.trim_ascii();
    let decoded = BASE64_STANDARD.decode(trimmed).unwrap_or_default();
    Tid::from_slice(&decoded).unwrap_or(Tid::ZERO)
}
