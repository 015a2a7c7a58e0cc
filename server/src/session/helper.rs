//! Session: work that may take long, on a helper thread, so that the session goes on with its
//! socket and its mailbox meanwhile.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::bounded;
use slog::{info, warn};
use zeo_proto::Value;
use zeo_proto::exception::Exception;
use zeo_proto::marshal::Encode;
use zeo_proto::message::Around;
use zeo_storage::Error;
use zeo_storage::storage::OpenData;

use super::{Answer, Outcome, Session};
use crate::errors::exception_from;
use crate::messages::event::Event;
use crate::messages::mailbox::Mailbox;
use crate::messages::rules;
use crate::storages::ServedStorage;

/// How many helper threads one client may keep busy; its next calls wait.
const MAX_JOBS: usize = 4;

/// Tells a helper whether anybody still waits for its answer.
pub(super) struct ClientWatch {
    mailbox: Mailbox,
    has_stopped: Cell<bool>,
}

impl ClientWatch {
    /// Watches the session of this mailbox.
    pub(super) fn over(mailbox: Mailbox) -> Self {
        Self {
            mailbox,
            has_stopped: Cell::new(false),
        }
    }

    /// Fails when the session is being closed. A walk through the file asks this
    /// at every step, so that clients that come, ask and go don't pile walks
    /// up. Whatever is made of a walk that this has stopped, nothing is answered:
    /// a client that is still there, since it is the server that stops, asks again elsewhere.
    pub(super) fn check(&self) -> zeo_storage::Result<()> {
        if self.mailbox.is_closed() {
            self.has_stopped.set(true);
            return Err(Error::Cancelled);
        }
        Ok(())
    }
}

