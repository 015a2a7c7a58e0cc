//! A connection as its callers use it: calls are written by those who make them, and their replies
//! come to the slots where they wait.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zeo_proto::marshal::{Decode, EncodeError, Encoding};
use zeo_proto::message::{Call, encode_keep_alive};
use zeo_proto::{Oid, Tid};

use super::error::{Disconnected, Error};
use super::in_flight::{
    Answer, BlobKey, Finished, InFlight, LoadKey, Loaded, Receiving, Tag, Waiting,
};
use super::input::Input;
use super::known::Stored;
use super::output::Output;
use super::slot::Slot;
use crate::address::Address;
use crate::blob_cache::Download;
use crate::connection::Connection;
use crate::reason::reason;

/// A registered connection.
pub(crate) struct Link {
    pub address: Address,
    pub(super) encoding: Encoding,
    pub read_only: bool,
    pub(super) in_flight: InFlight,
    output: Output,
    /// How many transactions have begun.
    transactions: AtomicU64,
    /// How long a call may wait for its reply.
    limit: Option<Duration>,
}

impl Link {
    /// What calls are made over, and what reads the replies.
    pub(super) fn new(
        mut connection: Connection,
        read_only: bool,
        limit: Option<Duration>,
    ) -> io::Result<(Self, Input)> {
        let socket = connection.as_fd().try_clone_to_owned()?;
        let own = connection.stream().try_clone()?;
        let frames = connection.take_input();
        let (address, encoding) = (connection.address().clone(), connection.encoding());
        let connection = Arc::new(Mutex::new(connection));
        let input = match own {
            Some(stream) => Input::own(stream, frames),
            None => Input::shared(Arc::clone(&connection), frames),
        };
        let link = Self {
            address,
            encoding,
            read_only,
            in_flight: InFlight::default(),
            output: Output::new(connection, socket),
            transactions: AtomicU64::new(0),
            limit,
        };
        Ok((link, input))
    }

