//! A client of the model: it talks to a real session through a real
//! connection, does random work, and checks all that it gets.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use zeo_proto::framing::FrameBuffer;
use zeo_proto::marshal::{Encoding, Flag, Message, decode_message, encode_message};
use zeo_proto::{Oid, Tid, Value};

use super::checks::Checks;
use super::history::{History, Work};
use super::plan::{Plan, Random};
use crate::messages::mailbox::Inbox;
use crate::net::connection::{Connection, Turn};
use crate::session::Session;

/// The objects that all clients fight over.
const OBJECTS: u64 = 5;

pub(super) struct Client {
    socket: UnixStream,
    received: FrameBuffer,
    server_side: Option<(Connection, Session, Inbox)>,
    encoding: Encoding,
    pub(super) checks: Checks,
    /// What the client believes to be current.
    known: BTreeMap<Oid, Tid>,
    doing: Doing,
    /// The call whose reply it waits for, if any.
    waiting: bool,
    /// Never reads: what comes stays in the socket and in the mailbox.
    asleep: bool,
    greeted: bool,
    number: i128,
}

enum Doing {
    Nothing,
    Registering,
    Loading(Oid),
    Voting(Work),
    Voted(Work),
    Finishing(Work),
}

impl Client {
    pub(super) fn new(
        socket: UnixStream,
        server_side: (Connection, Session, Inbox),
        encoding: Encoding,
        asleep: bool,
    ) -> Self {
        Self {
            socket,
            received: FrameBuffer::new(usize::MAX),
            server_side: Some(server_side),
            encoding,
            checks: Checks::default(),
            known: BTreeMap::new(),
            doing: Doing::Nothing,
            waiting: false,
            asleep,
            greeted: false,
            number: 0,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.server_side.is_some()
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// True when nothing of the client's is under way.
    pub(super) fn is_idle(&self) -> bool {
        !self.waiting && !matches!(self.doing, Doing::Voted(_))
    }

    /// The server's side takes one turn, as its thread would.
    pub(super) fn turn(&mut self, history: &mut History) {
        let Some((connection, session, inbox)) = &mut self.server_side else {
            return;
        };
        let gone = matches!(connection.receive(), Ok(Some(0)) | Err(_));
        let turn = connection.turn(session, inbox);
        if gone || !matches!(turn, Ok(Turn::Wait(_))) {
            session.end("the model");
            self.server_side = None;
            self.unknown_outcome(history);
        }
    }

    /// The client's own side vanishes.
    pub(super) fn disconnect(&mut self, history: &mut History) {
        if let Some((_, mut session, _)) = self.server_side.take() {
            session.end("the model's client has gone");
        }
        self.unknown_outcome(history);
    }

    /// A transaction may be finished though nobody was told.
    fn unknown_outcome(&mut self, history: &mut History) {
        if let Doing::Finishing(_) = std::mem::replace(&mut self.doing, Doing::Nothing) {
            history.unknown += 1;
        }
        self.waiting = false;
    }

    /// Takes in what the server has sent, and checks it.
    pub(super) fn read(&mut self, history: &mut History) -> Result<(), String> {
        if !self.is_connected() || self.asleep && self.checks.since().is_some() {
            return Ok(());
        }
        let socket = &mut self.socket;
        while matches!(self.received.fill(|space| socket.read(space)), Ok(count) if count > 0) {}
        loop {
            let frame = self.received.frame().map_err(|why| why.to_string())?;
            let Some(frame) = frame.map(<[u8]>::to_vec) else {
                return Ok(());
            };
            self.received.consume(frame.len());
            if !self.greeted {
                self.greeted = true;
                continue;
            }
            let message = decode_message(&frame, self.encoding).map_err(|why| why.to_string())?;
            self.take(message, history)?;
        }
    }

    fn take(&mut self, message: Message<'_>, history: &mut History) -> Result<(), String> {
        match (message.flag, &*message.name) {
            (Flag::Async, "invalidateTransaction") => {
                let [tid, oids] = message.args.as_items().unwrap() else {
                    panic!()
                };
                let oids = oids
                    .as_items()
                    .unwrap()
                    .iter()
                    .map(|oid| oid.as_oid().unwrap());
                let oids: Vec<_> = oids.collect();
                let tid = tid.as_tid().unwrap();
                self.known.retain(|oid, _| !oids.contains(oid));
                self.checks.transaction(tid, &oids)
            }
            (Flag::Async, _) => Ok(()),
            (flag, _) => {
                self.waiting = false;
                self.answered(flag == Flag::Error, message.args, history)
            }
        }
    }

    fn answered(
        &mut self,
        failed: bool,
        result: Value<'_>,
        history: &mut History,
    ) -> Result<(), String> {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Registering => self.checks.registered(result.as_tid().unwrap()),
            Doing::Loading(oid) if !failed => {
                let [_, serial, next] = result.as_items().unwrap() else {
                    panic!()
                };
                let serial = serial.as_tid().unwrap();
                if *next == Value::None {
                    self.checks.current(oid, serial)?;
                    self.known.insert(oid, serial);
                }
            }
            Doing::Voting(work) if !failed => {
                let answer = result.as_items().unwrap();
                if answer.iter().any(|item| matches!(item, Value::Dict(_))) {
                    self.resolve(work, answer);
                } else {
                    self.doing = Doing::Voted(work);
                }
            }
            Doing::Voting(work) => {
                // What it believed was wrong, or the storage is latched.
                self.known.retain(|oid, _| !work.oids().contains(oid));
            }
            Doing::Finishing(work) if !failed => {
                let tid = result.as_tid().ok_or("a finish without a tid")?;
                self.checks.transaction(tid, &work.oids())?;
                self.known
                    .extend(work.oids().into_iter().map(|oid| (oid, tid)));
                if history.finished.insert(tid, work).is_some() {
                    return Err(format!("{tid} was given out twice"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Stores again over what is committed, and votes again.
    fn resolve(&mut self, mut work: Work, conflicts: &[Value<'_>]) {
        for conflict in conflicts {
            let Value::Dict(fields) = conflict else {
                continue;
            };
            let field = |name| {
                &fields
                    .iter()
                    .find(|(key, _)| key.as_str() == Some(name))
                    .unwrap()
                    .1
            };
            let oid = field("oid").as_oid().unwrap();
            let committed = field("serials").as_items().unwrap()[0].as_tid().unwrap();
            work.stores.retain(|&(other, _)| other != oid);
            work.stores.push((oid, committed));
            self.call(
                "storea",
                Flag::Async,
                store_args(oid, committed, self.number),
            );
        }
        self.call("vote", Flag::Call, vec![Value::Int(self.number)]);
        self.doing = Doing::Voting(work);
    }

    /// Begins something new, or goes on with a transaction.
    pub(super) fn act(&mut self, random: &mut Random, plan: &Plan, history: &mut History) {
        if self.waiting || !self.is_connected() || !self.greeted {
            return;
        }
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Voted(work) => self.after_vote(work, random, plan, history),
            _ if self.checks.since().is_none() => self.register(),
            _ if self.asleep => {}
            _ if random.one_in(60) => self.disconnect(history),
            _ if random.one_in(2) => {
                let oid = Oid::new(random.below(OBJECTS));
                let args = vec![oid.into(), Tid::new(u64::MAX >> 1).into()];
                self.call("loadBefore", Flag::Call, args);
                self.doing = Doing::Loading(oid);
            }
            _ => self.begin(random),
        }
    }

    fn register(&mut self) {
        let hello = zeo_proto::handshake::greeting(self.encoding);
        let mut frame = Vec::new();
        zeo_proto::framing::write_frame(&mut frame, hello);
        self.send(&frame);
        self.call(
            "register",
            Flag::Call,
            vec![Value::str("1"), Value::Bool(false)],
        );
        self.doing = Doing::Registering;
    }

    fn begin(&mut self, random: &mut Random) {
        self.number += 1;
        let empty = || Value::bytes(b"");
        let begin = vec![
            Value::Int(self.number),
            empty(),
            empty(),
            Value::Dict(vec![]),
        ];
        self.call("tpc_begin", Flag::Async, begin);
        let mut work = Work::default();
        for number in 0..OBJECTS {
            let oid = Oid::new(number);
            let read = self.known.get(&oid).copied().unwrap_or(Tid::ZERO);
            if random.one_in(3) {
                work.stores.push((oid, read));
                self.call("storea", Flag::Async, store_args(oid, read, self.number));
            } else if random.one_in(5) && read != Tid::ZERO {
                work.checks.push((oid, read));
                let args = vec![oid.into(), read.into(), Value::Int(self.number)];
                self.call("checkCurrentSerialInTransaction", Flag::Async, args);
            }
        }
        self.call("vote", Flag::Call, vec![Value::Int(self.number)]);
        self.doing = Doing::Voting(work);
    }

    fn after_vote(&mut self, work: Work, random: &mut Random, plan: &Plan, history: &mut History) {
        if plan.stalls && random.one_in(4) {
            self.doing = Doing::Voted(work);
        } else if random.one_in(10) {
            self.disconnect(history);
        } else if random.one_in(8) {
            self.call("tpc_abort", Flag::Call, vec![Value::Int(self.number)]);
        } else {
            self.call("tpc_finish", Flag::Call, vec![Value::Int(self.number)]);
            self.doing = Doing::Finishing(work);
        }
    }

    fn call(&mut self, name: &str, flag: Flag, args: Vec<Value<'static>>) {
        let mut frame = Vec::new();
        let id = Value::Int(i128::from(flag == Flag::Call));
        let args = Value::Tuple(args);
        encode_message(&mut frame, self.encoding, &id, flag, name, &args).unwrap();
        self.waiting |= flag == Flag::Call;
        self.send(&frame);
    }

    fn send(&mut self, frame: &[u8]) {
        match self.socket.write_all(frame) {
            Ok(()) => {}
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => {}
            Err(why) => panic!("the model's client can't send: {why}"),
        }
    }
}

fn store_args(oid: Oid, serial: Tid, number: i128) -> Vec<Value<'static>> {
    vec![
        oid.into(),
        serial.into(),
        Value::bytes(b"record"),
        Value::Int(number),
    ]
}
