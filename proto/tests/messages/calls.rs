//! What clients call.

use std::collections::BTreeSet;

use zeo_proto::marshal::Encoding;
use zeo_proto::message::{Call, TpcBegin};
use zeo_proto::value::Object;
use zeo_proto::{Tid, Value};

use super::{extension, frames, labels, message, oid, record, tid};

const NOW: Tid = Tid::new(u64::MAX >> 1);
const TXN: i128 = 0x7f00_1234_5678;

fn txn(number: i128) -> Value<'static> {
    Value::Int(TXN + number)
}

/// The calls that are the same in both encodings.
fn calls() -> Vec<(&'static str, Call<'static>)> {
    let data = |text: &str| record(text).into();
    let zero = Tid::ZERO;
    let user = vec![(Value::str("user_name"), Value::bytes(b"nobody"))];
    let none = Value::None;
    let load = |number, before| Call::LoadBefore {
        oid: oid(number),
        before,
    };
    let register = |storage: &'static str| Call::Register {
        storage: storage.into(),
        read_only: false,
    };
    let undo_info = |specification| Call::UndoInfo {
        first: 0,
        last: -20,
        specification,
    };
    let begin = Call::TpcBegin(Box::new(TpcBegin {
        id: txn(1),
        user: b"user".into(),
        description: b"description".into(),
        extension: extension(),
        tid: Some(tid(1)),
        status: b' ',
    }));
    let plain = Call::TpcBegin(Box::new(TpcBegin {
        id: Value::Int(7),
        user: b"".into(),
        description: b"".into(),
        extension: Value::Dict(vec![]),
        tid: None,
        status: b' ',
    }));
    let store = |oid, text, id| Call::Store {
        oid,
        serial: zero,
        data: data(text),
        id,
    };
    let restore = |number, text: Option<&str>, prev_tid| Call::Restore {
        oid: oid(number),
        serial: tid(5),
        data: text.map(data),
        prev_tid,
        id: txn(5),
    };
    vec![
        ("register", register("1")),
        ("register unknown", register("none")),
        ("register refused", register("1")),
        ("get_info", Call::GetInfo),
        (
            "set_client_label",
            Call::SetClientLabel {
                label: "label".into(),
            },
        ),
        ("ping", Call::Ping),
        ("tpc_begin", begin),
        ("tpc_begin plain", plain),
        ("storea", store(oid(0), "root", txn(1))),
        (
            "checkCurrentSerialInTransaction",
            Call::CheckSerial {
                oid: oid(0),
                serial: tid(1),
                id: txn(2),
            },
        ),
        ("vote", Call::Vote { id: txn(1) }),
        ("vote conflict", Call::Vote { id: txn(3) }),
        ("vote readconflict", Call::Vote { id: txn(3) }),
        ("vote stranger", Call::Vote { id: Value::Int(99) }),
        ("vote undo", Call::Vote { id: txn(3) }),
        ("vote undoerrors", Call::Vote { id: txn(5) }),
        ("vote undoerror", Call::Vote { id: txn(5) }),
        ("vote client", Call::Vote { id: txn(3) }),
        ("tpc_finish", Call::TpcFinish { id: txn(1) }),
        ("tpc_finish other", Call::TpcFinish { id: Value::Int(7) }),
        ("tpc_finish unvoted", Call::TpcFinish { id: txn(3) }),
        ("tpc_abort", Call::TpcAbort { id: Value::Int(7) }),
        ("loadBefore", load(1, NOW)),
        ("loadBefore old", load(1, tid(2))),
        ("loadBefore none", load(1, tid(1))),
        ("loadBefore unknown", load(77, NOW)),
        (
            "loadSerial",
            Call::LoadSerial {
                oid: oid(1),
                serial: tid(1),
            },
        ),
        (
            "loadSerial unknown",
            Call::LoadSerial {
                oid: oid(77),
                serial: tid(1),
            },
        ),
        ("getTid", Call::GetTid { oid: oid(1) }),
        (
            "history",
            Call::History {
                oid: oid(1),
                size: 2,
            },
        ),
        (
            "history root",
            Call::History {
                oid: oid(0),
                size: 1,
            },
        ),
        ("record_iternext", Call::RecordIternext { from: None }),
        (
            "record_iternext last",
            Call::RecordIternext { from: Some(oid(1)) },
        ),
        ("getInvalidations", Call::GetInvalidations { since: tid(1) }),
        (
            "getInvalidations none",
            Call::GetInvalidations { since: zero },
        ),
        ("lastTransaction", Call::LastTransaction),
        (
            "undoLog",
            Call::UndoLog {
                first: 0,
                last: -20,
            },
        ),
        ("undoInfo", undo_info(none)),
        ("undoInfo user", undo_info(Value::Dict(user))),
        (
            "iterator_start",
            Call::IteratorStart {
                start: None,
                stop: None,
            },
        ),
        (
            "iterator_start bounded",
            Call::IteratorStart {
                start: Some(tid(7)),
                stop: Some(tid(8)),
            },
        ),
        ("iterator_next", Call::IteratorNext { id: 0 }),
        ("iterator_next end", Call::IteratorNext { id: 2 }),
        ("iterator_next unknown", Call::IteratorNext { id: 99 }),
        (
            "iterator_record_start",
            Call::IteratorRecordStart { id: 0, tid: tid(1) },
        ),
        ("iterator_record_next", Call::IteratorRecordNext { id: 1 }),
        (
            "iterator_record_next end",
            Call::IteratorRecordNext { id: 1 },
        ),
        (
            "iterator_record_next deleted",
            Call::IteratorRecordNext { id: 4 },
        ),
        ("iterator_gc", Call::IteratorGc { ids: vec![0, 5] }),
        (
            "undoa",
            Call::Undo {
                undo_id: b"A9TiWgAAAAA=".into(),
                id: txn(3),
            },
        ),
        ("restorea", restore(2, Some("copy"), None)),
        ("restorea undone", restore(3, None, None)),
        ("restorea again", restore(1, Some("four"), Some(tid(4)))),
        (
            "deleteObject",
            Call::DeleteObject {
                oid: oid(2),
                serial: tid(5),
                id: txn(6),
            },
        ),
        ("storeBlobStart", Call::StoreBlobStart),
        (
            "storeBlobChunk",
            Call::StoreBlobChunk {
                chunk: b"the content".into(),
            },
        ),
        (
            "storeBlobEnd",
            Call::StoreBlobEnd {
                oid: oid(4),
                serial: zero,
                data: data("blob"),
                id: txn(7),
            },
        ),
        (
            "storeBlobShared",
            Call::StoreBlobShared {
                oid: oid(5),
                serial: zero,
                data: data("blob"),
                name: "new.tmp".into(),
                id: txn(7),
            },
        ),
        (
            "sendBlob",
            Call::SendBlob {
                oid: oid(4),
                serial: tid(7),
            },
        ),
        ("new_oids", Call::NewOids { count: 100 }),
        ("new_oids few", Call::NewOids { count: 3 }),
        ("new_oids readonly", Call::NewOids { count: 100 }),
        (
            "pack",
            Call::Pack {
                time: 1e9,
                wait: true,
            },
        ),
        ("server_status", Call::ServerStatus),
        ("new_oid", Call::NewOid),
    ]
}

