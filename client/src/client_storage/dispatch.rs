//! What is done with a message of the server, in the order in which they come.

use zeo_proto::message::{Incoming, Notification, Reply, ReplyError, Revision, message_id};
use zeo_proto::{Tid, Value};
use zeo_storage::storage;

use super::error::Error;
use super::in_flight::{Answer, Finished, LoadKey, Received, Receiving, Waiting};
use super::known::Stored;
use super::link::Link;
use super::shared::Shared;
use crate::lock::locked;

/// Takes one message. An error is the server's, who does not keep to the protocol: the connection is
/// of no use any more.
pub(super) fn dispatch(shared: &Shared, link: &Link, frame: &[u8]) -> Result<(), String> {
    match Incoming::decode(frame, link.encoding) {
        Ok(Incoming::Reply(reply)) => take_reply(shared, link, reply),
        Ok(Incoming::Notification(notification)) => notified(shared, link, notification),
        Ok(_) => Ok(()),
        Err(why) => {
            // If its caller can be told, the others go on.
            let id = message_id(frame, link.encoding);
            let waiting = id.and_then(|id| link.in_flight.take(id));
            let Some(waiting) = waiting else {
                return Err(format!("a message that can't be understood: {why}"));
            };
            let method = waiting.method();
            let text = why.to_string();
            waiting.fail(&link.misunderstood(method, why));
            match method {
                // What has become of it only a new connection tells.
                "tpc_finish" => Err(text),
                _ => Ok(()),
            }
        }
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
        Waiting::Load { key, slot } => {
            let answer = loaded(shared, link, key, reply);
            // Nobody else comes to this slot any more; a prefetch is not waited for.
            if slot.is_awaited() {
                slot.give(answer.map(|revision| revision.map(owned)));
            }
            Ok(())
        }
        Waiting::Finish { slot, stored } => {
            let (finished, result) = finished(shared, link, reply, &stored);
            slot.give(finished);
            result
        }
        Waiting::Blob {
            receiving, slot, ..
        } => {
            slot.give(received(link, reply, *receiving));
            Ok(())
        }
        Waiting::Iterator {
            method,
            tag,
            sender,
        } => {
            // Maybe nobody iterates any more.
            let _ = sender.send((tag, answer(link, method, reply)));
            Ok(())
        }
        Waiting::Call { method, slot } => {
            let answer = answer(link, method, reply);
            if let (Err(Error::Conflict(conflict) | Error::ReadConflict(conflict)), "vote") =
                (&answer, method)
                && let Some(oid) = conflict.oid
            {
                // Its invalidation may not have come yet.
                shared.known.forget(oid);
            }
            slot.give(answer);
            Ok(())
        }
    }
}

fn answer(link: &Link, method: &'static str, reply: Reply<'_>) -> Answer {
    let answer = reply.result::<Value<'_>>(method);
    let answer = answer.map_err(|why| reply_error(link, method, why))?;
    Ok(answer.into_owned())
}

fn loaded<'a>(
    shared: &Shared,
    link: &Link,
    (oid, before): LoadKey,
    reply: Reply<'a>,
) -> Result<Option<Revision<'a>>, Error> {
    let revision: Option<Revision<'a>> = reply.result("loadBefore").map_err(|why| {
        match reply_error(link, "loadBefore", why) {
            // As of a storage that tells no more than the class.
            Error::Server { exception, .. }
                if exception.class() == "ZODB.POSException.POSKeyError" =>
            {
                Error::NoObject { oid, serial: None }
            }
            why => why,
        }
    })?;
    let Some(found) = revision else {
        return Ok(None);
    };
    let (serial, next) = (found.serial, found.next);
    if serial >= before || next.is_some_and(|next| next < before || next <= serial) {
        let why =
            format!("revision {serial} with the next one {next:?} was not current before {before}");
        return Err(link.misunderstood("loadBefore", why));
    }
    shared.known.loaded(oid, serial, next, &found.data);
    Ok(Some(found))
}

fn owned(Revision { data, serial, next }: Revision<'_>) -> storage::Revision {
    let data = data.into_owned().into();
    storage::Revision { data, serial, next }
}

/// The server has answered to `tpc_finish`: what was stored is visible from now on.
fn finished(
    shared: &Shared,
    link: &Link,
    reply: Reply<'_>,
    stored: &Stored,
) -> (Finished, Result<(), String>) {
    match reply.result::<Option<Tid>>("tpc_finish") {
        Ok(Some(tid)) => {
            let later = later(shared, tid);
            if later.is_ok() {
                shared.known.committed(tid, stored);
            }
            (Ok(tid), later)
        }
        Ok(None) => {
            let why = "the server knows of no transaction".to_owned();
            (Err(Error::Transaction(why)), Ok(()))
        }
        // It is committed, or not: only a new connection finds out.
        Err(why @ ReplyError::Shape(_)) => {
            let text = why.to_string();
            (Err(reply_error(link, "tpc_finish", why)), Err(text))
        }
        Err(why) => (Err(reply_error(link, "tpc_finish", why)), Ok(())),
    }
}

fn received(link: &Link, reply: Reply<'_>, receiving: Receiving) -> Received {
    let result = reply.result::<Value<'_>>("sendBlob");
    result.map_err(|why| reply_error(link, "sendBlob", why))?;
    match receiving {
        Receiving {
            failed: Some(why), ..
        } => Err(why),
        Receiving {
            complete: true,
            download,
            ..
        } => Ok(download),
        _ => Err(link.misunderstood("sendBlob", "the blob did not come")),
    }
}

fn notified(shared: &Shared, link: &Link, notification: Notification<'_>) -> Result<(), String> {
    match notification {
        Notification::InvalidateTransaction { tid, oids } => {
            later(shared, tid)?;
            shared.known.invalidated(tid, &oids);
        }
        Notification::Info(sizes) => locked(&shared.info).sizes = sizes,
        Notification::ReceiveBlobChunk { oid, serial, chunk } => {
            link.in_flight.with_blob((oid, serial), |blob| {
                if blob.failed.is_none()
                    && let Err(why) = blob.download.write(&chunk)
                {
                    blob.failed = Some(why.into());
                }
            });
        }
        Notification::ReceiveBlobStop { oid, serial } => {
            link.in_flight
                .with_blob((oid, serial), |blob| blob.complete = true);
        }
        _ => {}
    }
    Ok(())
}

/// Refuses a transaction that is not later than the last one: what is known would be of no use.
fn later(shared: &Shared, tid: Tid) -> Result<(), String> {
    let last = shared.known.last_tid();
    if tid > last {
        return Ok(());
    }
    Err(format!(
        "transaction {tid} is not later than the last one, {last}"
    ))
}

fn reply_error(link: &Link, method: &'static str, why: ReplyError) -> Error {
    match why {
        ReplyError::Raised(exception) => Error::raised(&link.address, method, exception),
        why => link.misunderstood(method, why),
    }
}
