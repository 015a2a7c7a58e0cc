//! The thread at the end of the file: it appends what the coordinator hands
//! over, in that order. All that wait are written together and synced once.
//! It also drops what the coordinator refuses, which never waits for a disk,
//! and asks the storage what others have changed: between appends, so that its
//! reports to the coordinator are in order.

use std::sync::Arc;
use std::time::Instant;

use zeo_proto::exception::Exception;
use zeo_storage::storage::{Commit, Prepared};
use zeo_storage::{Error, Storage};

use crate::messages::channel::{Receiver, SendError};
use crate::messages::request::{ClientId, Request};
use crate::messages::requests::Requests;
use crate::status::stats::Stats;

/// A transaction with its tid, on its way to the disk.
#[derive(Debug)]
pub struct PendingCommit {
    /// Whose it is.
    pub client: ClientId,
    /// The transaction.
    pub commit: Commit,
}

/// What there is to do.
#[derive(Debug)]
pub enum Task {
    /// To append a transaction.
    Append(PendingCommit),
    /// To drop one that is refused: its files go with it, and that takes the
    /// disk.
    Drop {
        /// Whose it is.
        client: ClientId,
        /// The transaction.
        prepared: Prepared,
        /// Why it is refused.
        why: Exception,
    },
    /// To ask the storage what others have changed; if not `asked`, only what it knows already.
    Poll { asked: bool },
    /// To say that it is alive.
    Beat(crossbeam_channel::Sender<()>),
}

/// Works until the coordinator is gone.
pub fn run(
    storage: &Arc<dyn Storage>,
    stats: &Stats,
    queue: &Receiver<Task>,
    coordinator: &Requests,
) {
    while let Ok(first) = queue.recv(None) {
        stats.log_writer.begin();
        let done = work(storage, stats, first, queue);
        stats.log_writer.end();
        for done in done {
            if report(done, queue, coordinator).is_err() {
                return;
            }
        }
    }
}

/// Tells the coordinator of what is done. While the next transactions wait for the disk, its thread
/// publishes; else there is time to do that here, and no thread to be woken for it.
pub(crate) fn report(
    done: Request,
    queue: &Receiver<Task>,
    coordinator: &Requests,
) -> Result<(), SendError<Request>> {
    if queue.is_empty() {
        coordinator.ask(done)
    } else {
        coordinator.send(done)
    }
}