    /// An id for a transaction.
    pub(super) fn next_transaction(&self) -> u64 {
        self.transactions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The socket, to be waited for.
    pub(super) fn socket(&self) -> &OwnedFd {
        self.output.socket()
    }

    /// Loads a revision, or waits for another caller's answer to the same question.
    pub(super) fn load(&self, key: LoadKey) -> Loaded {
        let entered = self.in_flight.enter_load(key, true);
        let (slot, id) = entered.map_err(|why| why.about("loadBefore"))?;
        if let Some(id) = id {
            self.send_load(key, id)?;
        }
        self.answered("loadBefore", || slot.wait(self.limit))
    }

    /// Waits for an answer; gives up the connection if there is none in time.
    fn answered<T>(&self, method: &'static str, wait: impl Fn() -> Option<T>) -> T {
        loop {
            if let Some(answer) = wait() {
                return answer;
            }
            let limit = self.limit.unwrap_or_default().as_secs_f64();
            let why = format!("no reply to {method} within {limit} s");
            // So it is answered.
            self.fail(&self.disconnected(method, why));
        }
    }

    /// Asks for revisions, at the latest with the next call or [`flush`](Self::flush), and waits for
    /// nothing.
    pub(super) fn prefetch(&self, oids: &[Oid], before: Tid) -> Result<(), Error> {
        let entered = self.in_flight.enter_loads(oids, before)?;
        let sent = self.output.put_off(|out| {
            let mut entered = entered.iter();
            entered.try_for_each(|&(id, oid)| {
                Call::LoadBefore { oid, before }.encode(out, self.encoding, &id)
            })
        });
        let sent = self.done("loadBefore", sent);
        self.taken_back(entered.iter().map(|(id, _)| *id), sent)
    }

    /// Sends several calls that were entered, at once.
    fn send_all(&self, entered: &[(u64, Call<'_>)]) -> Result<(), Error> {
        let Some((_, first)) = entered.first() else {
            return Ok(());
        };
        let sent = self.send(first.method(), |out| {
            let mut calls = entered.iter();
            calls.try_for_each(|(id, call)| call.encode(out, self.encoding, id))
        });
        self.taken_back(entered.iter().map(|(id, _)| *id), sent)
    }

    /// Sends what was put off.
    pub(super) fn flush(&self) {
        // Its callers are told by the reader.
        let _ = self.output.send(|_| Ok(()));
    }

    fn send_load(&self, (oid, before): LoadKey, id: u64) -> Result<(), Error> {
        self.send_entered(&Call::LoadBefore { oid, before }, id)
    }

    /// Calls a method and waits for its result.
    pub fn call<T: Decode<'static>>(&self, call: &Call<'_>) -> Result<T, Error> {
        self.ask(call)?.wait::<T>(self)
    }

    /// The same, however long it takes.
    pub fn call_without_limit<T: Decode<'static>>(&self, call: &Call<'_>) -> Result<T, Error> {
        let asked = self.ask(call)?;
        let answer = self.answered(asked.method, || asked.slot.wait_alone(None));
        T::decode(answer?).map_err(|why| self.misunderstood(asked.method, why.within("result")))
    }

    /// Calls a method; the result is to be waited for.
    pub(super) fn ask(&self, call: &Call<'_>) -> Result<Asked, Error> {
        let slot = Arc::new(Slot::new());
        slot.join();
        let method = call.method();
        let waiting = Waiting::Call {
            method,
            slot: Arc::clone(&slot),
        };
        let id = self
            .in_flight
            .enter(waiting)
            .map_err(|why| why.about(method))?;
        self.send_entered(call, id)?;
        Ok(Asked { method, slot })
    }

    /// Makes several calls at once; all their answers come over the channel.
    pub(super) fn ask_all(&self, calls: Vec<(Tag, Call<'_>)>, sender: &Sender<(Tag, Answer)>) {
        let mut entered = Vec::with_capacity(calls.len());
        for (tag, call) in calls {
            let waiting = Waiting::Iterator {
                method: call.method(),
                tag,
                sender: sender.clone(),
            };
            match self.in_flight.enter(waiting) {
                Ok(id) => entered.push((id, call)),
                Err(why) => drop(sender.send((tag, Err(why.about(call.method()))))),
            }
        }
        // Who asked is told over the channel.
        let _ = self.send_all(&entered);
    }

    /// Waits for what comes over such a channel.
    pub(super) fn receive<T>(&self, method: &'static str, receiver: &Receiver<T>) -> Option<T> {
        let Some(limit) = self.limit else {
            return receiver.recv().ok();
        };
        let wait = || match receiver.recv_timeout(limit) {
            Ok(answer) => Some(Some(answer)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(None),
        };
        self.answered(method, wait)
    }

    /// Finishes a transaction, which has changed these objects.
    ///
    /// # Errors
    ///
    /// In the first result: nothing was sent.
    pub(super) fn finish(&self, call: &Call<'_>, stored: Stored) -> Result<Finished, Error> {
        let slot = Arc::new(Slot::new());
        slot.join();
        let waiting = Waiting::Finish {
            slot: Arc::clone(&slot),
            stored,
        };
        let id = self
            .in_flight
            .enter(waiting)
            .map_err(|why| why.about(call.method()))?;
        self.send_entered(call, id)?;
        Ok(self.answered(call.method(), || slot.wait_alone(self.limit)))
    }

    /// Has the server send a blob, which goes into a download; returns that, complete.
    pub(super) fn receive_blob(&self, key: BlobKey, download: Download) -> Result<Download, Error> {
        let slot = Arc::new(Slot::new());
        slot.join();
        let receiving = Box::new(Receiving {
            download,
            failed: None,
            complete: false,
        });
        let waiting = Waiting::Blob {
            key,
            receiving,
            slot: Arc::clone(&slot),
        };
        let (oid, serial) = key;
        let call = Call::SendBlob { oid, serial };
        let id = self
            .in_flight
            .enter(waiting)
            .map_err(|why| why.about(call.method()))?;
        self.send_entered(&call, id)?;
        // It may take its time.
        let no_limit = None;
        self.answered(call.method(), || slot.wait_alone(no_limit))
    }

    /// Sends a call that has no reply: at the latest with the next one that has.
    pub(super) fn send_async(&self, call: &Call<'_>) -> Result<(), Error> {
        let encode = |out: &mut Vec<u8>| call.encode_async(out, self.encoding);
        self.done(call.method(), self.output.put_off(encode))
    }

    fn send_entered(&self, call: &Call<'_>, id: u64) -> Result<(), Error> {
        let sent = self.send(call.method(), |out| call.encode(out, self.encoding, &id));
        self.taken_back([id], sent)
    }

    /// Takes calls out again that were not sent.
    fn taken_back(
        &self,
        ids: impl IntoIterator<Item = u64>,
        sent: Result<(), Error>,
    ) -> Result<(), Error> {
        if let Err(why) = &sent {
            for id in ids {
                // Others may wait for the same.
                if let Some(waiting) = self.in_flight.take(id) {
                    waiting.fail(why);
                }
            }
        }
        sent
    }

    /// Sends what `encode` makes.
    fn send(
        &self,
        method: &'static str,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), Error> {
        self.done(method, self.output.send(encode))
    }

    fn done(&self, method: &'static str, sent: Result<bool, EncodeError>) -> Result<(), Error> {
        match sent {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.disconnected(method, "it is closed".to_owned())),
            Err(why) => Err(Error::Encode {
                method,
                why: Arc::new(why),
            }),
        }
    }

    /// Tells the server that this client is there, unless something is being sent anyway. Called by
    /// the reader, who must not wait for the server.
    pub(super) fn heartbeat(&self) {
        self.output
            .send_at_once(|out| encode_keep_alive(out, self.encoding));
    }

    /// Ends the connection: the reader finds its end, and fails what is in flight.
    pub(super) fn shut_down(&self) {
        self.output.shut_down();
    }

    /// Nothing more will come: all calls fail.
    pub(super) fn fail(&self, why: &Error) {
        self.in_flight.fail(why);
        self.shut_down();
    }

    fn disconnected(&self, what: &'static str, why: String) -> Error {
        let address = self.address.clone();
        let why = Disconnected::Lost { address, why };
        Error::Disconnected { what, why }
    }

    /// The error of a connection that was lost like this.
    pub(super) fn lost_by(&self, why: Option<&io::Error>) -> Error {
        let why = match why {
            Some(why) => reason(why),
            None => "the server has closed it".to_owned(),
        };
        self.disconnected("connection", why)
    }

    pub(super) fn misunderstood(&self, method: &'static str, why: impl ToString) -> Error {
        Error::Reply {
            address: self.address.clone(),
            method,
            why: why.to_string(),
        }
    }
}

/// A call whose result has not been waited for yet.
pub(super) struct Asked {
    method: &'static str,
    slot: Arc<Slot<Answer>>,
}

impl Asked {
    /// Waits for the result of a call over `link`.
    pub fn wait<T: Decode<'static>>(self, link: &Link) -> Result<T, Error> {
        let value = link.answered(self.method, || self.slot.wait_alone(link.limit))?;
        T::decode(value).map_err(|why| link.misunderstood(self.method, why.within("result")))
    }
}
