//! A connection to a ZEO server: blocking, driven by one thread, in the
//! encoding that the server's greeting names.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use openssl::ssl::SslContext;
use socket2::{Domain, SockAddr, Socket, Type};
use zeo_proto::framing::{FrameBuffer, write_frame};
use zeo_proto::marshal::{Decode, Encoding};
use zeo_proto::message::{Call, Incoming, Notification, Reply, ReplyError};
use zeo_proto::{Tid, Value, handshake};

use crate::error::{Error, Result};
use crate::wire::{TlsArgs, Wire};

/// Frames longer than this are refused: nothing here is larger.
const FRAME_LIMIT: usize = 256 << 20;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a server listens: `host:port`, or the path of a Unix socket (with
/// a slash in it).
#[derive(Clone, Debug)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// TCP with TLS.
    Tls(SocketAddr, SslContext),
    /// A Unix domain socket.
    Unix(PathBuf),
}

impl Address {
    /// The same with TLS.
    pub fn secured(self, tls: &TlsArgs) -> Result<Self> {
        match self {
            Address::Tcp(to) => Ok(Address::Tls(to, tls.context()?)),
            other => Err(Error::Usage(format!("no TLS over {other:?}"))),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text.contains('/') {
            return Ok(Address::Unix(text.into()));
        }
        let mut found = text.to_socket_addrs().map_err(|why| why.to_string())?;
        found.next().map(Address::Tcp).ok_or("no such host".into())
    }
}

/// A connection whose greeting is done.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    input: FrameBuffer,
    encoding: Encoding,
    last_id: u64,
}

