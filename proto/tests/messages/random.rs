//! What was encoded is parsed to the same, whatever it holds; and what has a
//! wrong shape is refused by the name of the method and the place.

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use zeo_proto::marshal::{Decode, Encode, Encoding, decode_message};
use zeo_proto::message::{
    Call, ClientConflict, CurrentRecord, HistoryEntry, Incoming, Invalidations, IteratedRecord,
    IteratedTransaction, Notification, ReplyError, Revision, Sizes, StorageInfo, Summary, TpcBegin,
    UndoEntry, Voted, encode_error, encode_reply,
};
use zeo_proto::{Exception, Oid, Tid, Value};

use super::{BOTH, message};

fn oid() -> impl Strategy<Value = Oid> {
    any::<u64>().prop_map(Oid::new)
}

fn tid() -> impl Strategy<Value = Tid> {
    any::<u64>().prop_map(Tid::new)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

/// A value that both encodings hold, and in which nothing is a list.
fn value() -> impl Strategy<Value = Value<'static>> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|int| Value::Int(int.into())),
        bytes().prop_map(|bytes| Value::Bytes(bytes.into())),
        ".{0,9}".prop_map(|text| Value::Str(text.into())),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Tuple),
            vec((inner.clone(), inner), 0..5).prop_map(Value::Dict),
        ]
    })
}

fn key() -> impl Strategy<Value = Value<'static>> {
    "[a-z_]{1,9}".prop_map(|name| Value::Str(name.into()))
}

fn dict() -> impl Strategy<Value = Value<'static>> {
    vec((key(), value()), 0..5).prop_map(Value::Dict)
}

fn summary() -> impl Strategy<Value = Summary<'static>> {
    (tid(), -1e9..1e10, bytes(), bytes(), any::<u64>(), dict()).prop_map(
        |(tid, time, user, description, size, extension)| Summary {
            tid,
            time,
            user: user.into(),
            description: description.into(),
            size,
            extension,
        },
    )
}

fn call() -> impl Strategy<Value = Call<'static>> {
    let name = ".{0,9}";
    let begin = (
        value(),
        bytes(),
        bytes(),
        dict(),
        option::of(tid()),
        any::<u8>(),
    );
    let stored = (oid(), tid(), bytes(), name, value());
    prop_oneof![
        begin.prop_map(|(id, user, description, extension, tid, status)| {
            Call::TpcBegin(Box::new(TpcBegin {
                id,
                user: user.into(),
                description: description.into(),
                extension,
                tid,
                status,
            }))
        }),
        stored.prop_map(|(oid, serial, data, name, id)| Call::StoreBlobShared {
            oid,
            serial,
            data: data.into(),
            name: name.into(),
            id,
        }),
        (
            oid(),
            tid(),
            option::of(bytes()),
            option::of(tid()),
            value()
        )
            .prop_map(|(oid, serial, data, prev_tid, id)| Call::Restore {
                oid,
                serial,
                data: data.map(Into::into),
                prev_tid,
                id,
            }),
        (any::<i64>(), any::<i64>(), dict()).prop_map(|(first, last, specification)| {
            Call::UndoInfo {
                first,
                last,
                specification,
            }
        }),
        (oid(), tid()).prop_map(|(oid, before)| Call::LoadBefore { oid, before }),
        (oid(), 0..i64::MAX as usize).prop_map(|(oid, size)| Call::History { oid, size }),
        any::<i64>().prop_map(|count| Call::NewOids { count }),
        (
            any::<f64>().prop_filter("NaN is not itself", |time| !time.is_nan()),
            any::<bool>()
        )
            .prop_map(|(time, wait)| Call::Pack { time, wait }),
        vec(0..u64::MAX / 2, 0..5).prop_map(|ids| Call::IteratorGc { ids }),
        (option::of(tid()), option::of(tid()))
            .prop_map(|(start, stop)| Call::IteratorStart { start, stop }),
    ]
}

fn notification() -> impl Strategy<Value = Notification<'static>> {
    prop_oneof![
        (tid(), vec(oid(), 0..3000)).prop_map(|(tid, oids)| {
            let oids = oids.into();
            Notification::InvalidateTransaction { tid, oids }
        }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(length, size)| Notification::Info(Sizes { length, size })),
        (oid(), tid(), bytes()).prop_map(|(oid, serial, chunk)| {
            let chunk = chunk.into();
            Notification::ReceiveBlobChunk { oid, serial, chunk }
        }),
    ]
}

