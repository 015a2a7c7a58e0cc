//! One connection to a server.

mod wire;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use zeo_proto::framing::FrameBuffer;
use zeo_proto::marshal::{Decode, Encoding};
use zeo_proto::message::{Call, Incoming, Notification, Reply, ReplyError};
use zeo_proto::stream::Stream;
use zeo_proto::{Tid, Value, handshake};

use crate::address::Address;
use crate::cancel::Cancels;
use crate::connection_error::{ConnectionError, MessageError, Raised};
use crate::tls::Tls;
pub(crate) use wire::Wire;

/// How a connection is made, and how long it waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How long connecting may take, TLS and the greetings included. Default: 10 seconds.
    pub connect_limit: Duration,
    /// How long a call may wait for its reply. Default: none, for ever.
    pub call_limit: Option<Duration>,
    /// The longest message to take from the server, in bytes. Default: what the protocol can hold,
    /// 4 GiB. Memory is taken as a message comes in, not by the length that it announces.
    pub message_limit: usize,
    /// TLS. Default: none.
    pub tls: Option<Tls>,
    /// What ends all waits.
    pub(crate) cancels: Cancels,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_limit: Duration::from_secs(10),
            call_limit: None,
            message_limit: u32::MAX as usize,
            tls: None,
            cancels: Cancels::default(),
        }
    }
}

impl Options {
    /// The default options, with a time limit for connecting and for each call.
    pub fn within(limit: Duration) -> Self {
        Self {
            connect_limit: limit,
            call_limit: Some(limit),
            ..Self::default()
        }
    }
}

/// What is called with the notifications that come while a reply is waited for.
pub type Notice<'a> = &'a mut dyn FnMut(Notification<'_>);

/// A connection whose greeting is done, in the encoding that the server has chosen.
///
/// After an error other than [`ConnectionError::Raised`], [`ConnectionError::Reply`] and [`ConnectionError::Encode`] nothing
/// more can be done with it but drop it, which closes it.
///
/// ```
/// use zeo_client::{Address, Connection, Options, Raised};
/// use zeo_proto::message::{Call, Revision};
/// use zeo_proto::{Oid, Tid};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = zeo_server::serve(zeo_server::AdHoc::in_memory())?;
/// # let text = server.address();
/// // Such as "localhost:8100" or "/run/zeo.sock".
/// let address: Address = text.parse()?;
/// let mut connection = Connection::open(&address, &Options::default())?;
/// let read_only = true;
/// let last_tid = connection.register("1", read_only)?;
/// assert_eq!(last_tid, Some(Tid::ZERO), "there are no transactions yet");
///
/// // The root object as it is now. What else the server tells meanwhile goes to the closure.
/// let call = Call::LoadBefore { oid: Oid::ZERO, before: Tid::MAX };
/// let root = connection.call_with(&call, &mut |_| {}, |reply| {
///     let revision: Option<Revision<'_>> = reply.result("loadBefore")?;
///     Ok(revision.map(|revision| revision.data.into_owned()))
/// });
/// assert_eq!(root.unwrap_err().raised(), Some(Raised::NoObject), "not even a root");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    encoding: Encoding,
    last_id: u64,
    call_limit: Option<Duration>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.wire.close();
    }
}

impl Connection {
    /// Connects, and exchanges greetings.
    ///
    /// # Errors
    ///
    /// Nothing takes the connection, or what does is no server of ZEO 5 or later; or the time is
    /// up.
    pub fn open(address: &Address, options: &Options) -> Result<Self, ConnectionError> {
        let mut wire = Wire::open(address, options)?;
        let greeting = wire.greeting()?;
        let Some(encoding) = handshake::announced(&greeting) else {
            return Err(wire.strange_greeting(&greeting));
        };
        wire.queue_frame(handshake::greeting(encoding));
        wire.flush("greeting")?;
        wire.begin_messages(encoding, options);
        Ok(Self {
            wire,
            encoding,
            last_id: 0,
            call_limit: options.call_limit,
        })
    }

    /// Chooses a storage, which comes before any other call. Returns the storage's last tid; none
    /// where it has none.
    ///
    /// # Errors
    ///
    /// As of [`Self::call`]. The server raises `ReadOnlyError` if it takes no changes and
    /// `read_only` is false; and `ValueError` if there is no such storage.
    pub fn register(
        &mut self,
        storage: &str,
        read_only: bool,
    ) -> Result<Option<Tid>, ConnectionError> {
        let call = Call::Register {
            storage: storage.into(),
            read_only,
        };
        let ask = |call: &Call<'_>, it: &mut Self| it.call(call, &mut |_| {});
        match ask(&call, self)? {
            Some(tid) => Ok(Some(tid)),
            None => ask(&Call::LastTransaction, self),
        }
    }

    /// Calls a method and waits for its result. Which type that is, `zeo_proto::message` tells for
    /// each method.
    ///
    /// # Errors
    ///
    /// The server raises an exception; the reply is of another type; the time is up; the
    /// connection is lost; or the server does not keep to the protocol.
    pub fn call<T>(&mut self, call: &Call<'_>, notice: Notice<'_>) -> Result<T, ConnectionError>
    where
        T: for<'a> Decode<'a>,
    {
        self.call_with(call, notice, |reply| reply.result(call.method()))
    }

