//! Session: from the greeting to `register`, and the end.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use slog::{error, info, o, warn};
use zeo_proto::exception::Exception;
use zeo_proto::framing::write_frame;
use zeo_proto::handshake::{Hello, answer};
use zeo_proto::marshal::Encoding;
use zeo_proto::{Tid, Value};

use super::{Answer, Flow, Outcome, Session, Stage};
use crate::messages::request::Request;
use crate::messages::rules;

impl Session {
    pub(super) fn handshake(&mut self, frame: &[u8]) -> Flow {
        match answer(frame) {
            Some(Hello::Speak(encoding)) => {
                let letter = if encoding == Encoding::Pickle {
                    'Z'
                } else {
                    'M'
                };
                info!(self.log, "received handshake '{letter}5'");
                self.stage = Stage::Known(encoding);
                Flow::Continue
            }
            Some(Hello::Probe) => {
                write_frame(self.output.buffer(), self.storages.status_json().as_bytes());
                Flow::Close
            }
            None => {
                let shown: String = frame.escape_ascii().map(char::from).take(80).collect();
                error!(self.log, "bad handshake '{shown}'");
                Flow::Close
            }
        }
    }

    /// Chooses a storage. A refusal may be followed by another attempt, as
    /// clients with a read-only fallback make it.
    pub(super) fn register(&mut self, id: &Value<'static>, name: &str, read_only: bool) -> Outcome {
        let Stage::Known(encoding) = self.stage else {
            return Err(Exception::value_error("duplicate register() call"));
        };
        let Some(storage) = self.storages.get(name) else {
            let names: Vec<_> = self.storages.iter().map(|(name, _)| name).collect();
            let what = format!("unknown storage: {name}; there are: {}", names.join(", "));
            return Err(Exception::value_error(what));
        };
        if !read_only && (self.read_only || storage.storage.is_read_only()) {
            return Err(Exception::read_only());
        }
        self.take_place()?;
        self.read_only |= read_only;
        self.status.read_only.store(self.read_only, Relaxed);
        let _ = self.status.storage.set(name.to_owned());
        let subscribe = Request::Subscribe {
            client: self.id,
            mailbox: self.mailbox.clone(),
        };
        self.stage = Stage::Registering(encoding, Arc::clone(&storage), id.clone());
        rules::before_subscribing(self, &*storage.storage);
        self.send(&storage, subscribe);
        Ok(Answer::Later)
    }

    /// Who gets none is answered: Python's clients close then, log it, and try again 9 seconds
    /// later. (They would be back at once if they were only disconnected.)
    fn take_place(&mut self) -> Result<(), Exception> {
        if self.place.resize(1) {
            return Ok(());
        }
        let limit = self.place.limit();
        if let Some(count) = self.settings.usage.refuse(Instant::now()) {
            warn!(
                self.log,
                "clients are refused, as there are {limit} already, the most that are allowed \
                 (--max-clients, and the limit of open files): {count} since this was logged last"
            );
        }
        let what = format!("the server has {limit} clients, the most that are allowed");
        Err(Exception::transaction(&what))
    }

    #[inline(never)]
    pub(super) fn registered(&mut self, last: Tid) {
        if let Stage::Registering(encoding, storage, id) = &self.stage {
            let (encoding, storage, id) = (*encoding, Arc::clone(storage), id.clone());
            self.stage = Stage::Open(encoding, storage);
            self.reply(&id, &last);
        }
    }

    pub(super) fn set_label(&mut self, label: &str) {
        let label: String = label
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect();
        let client = format!("{label} {}", self.status.address);
        self.log = self.server_log.new(o!("client" => client));
        self.status.set_label(&label);
    }

    /// The connection has ended, for this reason: aborts what is open.
    pub fn end(&mut self, reason: &str) {
        self.mailbox.close("the session has ended");
        if let Stage::Open(_, storage) | Stage::Registering(_, storage, _) = &self.stage {
            let storage = Arc::clone(storage);
            match self.transaction.take() {
                Some(transaction) => {
                    storage.stats.active_txns.fetch_sub(1, Relaxed);
                    self.transaction_ended(&storage, "disconnected");
                    if !transaction.is_finishing() {
                        storage.stats.aborts.fetch_add(1, Relaxed);
                    }
                    info!(
                        self.log,
                        "disconnected during {} transaction: {reason}",
                        transaction.describe()
                    );
                }
                None if self.is_registered() && !self.has_called => {
                    // Python's clients leave so when they have seen later transactions.
                    let last = storage.storage.last_tid();
                    info!(
                        self.log,
                        "disconnected: {reason}; it has called nothing. If it comes again every ten \
                         seconds, its cache is newer than the last transaction ({last}), as after a \
                         backup was restored: delete its cache file and start it again, or commit \
                         something"
                    );
                }
                None => info!(self.log, "disconnected: {reason}"),
            }
            self.send(&storage, Request::Unsubscribe { client: self.id });
        }
    }
}
