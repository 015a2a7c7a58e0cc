//! Transactions at the upstream server, each in the thread of its connection.
//!
//! The protocol has one transaction at a time on a connection. So that clients of this server don't
//! wait for each other's, there are several connections; see [`Committers`](super::committers).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use zeo_proto::message::{Sizes, Voted};
use zeo_proto::{Oid, Tid};
use zeo_storage::blob::BlobFile;
use zeo_storage::storage::{Op, TransactionMeta};

use crate::client_storage::{ClientStorage, Error, Tpc};

/// How many steps may wait for a thread.
const STEPS_MAX: usize = 64;

/// What a thread is to do.
enum Step {
    Begin(TransactionMeta),
    Op(Op),
    Vote(Sender<Result<Vec<Voted<'static>>, Error>>),
    Finish(Sender<Finished>),
    Abort,
}

/// What came of a finish: the transaction's tid, and the sizes of the storage with it.
pub(super) type Finished = Result<(Tid, Sizes), Error>;

/// A connection for commits, and its thread. Only one transaction at a time is in it.
pub(super) struct Committer {
    storage: Arc<ClientStorage>,
    steps: SyncSender<Step>,
    thread: JoinHandle<()>,
}

impl Committer {
    /// Starts the thread.
    pub fn start(storage: Arc<ClientStorage>) -> std::io::Result<Self> {
        let (steps, received) = sync_channel(STEPS_MAX);
        let own = Arc::clone(&storage);
        let thread = thread::Builder::new().name("zeo-commit".to_owned());
        let thread = thread.spawn(move || run(&own, &received))?;
        Ok(Self {
            storage,
            steps,
            thread,
        })
    }

    /// The storage that it commits to.
    pub fn storage(&self) -> &Arc<ClientStorage> {
        &self.storage
    }

    /// Begins a transaction; what goes wrong is told by the vote.
    pub fn begin(&self, meta: TransactionMeta) {
        self.send(Step::Begin(meta));
    }

    /// Takes a step of it.
    pub fn op(&self, op: Op) {
        self.send(Step::Op(op));
    }

    /// Waits for the vote. An error has ended the transaction.
    pub fn vote(&self) -> Result<Vec<Voted<'static>>, Error> {
        let (reply, answer) = channel();
        self.send(Step::Vote(reply));
        answer.recv().unwrap_or(Err(Error::Closed))
    }

    /// Finishes it, in any case. The answer is to be waited for.
    pub fn finish(&self) -> Receiver<Finished> {
        let (reply, answer) = channel();
        self.send(Step::Finish(reply));
        answer
    }

    /// Ends it, if it has not ended, without waiting.
    pub fn abort(&self) {
        self.send(Step::Abort);
    }

    /// Ends the thread, and waits for that.
    pub fn stop(self) {
        drop(self.steps);
        // A panic in it has been told by itself.
        let _ = self.thread.join();
    }

    fn send(&self, step: Step) {
        // The thread ends with this only, or by a panic: then answers are missed.
        let _ = self.steps.send(step);
    }
}

fn run(storage: &ClientStorage, steps: &Receiver<Step>) {
    while let Ok(step) = steps.recv() {
        match step {
            Step::Begin(meta) => transaction(storage, meta, steps),
            Step::Vote(reply) => {
                let _ = reply.send(Err(no_transaction()));
            }
            Step::Finish(reply) => {
                let _ = reply.send(Err(no_transaction()));
            }
            // Behind an error.
            Step::Op(_) | Step::Abort => {}
        }
    }
}

fn no_transaction() -> Error {
    Error::Transaction("the transaction has ended".to_owned())
}

/// One transaction, until it ends.
fn transaction(storage: &ClientStorage, meta: TransactionMeta, steps: &Receiver<Step>) {
    let mut under_way = storage.begin(meta).map(|tpc| UnderWay { tpc, held: None });
    while let Ok(step) = steps.recv() {
        match step {
            Step::Op(op) => {
                if let Ok(ours) = &mut under_way
                    && let Err(why) = ours.take(op)
                {
                    under_way = Err(why);
                }
            }
            Step::Vote(reply) => {
                let voted = match &mut under_way {
                    Ok(ours) => ours.vote(),
                    Err(why) => Err(why.clone()),
                };
                let failed = voted.is_err();
                let _ = reply.send(voted);
                if failed {
                    return;
                }
            }
            Step::Finish(reply) => {
                let finished = under_way.and_then(|ours| ours.tpc.finish());
                let sizes = storage.info().sizes;
                let _ = reply.send(finished.map(|tid| (tid, sizes)));
                return;
            }
            Step::Abort | Step::Begin(_) => return,
        }
    }
}

struct UnderWay<'a> {
    tpc: Tpc<'a>,
    /// A record that may be that of a blob, which comes next.
    held: Option<(Oid, Tid, Vec<u8>)>,
}

impl UnderWay<'_> {
    fn take(&mut self, op: Op) -> Result<(), Error> {
        if let Op::Blob { oid, serial, file } = op {
            return self.store_blob(oid, serial, &file);
        }
        self.store_held()?;
        match op {
            Op::Store { oid, serial, data } => {
                self.held = Some((oid, serial, data));
                Ok(())
            }
            Op::Check { oid, serial } => self.tpc.check_current(oid, serial),
            Op::Delete { oid, serial } => self.tpc.delete(oid, serial),
            Op::Restore {
                oid,
                serial,
                data,
                prev_tid,
            } => self.tpc.restore(oid, serial, data, prev_tid),
            Op::Undo { tid } => self.tpc.undo(&super::entries::undo_id(tid)),
            Op::Blob { .. } => Ok(()),
        }
    }

    fn store_blob(&mut self, oid: Oid, serial: Option<Tid>, file: &BlobFile) -> Result<(), Error> {
        match self.held.take() {
            Some((stored, before, data)) if stored == oid && serial.is_none() => {
                self.tpc.store_blob(oid, before, data, &file.path())
            }
            _ => Err(Error::Unsupported(
                "the upstream server can't restore blobs".to_owned(),
            )),
        }
    }

    fn store_held(&mut self) -> Result<(), Error> {
        match self.held.take() {
            Some((oid, serial, data)) => self.tpc.store(oid, serial, data),
            None => Ok(()),
        }
    }

    fn vote(&mut self) -> Result<Vec<Voted<'static>>, Error> {
        self.store_held()?;
        self.tpc.vote_once()
    }
}
