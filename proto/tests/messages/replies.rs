//! What servers return and raise.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;

use zeo_proto::marshal::{Decode, Encode};
use zeo_proto::message::{
    ClientConflict, CurrentRecord, HistoryEntry, Incoming, Invalidations, IteratedRecord,
    IteratedTransaction, ReplyError, Revision, Sizes, StorageInfo, Summary, UndoEntry, Voted,
    encode_error, encode_reply,
};
use zeo_proto::{Exception, Tid, Value};

use super::{extension, frames, labels, message, oid, record, tid};

/// The replies that nobody has looked at.
struct Replies(RefCell<BTreeSet<&'static str>>);

#[test]
fn replies_are_parsed_and_written_as_by_python() {
    let replies = Replies(RefCell::new(labels("reply")));
    replies.0.borrow_mut().remove("keep-alive");
    results(&replies);
    histories_and_iterations(&replies);
    exceptions(&replies);
    assert_eq!(replies.0.take(), BTreeSet::new(), "nobody looks at these");
}

impl Replies {
    /// A reply is parsed to what `expected` is for its encoding, and that is
    /// encoded to the frame.
    fn returns<T>(&self, label: &str, expected: impl Fn() -> T)
    where
        T: Decode<'static> + Encode + PartialEq + Debug,
    {
        self.0.borrow_mut().remove(label);
        for (encoding, frame) in frames("reply", label) {
            // Of the types, only those that borrow from the frame for ever can be
            // named.
            let frame: &'static [u8] = frame.leak();
            let expected = expected();
            let Ok(Incoming::Reply(reply)) = Incoming::parse(message(frame, encoding)) else {
                panic!("{label} is no reply");
            };
            let (id, mut out) = (reply.id.clone(), Vec::new());
            let result = reply.result::<T>(label);
            assert_eq!(result.as_ref(), Ok(&expected), "{label}");
            encode_reply(&mut out, encoding, &id, &expected).unwrap();
            assert_eq!(out, frame, "{label} {encoding:?}");
        }
    }
}

fn results(replies: &Replies) {
    let revision = |text, serial, next| Revision {
        data: record(text).into(),
        serial,
        next,
    };
    let none = |label| replies.returns::<Option<Revision<'_>>>(label, || None);
    replies.returns("register", || Some(Tid::ZERO));
    replies.returns("get_info", info);
    replies.returns("ping", || ());
    replies.returns::<Option<Vec<Voted<'_>>>>("vote", || Some(vec![]));
    replies.returns("vote undo", || vec![Voted::Resolved(oid(1))]);
    let conflict = ClientConflict {
        oid: oid(1),
        committed: tid(2),
        read: tid(1),
        data: record("late").into(),
    };
    replies.returns("vote client", || vec![Voted::Conflict(conflict.clone())]);
    replies.returns("tpc_finish", || Some(tid(1)));
    replies.returns::<Option<Tid>>("tpc_finish other", || None);
    replies.returns("tpc_abort", || ());
    replies.returns("loadBefore", || Some(revision("two", tid(2), None)));
    replies.returns("loadBefore old", || revision("one", tid(1), Some(tid(2))));
    none("loadBefore none");
    replies.returns::<Cow<'_, [u8]>>("loadSerial", || record("one").into());
    replies.returns("getTid", || tid(2));
    replies.returns("lastTransaction", || tid(2));
    let record_of = |number, text, serial, next| CurrentRecord {
        oid: oid(number),
        serial,
        data: record(text).into(),
        next,
    };
    replies.returns("record_iternext", || {
        record_of(0, "root", tid(1), Some(oid(1)))
    });
    replies.returns("record_iternext last", || record_of(1, "two", tid(2), None));
    replies.returns("getInvalidations", || {
        Some(Invalidations {
            last: tid(2),
            oids: vec![oid(1)],
        })
    });
    replies.returns::<Option<Invalidations>>("getInvalidations none", || None);
    replies.returns("new_oids", || (6..106).map(oid).collect::<Vec<_>>());
    replies.returns("new_oids few", || (106..109).map(oid).collect::<Vec<_>>());
    replies.returns("sendBlob", || ());
    replies.returns("pack", || ());
}

fn histories_and_iterations(replies: &Replies) {
    let of = |number: u64, size, extension| Summary {
        tid: tid(number),
        time: 1_577_934_240.0 + 60.0 * number as f64,
        user: b"user".into(),
        description: b"description".into(),
        size,
        extension,
    };
    let none = || Value::Dict(vec![]);
    replies.returns("history root", || {
        vec![HistoryEntry::flat(of(1, 87, extension()))]
    });
    replies.returns("history", || {
        let first = HistoryEntry::flat(of(1, 86, extension()));
        vec![HistoryEntry::flat(of(2, 86, none())), first]
    });
    let undo = || {
        let first = UndoEntry::new(b"A9TiWQAAAAA=".into(), of(1, 359, extension()));
        assert_eq!(first.id(), Some(&b"A9TiWQAAAAA="[..]));
        assert_eq!(
            (first.time(), first.size()),
            (Some(1_577_934_300.0), Some(359))
        );
        vec![
            UndoEntry::new(b"A9TiWgAAAAA=".into(), of(2, 166, none())),
            first,
        ]
    };
    replies.returns("undoLog", undo);
    replies.returns("undoInfo", undo);
    replies.returns::<Vec<UndoEntry<'_>>>("undoInfo user", Vec::new);

    for (label, id) in [
        ("iterator_start", 0_u64),
        ("iterator_record_start", 1),
        ("iterator_start bounded", 2),
    ] {
        replies.returns(label, || id);
    }
    replies.returns("iterator_next", || {
        Some(IteratedTransaction {
            tid: tid(1),
            status: b' ',
            user: b"user".into(),
            description: b"description".into(),
            extension: extension(),
        })
    });
    replies.returns::<Option<IteratedTransaction<'_>>>("iterator_next end", || None);
    let iterated = |number, serial, data: Option<Vec<u8>>| IteratedRecord {
        oid: oid(number),
        tid: serial,
        data: data.map(Into::into),
        data_txn: None,
    };
    replies.returns("iterator_record_next", || {
        iterated(0, tid(1), Some(record("root")))
    });
    replies.returns("iterator_record_next deleted", || iterated(2, tid(6), None));
    replies.returns::<Option<IteratedRecord<'_>>>("iterator_record_next end", || None);
}

fn info() -> StorageInfo<'static> {
    let zodb = [
        "IBlobStorageRestoreable",
        "IBlobStorage",
        "IStorageRestoreable",
        "IStorageIteration",
        "IStorageUndoable",
        "IStorageCurrentRecordIteration",
        "IExternalGC",
        "IStorage",
    ];
    let zodb = zodb.map(|name| ("ZODB.interfaces".into(), name.into()));
    let mut interfaces = zodb.to_vec();
    interfaces.push(("zope.interface".into(), "Interface".into()));
    StorageInfo {
        sizes: Sizes { length: 0, size: 4 },
        name: "Data.fs".into(),
        supports_undo: true,
        supports_record_iternext: true,
        interfaces,
    }
}

