//! The thread at the end of the file: it appends what the coordinator hands
//! over, in that order. All that wait are written together and synced once.

use std::sync::Arc;

use zeo_storage::Storage;
use zeo_storage::storage::Commit;

use crate::channel::{Receiver, Sender};
use crate::coordinator::Request;
use crate::lock_table::ClientId;

/// A transaction with its tid, on its way to the disk.
#[derive(Debug)]
pub struct Queued {
    /// Whose it is.
    pub client: ClientId,
    /// The transaction.
    pub commit: Commit,
}

/// Appends until the coordinator is gone.
pub fn run(storage: &Arc<dyn Storage>, queue: &Receiver<Queued>, coordinator: &Sender<Request>) {
    while let Ok(first) = queue.recv(None) {
        if coordinator
            .send(append_waiting(storage, first, queue))
            .is_err()
        {
            return;
        }
    }
}

/// Appends the first transaction and all that wait behind it, with one sync;
/// returns what to tell the coordinator.
pub(crate) fn append_waiting(
    storage: &Arc<dyn Storage>,
    first: Queued,
    queue: &Receiver<Queued>,
) -> Request {
    let waiting = std::iter::once(first).chain(std::iter::from_fn(|| queue.try_recv()));
    let (clients, mut commits): (Vec<_>, Vec<_>) =
        waiting.map(|queued| (queued.client, queued.commit)).unzip();
    let result = storage.append(&mut commits);
    Request::Appended {
        clients,
        commits,
        result,
    }
}
