//! A connection as its callers use it: calls are written by those who make them, and their replies
//! come to the slots where they wait.

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use zeo_proto::Oid;
use zeo_proto::marshal::{Decode, EncodeError, Encoding};
use zeo_proto::message::{Call, encode_keep_alive};
use zeo_proto::stream::Ready;

use super::error::{Disconnected, Error};
use super::in_flight::{Answer, Finished, InFlight, LoadKey, Loaded, Waiting};
use super::input::Input;
use super::lock::locked;
use super::slot::Slot;
use crate::address::Address;
use crate::connection::Connection;
use crate::reason::reason;

/// How much may wait to be sent, in bytes, before callers wait themselves.
const UNSENT_MAX: usize = 4 << 20;
/// A larger buffer is freed when all was sent.
const KEPT_BUFFER_MAX: usize = 256 << 10;

/// A registered connection.
pub(super) struct Link {
    pub address: Address,
    pub encoding: Encoding,
    pub read_only: bool,
    pub in_flight: InFlight,
    /// For writing. The reader has a stream of its own, but over TLS this one.
    connection: Arc<Mutex<Connection>>,
    /// The socket, to be waited for without holding the stream.
    socket: OwnedFd,
    output: Mutex<Output>,
    /// Something was sent.
    sent: Condvar,
    /// How many transactions have begun.
    transactions: AtomicU64,
}

#[derive(Default)]
struct Output {
    pending: Vec<u8>,
    /// Somebody is sending: who comes meanwhile leaves what he has to say, and goes.
    sending: bool,
    closed: bool,
}

