//! Session: the call `pack`.

use std::sync::Arc;

use slog::{Logger, info, warn};
use zeo_proto::Value;
use zeo_storage::Error;

use super::helper::ClientWatch;
use super::{Answer, Outcome, Session};
use crate::messages::request::Request;
use crate::status::outcomes::PackEnd;
use crate::storages::ServedStorage;

impl Session {
    /// Packs on a helper thread. As in Python, a read-only client may pack; and without `wait`, the
    /// answer comes at once, and only the log says how the pack ended.
    pub(super) fn pack(
        &mut self,
        storage: &Arc<ServedStorage>,
        id: &Value<'static>,
        time: f64,
        wait: bool,
    ) -> Outcome {
        let log = self.log.clone();
        if wait {
            let work = move |storage: &ServedStorage, _: &ClientWatch| pack(storage, time, &log);
            return self.answer_later(storage, id, work);
        }
        if self.is_busy() {
            return Ok(Answer::Hold);
        }
        let storage = Arc::clone(storage);
        let work = move || {
            if let Err(why) = pack(&storage, time, &log) {
                warn!(log, "pack(time={time}) failed: {why}");
            }
        };
        self.spawn(work, |_, ()| {})?;
        Ok(Answer::Value(Value::None))
    }
}

fn pack(storage: &ServedStorage, time: f64, log: &Logger) -> zeo_storage::Result<()> {
    info!(log, "pack(time={time}) started...");
    let packed = storage.storage.pack(time, None);
    storage.stats.packs.count(match &packed {
        Ok(()) => PackEnd::Complete,
        Err(Error::Cancelled) => PackEnd::Cancelled,
        Err(_) => PackEnd::Failed,
    });
    packed?;
    info!(log, "pack(time={time}) complete");
    // The answer comes behind the sizes, so that the client knows them.
    let (told, done) = crossbeam_channel::bounded(1);
    if (storage.coordinator.send(Request::TellSizes { told })).is_ok() {
        // It fails only when the server stops.
        let _ = done.recv();
    }
    Ok(())
}
