//! One client: what it has sent so far, what it is owed, what it is told.
//!
//! A session knows no socket. It is given frames and mailbox events, and leaves what is to be
//! sent in [`Session::output`].

mod after_poll;
mod blobs;
mod calls;
mod commit;
mod commit_log;
mod conflict_report;
mod extension;
mod helper;
mod interfaces;
mod invalidations;
mod iterators;
mod load;
mod open_iterators;
mod output;
mod packing;
mod poll;
mod register;
mod slow;
mod transaction;
mod transfers;
mod undo_info;
mod undo_log;
mod values;
mod vote;
mod waits;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use slog::{Logger, error, o, warn};
use zeo_proto::exception::Exception;
use zeo_proto::marshal::{
    Encode, EncodeError, Encoding, Flag, REPLY, decode_message, encode_message,
};
use zeo_proto::message::{Call, CallError, encode_reply};
use zeo_proto::msgpack::readable;
use zeo_proto::{Tid, Value};

use self::after_poll::AfterPoll;
use self::open_iterators::Iterators;
use self::output::Output;
use self::transaction::{Phase, Transaction};
use self::transfers::{Downloads, Upload};
use self::waits::Waits;
use crate::errors::exception_from_call;
use crate::messages::event::Event;
use crate::messages::mailbox::{Mailbox, STOPPING};
use crate::messages::notice::Notice;
use crate::messages::request::{ClientId, Request};
use crate::settings::Settings;
use crate::status::client::ClientStatus;
use crate::storages::{ServedStorage, Storages};
use crate::usage::{Resource, Share};

/// The longest frame before `register`, in bytes: the client is still unknown.
const UNREGISTERED_FRAME_BYTES: usize = 4096;
/// The most memory, in bytes, that the id of a call may take: ids are kept
/// until calls are answered. Clients number their calls.
const MAX_ID_BYTES: usize = 1024;

/// What to do after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on with the next one.
    Continue,
    /// Not now: give the same frame again after the next mailbox event.
    Hold,
    /// Send what is in the output, and close.
    Close,
}

