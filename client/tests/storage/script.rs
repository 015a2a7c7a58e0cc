//! A server that does what a test tells it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use zeo_client::Address;
use zeo_proto::framing::write_frame;
use zeo_proto::marshal::{Encode, Encoding, Flag, decode_message};
use zeo_proto::message::{Call, Notification, StorageInfo, encode_error, encode_reply};
use zeo_proto::{Exception, Oid, Tid, Value};

/// One connection of a client, from the server's side.
pub struct Peer {
    stream: TcpStream,
    pub encoding: Encoding,
}

/// A call: its id, none if there is to be no reply; and what it asks for.
pub type Called = (Option<u64>, Call<'static>);

impl Peer {
    /// The next call; none when the client has gone. Heartbeats are none.
    pub fn called(&mut self) -> Option<Called> {
        loop {
            let frame = self.frame()?;
            let message = decode_message(&frame, self.encoding).unwrap();
            if message.id == Value::Int(-1) {
                continue;
            }
            let id = match (message.flag, &message.id) {
                (Flag::Async, _) => None,
                (_, Value::Int(id)) => Some(u64::try_from(*id).unwrap()),
                other => panic!("{other:?}"),
            };
            let args: Vec<Value<'static>> = message.args.into_owned().into_items().unwrap();
            return Some((id, Call::parse(&message.name, args).unwrap()));
        }
    }

    fn frame(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).ok()?;
        Some(frame)
    }

    /// The next call, which must be answered.
    pub fn asked(&mut self) -> (u64, Call<'static>) {
        loop {
            if let (Some(id), call) = self.called().unwrap() {
                return (id, call);
            }
        }
    }

    pub fn reply(&mut self, id: u64, result: &dyn Encode) {
        let mut out = Vec::new();
        encode_reply(&mut out, self.encoding, &id, result).unwrap();
        self.send(&out);
    }

    pub fn raise(&mut self, id: u64, exception: &Exception) {
        let mut out = Vec::new();
        encode_error(&mut out, self.encoding, &id, exception).unwrap();
        self.send(&out);
    }

    pub fn invalidate(&mut self, tid: u64, oids: &[u64]) {
        let oids: Vec<Oid> = oids.iter().copied().map(Oid::new).collect();
        let invalidation = Notification::InvalidateTransaction {
            tid: Tid::new(tid),
            oids: oids.into(),
        };
        let mut out = Vec::new();
        invalidation.encode(&mut out, self.encoding).unwrap();
        self.send(&out);
    }

    /// Any bytes; the client may have gone.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// One frame.
    pub fn send_frame(&mut self, payload: &[u8]) {
        let mut out = Vec::new();
        write_frame(&mut out, payload);
        self.send(&out);
    }

    /// Takes the client: greeting, registration at this last tid, and the first questions. What was
    /// missed is answered with `missed`.
    pub fn take(&mut self, last_tid: u64, missed: &dyn Encode) {
        let greeting = zeo_proto::handshake::greeting(self.encoding);
        self.send_frame(greeting);
        assert_eq!(self.frame().unwrap(), greeting);
        loop {
            match self.asked() {
                (id, Call::Register { .. }) => self.reply(id, &Tid::new(last_tid)),
                (id, Call::GetInvalidations { .. }) => self.reply(id, missed),
                (id, Call::GetInfo) => {
                    self.reply(id, &StorageInfo::default());
                    return;
                }
                (_, other) => panic!("{other:?}"),
            }
        }
    }

    /// Answers nothing more, until the client has gone.
    pub fn fall_silent(&mut self) {
        while self.called().is_some() {}
    }
}

/// A server that does `act` with each connection, one after the other; its number counts from 0.
/// What `act` returns comes over the channel. It ends with the test.
pub fn script<T: Send + 'static>(
    encoding: Encoding,
    act: impl Fn(usize, &mut Peer) -> T + Send + 'static,
) -> (Address, Receiver<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut peer = Peer {
                stream: stream.unwrap(),
                encoding,
            };
            // Not all tests want to know.
            let _ = sender.send(act(number, &mut peer));
        }
    });
    (address.into(), receiver)
}