fn exception() -> impl Strategy<Value = Exception> {
    let class = "[A-Za-z.]{1,30}";
    prop_oneof![
        (class, vec(value(), 0..4)).prop_map(|(class, args)| Exception::with_args(class, args)),
        (oid(), tid(), tid(), option::of(class)).prop_map(|(oid, committed, read, class)| {
            Exception::conflict(oid, committed, read, class)
        }),
        (class, option::of(oid())).prop_map(|(reason, oid)| Exception::undo(reason, oid)),
        vec((oid(), ".{0,9}"), 1..4).prop_map(Exception::undo_errors),
    ]
}

/// A result comes back as it is, by either encoding.
fn comes_back<T>(result: &T) -> Result<(), TestCaseError>
where
    T: Decode<'static> + Encode + PartialEq + Debug,
{
    for encoding in BOTH {
        let mut frame = Vec::new();
        encode_reply(&mut frame, encoding, &7_u64, result).unwrap();
        let Ok(Incoming::Reply(reply)) = Incoming::parse(message(&frame, encoding)) else {
            return Err(TestCaseError::fail("no reply"));
        };
        let found = reply.into_owned().result::<T>("m");
        prop_assert_eq!(found.as_ref(), Ok(result));
    }
    Ok(())
}

proptest! {
    #[test]
    fn calls_come_back(call in call(), id in value()) {
        for encoding in BOTH {
            let mut frame = Vec::new();
            call.encode(&mut frame, encoding, &id).unwrap();
            let message = decode_message(&frame[4..], encoding).unwrap();
            prop_assert_eq!(&message.id, &id);
            let args = message.args.into_items().unwrap();
            let found = Call::parse(&message.name, args);
            prop_assert_eq!(found.as_ref(), Ok(&call));
        }
    }

    #[test]
    fn notifications_come_back(notification in notification()) {
        for encoding in BOTH {
            let mut frame = Vec::new();
            notification.encode(&mut frame, encoding).unwrap();
            let found = Incoming::parse(message(&frame, encoding));
            prop_assert_eq!(found, Ok(Incoming::Notification(notification.clone())));
        }
    }

    #[test]
    fn exceptions_come_back(exception in exception()) {
        for encoding in BOTH {
            let mut frame = Vec::new();
            encode_error(&mut frame, encoding, &7_u64, &exception).unwrap();
            let Ok(Incoming::Reply(reply)) = Incoming::parse(message(&frame, encoding)) else {
                return Err(TestCaseError::fail("no reply"));
            };
            let raised = Err(ReplyError::Raised(exception.clone()));
            prop_assert_eq!(reply.result::<()>("m"), raised);
        }
    }

    #[test]
    fn revisions_come_back(data in bytes(), serial in tid(), next in option::of(tid())) {
        comes_back(&Some(Revision { data: data.into(), serial, next }))?;
    }

    #[test]
    fn entries_come_back(summary in summary(), id in bytes()) {
        comes_back(&vec![HistoryEntry::flat(summary.clone())])?;
        comes_back(&vec![HistoryEntry::nested(summary.clone())])?;
        comes_back(&vec![UndoEntry::new(id.into(), summary)])?;
    }

    #[test]
    fn records_come_back(
        (oid, tid, data) in (oid(), tid(), bytes()),
        next in option::of(oid()),
        data_txn in option::of(tid()),
        summary in summary(),
        status in any::<u8>(),
    ) {
        let read = Tid::new(tid.as_u64() / 2);
        comes_back(&vec![
            Voted::Resolved(oid),
            Voted::Conflict(ClientConflict { oid, committed: tid, read, data: data.clone().into() }),
        ])?;
        comes_back(&CurrentRecord { oid, serial: tid, data: data.clone().into(), next })?;
        comes_back(&IteratedRecord { oid, tid, data: Some(data.into()), data_txn })?;
        let Summary { tid, user, description, extension, .. } = summary;
        comes_back(&IteratedTransaction { tid, status, user, description, extension })?;
    }

    #[test]
    fn invalidations_come_back(last in tid(), oids in vec(oid(), 0..3000)) {
        comes_back(&Some(Invalidations { last, oids }))?;
    }

    #[test]
    fn infos_come_back(
        (length, size) in any::<(u64, u64)>(),
        (supports_undo, supports_record_iternext) in any::<(bool, bool)>(),
        name in ".{0,9}",
        interfaces in vec(("[a-z.]{1,9}", "[A-Z]{1,9}"), 0..20),
    ) {
        let interface = |(module, name): (String, String)| (module.into(), name.into());
        comes_back(&StorageInfo {
            sizes: Sizes { length, size },
            name: name.into(),
            supports_undo,
            supports_record_iternext,
            interfaces: interfaces.into_iter().map(interface).collect(),
        })?;
    }
}