/// The outcome of a call.
enum Answer {
    /// This is its result.
    Value(Value<'static>),
    /// It has written its reply itself.
    Written,
    /// The reply comes later, by way of the mailbox.
    Later,
    /// It can't be taken now.
    Hold,
}

type Outcome = Result<Answer, Exception>;

/// What is left to do in the session when a helper is done.
type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// How far the connection has come.
enum Stage {
    /// The client has not answered the greeting.
    Greeted,
    /// It may register.
    Known(Encoding),
    /// `register` is on its way; the id of its call.
    Registering(Encoding, Arc<ServedStorage>, Value<'static>),
    /// All calls are open.
    Open(Encoding, Arc<ServedStorage>),
}

/// The state of one connection.
///
/// Its methods by file:
///
/// | file | what |
/// |---|---|
/// | `mod.rs` | frames and events in, replies out |
/// | `register.rs` | the greeting, `register`, the client's label, the end |
/// | `calls.rs` | every other call, by name |
/// | `load.rs` | loads, `history` |
/// | `invalidations.rs` | `getInvalidations` |
/// | `commit.rs`, `vote.rs` | two-phase commit |
/// | `conflict_report.rs` | what is told of conflicts |
/// | `blobs.rs` | uploads and downloads |
/// | `iterators.rs` | iterators over transactions and records |
/// | `undo_log.rs` | `undoLog`, `undoInfo` |
/// | `packing.rs` | `pack` |
/// | `poll.rs` | answers behind changes by others |
/// | `slow.rs` | how long loads and commits take |
/// | `helper.rs` | work on helper threads |
///
/// Invariants:
///
/// - `output` holds whole messages in the order in which the client must get them. A reply is
///   complete there before the session is given its next event, so "current" data never comes
///   behind the invalidation that made it old.
/// - A call with an id is answered exactly once: before [`Session::on_frame`] returns, or by
///   whoever keeps the id, which is one of `stage`, the transaction's `phase`, `asked`, `polling`,
///   `jobs` and `downloads`. While any of them does, [`Session::is_owed`] is true.
/// - `jobs` and `asked` together hold no more than the helpers that one client may have.
/// - The coordinator knows the client from `Stage::Registering` until [`Session::end`]. It has
///   locks or a claim for it only while the transaction's phase is `Waiting`, `Preparing`,
///   `Voted` or `Finishing`: they are released when it leaves these except by `Finished`.
/// - A transaction in `Finishing` can't be aborted; the coordinator says how it ends.
/// - `read_only` never becomes false again.
pub struct Session {
    id: ClientId,
    /// What can be seen of it from outside.
    status: Arc<ClientStatus>,
    stage: Stage,
    settings: Arc<Settings>,
    storages: Arc<Storages>,
    mailbox: Mailbox,
    /// The server's log, to make `log` from.
    server_log: Logger,
    log: Logger,
    read_only: bool,
    transaction: Option<Transaction>,
    iterators: Iterators,
    /// The blob that the client is sending.
    upload: Option<Upload>,
    downloads: Downloads,
    /// What is left to do when helper threads are done, by the numbers of their jobs.
    jobs: HashMap<u64, Job>,
    next_job: u64,
    /// Who waits for another machine.
    waits: Waits,
    /// The ids of `getInvalidations` calls that are on their way, with the
    /// tids that they asked for.
    asked: VecDeque<(Value<'static>, Tid)>,
    /// It has called something since it registered.
    has_called: bool,
    /// Answers that wait until the storage was asked what others have changed, in the order in
    /// which that was asked for.
    polling: VecDeque<(Value<'static>, AfterPoll)>,
    /// Its place among the clients, once it has registered.
    place: Share,
    /// How often the client has voted.
    votes: u64,
    /// What is to be sent.
    pub output: Output,
}

impl Session {
    /// A session for a new connection, with the greeting in its output.
    pub fn new(
        status: Arc<ClientStatus>,
        settings: Arc<Settings>,
        storages: Arc<Storages>,
        mailbox: Mailbox,
        log: &Logger,
    ) -> Self {
        let greeting = zeo_proto::handshake::greeting(settings.encoding);
        let mut output = Output::default();
        zeo_proto::framing::write_frame(output.buffer(), greeting);
        Self {
            id: status.id,
            stage: Stage::Greeted,
            read_only: settings.read_only,
            place: settings.share(Resource::Clients),
            settings,
            storages,
            mailbox,
            server_log: log.clone(),
            log: log.new(o!("client" => status.address.clone())),
            status,
            transaction: None,
            iterators: Iterators::default(),
            upload: None,
            downloads: Downloads::default(),
            jobs: HashMap::new(),
            next_job: 0,
            waits: Waits::default(),
            asked: VecDeque::new(),
            has_called: false,
            polling: VecDeque::new(),
            votes: 0,
            output,
        }
    }

    /// The longest frame that the session takes now.
    pub fn frame_limit(&self) -> usize {
        match self.stage {
            Stage::Open(..) => self.settings.max_message_size,
            _ => UNREGISTERED_FRAME_BYTES,
        }
    }

    /// What can be seen of the client from outside.
    pub fn status(&self) -> &Arc<ClientStatus> {
        &self.status
    }

    /// A share of the memory for messages that are being received.
    pub fn memory(&self) -> Share {
        self.settings.share(Resource::Memory)
    }

    /// The session's log, which names the client.
    pub fn log(&self) -> &Logger {
        &self.log
    }

    /// Takes one frame.
    pub fn on_frame(&mut self, frame: &[u8]) -> Flow {
        let encoding = match self.stage {
            Stage::Greeted => return self.handshake(frame),
            Stage::Registering(..) => return Flow::Hold,
            Stage::Known(encoding) | Stage::Open(encoding, _) => encoding,
        };
        let message = match decode_message(frame, encoding) {
            Ok(message) => message,
            Err(why) => {
                error!(self.log, "Can't deserialize message: {why}");
                return Flow::Close;
            }
        };
        if message.id == Value::Int(-1) {
            return Flow::Continue;
        }
        let (Value::Tuple(args) | Value::List(args)) = message.args else {
            error!(
                self.log,
                "Can't deserialize message: the arguments are not a tuple"
            );
            return Flow::Close;
        };
        let weight = message.id.weight();
        if weight > MAX_ID_BYTES {
            error!(
                self.log,
                "the id of a call takes {weight} bytes, over the limit of {MAX_ID_BYTES}"
            );
            return Flow::Close;
        }
        let (id, is_async) = (message.id.into_owned(), message.flag == Flag::Async);
        // An asynchronous call has no answer, whatever it comes to.
        let id = if is_async { nobody() } else { id };
        match Call::parse(&message.name, args) {
            Ok(call) if self.is_in_time(&call) => self.on_call(id, is_async, &message.name, call),
            Ok(_) => {
                error!(
                    self.log,
                    "{} was called out of order: register comes first, and once", message.name
                );
                Flow::Close
            }
            Err(CallError::Step(step)) if self.is_registered() => {
                let outcome = self.wrong_step(&id, *step);
                self.conclude(&id, is_async, &message.name, outcome)
            }
            Err(why @ CallError::Unknown(_)) => {
                error!(self.log, "{why}");
                Flow::Close
            }
            Err(why) => self.fail(&id, is_async, &message.name, &exception_from_call(&why)),
        }
    }

    /// `register` comes first, and once.
    fn is_in_time(&self, call: &Call<'_>) -> bool {
        self.is_registered() != matches!(call, Call::Register { .. })
    }

    fn on_call(
        &mut self,
        id: Value<'static>,
        is_async: bool,
        method: &str,
        call: Call<'_>,
    ) -> Flow {
        let outcome = match &self.stage {
            Stage::Open(_, storage) => {
                let storage = Arc::clone(storage);
                self.has_called = true;
                self.dispatch(&storage, &id, call)
            }
            _ => match call {
                Call::Register { storage, read_only } => self.register(&id, &storage, read_only),
                _ => return Flow::Close,
            },
        };
        self.conclude(&id, is_async, method, outcome)
    }

    fn conclude(
        &mut self,
        id: &Value<'static>,
        is_async: bool,
        method: &str,
        outcome: Outcome,
    ) -> Flow {
        match outcome {
            Ok(Answer::Hold) => Flow::Hold,
            Ok(Answer::Later | Answer::Written) => Flow::Continue,
            Ok(Answer::Value(value)) => {
                self.reply(id, &value);
                Flow::Continue
            }
            Err(exception) => self.fail(id, is_async, method, &exception),
        }
    }

    /// Sends an error; after an asynchronous call, which has no reply,
    /// closing is the only way to say so.
    fn fail(
        &mut self,
        id: &Value<'static>,
        is_async: bool,
        method: &str,
        exception: &Exception,
    ) -> Flow {
        if !exception.is_ordinary() {
            warn!(self.log, "{method} failed: {exception}");
        }
        if is_async {
            return Flow::Close;
        }
        self.reply_error(id, exception);
        Flow::Continue
    }

    /// Replies to a call at once.
    fn answer(&mut self, id: &Value<'_>, result: &dyn Encode) -> Outcome {
        self.reply(id, result);
        Ok(Answer::Written)
    }

    fn reply(&mut self, id: &Value<'_>, result: &dyn Encode) {
        if is_nobody(id) {
            return;
        }
        let (encoding, id) = (self.encoding(), &*self.echoed(id));
        let wrote = encode_reply(self.output.buffer(), encoding, id, result);
        if let Err(why) = wrote {
            self.not_encoded(id, &why);
        }
    }

    fn not_encoded(&mut self, id: &Value<'_>, why: &EncodeError) {
        error!(self.log, "can't encode a reply: {why}");
        self.reply_error(id, &Exception::value_error("Couldn't pickle response"));
    }

    fn reply_error(&mut self, id: &Value<'_>, exception: &Exception) {
        if is_nobody(id) {
            return;
        }
        let (encoding, id) = (self.encoding(), &*self.echoed(id));
        let error = exception.to_reply(encoding);
        let (error, output) = (&*self.echoed(&error), self.output.buffer());
        if let Err(why) = encode_message(output, encoding, id, Flag::Error, REPLY, error) {
            error!(self.log, "can't encode an error: {why}");
        }
    }

    /// What the client may have sent, as it can read it.
    fn echoed<'v, 'a>(&self, value: &'v Value<'a>) -> Cow<'v, Value<'a>> {
        match self.encoding() {
            Encoding::Pickle => Cow::Borrowed(value),
            Encoding::Msgpack => readable(value),
        }
    }

    fn notify(&mut self, notice: &Notice) {
        let frame = notice.frame(self.encoding());
        self.output.buffer().extend_from_slice(frame);
    }

    /// How messages to the client are encoded.
    pub fn encoding(&self) -> Encoding {
        match self.stage {
            Stage::Known(encoding)
            | Stage::Registering(encoding, ..)
            | Stage::Open(encoding, _) => encoding,
            Stage::Greeted => self.settings.encoding,
        }
    }

    /// True once the client has registered.
    pub fn is_registered(&self) -> bool {
        matches!(self.stage, Stage::Open(..))
    }

    /// True while answers to calls are on their way.
    pub fn is_owed(&self) -> bool {
        matches!(self.stage, Stage::Registering(..))
            || !self.jobs.is_empty()
            || !self.asked.is_empty()
            || !self.polling.is_empty()
            || self.has_chunks()
            || (self.transaction.as_ref()).is_some_and(Transaction::is_busy)
    }

    /// True while the transaction is being committed and can't be aborted any more.
    pub fn is_finishing(&self) -> bool {
        (self.transaction.as_ref()).is_some_and(|t| matches!(t.phase, Phase::Finishing(_)))
    }

    /// Takes one event from the mailbox. What the rare ones need of the stack is theirs alone: an idle
    /// client's thread keeps each page that was used once.
    pub fn on_event(&mut self, event: Event) {
        match event {
            Event::Registered(last) => self.registered(last),
            Event::Granted(vote) => self.granted(vote),
            Event::GivenUp(vote) => self.given_up(vote),
            Event::Finished(tid) => self.finished(tid),
            Event::FinishFailed(exception) => self.finish_failed(&exception),
            Event::Notice(notice) => self.notify(&notice),
            Event::Invalidations(answer) => self.invalidations(*answer),
            Event::Polled(result) => self.polled(result.map_err(|why| *why)),
            Event::JobDone(job) => self.job_done(job),
        }
    }

    /// Sends a request to the storage's coordinator. It is gone only when
    /// the server stops, and then the session is being closed.
    fn send(&self, storage: &ServedStorage, request: Request) {
        if storage.coordinator.send(request).is_err() {
            self.mailbox.close(STOPPING);
        }
    }

    /// The same for a step of a commit, which is quicker if no other thread has to be woken for it
    /// (`Requests::ask`). (Not for others: the coordinator's work takes room on the stack, and an idle client is to
    /// take little.)
    fn ask(&self, storage: &ServedStorage, request: Request) {
        if storage.coordinator.ask(request).is_err() {
            self.mailbox.close(STOPPING);
        }
    }
}

/// What stands for the id of a call that gets no reply: a value that no
/// client can send.
fn nobody() -> Value<'static> {
    Value::Persistent(Box::new(Value::None))
}

fn is_nobody(id: &Value<'_>) -> bool {
    matches!(id, Value::Persistent(_))
}
