//! Session: answers that wait until the client has been told what others have changed in the
//! storage.

use zeo_proto::Value;
use zeo_proto::exception::Exception;

use super::after_poll::AfterPoll;
use super::conflict_report::for_client;
use super::{Answer, Outcome, Session};
use crate::messages::request::Request;
use crate::storages::ServedStorage;

/// With so many answers that wait, pings and loads wait, too, and the calls behind them.
const MAX_POLLING: usize = 8;

impl Session {
    /// When a ping is answered, the client has been told of everything that was committed before
    /// it, also by others.
    pub(super) fn ping(&mut self, storage: &ServedStorage, id: &Value<'static>) -> Outcome {
        if storage.storage.outside().is_none() {
            return self.answer(id, &());
        }
        if self.waits_for_polls() {
            return Ok(Answer::Hold);
        }
        self.answer_after_poll(storage, id, AfterPoll::Pong);
        Ok(Answer::Later)
    }

    /// Whether so many answers wait for polls that no more may.
    pub(super) fn waits_for_polls(&self) -> bool {
        self.polling.len() >= MAX_POLLING
    }

    /// Answers a call when the client has been told what others have committed so far: of a
    /// conflict, say, so that it does not try again with the same old objects. At once, where
    /// nobody else commits.
    pub(super) fn answer_after_poll(
        &mut self,
        storage: &ServedStorage,
        id: &Value<'static>,
        answer: AfterPoll,
    ) {
        if storage.storage.outside().is_none() {
            return self.answer_polled(id, answer, Ok(()));
        }
        self.polling.push_back((id.clone(), answer));
        let client = Some(self.id);
        self.send(storage, Request::Poll { client });
    }

    /// The coordinator has announced what a poll has found.
    #[inline(never)]
    pub(super) fn polled(&mut self, result: Result<(), Exception>) {
        if let Some((id, answer)) = self.polling.pop_front() {
            self.answer_polled(&id, answer, result);
        }
    }

    fn answer_polled(
        &mut self,
        id: &Value<'static>,
        answer: AfterPoll,
        polled: Result<(), Exception>,
    ) {
        match (answer, polled) {
            (AfterPoll::Pong, Ok(())) | (AfterPoll::NoRevision, _) => self.reply(id, &()),
            (AfterPoll::Conflicts(conflicts), _) => {
                let conflicts: Vec<_> = conflicts.iter().map(for_client).collect();
                self.reply(id, &conflicts);
            }
            (AfterPoll::Failed(why), _) | (AfterPoll::Pong, Err(why)) => {
                self.reply_error(id, &why);
            }
        }
    }
}
