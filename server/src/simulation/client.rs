//! A client in the simulation: it talks to a real session through a real
//! connection, does random work, and checks all that it gets.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use zeo_proto::framing::FrameBuffer;
use zeo_proto::marshal::{Decode, Encoding};
use zeo_proto::message::{
    Call, ClientConflict, Incoming, Notification, Reply, ReplyError, Revision, TpcBegin, Voted,
};
use zeo_proto::{Oid, Tid, Value};

use super::checks::Checks;
use super::history::{History, Work};
use super::plan::{Plan, Random};
use super::shared::Database;
use crate::messages::mailbox::Inbox;
use crate::net::connection::{Connection, Turn};
use crate::session::Session;

/// The objects that all clients fight over.
pub(super) const OBJECTS: u64 = 5;

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
    /// What others change, too.
    database: Option<Arc<Database>>,
}

enum Doing {
    Nothing,
    /// With the last transaction of all when it was asked.
    Registering(Option<Tid>),
    Loading(Oid, Tid),
    /// With the last transaction of all when it was asked.
    Pinging(Tid),
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
        database: Option<Arc<Database>>,
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
            database,
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

    /// Somebody is in the middle of a write for the session, which would wait for him.
    pub(super) fn is_written_for(&self) -> bool {
        let inbox = self.server_side.as_ref().map(|(_, _, inbox)| inbox);
        inbox.is_some_and(Inbox::is_written_for)
    }

    /// The server's side takes one turn, as its thread would. What it has sent before it ends is
    /// still read.
    pub(super) fn turn(&mut self, history: &mut History) -> Result<(), String> {
        let Some((connection, session, inbox)) = &mut self.server_side else {
            return Ok(());
        };
        inbox.wake_up();
        let gone = matches!(connection.receive(), Ok(Some(0)) | Err(_));
        let turn = connection.turn(session, inbox);
        if let Ok(Turn::Wait(interest)) = turn
            && !gone
        {
            interest.fall_asleep(inbox);
        } else {
            session.end("the simulation");
            let read = self.read(history);
            self.server_side = None;
            self.unknown_outcome(history);
            return read;
        }
        Ok(())
    }

    /// The client's own side vanishes.
    pub(super) fn disconnect(&mut self, history: &mut History) {
        if let Some((_, mut session, _)) = self.server_side.take() {
            session.end("the simulated client has gone");
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
            let incoming = Incoming::decode(&frame, self.encoding);
            self.take(incoming.map_err(|why| why.to_string())?, history)?;
        }
    }

    fn take(&mut self, incoming: Incoming<'_>, history: &mut History) -> Result<(), String> {
        match incoming {
            Incoming::Notification(Notification::InvalidateTransaction { tid, oids }) => {
                self.known.retain(|oid, _| !oids.contains(oid));
                self.checks.transaction(tid, &oids)
            }
            Incoming::Reply(reply) => {
                self.waiting = false;
                self.answered(reply, history)
            }
            _ => Ok(()),
        }
    }