/// What is said of a result that is this value.
fn refused<T: Decode<'static> + Debug>(method: &str, value: Value<'static>) -> String {
    let reply = zeo_proto::message::Reply {
        id: Value::Int(1),
        outcome: Ok(value),
    };
    reply.result::<T>(method).unwrap_err().to_string()
}

#[test]
fn results_of_other_shapes_are_refused_by_name() {
    let tuple = |items: &[Value<'static>]| Value::Tuple(items.to_vec());
    let (id, number) = (Value::bytes(b"12345678"), Value::Int(5));
    assert_eq!(
        refused::<Tid>("lastTransaction", Value::bytes(b"short")),
        "lastTransaction(): result is bytes of length 5, not a tid of 8 bytes"
    );
    assert_eq!(
        refused::<Option<Revision<'_>>>("loadBefore", tuple(&[id.clone(), id.clone()])),
        "loadBefore(): result is a tuple of 2, not (data, serial, next serial)"
    );
    assert_eq!(
        refused::<Revision<'_>>(
            "loadBefore",
            tuple(&[id.clone(), id.clone(), number.clone()])
        ),
        "loadBefore(): result.next is an int, not a tid of 8 bytes"
    );
    assert_eq!(
        refused::<Invalidations>(
            "getInvalidations",
            tuple(&[id.clone(), tuple(&[id.clone(), number.clone()])])
        ),
        "getInvalidations(): result.oids[1] is an int, not an oid of 8 bytes"
    );
    let conflict = Value::Dict(vec![(Value::str("oid"), id.clone())]);
    assert_eq!(
        refused::<Vec<Voted<'_>>>("vote", tuple(&[conflict])),
        "vote(): result[0].serials is None, not a pair"
    );
    let raised = zeo_proto::message::Reply {
        id: Value::Int(1),
        outcome: Err(tuple(&[number, Value::None])),
    };
    assert_eq!(
        raised.result::<()>("ping").unwrap_err().to_string(),
        "ping(): exception.class is an int, not text"
    );
}

#[test]
fn notifications_of_other_shapes_are_refused_by_name() {
    let refused =
        |name: &str, args: Value<'static>| Notification::parse(name, args).unwrap_err().to_string();
    let id = || Value::bytes(b"12345678");
    let pair = |second| Value::Tuple(vec![id(), second]);
    assert_eq!(
        refused(
            "invalidateTransaction",
            pair(Value::Tuple(vec![id(), Value::None]))
        ),
        "invalidateTransaction(): oids[1] is None, not an oid of 8 bytes"
    );
    assert_eq!(
        refused("receiveBlobChunk", pair(id())),
        "receiveBlobChunk(): args is a tuple of 2, not (oid, serial, chunk)"
    );
    assert_eq!(
        refused("info", Value::Tuple(vec![Value::Dict(vec![])])),
        "info(): info.length is None, not an int of 64 bits that is not negative"
    );
    assert_eq!(
        refused("serialnos", Value::None),
        "serialnos(): no such notification"
    );
}

#[test]
fn frames_are_left_out_whole_when_something_can_not_be_encoded() {
    let global = Value::Global {
        module: "m".into(),
        name: "n".into(),
    };
    let mut out = b"before".to_vec();
    let vote = Call::Vote { id: global };
    vote.encode(&mut out, Encoding::Msgpack, &1_u64)
        .unwrap_err();
    assert_eq!(out, b"before");
    vote.encode(&mut out, Encoding::Pickle, &1_u64).unwrap();
    assert!(out.len() > 6);
}
