//! Session: reports of conflicts, to the client, in the counters and in the log.

use std::borrow::Cow;
use std::sync::atomic::Ordering::Relaxed;

use slog::{debug, info};
use zeo_proto::message::{ClientConflict, Voted};
use zeo_storage::Error;
use zeo_storage::conflict::DecidedBy;
use zeo_storage::error::Conflict;
use zeo_storage::storage::Merged;

use super::Session;
use crate::status::conflict_counts::{Ending, one_line};
use crate::storages::ServedStorage;

/// How much of a reason is logged, in characters.
const MAX_REASON_CHARS: usize = 500;

impl Session {
    /// Counts conflicts that ended well.
    pub(super) fn count_resolved(&self, storage: &ServedStorage, merged: &[Merged]) {
        for Merged { class, by } in merged {
            storage.stats.conflicts_resolved.fetch_add(1, Relaxed);
            let ending = match by {
                DecidedBy::Application => Ending::ResolvedByProgram,
                DecidedBy::Storage | DecidedBy::Nobody => Ending::Resolved,
            };
            let counts = &storage.stats.conflict_classes;
            if let Some(line) = counts.add(class.as_deref(), ending) {
                info!(self.log, "{line}");
            }
        }
    }

    /// Counts the conflicts that made a vote fail.
    pub(super) fn count_unresolved(&self, storage: &ServedStorage, error: &Error) {
        let unresolved = match error {
            Error::Conflict(conflict) => std::slice::from_ref(&**conflict),
            Error::Undo { conflicts, .. } => conflicts,
            _ => return,
        };
        for conflict in unresolved {
            let ending = match conflict.decided_by {
                DecidedBy::Storage => Ending::Unresolved,
                DecidedBy::Application => Ending::RefusedByProgram,
                DecidedBy::Nobody => Ending::ProgramFailed,
            };
            self.count_conflict(storage, conflict, ending);
        }
    }

    /// Counts a conflict, and logs why it was not resolved.
    pub(super) fn count_conflict(
        &self,
        storage: &ServedStorage,
        conflict: &Conflict,
        ending: Ending,
    ) {
        let (class, oid) = (conflict.class_name(), conflict.oid);
        let why = match &conflict.reason {
            Some(reason) => {
                let reason = one_line(reason, MAX_REASON_CHARS);
                format!("the conflict of object {oid} was not resolved: {reason}")
            }
            None => format!("the conflict of object {oid} is left to the client"),
        };
        debug!(self.log, "{why}");
        let counts = &storage.stats.conflict_classes;
        if let Some(line) = counts.add(class.as_deref(), ending) {
            info!(self.log, "{line}; {why}");
        }
    }
}

/// A conflict for the client to resolve.
pub(super) fn for_client(conflict: &Conflict) -> Voted<'_> {
    Voted::Conflict(ClientConflict {
        oid: conflict.oid,
        committed: conflict.committed,
        read: conflict.read,
        data: Cow::Borrowed(&conflict.data),
    })
}