impl Link {
    /// What calls are made over, and what reads the replies.
    pub fn new(mut connection: Connection, read_only: bool) -> io::Result<(Self, Input)> {
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
            connection,
            socket,
            output: Mutex::new(Output::default()),
            sent: Condvar::new(),
            transactions: AtomicU64::new(0),
        };
        Ok((link, input))
    }

    /// An id for a transaction.
    pub fn next_transaction(&self) -> u64 {
        self.transactions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The socket, to be waited for.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Loads a revision, or waits for another caller's answer to the same question.
    pub fn load(&self, key: LoadKey) -> Loaded {
        let (slot, id) = self.in_flight.enter_load(key, true)?;
        if let Some(id) = id {
            self.send_load(key, id)?;
        }
        slot.wait()
    }

    /// Asks for a revision, and waits for nothing.
    pub fn prefetch(&self, key: LoadKey) -> Result<(), Error> {
        match self.in_flight.enter_load(key, false)? {
            (_, Some(id)) => self.send_load(key, id),
            _ => Ok(()),
        }
    }

    fn send_load(&self, (oid, before): LoadKey, id: u64) -> Result<(), Error> {
        self.send_entered(&Call::LoadBefore { oid, before }, id)
    }

    /// Calls a method and waits for its result.
    pub fn call<T: Decode<'static>>(&self, call: &Call<'_>) -> Result<T, Error> {
        self.ask(call)?.wait::<T>(self)
    }

    /// Calls a method; the result is to be waited for.
    pub fn ask(&self, call: &Call<'_>) -> Result<Asked, Error> {
        let slot = Arc::new(Slot::new());
        slot.join();
        let method = call.method();
        let waiting = Waiting::Call {
            method,
            slot: Arc::clone(&slot),
        };
        let id = { self.in_flight.enter(waiting) }.map_err(|why| why.about(method))?;
        self.send_entered(call, id)?;
        Ok(Asked { method, slot })
    }

    /// Finishes a transaction, which has changed these objects.
    ///
    /// # Errors
    ///
    /// In the first result: nothing was sent.
    pub fn finish(&self, call: &Call<'_>, oids: Vec<Oid>) -> Result<Arc<Slot<Finished>>, Error> {
        let slot = Arc::new(Slot::new());
        slot.join();
        let waiting = Waiting::Finish {
            slot: Arc::clone(&slot),
            oids,
        };
        let id = { self.in_flight.enter(waiting) }.map_err(|why| why.about(call.method()))?;
        self.send_entered(call, id)?;
        Ok(slot)
    }

    /// Sends a call that has no reply.
    pub fn send_async(&self, call: &Call<'_>) -> Result<(), Error> {
        self.send(call.method(), |out| call.encode_async(out, self.encoding))
    }

    fn send_entered(&self, call: &Call<'_>, id: u64) -> Result<(), Error> {
        let sent = self.send(call.method(), |out| call.encode(out, self.encoding, &id));
        if let Err(why) = &sent
            && let Some(waiting) = self.in_flight.take(id)
        {
            // Others may wait for the same.
            waiting.fail(why);
        }
        sent
    }

    /// Sends what `encode` makes. If somebody is sending already, he does it.
    fn send(
        &self,
        method: &'static str,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), Error> {
        let mut output = locked(&self.output);
        while output.sending && output.pending.len() > UNSENT_MAX && !output.closed {
            output = { self.sent.wait(output) }.unwrap_or_else(|why| why.into_inner());
        }
        if output.closed {
            return Err(self.lost(method));
        }
        encode(&mut output.pending).map_err(|why| Error::Encode {
            method,
            why: Arc::new(why),
        })?;
        if !output.sending {
            // What fails here is noticed by the reader too, who fails all calls.
            drop(self.send_pending(output, true));
        }
        Ok(())
    }

    /// Sends all that is pending; if not `waits`, only what the socket takes at once.
    fn send_pending<'a>(
        &'a self,
        mut output: MutexGuard<'a, Output>,
        waits: bool,
    ) -> io::Result<()> {
        output.sending = true;
        let mut result = Ok(());
        while !output.pending.is_empty() && !output.closed && result.is_ok() {
            let mut batch = std::mem::take(&mut output.pending);
            drop(output);
            let mut done = 0;
            result = self.write(&batch, &mut done, waits);
            output = locked(&self.output);
            if done < batch.len() {
                batch.drain(..done);
                batch.append(&mut output.pending);
                output.pending = batch;
            } else if output.pending.is_empty() && batch.capacity() <= KEPT_BUFFER_MAX {
                batch.clear();
                output.pending = batch;
            }
            self.sent.notify_all();
        }
        output.sending = false;
        drop(output);
        match result {
            Err(why) if why.kind() == ErrorKind::WouldBlock => Err(why),
            Err(why) => {
                self.shut_down();
                Err(why)
            }
            Ok(()) => Ok(()),
        }
    }

    fn write(&self, batch: &[u8], done: &mut usize, waits: bool) -> io::Result<()> {
        while *done < batch.len() {
            let written = locked(&self.connection).stream().write(&batch[*done..]);
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => *done += count,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) if why.kind() == ErrorKind::WouldBlock && waits => {
                    self.wait_for_room()?;
                }
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    /// Waits until the socket takes something, or is shut down.
    fn wait_for_room(&self) -> io::Result<()> {
        let mut watched = [PollFd::new(&self.socket, PollFlags::OUT)];
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {
                let ready = Ready {
                    write: true,
                    ..Ready::default()
                };
                locked(&self.connection).stream().note(ready);
                Ok(())
            }
            Err(why) => Err(why.into()),
        }
    }

    /// Tells the server that this client is there, unless something is being sent anyway. Called by
    /// the reader, who must not wait for the server.
    pub fn heartbeat(&self) {
        let mut output = locked(&self.output);
        if output.sending || output.closed {
            return;
        }
        if output.pending.is_empty() {
            // Both encodings can hold it.
            let _ = encode_keep_alive(&mut output.pending, self.encoding);
        }
        drop(self.send_pending(output, false));
    }

    /// Ends the connection: the reader finds its end, and fails what is in flight.
    pub fn shut_down(&self) {
        {
            let mut output = locked(&self.output);
            output.closed = true;
            self.sent.notify_all();
        }
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// Nothing more will come: all calls fail.
    pub fn fail(&self, why: &Error) {
        self.in_flight.fail(why);
        self.shut_down();
    }

    fn lost(&self, method: &'static str) -> Error {
        Error::Disconnected {
            what: method,
            why: Disconnected::Lost {
                address: self.address.clone(),
                why: "it is closed".to_owned(),
            },
        }
    }

    /// The error of a connection that was lost like this.
    pub fn lost_by(&self, why: Option<&io::Error>) -> Error {
        let why = match why {
            Some(why) => reason(why),
            None => "the server has closed it".to_owned(),
        };
        Error::Disconnected {
            what: "connection",
            why: Disconnected::Lost {
                address: self.address.clone(),
                why,
            },
        }
    }

    fn misunderstood(&self, method: &'static str, why: impl ToString) -> Error {
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
        let value = self.slot.wait()?;
        T::decode(value).map_err(|why| link.misunderstood(self.method, why.within("result")))
    }
}
