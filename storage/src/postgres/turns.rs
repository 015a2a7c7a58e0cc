//! Servers that commit all the time take turns, each with all that has come while another committed.
//!
//! A batch can't grow any more when its call waits for the lock: with two servers, each batch would be
//! half as large as that of one server, and a sync as long.

use std::sync::atomic::Ordering;

use super::session::value;
use super::sql::TURN;
use super::storage::PostgresStorage;

impl PostgresStorage {
    /// Waits until nobody else commits, if somebody did the last time. The lock is given back at once, since
    /// it must never be held while the database waits for us: perhaps another server is faster then.
    pub(super) fn wait_for_turn(&self) {
        if !self.contended.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut slot = self.writer();
        let Some(writer) = slot.as_mut() else {
            return;
        };
        match writer.session.query(TURN, &[]) {
            Ok(rows) => {
                let waited = rows.first().map(|row| value(row, 0));
                let waited = matches!(waited, Some(Ok(true)));
                self.contended.store(waited, Ordering::Relaxed);
            }
            // Nothing is under way over this connection.
            Err(_) => *slot = None,
        }
    }
}