    /// The same, for results that borrow from the message.
    ///
    /// # Errors
    ///
    /// As of [`Self::call`].
    pub fn call_with<R>(
        &mut self,
        call: &Call<'_>,
        notice: Notice<'_>,
        use_reply: impl FnOnce(Reply<'_>) -> Result<R, ReplyError>,
    ) -> Result<R, ConnectionError> {
        let id = self.send(call)?;
        self.reply(call.method(), id, notice, use_reply)
    }

    /// Sends a call, and does not wait for its reply, which will have the id that is returned.
    ///
    /// # Errors
    ///
    /// The encoding can't hold the call, or the connection is lost.
    pub fn send(&mut self, call: &Call<'_>) -> Result<u64, ConnectionError> {
        self.last_id += 1;
        let method = call.method();
        self.wire.set_limit(self.call_limit);
        let encoded = call.encode(self.wire.output(), self.encoding, &self.last_id);
        encoded.map_err(|why| ConnectionError::Encode { method, why })?;
        self.wire.flush(method)?;
        Ok(self.last_id)
    }

    /// Sends a call that has no reply: if it fails, the server closes the connection.
    ///
    /// # Errors
    ///
    /// As of [`Self::send`].
    pub fn send_async(&mut self, call: &Call<'_>) -> Result<(), ConnectionError> {
        let method = call.method();
        self.wire.set_limit(self.call_limit);
        let encoded = call.encode_async(self.wire.output(), self.encoding);
        encoded.map_err(|why| ConnectionError::Encode { method, why })?;
        self.wire.flush(method)
    }

    /// Waits for the reply to a call that was sent. It must be the first reply to come.
    ///
    /// # Errors
    ///
    /// As of [`Self::call`].
    pub fn reply<R>(
        &mut self,
        method: &'static str,
        id: u64,
        notice: Notice<'_>,
        use_reply: impl FnOnce(Reply<'_>) -> Result<R, ReplyError>,
    ) -> Result<R, ConnectionError> {
        let id = Value::Int(id.into());
        let mut use_reply = Some(use_reply);
        self.wire.set_limit(self.call_limit);
        loop {
            let found = self.take(method, |incoming| match incoming {
                Incoming::Reply(reply) if reply.id == id => {
                    Ok(use_reply.take().map(|use_reply| use_reply(reply)))
                }
                Incoming::Reply(reply) => Err(MessageError::UnknownId(shown_id(&reply.id))),
                Incoming::Notification(notification) => {
                    notice(notification);
                    Ok(None)
                }
                _ => Ok(None),
            })?;
            if let Some(result) = found {
                return result.map_err(|why| self.failed(method, why));
            }
        }
    }

    /// Waits for the next message, whatever it is, and hands it to `use_message`.
    ///
    /// # Errors
    ///
    /// The time for a call is up; the connection is lost; the message can't be understood.
    pub fn receive<R>(
        &mut self,
        use_message: impl FnOnce(Incoming<'_>) -> R,
    ) -> Result<R, ConnectionError> {
        self.wire.set_limit(self.call_limit);
        self.take("message", |incoming| Ok(use_message(incoming)))
    }

    /// How long a call may wait for its reply, from now on; for ever if none.
    pub fn set_call_limit(&mut self, limit: Option<Duration>) {
        self.call_limit = limit;
    }

    /// Ends the connection, as dropping it does: over TLS, the server is told that nothing was cut
    /// off.
    pub fn close(self) {}

    /// The server.
    pub fn address(&self) -> &Address {
        self.wire.address()
    }

    /// The encoding of every message.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The stream, for who wants to read and write frames himself from now on.
    pub(crate) fn stream(&mut self) -> &mut Stream {
        self.wire.stream()
    }

    /// What ends all waits from now on.
    pub(crate) fn set_cancels(&mut self, cancels: Cancels) {
        self.wire.set_cancels(cancels);
    }

    /// What has come and was not used yet, taken out.
    pub(crate) fn take_input(&mut self) -> FrameBuffer {
        self.wire.take_input()
    }

    fn take<R>(
        &mut self,
        what: &str,
        use_message: impl FnOnce(Incoming<'_>) -> Result<R, MessageError>,
    ) -> Result<R, ConnectionError> {
        let encoding = self.encoding;
        let used = self.wire.take(what, |frame| {
            let incoming = Incoming::decode(frame, encoding)?;
            use_message(incoming)
        })?;
        used.map_err(|why| self.wire.misunderstood(what, why))
    }

    fn failed(&self, method: &'static str, why: ReplyError) -> ConnectionError {
        let address = self.wire.address().clone();
        match why {
            ReplyError::Raised(exception) => ConnectionError::Raised {
                address,
                method,
                kind: Raised::of(&exception),
                exception: Box::new(exception),
            },
            why => ConnectionError::Reply {
                address,
                method,
                why,
            },
        }
    }
}

/// For waiting until something comes.
impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}

/// An id of a server's making: ours are numbers.
fn shown_id(id: &Value<'_>) -> String {
    match id {
        Value::Int(number) => number.to_string(),
        _ => "that is no number".to_owned(),
    }
}
