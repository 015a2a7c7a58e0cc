//! From a registered connection to one whose storage is known: what was missed is told.

use std::sync::Arc;

use zeo_proto::message::{Call, Invalidations, Notification, Reply, StorageInfo};
use zeo_proto::{Oid, Tid};
use zeo_storage::log::Level;

use super::connect::Candidate;
use super::error::Refusal;
use super::shared::Shared;
use crate::connection::Connection;
use crate::connection_error::{ConnectionError, MessageError};

/// How many invalidated objects may be told of before all is known.
const QUEUED_MAX: usize = 1 << 24;

/// A connection over which calls can be made.
pub(super) struct Verified {
    pub connection: Connection,
    pub read_only: bool,
    pub info: StorageInfo<'static>,
}

/// Invalidations that have come meanwhile.
#[derive(Default)]
struct Queued {
    all: Vec<(Tid, Vec<Oid>)>,
    oids: usize,
}

impl Queued {
    fn note(&mut self, notification: Notification<'_>) {
        if let Notification::InvalidateTransaction { tid, oids } = notification {
            self.oids = self.oids.saturating_add(oids.len() + 1);
            if self.oids <= QUEUED_MAX {
                self.all.push((tid, oids.into_owned()));
            }
        }
    }
}

/// Brings what is known of the storage up to the server's last transaction.
///
/// | cache | server | what is done |
/// |---|---|---|
/// | empty, and no last tid | any | everything has changed |
/// | empty | | as if it held something of the last tid: who listens may do so. But a server that is behind is used, and everything has changed |
/// | of the same transaction | | nothing |
/// | older | tells what has changed since | these objects are invalidated |
/// | older | can't tell any more | the cache is emptied, everything has changed |
/// | newer | | the server is not used: [`Refusal::Behind`] |
pub(super) fn verify(shared: &Shared, candidate: Box<Candidate>) -> Result<Verified, Refusal> {
    let lost = |why| Refusal::Connection(Arc::new(why));
    let Candidate {
        mut connection,
        read_only,
        last_tid,
    } = *candidate;
    // The search has ended.
    connection.set_cancels(shared.closing());
    shared.check_not_behind(last_tid)?;
    let mut queued = Queued::default();
    let missed = match shared.known.known_tid() {
        Some(known) if known < last_tid => {
            let call = Call::GetInvalidations { since: known };
            let note = &mut |notification: Notification<'_>| queued.note(notification);
            connection
                .call::<Option<Invalidations>>(&call, note)
                .map_err(lost)?
        }
        _ => None,
    };
    let owned = |reply: Reply<'_>| {
        reply
            .into_owned()
            .result::<StorageInfo<'static>>("get_info")
    };
    let note = &mut |notification: Notification<'_>| queued.note(notification);
    let info = connection
        .call_with(&Call::GetInfo, note, owned)
        .map_err(lost)?;
    if let Some(label) = &shared.settings.client_label {
        let label = label.as_str().into();
        connection
            .send_async(&Call::SetClientLabel { label })
            .map_err(lost)?;
    }
    if queued.oids > QUEUED_MAX {
        return Err(lost(too_many(&connection)));
    }
    bring_up(shared, last_tid, missed)?;
    for (tid, oids) in queued.all {
        if tid > shared.known.last_tid() {
            shared.known.invalidated(tid, &oids);
        }
    }
    Ok(Verified {
        connection,
        read_only,
        info,
    })
}

pub(super) fn bring_up(
    shared: &Shared,
    server: Tid,
    missed: Option<Invalidations>,
) -> Result<(), Refusal> {
    match (shared.known.known_tid(), missed) {
        (Some(known), Some(Invalidations { last, oids })) => {
            if last < known {
                return Err(Refusal::Behind {
                    server: last,
                    cache: known,
                });
            }
            shared.log(
                Level::Info,
                &format!("{} objects have changed since {known}", oids.len()),
            );
            shared.known.missed(last, &oids);
        }
        (Some(known), None) if known == server => {}
        (Some(known), None) => {
            let text = format!(
                "the cache is of transaction {known}, and the server can't tell any more what has \
                 changed since: the cache is emptied"
            );
            shared.log(Level::Warning, &text);
            shared.known.everything_changed(server);
        }
        (None, _) if shared.known.last_tid() == server => {}
        (None, _) => shared.known.everything_changed(server),
    }
    Ok(())
}

fn too_many(connection: &Connection) -> ConnectionError {
    ConnectionError::Message {
        address: connection.address().clone(),
        what: "reply to get_info".to_owned(),
        why: MessageError::UnknownId("after too many invalidations".to_owned()),
    }
}
