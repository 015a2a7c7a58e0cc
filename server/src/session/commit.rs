//! Session: two-phase commit as a client drives it: begin, store, vote (`vote.rs`), finish.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use slog::{debug, error, warn};
use zeo_proto::exception::Exception;
use zeo_proto::message::{Call, Effect, TpcBegin, WrongStep};
use zeo_proto::{Tid, Value};
use zeo_storage::Error;
use zeo_storage::storage::TransactionMeta;

use super::commit_log::{CommitLog, Room};
use super::extension::extension_pickle;
use super::slow::COMMITTED;
use super::transaction::{Phase, Transaction};
use super::{Answer, Outcome, Session, Stage, is_nobody};
use crate::messages::notice::Notice;
use crate::messages::request::{AtWork, Request};
use crate::status::client::Phase as Seen;
use crate::storages::ServedStorage;
use crate::usage::Resource;

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
        let status = Arc::clone(&self.status);
        let count = || {
            storage.stats.stores.fetch_add(1, Relaxed);
            status.stores.add(1);
        };
        match call {
            Call::Vote { id } => self.vote(storage, call_id, &id),
            Call::TpcAbort { id } => self.tpc_abort(storage, &id),
            _ if self.transaction.as_ref().is_some_and(Transaction::is_busy) => Ok(Answer::Hold),
            Call::TpcBegin(begin) => self.tpc_begin(storage, call_id, *begin),
            Call::TpcFinish { id } => self.tpc_finish(storage, call_id, &id),
            Call::Store {
                oid,
                serial,
                data,
                id,
            } => self.step(&id, |log| {
                count();
                log.store(oid, serial, &data)
            }),
            Call::StoreBlobEnd {
                oid,
                serial,
                data,
                id,
            } => self.store_blob_end(&id, oid, serial, &data),
            Call::StoreBlobShared {
                oid,
                serial,
                data,
                name,
                id,
            } => self.store_blob_shared(storage, call_id, &id, (oid, serial, &data), &name),
            Call::CheckSerial { oid, serial, id } => self.step(&id, |log| log.check(oid, serial)),
            Call::DeleteObject { oid, serial, id } => self.step(&id, |log| {
                count();
                log.delete(oid, serial)
            }),
            Call::Restore {
                oid,
                serial,
                data,
                prev_tid,
                id,
            } => self.step(&id, |log| {
                count();
                log.restore(oid, serial, data.as_deref(), prev_tid)
            }),
            Call::Undo { undo_id, id } => match undo_tid(&undo_id) {
                Ok(tid) => self.step(&id, |log| log.undo(tid)),
                Err(why) => self.keep_for_vote(call_id, &id, why),
            },
            other => Err(Exception::type_error(format!(
                "{other:.80?} is not a commit call"
            ))),
        }
    }

    /// A step of the commit with wrong arguments: as far as it goes.
    pub(super) fn wrong_step(&mut self, call_id: &Value<'static>, step: WrongStep) -> Outcome {
        let Stage::Open(_, storage) = &self.stage else {
            return Err(step.why);
        };
        let storage = Arc::clone(storage);
        if self.read_only {
            return Err(Exception::read_only());
        }
        if self.transaction.as_ref().is_some_and(Transaction::is_busy) {
            return Ok(Answer::Hold);
        }
        if !is_nobody(call_id) {
            return Err(step.why);
        }
        if step.effect == Effect::Begins && !self.is_begun(&step.id)? {
            let meta = TransactionMeta {
                status: b' ',
                ..TransactionMeta::default()
            };
            self.begin(&storage, step.id.clone(), meta);
        }
        self.current(&step.id)?;
        match step.effect {
            Effect::Stores => {
                storage.stats.stores.fetch_add(1, Relaxed);
                self.status.stores.add(1);
            }
            Effect::EndsBlob => drop(self.take_upload()?),
            Effect::Begins | Effect::None => {}
        }
        self.keep_for_vote(call_id, &step.id, step.why)
    }

    /// Reports what is wrong with a step: in its answer, if it has one, otherwise at the vote. (The
    /// only other way would be to close the connection.)
    pub(super) fn keep_for_vote(
        &mut self,
        call_id: &Value<'static>,
        id: &Value<'_>,
        why: Exception,
    ) -> Outcome {
        if !is_nobody(call_id) {
            return Err(why);
        }
        let told = why.to_string();
        let kept = self.step(id, |log| log.fail(Error::Raised(Box::new(why))));
        if kept.is_ok() {
            warn!(self.log, "the vote will fail: {told}");
        }
        kept
    }

    /// Whether the transaction has begun; an error if another one has.
    fn is_begun(&self, id: &Value<'_>) -> Result<bool, Exception> {
        match &self.transaction {
            None => Ok(false),
            Some(current) if current.id == *id => {
                debug!(self.log, "duplicate tpc_begin");
                Ok(true)
            }
            Some(_) => Err(Exception::transaction(
                "Multiple simultaneous tpc_begin requests from one client.",
            )),
        }
    }

    /// What the transactions of this client may take.
    fn room(&self) -> Room {
        Room {
            memory: self.settings.share(Resource::Memory),
            data: self.settings.share(Resource::Uncommitted),
            most: self.settings.max_transaction_size,
        }
    }

    fn begin(&mut self, storage: &ServedStorage, id: Value<'static>, meta: TransactionMeta) {
        self.status.begin(&meta.user, &meta.description);
        self.transaction = Some(Transaction {
            id,
            log: CommitLog::limited(meta.tid.is_some(), self.room()),
            meta,
            phase: Phase::Open,
            vote: 0,
            at_work: AtWork::default(),
            gives_up: false,
        });
        storage.stats.active_txns.fetch_add(1, Relaxed);
    }

    fn tpc_begin(
        &mut self,
        storage: &ServedStorage,
        call_id: &Value<'static>,
        begin: TpcBegin<'_>,
    ) -> Outcome {
        if self.is_begun(&begin.id)? {
            return Ok(Answer::Value(Value::None));
        }
        if begin.tid.is_some_and(|tid| tid >= TOO_LATE) {
            return Err(Exception::value_error(
                "no later transactions would be possible after this tid",
            ));
        }
        let (extension, wrong) = match extension_pickle(&begin.extension, self.encoding()) {
            Ok(pickle) => (pickle, None),
            Err(why) if is_nobody(call_id) => (Vec::new(), Some(why)),
            Err(why) => return Err(why),
        };
        let meta = TransactionMeta {
            user: begin.user.into_owned(),
            description: begin.description.into_owned(),
            extension,
            tid: begin.tid,
            status: begin.status,
        };
        let id = begin.id.into_owned();
        self.begin(storage, id.clone(), meta);
        match wrong {
            Some(why) => self.keep_for_vote(call_id, &id, why),
            None => Ok(Answer::Value(Value::None)),
        }
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
        if let Err(error) = add(&mut transaction.log) {
            // Most steps have no answer: the vote says it. What is kept is of no use any more.
            let told = error.to_string();
            transaction.log = CommitLog::failed(error);
            warn!(self.log, "the vote will fail: {told}");
        }
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
                self.status.enter(Seen::Finishing);
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
    #[inline(never)]
    pub(super) fn finished(&mut self, tid: Tid) {
        let Stage::Open(_, storage) = &self.stage else {
            return;
        };
        let notice = Notice::info(storage.storage.len(), storage.storage.size());
        self.status.commits.add(1);
        if let Some(Phase::Finishing(call_id)) = self.drop_transaction(COMMITTED) {
            self.notify(&notice);
            self.reply(&call_id, &tid);
        }
    }

    #[inline(never)]
    pub(super) fn finish_failed(&mut self, exception: &Exception) {
        if exception.is_ordinary() {
            // A conflict, where others change the storage, too.
            debug!(self.log, "tpc_finish failed: {exception}");
        } else {
            error!(self.log, "tpc_finish failed: {exception}");
        }
        if let Some(Phase::Finishing(call_id)) = self.drop_transaction("failed") {
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
        match self.drop_transaction("aborted") {
            Some(Phase::Waiting(call_id)) => {
                self.ask(storage, Request::Release { client: self.id });
                self.reply_error(&call_id, &Exception::transaction("aborted"));
            }
            Some(Phase::Voted(_)) => self.ask(storage, Request::Release { client: self.id }),
            _ => {}
        }
        Ok(Answer::Value(Value::None))
    }

    /// The transaction is no more; how it ended is for the log.
    pub(super) fn drop_transaction(&mut self, ending: &'static str) -> Option<Phase> {
        let transaction = self.transaction.take()?;
        if let Stage::Open(_, storage) = &self.stage {
            storage.stats.active_txns.fetch_sub(1, Relaxed);
            self.transaction_ended(storage, ending);
        }
        Some(transaction.phase)
    }
}

/// The tid in the id of an undo log entry, which is in base64. As in Python, bytes that do not
/// belong to base64 are skipped.
fn undo_tid(undo_id: &[u8]) -> Result<Tid, Exception> {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let digits: Vec<u8> = undo_id.iter().copied().filter(is_base64).collect();
    let decoded = BASE64_STANDARD
        .decode(digits)
        .map_err(|why| Exception::message("binascii.Error", format!("undoa(): {why}")))?;
    Tid::from_slice(&decoded).ok_or_else(|| {
        let what = "undoa(): argument 1 must be the id of an undo log's entry";
        Exception::message("builtins.AssertionError", what)
    })
}
