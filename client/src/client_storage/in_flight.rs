//! The calls of a connection that wait for their replies.

use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use foldhash::quality::RandomState;
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::storage::Revision;

use super::error::Error;
use super::known::Stored;
use super::slot::Slot;
use crate::blob_cache::Download;
use crate::lock::locked;

/// What is asked for by `loadBefore`: loads of the same are asked once.
pub(super) type LoadKey = (Oid, Tid);
/// The answer to a load; none: the object is younger.
pub(super) type Loaded = Result<Option<Revision>, Error>;
/// The answer to any other call.
pub(super) type Answer = Result<Value<'static>, Error>;
/// The answer to `tpc_finish`.
pub(super) type Finished = Result<Tid, Error>;

/// What is asked for by `sendBlob`.
pub(super) type BlobKey = (Oid, Tid);
/// The answer to `sendBlob`: the file, complete.
pub(super) type Received = Result<Download, Error>;

/// A blob that comes in.
pub(super) struct Receiving {
    pub download: Download,
    /// What has gone wrong with the file.
    pub failed: Option<Error>,
    /// All has come.
    pub complete: bool,
}

/// What is asked for by an iterator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// `iterator_next`.
    Next,
    /// `iterator_record_start`, of the transaction of this number.
    Start(u64),
    /// `iterator_record_next`, of the transaction of this number.
    Record(u64),
}

/// What becomes of a reply.
pub(super) enum Waiting {
    /// `loadBefore`.
    Load {
        key: LoadKey,
        slot: Arc<Slot<Loaded>>,
    },
    /// `tpc_finish`.
    Finish {
        slot: Arc<Slot<Finished>>,
        stored: Stored,
    },
    /// `sendBlob`: its chunks go into the file before it is answered.
    Blob {
        key: BlobKey,
        receiving: Box<Receiving>,
        slot: Arc<Slot<Received>>,
    },
    /// A call of an iterator; the answers to several such calls come over one channel.
    Iterator {
        method: &'static str,
        tag: Tag,
        sender: Sender<(Tag, Answer)>,
    },
    /// Any other method.
    Call {
        method: &'static str,
        slot: Arc<Slot<Answer>>,
    },
}

/// All that wait, by the ids of their calls.
#[derive(Default)]
pub(super) struct InFlight(Mutex<Table>);

#[derive(Default)]
struct Table {
    last_id: u64,
    waiting: HashMap<u64, Waiting, RandomState>,
    loads: HashMap<LoadKey, Arc<Slot<Loaded>>, RandomState>,
    blobs: HashMap<BlobKey, u64>,
    /// Why no more replies will come.
    over: Option<Error>,
}

impl InFlight {
    /// Enters a call; returns its id.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub fn enter(&self, waiting: Waiting) -> Result<u64, Error> {
        let mut table = locked(&self.0);
        if let Some(over) = &table.over {
            return Err(over.clone());
        }
        Ok(table.enter(waiting))
    }

    /// Enters a load for which somebody will wait, if `waits`. Returns where, and an id if it has
    /// to be asked for.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub fn enter_load(
        &self,
        key: LoadKey,
        waits: bool,
    ) -> Result<(Arc<Slot<Loaded>>, Option<u64>), Error> {
        let mut table = locked(&self.0);
        if let Some(over) = &table.over {
            return Err(over.clone());
        }
        let (slot, id) = table.enter_load(key);
        if waits {
            slot.join();
        }
        Ok((slot, id))
    }

    /// Enters loads for which nobody will wait. Returns those that have to be asked for, with their
    /// ids.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub fn enter_loads(&self, oids: &[Oid], before: Tid) -> Result<Vec<(u64, Oid)>, Error> {
        let mut table = locked(&self.0);
        if let Some(over) = &table.over {
            return Err(over.clone());
        }
        let entered = oids.iter().filter_map(|&oid| {
            let (_, id) = table.enter_load((oid, before));
            id.map(|id| (id, oid))
        });
        Ok(entered.collect())
    }

    /// Takes out the call of this id.
    pub fn take(&self, id: u64) -> Option<Waiting> {
        let mut table = locked(&self.0);
        let waiting = table.waiting.remove(&id)?;
        if let Waiting::Load { key, .. } = &waiting {
            table.loads.remove(key);
        }
        if let Waiting::Blob { key, .. } = &waiting {
            table.blobs.remove(key);
        }
        Some(waiting)
    }

    /// Does something with a blob that comes in; nothing if it was not asked for.
    pub fn with_blob(&self, key: BlobKey, act: impl FnOnce(&mut Receiving)) {
        // Only the reader takes it out or changes it; callers wait for it in vain meanwhile.
        let taken = {
            let mut table = locked(&self.0);
            let id = table.blobs.get(&key).copied();
            id.and_then(|id| Some((id, table.waiting.remove(&id)?)))
        };
        if let Some((id, mut waiting)) = taken {
            if let Waiting::Blob { receiving, .. } = &mut waiting {
                act(receiving);
            }
            let over = {
                let mut table = locked(&self.0);
                match &table.over {
                    Some(over) => Some((over.clone(), waiting)),
                    None => {
                        table.waiting.insert(id, waiting);
                        None
                    }
                }
            };
            if let Some((over, waiting)) = over {
                waiting.fail(&over);
            }
        }
    }

    /// Nothing more will come: all calls, also later ones, fail with this error.
    pub fn fail(&self, why: &Error) {
        let waiting = {
            let mut table = locked(&self.0);
            table.over.get_or_insert_with(|| why.clone());
            table.loads.clear();
            table.blobs.clear();
            std::mem::take(&mut table.waiting)
        };
        for waiting in waiting.into_values() {
            waiting.fail(why);
        }
    }

    /// Whether no replies will come any more.
    pub fn is_over(&self) -> bool {
        locked(&self.0).over.is_some()
    }
}

impl Table {
    fn enter(&mut self, waiting: Waiting) -> u64 {
        self.last_id += 1;
        if let Waiting::Blob { key, .. } = &waiting {
            self.blobs.insert(*key, self.last_id);
        }
        self.waiting.insert(self.last_id, waiting);
        self.last_id
    }

    /// Where to wait for a load, and an id if it has to be asked for.
    fn enter_load(&mut self, key: LoadKey) -> (Arc<Slot<Loaded>>, Option<u64>) {
        if let Some(slot) = self.loads.get(&key) {
            return (Arc::clone(slot), None);
        }
        let slot = Arc::new(Slot::new());
        self.loads.insert(key, Arc::clone(&slot));
        let waiting = Waiting::Load {
            key,
            slot: Arc::clone(&slot),
        };
        (slot, Some(self.enter(waiting)))
    }
}

impl Waiting {
    /// The call fails.
    pub fn fail(self, why: &Error) {
        let why = why.about(self.method());
        match self {
            Self::Load { slot, .. } => slot.give(Err(why)),
            Self::Finish { slot, .. } => slot.give(Err(why)),
            Self::Blob { slot, .. } => slot.give(Err(why)),
            // Nobody iterates any more.
            Self::Iterator { tag, sender, .. } => drop(sender.send((tag, Err(why)))),
            Self::Call { slot, .. } => slot.give(Err(why)),
        }
    }

    pub fn method(&self) -> &'static str {
        match self {
            Self::Load { .. } => "loadBefore",
            Self::Finish { .. } => "tpc_finish",
            Self::Blob { .. } => "sendBlob",
            Self::Iterator { method, .. } | Self::Call { method, .. } => method,
        }
    }
}