fn all_exceptions() -> Vec<(&'static str, Exception)> {
    let class = |name: &str| Some(format!("persistent.mapping.{name}"));
    let failed = "Some data were modified by a later transaction".to_owned();
    let stranger = Exception::wrong_transaction(Value::None, Value::Int(99));
    vec![
        (
            "register unknown",
            Exception::value_error("unknown storage: none"),
        ),
        ("register refused", Exception::read_only()),
        ("new_oids readonly", Exception::read_only()),
        (
            "vote conflict",
            Exception::conflict(oid(1), tid(2), tid(1), class("PersistentMapping")),
        ),
        (
            "vote readconflict",
            Exception::read_conflict(oid(1), tid(2), tid(1)),
        ),
        ("vote stranger", stranger),
        (
            "tpc_finish unvoted",
            Exception::message("builtins.AssertionError", "finished called wo lock"),
        ),
        ("loadBefore unknown", Exception::pos_key_error(oid(77))),
        ("loadSerial unknown", Exception::pos_key_error(oid(77))),
        ("iterator_next unknown", Exception::key_error(99)),
        (
            "vote undoerrors",
            Exception::undo_errors(vec![(oid(1), failed)]),
        ),
        (
            "vote undoerror",
            Exception::undo("Invalid transaction id", None),
        ),
        (
            "undoInfo prefix",
            Exception::type_error("a bytes-like object is required, not 'str'"),
        ),
    ]
}

fn exceptions(replies: &Replies) {
    for (label, expected) in all_exceptions() {
        replies.0.borrow_mut().remove(label);
        for (encoding, frame) in frames("reply", label) {
            let Ok(Incoming::Reply(reply)) = Incoming::parse(message(&frame, encoding)) else {
                panic!("{label} is no reply");
            };
            let (id, mut out) = (reply.id.clone(), Vec::new());
            let raised = ReplyError::Raised(expected.clone());
            assert_eq!(reply.result::<()>(label), Err(raised), "{label}");
            encode_error(&mut out, encoding, &id, &expected).unwrap();
            assert_eq!(out, frame, "{label} {encoding:?}");
        }
    }
}