/// Does the first task and all that wait behind it, appending with one sync;
/// returns what to tell the coordinator.
pub(crate) fn work(
    storage: &Arc<dyn Storage>,
    stats: &Stats,
    first: Task,
    queue: &Receiver<Task>,
) -> Vec<Request> {
    let (mut clients, mut commits, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let (mut poll, mut beats) = (None, Vec::new());
    let mut tasks = vec![first];
    let waiting = || std::iter::from_fn(|| queue.try_recv());
    tasks.extend(waiting());
    if tasks.iter().any(|task| matches!(task, Task::Append(_)))
        && let Some(outside) = storage.outside()
    {
        outside.await_turn();
        tasks.extend(waiting());
    }
    for task in tasks {
        match task {
            Task::Append(queued) => {
                clients.push(queued.client);
                commits.push(queued.commit);
            }
            Task::Drop {
                client,
                prepared,
                why,
            } => {
                drop(prepared);
                refused.push(Request::Refused { client, why });
            }
            Task::Poll { asked } => poll = Some(asked),
            Task::Beat(told) => beats.push(told),
        }
    }
    let mut done = refused;
    done.extend(append(storage, stats, clients, commits));
    for told in beats {
        // Who has asked may not wait any more.
        let _ = told.try_send(());
    }
    if let Some(asked) = poll {
        let found = match storage.outside() {
            Some(outside) if asked => outside.poll(),
            Some(outside) => outside.poll_told(),
            None => Ok(Vec::new()),
        };
        done.push(Request::Polled { found });
    }
    done
}

/// Appends a batch. If that fails without consequences, for one transaction
/// whose blob is not there any more, each is appended alone; but not if the storage can't be asked now:
/// each would wait as long for it.
fn append(
    storage: &Arc<dyn Storage>,
    stats: &Stats,
    mut clients: Vec<ClientId>,
    mut commits: Vec<Commit>,
) -> Vec<Request> {
    if commits.is_empty() {
        return Vec::new();
    }
    let begun = Instant::now();
    let appended = storage.append(&mut commits);
    stats.durations.sync.observe(begun.elapsed());
    match appended {
        Ok(appended) => {
            let refused = take_refused(&mut clients, &mut commits, appended.refused);
            vec![Request::Appended {
                clients,
                commits,
                refused,
                outside: appended.outside,
            }]
        }
        Err(why) if commits.len() > 1 && may_be_tried_again(&**storage, &why) => {
            let each = clients.into_iter().zip(commits);
            each.flat_map(|(client, commit)| append(storage, stats, vec![client], vec![commit]))
                .collect()
        }
        Err(why) => {
            // Here, as what is refused.
            drop(commits);
            vec![Request::NotAppended { clients, why }]
        }
    }
}

fn may_be_tried_again(storage: &dyn Storage, why: &Error) -> bool {
    storage.latched().is_none() && !matches!(why, Error::Unsettled(_) | Error::Unavailable(_))
}

/// Drops the transactions that the storage refuses, here, as what the
/// coordinator refuses; returns whose they were.
fn take_refused(
    clients: &mut Vec<ClientId>,
    commits: &mut Vec<Commit>,
    refused: Vec<(usize, Error)>,
) -> Vec<(ClientId, Error)> {
    let mut taken = Vec::new();
    for (place, why) in refused.into_iter().rev() {
        if place < commits.len() {
            drop(commits.remove(place));
            taken.push((clients.remove(place), why));
        }
    }
    taken.reverse();
    taken
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};

    use zeo_proto::{Oid, Tid};
    use zeo_storage::file_storage::{FileStorage, Options};
    use zeo_storage::storage::{OnConflict, Op, OutsideChange, TransactionMeta, Vote};

    use super::*;
    use crate::messages::channel;
    use crate::simulation::shared::{Database, View, Weather};

    /// A transaction that stores an empty blob, and where the file of that waits.
    fn prepare(storage: &FileStorage, oid: u64) -> (Prepared, PathBuf) {
        let oid = Oid::new(oid);
        let (_, file) = storage.blobs().unwrap().new_file().unwrap();
        let uploads = file.path().parent().unwrap().to_owned();
        let (data, file) = (b"\x80\x03cZODB.blob\nBlob\n.N.".to_vec(), Arc::new(file));
        let serial = Tid::ZERO;
        let store = Op::Store { oid, serial, data };
        let serial = None;
        let ops = [store, Op::Blob { oid, serial, file }];
        let meta = TransactionMeta {
            status: b' ',
            ..TransactionMeta::default()
        };
        let mut ops = ops.into_iter().map(Ok);
        match storage.prepare(&meta, &mut ops, OnConflict::Resolve) {
            Ok(Vote::Ready(prepared)) => (prepared, staged(&uploads, oid)),
            other => panic!("{other:?}"),
        }
    }

    /// The file that the vote has named after its object.
    fn staged(uploads: &Path, oid: Oid) -> PathBuf {
        let name = format!("rzeo-{:016x}-", oid.as_u64());
        let mut entries = fs::read_dir(uploads).unwrap().map(|entry| entry.unwrap());
        let found = entries.find(|entry| entry.file_name().to_string_lossy().starts_with(&name));
        found.unwrap().path()
    }

    /// Of a batch, only the transaction fails whose blob is not there; the one
    /// that is refused goes with its file, before its client hears.
    #[test]
    fn one_fails_and_the_others_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = directory.path().join("blobs");
        let options = Options::with(|options| options.blob_dir = Some(blobs));
        let path = directory.path().join("Data.fs");
        let storage = Arc::new(FileStorage::open(path, options).unwrap());
        let (refused, upload) = prepare(&storage, 9);
        let (sender, queue) = channel::unbounded();
        for number in 1..=3 {
            let (prepared, path) = prepare(&storage, number);
            if number == 2 {
                fs::remove_file(path).unwrap();
            }
            let tid = Tid::new(number);
            let commit = Commit { tid, prepared };
            let client = number;
            let queued = PendingCommit { client, commit };
            sender.send(Task::Append(queued)).unwrap();
        }
        let first = Task::Drop {
            client: 9,
            prepared: refused,
            why: Exception::transaction("refused"),
        };
        assert!(upload.exists());
        let storage: Arc<dyn Storage> = storage;
        let done = work(&storage, &Stats::new(true), first, &queue);
        assert!(!upload.exists());
        let told = done.iter().map(|request| match request {
            Request::Refused { client, .. } => (*client, "refused"),
            Request::Appended {
                clients, commits, ..
            } => (clients[0], ["", "appended"][commits.len()]),
            Request::NotAppended { clients, .. } => (clients[0], "failed"),
            other => panic!("{other:?}"),
        });
        let expected = [
            (9, "refused"),
            (1, "appended"),
            (2, "failed"),
            (3, "appended"),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert_eq!(storage.latched(), None);
        assert!(storage.load_blob(Oid::new(3), Tid::new(3)).is_ok());
    }

    /// Breaks the connection where it is told to.
    struct Breaks(AtomicBool);

    impl Weather for Breaks {
        fn breaks(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn store(oid: u64, serial: Tid) -> Op {
        let (oid, data) = (Oid::new(oid), b"record".to_vec());
        Op::Store { oid, serial, data }
    }

    /// What remains to do for a transaction on object 7 and one of its own.
    fn task(view: &dyn Storage, client: ClientId) -> Task {
        let meta = TransactionMeta {
            status: b' ',
            ..TransactionMeta::default()
        };
        let mut ops = [store(7, Tid::ZERO), store(client, Tid::ZERO)].into_iter();
        let vote = view.prepare(&meta, &mut ops.by_ref().map(Ok), OnConflict::Resolve);
        let Ok(Vote::Ready(prepared)) = vote else {
            panic!("{vote:?}");
        };
        let tid = Tid::ZERO;
        let commit = Commit { tid, prepared };
        Task::Append(PendingCommit { client, commit })
    }

    /// One transaction is refused, where others change the storage, and the others are not. What
    /// nobody knows is not tried again.
    #[test]
    fn transactions_are_refused_alone_and_fail_together() {
        for breaks in [false, true] {
            let database = Database::new(Breaks(breaks.into())).unwrap();
            let storage: Arc<dyn Storage> = Arc::new(View::new(&database, 0));
            let (sender, queue) = channel::unbounded();
            let first = task(&*storage, 1);
            // Both have voted, since nobody has locked the object.
            for client in 2..=3 {
                sender.send(task(&*storage, client)).unwrap();
            }
            let outside = database.commit(&[store(8, Tid::ZERO)]).unwrap();
            sender.send(Task::Poll { asked: true }).unwrap();
            let done = work(&storage, &Stats::new(true), first, &queue);
            match (breaks, &done[..]) {
                (
                    false,
                    [
                        Request::Appended {
                            clients,
                            commits,
                            refused,
                            outside: others,
                        },
                        Request::Polled { found: Ok(found) },
                    ],
                ) => {
                    assert_eq!(clients, &[1]);
                    assert!(commits.len() == 1 && commits[0].tid > outside);
                    let refused = refused
                        .iter()
                        .map(|(client, why)| (*client, why.is_conflict()));
                    assert_eq!(refused.collect::<Vec<_>>(), [(2, true), (3, true)]);
                    let oids = vec![Oid::new(8)];
                    let tid = outside;
                    assert_eq!(others, &[OutsideChange::Transaction { tid, oids }]);
                    assert!(found.is_empty(), "it was told before");
                }
                (
                    true,
                    [
                        Request::NotAppended { clients, why },
                        Request::Polled { .. },
                    ],
                ) => {
                    assert_eq!(clients, &[1, 2, 3]);
                    assert!(matches!(why, Error::Unsettled(_)));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