    fn answered(&mut self, reply: Reply<'_>, history: &mut History) -> Result<(), String> {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Registering(committed) => {
                let last: Option<Tid> = result("register", reply)?;
                self.checks
                    .registered(last.ok_or("register failed")?, committed)
            }
            Doing::Pinging(committed) => match result::<()>("ping", reply)? {
                Some(()) => self.checks.pong(committed),
                None => Ok(()),
            },
            Doing::Loading(oid, before) => {
                match result::<Option<Revision<'_>>>("loadBefore", reply)? {
                    Some(Some(current)) if current.next.is_none() => {
                        self.checks.current(oid, current.serial)?;
                        self.known.insert(oid, current.serial);
                        Ok(())
                    }
                    Some(None) => self.checks.gone(oid, before),
                    _ => Ok(()),
                }
            }
            Doing::Voting(work) => {
                match result::<Vec<Voted<'_>>>("vote", reply)? {
                    Some(answer) => self.voted(work, answer)?,
                    // What it believed was wrong, or the storage is latched.
                    None => self.known.retain(|oid, _| !work.oids().contains(oid)),
                }
                Ok(())
            }
            Doing::Finishing(work) => {
                let Some(tid) = result("tpc_finish", reply)? else {
                    return Ok(());
                };
                self.checks.transaction(tid, &work.oids())?;
                self.known
                    .extend(work.oids().into_iter().map(|oid| (oid, tid)));
                match history.finished.insert(tid, work) {
                    Some(_) => Err(format!("{tid} was given out twice")),
                    None => Ok(()),
                }
            }
            Doing::Nothing | Doing::Voted(_) => Ok(()),
        }
    }

    /// The vote has succeeded; or there are conflicts that the client is to
    /// resolve.
    fn voted(&mut self, work: Work, answer: Vec<Voted<'_>>) -> Result<(), String> {
        let conflict = |voted| match voted {
            Voted::Conflict(conflict) => Some(conflict),
            _ => None,
        };
        let conflicts: Vec<_> = answer.into_iter().filter_map(conflict).collect();
        if conflicts.is_empty() {
            self.doing = Doing::Voted(work);
            Ok(())
        } else {
            self.resolve(work, &conflicts)
        }
    }

    /// Stores again over what is committed, and votes again.
    fn resolve(&mut self, mut work: Work, conflicts: &[ClientConflict<'_>]) -> Result<(), String> {
        for conflict in conflicts {
            let (oid, committed) = (conflict.oid, conflict.committed);
            self.checks.conflict(committed)?;
            work.stores.retain(|&(other, _)| other != oid);
            work.stores.push((oid, committed));
            self.store(oid, committed);
        }
        self.vote(work);
        Ok(())
    }

    /// Begins something new, or goes on with a transaction.
    pub(super) fn act(&mut self, random: &mut Random, plan: &Plan, history: &mut History) {
        if self.waiting || !self.is_connected() || !self.greeted {
            return;
        }
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Voted(work) => self.after_vote(work, random, plan, history),
            _ if self.checks.since().is_none() => self.register(plan, history),
            _ if self.asleep => {}
            _ if random.one_in(60) => self.disconnect(history),
            // Who is closed for its time is told no more, and answered once more.
            _ if !plan.lies && !plan.stalls && random.one_in(3) => self.ping(history),
            _ if random.one_in(2) => {
                let oid = Oid::new(random.below(OBJECTS));
                let before = if random.one_in(2) {
                    Tid::new(u64::MAX >> 1)
                } else {
                    self.checks.behind()
                };
                self.call(&Call::LoadBefore { oid, before });
                self.doing = Doing::Loading(oid, before);
            }
            _ => self.begin(random),
        }
    }

    /// The client begins with all that is committed; who has waited too long for that, with less.
    fn register(&mut self, plan: &Plan, history: &History) {
        let hello = zeo_proto::handshake::greeting(self.encoding);
        let mut frame = Vec::new();
        zeo_proto::framing::write_frame(&mut frame, hello);
        self.send(&frame);
        self.call(&Call::Register {
            storage: "1".into(),
            read_only: false,
        });
        let waits = !plan.lies && !plan.stalls;
        self.doing = Doing::Registering(waits.then(|| self.committed(history)));
    }

    /// What others have committed in the database must be known when the answer is there; and what
    /// a committer was told of.
    fn ping(&mut self, history: &History) {
        self.call(&Call::Ping);
        self.doing = Doing::Pinging(self.committed(history));
    }

    /// The last transaction of all.
    fn committed(&self, history: &History) -> Tid {
        let told = || history.finished.keys().next_back().copied();
        match &self.database {
            Some(database) => database.last(),
            None => told().unwrap_or_default(),
        }
    }

    fn begin(&mut self, random: &mut Random) {
        self.number += 1;
        let begin = TpcBegin {
            id: self.id(),
            user: b"".into(),
            description: b"".into(),
            extension: Value::Dict(vec![]),
            tid: None,
            status: b' ',
        };
        self.tell(&Call::TpcBegin(Box::new(begin)));
        let mut work = Work::default();
        for number in 0..OBJECTS {
            let oid = Oid::new(number);
            let read = self.known.get(&oid).copied().unwrap_or(Tid::ZERO);
            if random.one_in(3) {
                work.stores.push((oid, read));
                self.store(oid, read);
            } else if random.one_in(5) && read != Tid::ZERO {
                work.checks.push((oid, read));
                let (serial, id) = (read, self.id());
                self.tell(&Call::CheckSerial { oid, serial, id });
            }
        }
        self.vote(work);
    }

    fn store(&mut self, oid: Oid, serial: Tid) {
        self.tell(&Call::Store {
            oid,
            serial,
            data: b"record".into(),
            id: self.id(),
        });
    }

    fn vote(&mut self, work: Work) {
        self.call(&Call::Vote { id: self.id() });
        self.doing = Doing::Voting(work);
    }

    /// The id of the transaction.
    fn id(&self) -> Value<'static> {
        Value::Int(self.number)
    }

    fn after_vote(&mut self, work: Work, random: &mut Random, plan: &Plan, history: &mut History) {
        if plan.stalls && random.one_in(4) {
            self.doing = Doing::Voted(work);
        } else if random.one_in(10) {
            self.disconnect(history);
        } else if random.one_in(8) {
            self.call(&Call::TpcAbort { id: self.id() });
        } else {
            self.call(&Call::TpcFinish { id: self.id() });
            self.doing = Doing::Finishing(work);
        }
    }

    /// Calls, and waits for the reply.
    fn call(&mut self, call: &Call<'_>) {
        let mut frame = Vec::new();
        call.encode(&mut frame, self.encoding, &1_u64).unwrap();
        self.waiting = true;
        self.send(&frame);
    }

    /// Calls without a reply.
    fn tell(&mut self, call: &Call<'_>) {
        let mut frame = Vec::new();
        call.encode_async(&mut frame, self.encoding).unwrap();
        self.send(&frame);
    }

    fn send(&mut self, frame: &[u8]) {
        match self.socket.write_all(frame) {
            Ok(()) => {}
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => {}
            Err(why) => panic!("a simulated client can't send: {why}"),
        }
    }
}

/// What a call has returned; none if it has raised.
fn result<'a, T: Decode<'a>>(method: &str, reply: Reply<'a>) -> Result<Option<T>, String> {
    match reply.result(method) {
        Ok(result) => Ok(Some(result)),
        Err(ReplyError::Raised(_)) => Ok(None),
        Err(why) => Err(why.to_string()),
    }
}