fn take<W>(work: &Mutex<Option<W>>) -> Option<W> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Session {
    /// True when no more helpers may be started. Those that `getInvalidations` may need are counted
    /// as well.
    pub(super) fn is_busy(&self) -> bool {
        self.jobs.len() + self.asked.len() >= MAX_JOBS
    }

    /// Runs `work` on a helper thread, or here if the system has no thread left, and `done` with its
    /// result here.
    pub(super) fn spawn<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&mut Session, T) + Send + 'static,
    ) -> Result<(), Exception> {
        let (mailbox, job) = (self.mailbox.clone(), self.next_job);
        let (sender, receiver) = bounded(1);
        let run = move || {
            let Ok(result) = catch_unwind(AssertUnwindSafe(work)) else {
                mailbox.close("a helper thread has failed: this is a bug");
                return;
            };
            // There is room for it; if the session has ended, nobody takes it.
            let _ = sender.send(result);
            // A full mailbox has closed the session already.
            let _ = mailbox.post(Event::JobDone(job));
        };
        if rules::helps_itself() {
            run();
        } else {
            self.start(run);
        }
        self.next_job += 1;
        let finish = move |session: &mut Session| {
            if let Ok(result) = receiver.try_recv() {
                done(session, result);
            }
        };
        self.jobs.insert(job, Box::new(finish));
        Ok(())
    }

    /// Runs it on a thread, or here if there is none.
    fn start(&self, run: impl FnOnce() + Send + 'static) {
        let work = Arc::new(Mutex::new(Some(run)));
        let theirs = Arc::clone(&work);
        let spawned = self.settings.helpers.run(move || {
            if let Some(run) = take(&theirs) {
                run();
            }
        });
        if self.settings.usage.note_thread(spawned.is_ok()) {
            match &spawned {
                Ok(_) => info!(self.log, "helper threads can be started again"),
                Err(why) => warn!(
                    self.log,
                    "can't start a helper thread: {why}; clients do without"
                ),
            }
        }
        if spawned.is_err() {
            // Meanwhile the client's other calls and its invalidations wait.
            if let Some(run) = take(&work) {
                run();
            }
        }
    }

    /// The helper with this job is done, and has sent its result before it said so.
    #[inline(never)]
    pub(super) fn job_done(&mut self, job: u64) {
        if let Some(finish) = self.jobs.remove(&job) {
            finish(self);
        }
    }

    /// Answers the call `id` with what `work` finds: later, where others may have to be asked.
    pub(super) fn answer_of<T: Encode + Send + 'static>(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        work: impl FnOnce(&ServedStorage) -> zeo_storage::Result<T> + Send + 'static,
    ) -> Outcome {
        if storage.is_remote() {
            return self.answer_later(storage, id, move |storage, _| work(storage));
        }
        let found = work(storage).map_err(|why| exception_from(&why))?;
        self.answer(id, &found)
    }

    /// Answers the call `id` with what `work` finds.
    pub(super) fn answer_later<T: Encode + Send + 'static>(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        work: impl FnOnce(&ServedStorage, &ClientWatch) -> zeo_storage::Result<T> + Send + 'static,
    ) -> Outcome {
        if self.is_busy() {
            return Ok(Answer::Hold);
        }
        self.later(storage, id, work, |session, id, found| {
            session.reply(id, &found);
        })
    }

    /// Answers the call `id` with the record that `work` finds, and what stands around it: later,
    /// where others may have to be asked.
    pub(super) fn answer_with_record_of(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        work: impl FnOnce(&ServedStorage) -> zeo_storage::Result<(Around, OpenData)> + Send + 'static,
    ) -> Outcome {
        if !storage.is_remote() {
            let (around, record) = work(storage).map_err(|why| exception_from(&why))?;
            return self.answer_with_record(id, &around, record);
        }
        if self.is_busy() {
            return Ok(Answer::Hold);
        }
        self.later(
            storage,
            id,
            |storage, _| work(storage),
            |session, id, (around, record)| session.reply_with_record(id, &around, record),
        )
    }

    /// Has a helper do `work`, and replies with what it finds.
    fn later<T: Send + 'static>(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        work: impl FnOnce(&ServedStorage, &ClientWatch) -> zeo_storage::Result<T> + Send + 'static,
        reply: impl FnOnce(&mut Session, &Value<'static>, T) + Send + 'static,
    ) -> Outcome {
        let (storage, id) = (Arc::clone(storage), id.clone());
        let client = ClientWatch::over(self.mailbox.clone());
        self.spawn(
            move || {
                let result = work(&storage, &client);
                (!client.has_stopped.get()).then_some(result)
            },
            move |session, result| match result {
                Some(Ok(found)) => reply(session, &id, found),
                Some(Err(error)) => session.reply_error(&id, &exception_from(&error)),
                None => {}
            },
        )?;
        Ok(Answer::Later)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Stage;
    use super::*;
    use crate::messages::mailbox::STOPPING;
    use crate::net::connection::tests::registered;

    /// An error would look like a fault of the request, and None like "nobody knows"; but the client can
    /// ask again.
    #[test]
    fn a_walk_that_was_cut_short_has_no_answer() {
        for closes in [false, true] {
            let (mut session, mut connection, _theirs, mailbox, inbox) = registered();
            connection.turn(&mut session, &inbox).unwrap();
            assert!(session.output.is_empty());
            let Stage::Open(_, storage) = &session.stage else {
                panic!("it has not registered");
            };
            let storage = Arc::clone(storage);
            let walk = move |_: &ServedStorage, client: &ClientWatch| {
                if closes {
                    mailbox.close(STOPPING);
                }
                Ok(client.check().is_ok())
            };
            session
                .answer_later(&storage, &Value::Int(7), walk)
                .unwrap();
            let Event::JobDone(job) = std::iter::repeat_with(|| inbox.next())
                .flatten()
                .next()
                .unwrap()
            else {
                panic!("nothing else has been posted");
            };
            session.job_done(job);
            assert_eq!(session.output.is_empty(), closes);
        }
    }
}
