//! Session: `undoLog` and `undoInfo`.

use std::sync::Arc;

use zeo_proto::Value;
use zeo_storage::storage::UndoEntry;

use super::undo_info::{Room, Specification};
use super::values::undo_entry;
use super::{Answer, Outcome, Session};
use crate::storages::ServedStorage;

impl Session {
    /// Lists transactions that can be undone, the latest first: those from number `first` up to
    /// `last` of those that the specification admits.
    /// `last` below zero is a count from `first` on.
    pub(super) fn undo_log(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        first: i64,
        last: i64,
        specification: Option<Specification>,
    ) -> Outcome {
        if !storage.storage.capabilities().undo {
            return Ok(Answer::Value(Value::Tuple(Vec::new())));
        }
        let last = if last < 0 {
            first.saturating_sub(last)
        } else {
            last
        };
        let range = [first, last].map(|n| usize::try_from(n.max(0)).unwrap_or(usize::MAX));
        let mut room = Room::behind(range[0]);
        let encoding = self.encoding();
        self.answer_later(storage, id, move |storage, client| {
            let mut admits = |entry: &UndoEntry| {
                client.check()?;
                let specification = specification.as_ref();
                let is_wanted = specification
                    .is_none_or(|wanted| wanted.admits(undo_entry(entry, encoding).items()));
                if is_wanted {
                    room.take(entry)?;
                }
                Ok(is_wanted)
            };
            let entries = storage.storage.undo_log(range[0], range[1], &mut admits)?;
            let entries = entries.iter().map(|entry| undo_entry(entry, encoding));
            Ok(entries.collect::<Vec<_>>())
        })
    }
}
