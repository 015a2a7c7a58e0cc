//! `/metrics`. `docs/monitoring.md` has the list.

mod process;
mod storages;
mod text;

use self::text::Text;
use super::snapshot::Snapshot;

/// All metrics of a server.
pub(super) fn metrics(snapshot: &Snapshot<'_>) -> String {
    let mut text = Text::default();
    process::write(&mut text, snapshot);
    storages::write(&mut text, snapshot);
    text.into_string()
}
