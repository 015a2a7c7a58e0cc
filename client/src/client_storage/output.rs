//! What is sent over a connection, by whoever has something to say.

use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use zeo_proto::marshal::EncodeError;
use zeo_proto::stream::Ready;

use crate::connection::Connection;
use crate::lock::locked;

/// How much may wait to be sent, in bytes, before callers wait themselves.
const UNSENT_MAX: usize = 4 << 20;
/// How much may be put off until more is to be said, in bytes.
const PUT_OFF_MAX: usize = 16 << 10;
/// A larger buffer is freed when all was sent.
const KEPT_BUFFER_MAX: usize = 256 << 10;

/// The sending side of a connection.
pub(super) struct Output {
    /// The reader has a stream of its own, but over TLS this one.
    connection: Arc<Mutex<Connection>>,
    /// The socket, to be waited for without holding the stream.
    socket: OwnedFd,
    state: Mutex<State>,
    /// Something was sent.
    sent: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    /// Somebody is sending: who comes meanwhile leaves what he has to say, and goes.
    sending: bool,
    closed: bool,
    /// How many wait until something was sent. (To wake up nobody is a system call, too.)
    waiting: usize,
}

impl Output {
    pub fn new(connection: Arc<Mutex<Connection>>, socket: OwnedFd) -> Self {
        Self {
            connection,
            socket,
            state: Mutex::default(),
            sent: Condvar::new(),
        }
    }

    /// The socket, to be waited for.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Sends what `encode` makes; if somebody is sending already, he does it. False if the
    /// connection is closed. (A loss meanwhile is noticed by the reader, who fails all calls.)
    ///
    /// # Errors
    ///
    /// That of `encode`, which has left the buffer as it was.
    pub fn send(
        &self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<bool, EncodeError> {
        let mut state = locked(&self.state);
        while state.sending && state.pending.len() > UNSENT_MAX && !state.closed {
            state.waiting += 1;
            state = self.sent.wait(state).unwrap_or_else(|why| why.into_inner());
            state.waiting -= 1;
        }
        if state.closed {
            return Ok(false);
        }
        encode(&mut state.pending)?;
        if !state.sending {
            self.send_pending(state, true);
        }
        Ok(true)
    }

    /// Puts off what `encode` makes until the next [`send`](Self::send), unless it is much. False if
    /// the connection is closed.
    ///
    /// # Errors
    ///
    /// As of [`send`](Self::send).
    pub fn put_off(
        &self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<bool, EncodeError> {
        {
            let mut state = locked(&self.state);
            if state.closed {
                return Ok(false);
            }
            encode(&mut state.pending)?;
            if state.pending.len() <= PUT_OFF_MAX {
                return Ok(true);
            }
        }
        self.send(|_| Ok(()))
    }

    /// Sends what `encode` makes as far as that is possible without waiting; nothing if somebody is
    /// sending anyway.
    pub fn send_at_once(&self, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) {
        let mut state = locked(&self.state);
        if state.sending || state.closed {
            return;
        }
        if !state.pending.is_empty() || encode(&mut state.pending).is_ok() {
            self.send_pending(state, false);
        }
    }

    /// Sends all that is pending; if not `waits`, only what the socket takes at once.
    fn send_pending<'a>(&'a self, mut state: MutexGuard<'a, State>, waits: bool) {
        state.sending = true;
        let mut result = Ok(());
        while !state.pending.is_empty() && !state.closed && result.is_ok() {
            let mut batch = std::mem::take(&mut state.pending);
            drop(state);
            let mut done = 0;
            result = self.write(&batch, &mut done, waits);
            state = locked(&self.state);
            if done < batch.len() {
                // Over TLS, the next write must begin with the same bytes.
                batch.drain(..done);
                batch.append(&mut state.pending);
                state.pending = batch;
            } else if state.pending.is_empty() && batch.capacity() <= KEPT_BUFFER_MAX {
                batch.clear();
                state.pending = batch;
            }
            if state.waiting > 0 {
                self.sent.notify_all();
            }
        }
        state.sending = false;
        drop(state);
        if let Err(why) = result
            && why.kind() != ErrorKind::WouldBlock
        {
            self.shut_down();
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

    /// Ends the connection.
    pub fn shut_down(&self) {
        {
            let mut state = locked(&self.state);
            if !state.closed && !state.sending {
                // Over TLS, the server is told that nothing was cut off.
                locked(&self.connection).stream().close();
            }
            state.closed = true;
            self.sent.notify_all();
        }
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}