impl Connection {
    /// Connects and exchanges greetings.
    pub fn connect(address: &Address) -> Result<Self> {
        let (domain, to) = match address {
            Address::Tcp(to) | Address::Tls(to, _) => {
                (Domain::for_address(*to), Ok(SockAddr::from(*to)))
            }
            Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path)),
        };
        let failed = || Error::io(format!("can't connect to {address:?}"));
        let socket = Socket::new(domain, Type::STREAM, None).map_err(failed())?;
        socket.connect(&to.map_err(failed())?).map_err(failed())?;
        if domain != Domain::UNIX {
            socket.set_tcp_nodelay(true).map_err(failed())?;
        }
        socket.set_read_timeout(Some(PATIENCE)).map_err(failed())?;
        let mut connection = Self {
            wire: match address {
                Address::Tls(_, context) => Wire::secured(socket, context)?,
                _ => Wire::Plain(socket),
            },
            input: FrameBuffer::new(FRAME_LIMIT),
            encoding: Encoding::Msgpack,
            last_id: 0,
        };
        connection.greet()?;
        Ok(connection)
    }

    /// Connects and registers with a storage; returns its last tid, too.
    pub fn open(address: &Address, storage: &str) -> Result<(Self, Tid)> {
        let mut connection = Self::connect(address)?;
        let register = Call::Register {
            storage: storage.into(),
            read_only: false,
        };
        let last = connection.call(&register, &mut |_| Ok(()))?;
        Ok((connection, last))
    }

    /// Waits for answers however long they take.
    pub fn be_patient(&mut self) -> Result<()> {
        let set = self.wire.socket().set_read_timeout(None);
        set.map_err(Error::io("can't wait"))
    }

    fn greet(&mut self) -> Result<()> {
        let encoding = self.take(|frame| {
            let strange = || Error::Protocol(format!("its greeting is {frame:?}"));
            handshake::announced(frame).ok_or_else(strange)
        })??;
        self.encoding = encoding;
        let mut answer = Vec::new();
        write_frame(&mut answer, handshake::greeting(encoding));
        self.send(&answer)
    }

    /// The encoding of every message on this connection.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Sends frames.
    pub fn send(&mut self, frames: &[u8]) -> Result<()> {
        let sent = self.wire.write_all(frames);
        sent.map_err(Error::io("can't send"))
    }

    /// Hands the next frame to `use_frame`, waiting for it.
    pub fn take<R>(&mut self, use_frame: impl FnOnce(&[u8]) -> R) -> Result<R> {
        while !self.is_ready()? {
            self.receive()?;
        }
        let frame = self.input.frame().map_err(protocol)?.unwrap_or_default();
        let (length, result) = (frame.len(), use_frame(frame));
        self.input.consume(length);
        Ok(result)
    }

    /// Whether the next frame is here whole.
    pub fn is_ready(&self) -> Result<bool> {
        Ok(self.input.frame().map_err(protocol)?.is_some())
    }

    /// Takes in what has come, or waits for something to come.
    pub fn receive(&mut self) -> Result<()> {
        self.receive_some()?;
        while self.wire.holds_more() {
            self.receive_some()?;
        }
        Ok(())
    }

    fn receive_some(&mut self) -> Result<()> {
        let wire = &mut self.wire;
        loop {
            return match self.input.fill(|space| wire.read(space)) {
                Ok(0) => Err(Error::Protocol("it closed the connection".into())),
                Ok(_) => Ok(()),
                Err(why) if why.kind() == ErrorKind::Interrupted => continue,
                Err(why) if why.kind() == ErrorKind::WouldBlock => {
                    Err(Error::Protocol(format!("no answer within {PATIENCE:?}")))
                }
                Err(why) => Err(Error::io("can't receive")(why)),
            };
        }
    }

    /// Appends a call to `out`; returns the id that its reply will have.
    pub fn encode_call(&mut self, out: &mut Vec<u8>, call: &Call<'_>) -> Result<u64> {
        self.last_id += 1;
        call.encode(out, self.encoding, &self.last_id)
            .map_err(protocol)?;
        Ok(self.last_id)
    }

    /// Appends a call that gets no answer to `out`.
    pub fn encode_async(&self, out: &mut Vec<u8>, call: &Call<'_>) -> Result<()> {
        call.encode_async(out, self.encoding).map_err(protocol)
    }

    /// Calls a method and waits for its result. Notifications that come
    /// first go to `notice`.
    pub fn call<T>(&mut self, call: &Call<'_>, notice: Notice<'_>) -> Result<T>
    where
        T: for<'a> Decode<'a>,
    {
        let mut out = Vec::new();
        let id = self.encode_call(&mut out, call)?;
        self.send(&out)?;
        self.reply(call.method(), id, notice)
    }

    /// Waits for the reply to the call with this id; only notifications may
    /// come before it.
    pub fn reply<T>(&mut self, method: &str, id: u64, notice: Notice<'_>) -> Result<T>
    where
        T: for<'a> Decode<'a>,
    {
        let encoding = self.encoding;
        loop {
            let found = self.take(|frame| match decode(frame, encoding)? {
                Incoming::Reply(reply) if reply.id == Value::Int(id.into()) => {
                    result(method, reply).map(Some)
                }
                Incoming::Reply(reply) => {
                    let what = format!("a reply to {:?} where {method} waits", reply.id);
                    Err(Error::Protocol(what))
                }
                Incoming::Notification(notification) => notice(notification).map(|()| None),
                _ => Ok(None),
            })??;
            if let Some(result) = found {
                return Ok(result);
            }
        }
    }
}

/// What is called with notifications.
pub type Notice<'a> = &'a mut dyn FnMut(Notification<'_>) -> Result<()>;

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.socket().as_fd()
    }
}

/// Decodes what a server sent.
pub fn decode(frame: &[u8], encoding: Encoding) -> Result<Incoming<'_>> {
    Incoming::decode(frame, encoding).map_err(protocol)
}

/// The result in the reply to the call of this method, or the exception as an
/// error.
pub fn result<'a, T: Decode<'a>>(method: &str, reply: Reply<'a>) -> Result<T> {
    reply.result(method).map_err(|why| match why {
        ReplyError::Raised(exception) => Error::Refused {
            call: method.to_owned(),
            exception: Box::new(exception),
        },
        other => protocol(other),
    })
}

/// What the codecs find wrong, as an error of the server.
fn protocol(why: impl std::fmt::Display) -> Error {
    Error::Protocol(why.to_string())
}
