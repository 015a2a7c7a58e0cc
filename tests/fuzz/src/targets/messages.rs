//! Typed messages: what was parsed is encoded, and parsed to the same again.

use zeo_proto::Exception;
use zeo_proto::marshal::{Decode, Encode, Encoding, decode_message_within};
use zeo_proto::message::{
    Call, CurrentRecord, HistoryEntry, Incoming, Invalidations, IteratedRecord,
    IteratedTransaction, Reply, Revision, StorageInfo, UndoEntry, Voted, encode_error,
    encode_reply,
};
use zeo_proto::pickle::Policy;
use zeo_proto::{Oid, Tid};

use super::{SLACK, Subject, Target};
use crate::corpus;

pub const PICKLED_CALL: Target = Target {
    name: "pickled-call",
    corpus: || calls(Encoding::Pickle),
    prepare: || call(Encoding::Pickle),
    slack: SLACK,
};

pub const MSGPACK_CALL: Target = Target {
    name: "msgpack-call",
    corpus: || calls(Encoding::Msgpack),
    prepare: || call(Encoding::Msgpack),
    slack: SLACK,
};

pub const PICKLED_REPLY: Target = Target {
    name: "pickled-reply",
    corpus: || corpus::messages(Encoding::Pickle, &["reply", "notify"]),
    prepare: || incoming(Encoding::Pickle),
    slack: SLACK,
};

pub const MSGPACK_REPLY: Target = Target {
    name: "msgpack-reply",
    corpus: || corpus::messages(Encoding::Msgpack, &["reply", "notify"]),
    prepare: || incoming(Encoding::Msgpack),
    slack: SLACK,
};

fn calls(encoding: Encoding) -> Vec<Vec<u8>> {
    let mut found = corpus::calls(encoding);
    found.extend(corpus::messages(encoding, &["call"]));
    found
}

/// What was read once is read again, however many values it shares.
const AGAIN: Policy = Policy {
    max_depth: 1000,
    max_values_per_byte: 1000,
    ..Policy::REPLY
};

fn call(encoding: Encoding) -> Subject {
    let parsed = move |payload: &[u8], policy: &Policy| -> Option<Vec<u8>> {
        let message = decode_message_within(payload, encoding, policy).ok()?;
        let args = message.args.into_items()?;
        let call = Call::parse(&message.name, args).ok()?;
        let mut frame = Vec::new();
        call.encode(&mut frame, encoding, &message.id).ok()?;
        Some(frame.split_off(4))
    };
    Box::new(move |input| stable("the call", parsed(input, &Policy::REQUEST), parsed))
}

/// What was encoded is parsed, and encoded to the same bytes.
fn stable(
    what: &str,
    encoded: Option<Vec<u8>>,
    again: impl Fn(&[u8], &Policy) -> Option<Vec<u8>>,
) -> Result<(), String> {
    let Some(encoded) = encoded else {
        return Ok(());
    };
    match again(&encoded, &AGAIN) {
        Some(same) if same == encoded => Ok(()),
        other => Err(format!("{what} is {encoded:x?} and then {other:x?}")),
    }
}

fn incoming(encoding: Encoding) -> Subject {
    Box::new(move |input| match parse(input, encoding, &Policy::REPLY) {
        Some(Incoming::Notification(_)) => {
            let encoded = |payload: &[u8], policy: &Policy| match parse(payload, encoding, policy)?
            {
                Incoming::Notification(notification) => {
                    let mut frame = Vec::new();
                    notification.encode(&mut frame, encoding).ok()?;
                    Some(frame.split_off(4))
                }
                _ => None,
            };
            stable("the notification", encoded(input, &Policy::REPLY), encoded)
        }
        Some(Incoming::Reply(_)) => results(input, encoding),
        _ => Ok(()),
    })
}

fn parse<'a>(payload: &'a [u8], encoding: Encoding, policy: &Policy) -> Option<Incoming<'a>> {
    let message = decode_message_within(payload, encoding, policy).ok()?;
    Incoming::parse(message).ok()
}

/// The reply taken for that of any method.
fn results(input: &[u8], encoding: Encoding) -> Result<(), String> {
    let kinds: [Encoded; 13] = [
        |reply, encoding| of::<Option<Tid>>(reply, encoding),
        |reply, encoding| of::<u64>(reply, encoding),
        |reply, encoding| of::<StorageInfo<'_>>(reply, encoding),
        |reply, encoding| of::<Option<Invalidations>>(reply, encoding),
        |reply, encoding| of::<Option<Revision<'_>>>(reply, encoding),
        |reply, encoding| of::<CurrentRecord<'_>>(reply, encoding),
        |reply, encoding| of::<Vec<HistoryEntry<'_>>>(reply, encoding),
        |reply, encoding| of::<Vec<UndoEntry<'_>>>(reply, encoding),
        |reply, encoding| of::<Option<IteratedTransaction<'_>>>(reply, encoding),
        |reply, encoding| of::<Option<IteratedRecord<'_>>>(reply, encoding),
        |reply, encoding| of::<Vec<Oid>>(reply, encoding),
        |reply, encoding| of::<Vec<Voted<'_>>>(reply, encoding),
        raised,
    ];
    kinds
        .into_iter()
        .try_for_each(|kind| result(input, encoding, kind))
}

/// Encodes what a reply is taken for; none if it is nothing of this kind.
type Encoded = for<'a> fn(Reply<'a>, Encoding) -> Option<Vec<u8>>;

fn result(input: &[u8], encoding: Encoding, encode: Encoded) -> Result<(), String> {
    let encoded = |payload: &[u8], policy: &Policy| match parse(payload, encoding, policy)? {
        Incoming::Reply(reply) => encode(reply, encoding),
        _ => None,
    };
    stable("the reply", encoded(input, &Policy::REPLY), encoded)
}

fn of<'a, T: Decode<'a> + Encode>(reply: Reply<'a>, encoding: Encoding) -> Option<Vec<u8>> {
    let (id, mut frame) = (reply.id.clone(), Vec::new());
    let result: T = reply.result("m").ok()?;
    encode_reply(&mut frame, encoding, &id, &result).ok()?;
    Some(frame.split_off(4))
}

fn raised(reply: Reply<'_>, encoding: Encoding) -> Option<Vec<u8>> {
    let (id, mut frame) = (reply.id.clone(), Vec::new());
    let exception = Exception::from_reply(reply.outcome.err()?).ok()?;
    encode_error(&mut frame, encoding, &id, &exception).ok()?;
    Some(frame.split_off(4))
}