/// A call is parsed to this, and this is encoded to the frame.
fn agrees(label: &str, (encoding, frame): (Encoding, Vec<u8>), expected: &Call<'_>) {
    let found = message(&frame, encoding);
    let args = found.args.clone().into_items().unwrap();
    assert_eq!(
        &Call::parse(&found.name, args).unwrap(),
        expected,
        "{label}"
    );
    let mut out = Vec::new();
    if expected.is_answered() {
        expected.encode(&mut out, encoding, &found.id).unwrap();
    } else {
        expected.encode_async(&mut out, encoding).unwrap();
    }
    assert_eq!(out, frame, "{label} {encoding:?}");
}

#[test]
fn calls_are_parsed_and_written_as_by_python() {
    let mut left = labels("call");
    for (label, expected) in calls() {
        let frames = frames("call", label);
        assert_eq!(frames.len(), 2, "{label}");
        for frame in frames {
            agrees(label, frame, &expected);
        }
        left.remove(label);
    }
    for frame in frames("call", "undoInfo prefix") {
        agrees("undoInfo prefix", frame, &undo_of_prefix());
    }
    left.remove("undoInfo prefix");
    assert_eq!(left, BTreeSet::new(), "calls that nobody expects");
}

fn undo_of_prefix() -> Call<'static> {
    let path = ["", "a", "b"].map(Value::str).to_vec();
    let prefix = Value::Object(Box::new(Object {
        callable: Value::Global {
            module: "ZopeUndo.Prefix".into(),
            name: "Prefix".into(),
        },
        args: Value::Tuple(vec![]),
        new: true,
        state: Some(Value::Dict(vec![
            (Value::str("length"), Value::Int(3)),
            (Value::str("path"), Value::List(path)),
        ])),
        items: vec![],
        pairs: vec![],
    }));
    Call::UndoInfo {
        first: 0,
        last: -20,
        specification: Value::Dict(vec![(Value::str("user_name"), prefix)]),
    }
}
