//! What can be seen of one client from outside: written by its thread, read by the monitor.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::messages::request::ClientId;

/// How much of a transaction's user and description is kept, in characters.
const MAX_TEXT_CHARS: usize = 200;

/// A counter that one thread at a time changes.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Relaxed);
    }

    /// The count, for any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One client's connection.
#[derive(Debug)]
pub struct ClientStatus {
    /// The number of its connection.
    pub id: ClientId,
    /// Host and port, or how the log names a client of a Unix socket.
    pub address: String,
    /// It speaks TLS.
    pub tls: bool,
    /// When it connected, by the wall clock.
    pub since: SystemTime,
    /// The same moment, to tell how long ago it is whatever happens to that clock.
    pub connected: Instant,
    /// The storage that it has registered for.
    pub storage: OnceLock<String>,
    /// It may only read.
    pub read_only: AtomicBool,
    label: Mutex<Option<String>>,
    transaction: Mutex<Option<TransactionStatus>>,
    /// Objects that it has loaded.
    pub loads: Tally,
    /// Objects that it has stored.
    pub stores: Tally,
    /// Transactions that it has finished.
    pub commits: Tally,
    /// Bytes that were received from it.
    pub received: Tally,
    /// Bytes that were sent to it.
    pub sent: Tally,
}

/// How far a transaction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The client stores.
    Open,
    /// Its vote waits for locks.
    Waiting,
    /// The server checks its vote.
    Preparing,
    /// The server waits for the client to finish it.
    Voted,
    /// It is being written.
    Finishing,
}

impl Phase {
    /// All of them, in the order of a commit.
    pub const ALL: [Phase; 5] = [
        Phase::Open,
        Phase::Waiting,
        Phase::Preparing,
        Phase::Voted,
        Phase::Finishing,
    ];

    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Waiting => "waiting",
            Phase::Preparing => "preparing",
            Phase::Voted => "voted",
            Phase::Finishing => "finishing",
        }
    }
}

/// A transaction between its begin and its end.
#[derive(Debug, Clone)]
pub struct TransactionStatus {
    /// Its user, shortened.
    pub user: String,
    /// Its description, shortened.
    pub description: String,
    /// How many objects the client had stored before.
    pub stores_before: u64,
    /// How far it is.
    pub phase: Phase,
    /// When each phase began last, in the order of [`Phase::ALL`].
    pub began: [Option<Instant>; Phase::ALL.len()],
}

impl TransactionStatus {
    /// When a phase began last; `None` if the transaction has not come to it.
    pub fn began(&self, phase: Phase) -> Option<Instant> {
        self.began[phase as usize]
    }
}

impl ClientStatus {
    /// A client that connects now.
    pub fn new(id: ClientId, address: String, tls: bool) -> Self {
        Self {
            id,
            address,
            tls,
            since: SystemTime::now(),
            connected: Instant::now(),
            storage: OnceLock::new(),
            read_only: AtomicBool::new(false),
            label: Mutex::default(),
            transaction: Mutex::default(),
            loads: Tally::default(),
            stores: Tally::default(),
            commits: Tally::default(),
            received: Tally::default(),
            sent: Tally::default(),
        }
    }

    /// The label that the client has given itself.
    pub fn label(&self) -> Option<String> {
        lock(&self.label).clone()
    }

    /// Notes the label that the client gives itself.
    pub fn set_label(&self, label: &str) {
        *lock(&self.label) = Some(label.to_owned());
    }

    /// The transaction of this moment.
    pub fn transaction(&self) -> Option<TransactionStatus> {
        lock(&self.transaction).clone()
    }

    /// A transaction of this user and description begins.
    pub fn begin(&self, user: &[u8], description: &[u8]) {
        let mut began = [None; Phase::ALL.len()];
        began[Phase::Open as usize] = Some(Instant::now());
        *lock(&self.transaction) = Some(TransactionStatus {
            user: shortened(user),
            description: shortened(description),
            stores_before: self.stores.get(),
            phase: Phase::Open,
            began,
        });
    }

    /// The transaction comes to a phase. Returns how long the one before took; `None` if there is
    /// no transaction.
    pub fn enter(&self, phase: Phase) -> Option<Duration> {
        let now = Instant::now();
        let mut transaction = lock(&self.transaction);
        let transaction = transaction.as_mut()?;
        let before = std::mem::replace(&mut transaction.phase, phase);
        transaction.began[phase as usize] = Some(now);
        let began = transaction.began(before)?;
        Some(now.saturating_duration_since(began))
    }

    /// The transaction has ended: what it was.
    pub fn end(&self) -> Option<TransactionStatus> {
        lock(&self.transaction).take()
    }
}

/// Two threads meet here only when the monitor looks; nothing long is done meanwhile.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shortened(text: &[u8]) -> String {
    // At most 4 bytes a character; what is cut in the middle is replaced and cut off below.
    let start = &text[..text.len().min(4 * MAX_TEXT_CHARS)];
    let text = String::from_utf8_lossy(start);
    text.chars().take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_seen_from_its_begin_to_its_end() {
        let client = ClientStatus::new(7, "test".to_owned(), false);
        client.enter(Phase::Voted);
        assert!(client.transaction().is_none(), "there is none yet");
        client.stores.add(3);
        client.begin(b"jim", "/a \u{20ac}".repeat(100).as_bytes());
        client.stores.add(2);
        client.enter(Phase::Waiting);
        let seen = client.transaction().unwrap();
        assert_eq!((seen.user.as_str(), seen.phase), ("jim", Phase::Waiting));
        assert_eq!(seen.description.chars().count(), MAX_TEXT_CHARS);
        assert_eq!(client.stores.get() - seen.stores_before, 2);
        assert!(seen.began(Phase::Open) <= seen.began(Phase::Waiting));
        assert!(seen.began(Phase::Voted).is_none());
        assert!(client.end().is_some() && client.transaction().is_none());
    }
}
