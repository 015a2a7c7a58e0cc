//! What is done with a message of the server, in the order in which they come.

use std::sync::Arc;

use zeo_proto::message::{Incoming, Notification, Reply, ReplyError, Revision};
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::storage;

use super::error::Error;
use super::in_flight::{Finished, Loaded, Waiting};
use super::link::Link;
use super::lock::locked;
use super::shared::Shared;
use super::slot::Slot;

/// Takes one message. An error is the server's, who does not keep to the protocol: the connection is
/// of no use any more.
pub(super) fn dispatch(shared: &Shared, link: &Link, frame: &[u8]) -> Result<(), String> {
    let incoming = Incoming::decode(frame, link.encoding);
    match incoming.map_err(|why| format!("a message that can't be understood: {why}"))? {
        Incoming::Reply(reply) => take_reply(shared, link, reply),
        Incoming::Notification(notification) => notified(shared, notification),
        _ => Ok(()),
    }
}

fn take_reply(shared: &Shared, link: &Link, reply: Reply<'_>) -> Result<(), String> {
    let id = match reply.id {
        Value::Int(id) => u64::try_from(id).ok(),
        _ => None,
    };
    let Some(waiting) = id.and_then(|id| link.in_flight.take(id)) else {
        return Err("a reply to a call that was not made".to_owned());
    };
    match waiting {
        Waiting::Load { slot, .. } => {
            slot.give(loaded(link, reply));
            Ok(())
        }
        Waiting::Finish { slot, oids } => finished(shared, link, reply, (&slot, oids)),
        Waiting::Call { method, slot } => {
            let answer = match reply.outcome {
                Ok(value) => Ok(value.into_owned()),
                Err(_) => Err(failed(link, method, reply)),
            };
            slot.give(answer);
            Ok(())
        }
    }
}

fn loaded(link: &Link, reply: Reply<'_>) -> Loaded {
    let revision: Option<Revision<'_>> =
        { reply.result("loadBefore") }.map_err(|why| reply_error(link, "loadBefore", why))?;
    Ok(revision.map(|revision| storage::Revision {
        data: revision.data.into_owned().into(),
        serial: revision.serial,
        next: revision.next,
    }))
}

/// The server has answered to `tpc_finish`: what was stored is visible from now on.
fn finished(
    shared: &Shared,
    link: &Link,
    reply: Reply<'_>,
    (slot, oids): (&Arc<Slot<Finished>>, Vec<Oid>),
) -> Result<(), String> {
    let result = reply.result::<Option<Tid>>("tpc_finish");
    let tid = match result {
        Ok(Some(tid)) => tid,
        Ok(None) => {
            let why = "the server knows of no transaction".to_owned();
            slot.give(Err(Error::Transaction(why)));
            return Ok(());
        }
        Err(why) => {
            slot.give(Err(reply_error(link, "tpc_finish", why)));
            return Ok(());
        }
    };
    let moved = later(shared, tid);
    if moved.is_ok() {
        { &shared.listeners }.moved(tid, |listener| listener.committed(tid, &oids));
    }
    slot.give(Ok(tid));
    moved
}

fn notified(shared: &Shared, notification: Notification<'_>) -> Result<(), String> {
    match notification {
        Notification::InvalidateTransaction { tid, oids } => {
            later(shared, tid)?;
            { &shared.listeners }.moved(tid, |listener| listener.invalidated(tid, &oids));
        }
        Notification::Info(sizes) => locked(&shared.info).sizes = sizes,
        _ => {}
    }
    Ok(())
}

/// Refuses a transaction that is not later than the last one: what is known would be of no use.
fn later(shared: &Shared, tid: Tid) -> Result<(), String> {
    let last = shared.listeners.last_tid();
    if tid > last {
        return Ok(());
    }
    Err(format!(
        "transaction {tid} is not later than the last one, {last}"
    ))
}

fn failed(link: &Link, method: &'static str, reply: Reply<'_>) -> Error {
    match reply.result::<Value<'_>>(method) {
        // It was one that is an error.
        Ok(_) => Error::Closed,
        Err(why) => reply_error(link, method, why),
    }
}

fn reply_error(link: &Link, method: &'static str, why: ReplyError) -> Error {
    match why {
        ReplyError::Raised(exception) => Error::raised(&link.address, method, exception),
        why => Error::Reply {
            address: link.address.clone(),
            method,
            why: why.to_string(),
        },
    }
}
