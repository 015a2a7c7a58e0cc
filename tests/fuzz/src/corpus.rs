//! What inputs are made of: what Python wrote, and what our own encoders
//! write.

use std::sync::Arc;

use zeo_proto::marshal::Encoding;
use zeo_proto::message::{Call, TpcBegin};
use zeo_proto::pickle::{self, Memo};
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::backend::{Backend, MemoryBackend};
use zeo_storage::file_storage::Options;
use zeo_storage::storage::{Commit, OnConflict, Op, TransactionMeta, Vote};
use zeo_storage::{FileStorage, Storage};

/// Values in both encodings, as Python wrote them: lines of kind, hex, value.
const GOLDEN: &str = include_str!("../../../proto/tests/golden/codecs.txt");
const MESSAGES: &str = include_str!("../../../proto/tests/golden/messages.txt");
const CONF: &str = include_str!("../../../etc/zeo.conf");

/// Cache files that Python's client wrote.
pub fn caches() -> Vec<Vec<u8>> {
    let files: [&[u8]; 4] = [
        include_bytes!("../../../client/tests/zec/client.zec"),
        include_bytes!("../../../client/tests/zec/grown.zec"),
        include_bytes!("../../../client/tests/zec/small-free-1.zec"),
        include_bytes!("../../../client/tests/zec/wrapped.zec"),
    ];
    files.map(<[u8]>::to_vec).to_vec()
}

/// Golden pickles, or golden msgpack, or golden messages.
pub fn golden(kinds: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for line in GOLDEN.lines() {
        let mut fields = line.split('\t');
        if let (Some(kind), Some(hex)) = (fields.next(), fields.next())
            && kinds.iter().any(|wanted| kind.starts_with(wanted))
        {
            found.extend(from_hex(hex));
        }
    }
    found
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex.chars().map(|c| Some(c.to_digit(16)? as u8)).collect();
    Some(
        digits?
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

/// Pickles of every opcode, also of those that nothing writes any more.
pub fn pickles() -> Vec<Vec<u8>> {
    let mut found = golden(&["fast", "memo", "pickle", "load"]);
    let odd: [&[u8]; 12] = [
        b"(lp0\nI1\naL2L\naF1.5\naS'text'\np1\naVunicode\np2\nag1\na.",
        b"(dp0\nS'a'\nI01\nsS'b'\nI00\ns.",
        b"\x80\x02}q\x00(U\x01aK\x01U\x01b\x8a\x01\x05u.",
        b"\x80\x02czodbpickle\nbinary\nq\x01U\x08\x00\x00\x00\x00\x00\x00\x00\x01q\x02\x85q\x03Rq\x04.",
        b"\x80\x03cBTrees.OOBTree\nOOBucket\n)\x81}X\x01\x00\x00\x00ab.",
        b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x8c\x01b\x93)R}\x94(NNu\x86.",
        b"\x80\x05\x96\x03\x00\x00\x00\x00\x00\x00\x00abc\x8e\x01\x00\x00\x00\x00\x00\x00\x00x\x86.",
        b"(I1\nic\nd\np0\n}b.",
        b"(cc\nd\nI1\nop0\n.",
        b"\x80\x03]q\x00(K\x01K\x02e0h\x002\x86q\x01r\xff\x00\x00\x00j\xff\x00\x00\x00\x87.",
        b"\x80\x03C\x08\x00\x00\x00\x00\x00\x00\x00\x01cm\nC\n\x86Q.",
        b"\x80\x04(\x90\x8f(K\x01\x90\x94.",
    ];
    found.extend(odd.map(<[u8]>::to_vec));
    found
}

pub fn msgpacks() -> Vec<Vec<u8>> {
    let mut found = golden(&["msgpack"]);
    found.push(b"\xdd\x00\x00\x00\x01\xdf\x00\x00\x00\x01\xc0\xdb\x00\x00\x00\x01x".to_vec());
    found.push(b"\xc7\x01\x05x".to_vec());
    found.push(b"\xd6\xff\x00\x00\x00\x00".to_vec());
    found
}

/// What peers of Python's sent to each other in this encoding, without length:
/// lines of who, label, encoding, hex. `who` is `call`, `reply` or `notify`.
pub fn messages(encoding: Encoding, who: &[&str]) -> Vec<Vec<u8>> {
    let letter = match encoding {
        Encoding::Pickle => "Z",
        Encoding::Msgpack => "M",
    };
    let wanted = |line: &str| {
        let mut fields = line.split('\t');
        let is_wanted = who.contains(&fields.next()?) && fields.nth(1)? == letter;
        let frame = is_wanted.then(|| fields.next().and_then(from_hex))??;
        frame.get(4..).map(<[u8]>::to_vec)
    };
    MESSAGES.lines().filter_map(wanted).collect()
}

/// Calls that a session with one object takes, each in this encoding, without
/// length.
pub fn calls(encoding: Encoding) -> Vec<Vec<u8>> {
    let encoded = |call: Call<'_>| {
        let mut frame = Vec::new();
        // What can't be encoded is not in the corpus.
        let _ = if call.is_answered() {
            call.encode(&mut frame, encoding, &1_u64)
        } else {
            call.encode_async(&mut frame, encoding)
        };
        frame.split_off(frame.len().min(4))
    };
    let (reading, committing) = (calls_that_read(), calls_that_commit());
    reading.into_iter().chain(committing).map(encoded).collect()
}

const OID: Oid = Oid::new(1);
const TID: Tid = Tid::new(0x03e8_0000_0000_0001);

fn dict() -> Value<'static> {
    let pair = |name: &'static str| (Value::str(name), Value::Int(1));
    Value::Dict(vec![pair("a"), pair("b")])
}

fn calls_that_read() -> Vec<Call<'static>> {
    let (oid, tid, serial) = (OID, TID, TID);
    let (before, since) = (Tid::new(u64::MAX >> 1), TID);
    vec![
        Call::Register {
            storage: "1".into(),
            read_only: false,
        },
        Call::GetInfo,
        Call::LastTransaction,
        Call::GetInvalidations { since },
        Call::LoadBefore { oid, before },
        Call::LoadSerial { oid, serial },
        Call::GetTid { oid },
        Call::History { oid, size: 10 },
        Call::RecordIternext { from: None },
        Call::RecordIternext { from: Some(oid) },
        Call::UndoLog {
            first: 0,
            last: -20,
        },
        Call::UndoInfo {
            first: 0,
            last: 20,
            specification: dict(),
        },
        Call::IteratorStart {
            start: None,
            stop: Some(tid),
        },
        Call::IteratorNext { id: 0 },
        Call::IteratorRecordStart { id: 0, tid },
        Call::IteratorRecordNext { id: 1 },
        Call::IteratorGc { ids: vec![0, 1] },
        Call::NewOid,
        Call::NewOids { count: 100 },
        Call::ServerStatus,
        Call::SetClientLabel {
            label: "label".into(),
        },
        Call::Ping,
    ]
}

fn calls_that_commit() -> Vec<Call<'static>> {
    let (oid, serial) = (OID, TID);
    let id = || Value::Int(7);
    let record = b"\x80\x03cm\nC\n.\x80\x03}.";
    let store = |serial| Call::Store {
        oid,
        serial,
        data: record.into(),
        id: id(),
    };
    vec![
        Call::TpcBegin(Box::new(TpcBegin {
            id: id(),
            user: b"u".into(),
            description: b"d".into(),
            extension: dict(),
            tid: None,
            status: b' ',
        })),
        store(serial),
        store(Tid::ZERO),
        Call::Restore {
            oid,
            serial,
            data: Some(record.into()),
            prev_tid: Some(TID),
            id: id(),
        },
        Call::DeleteObject {
            oid,
            serial,
            id: id(),
        },
        Call::CheckSerial {
            oid,
            serial,
            id: id(),
        },
        Call::Undo {
            undo_id: b"A+gAAAAAAAE=".into(),
            id: id(),
        },
        Call::Vote { id: id() },
        Call::TpcFinish { id: id() },
        Call::TpcAbort { id: id() },
        Call::Pack {
            time: 0.0,
            wait: true,
        },
        Call::SendBlob { oid, serial },
        Call::StoreBlobStart,
        Call::StoreBlobChunk {
            chunk: record.into(),
        },
    ]
}

/// Configurations: the sample, and pieces with everything in them.
pub fn configurations() -> Vec<Vec<u8>> {
    let pieces = [
        CONF,
        "%define a b\n%define c $a\n<zeo>\n  address ${c}:8100\n</zeo>\n",
        "%import ZEO\n%include none.conf\n<zeo>\n address $(HOME)\n</zeo>\n",
        "<zeo>\n address [::1]:8100\n read-only true\n invalidation-queue-size 1kb\n \
         transaction-timeout 30\n monitor-address :1\n</zeo>\n<mappingstorage 1/>\n\
         <filestorage 2>\n path Data.fs\n quota 1GB\n create yes\n pack-gc no\n</filestorage>\n",
        "<eventlog>\n level debug\n <logfile>\n path STDERR\n format %(asctime)s %(message)-20s\n \
         style classic\n max-size 1MB\n old-files 3\n when D\n interval 2\n </logfile>\n\
         </eventlog>\n<runner>\n daemon no\n program a\n</runner>\n",
        "<a>\n<a>\n<a b>\n</a>\n</a>\n</a>\n# comment\n\nkey $$value # not a comment\n",
    ];
    pieces.map(|piece| piece.as_bytes().to_vec()).to_vec()
}

/// Records of objects: class and state.
pub fn records() -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = BTREES
        .iter()
        .map(|&(class, state)| btree(class, state))
        .collect();
    found.push(b"\x80\x03X\x01\x00\x00\x00aX\x01\x00\x00\x00B\x86N\x86.\x80\x03}.".to_vec());
    found
}

const BTREES: [(&str, &[u8]); 5] = [
    ("BTrees.Length\nLength", b"\x80\x03K\x05."),
    (
        "BTrees.IIBTree\nIIBucket",
        b"\x80\x03(K\x01K\x02K\x03K\x04t\x85.",
    ),
    (
        "BTrees.OOBTree\nOOSet",
        b"\x80\x03X\x01\x00\x00\x00aX\x01\x00\x00\x00b\x86\x85.",
    ),
    (
        "BTrees.LOBTree\nLOBTree",
        b"\x80\x03(K\x01X\x01\x00\x00\x00at\x85\x85\x85\x85.",
    ),
    (
        "BTrees.OOBTree\nOOTreeSet",
        b"\x80\x03X\x01\x00\x00\x00a\x85\x85\x85\x85.",
    ),
];

fn btree(class: &str, state: &[u8]) -> Vec<u8> {
    [b"\x80\x03c", class.as_bytes(), b"\n.", state].concat()
}

/// Storage files with every kind of record in them.
pub fn files() -> Vec<Vec<u8>> {
    let mut found = vec![b"FS30".to_vec(), b"FS21".to_vec()];
    for length in [1, 3, 9] {
        found.extend(file(length));
    }
    found
}

/// A file of some transactions: stores, an undo, a deletion, a restore.
fn file(transactions: u64) -> Option<Vec<u8>> {
    let backend = Arc::new(MemoryBackend::default());
    let storage =
        FileStorage::over(Arc::clone(&backend) as _, "corpus", &Options::default()).ok()?;
    for number in 1..=transactions {
        let tid = Tid::new(0x03e8_0000_0000_0000 + number);
        let last = storage.last_tid();
        let serial = |oid| storage.get_tid(oid).unwrap_or(Tid::ZERO);
        let oid = Oid::new(1);
        let ops = match number {
            5 => vec![Op::Undo { tid: last }],
            7 => vec![Op::Delete {
                oid,
                serial: serial(oid),
            }],
            8 => vec![Op::Restore {
                oid,
                serial: tid,
                data: None,
                prev_tid: None,
            }],
            _ => (0..=(number + 3) % 4)
                .map(|oid| Op::Store {
                    oid: Oid::new(oid),
                    serial: serial(Oid::new(oid)),
                    data: format!("\u{2}cm\nC\n.\u{2}I{number}\n.").into_bytes(),
                })
                .collect(),
        };
        let meta = TransactionMeta {
            user: b"user".to_vec(),
            description: b"description".to_vec(),
            extension: extension(),
            tid: Some(tid),
            status: b' ',
        };
        commit(&storage, &meta, ops, tid);
    }
    let length = backend.len().ok()?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    backend.read_at(&mut bytes, 0).ok()?;
    Some(bytes)
}

/// Commits if the storage lets it.
pub fn commit(storage: &FileStorage, meta: &TransactionMeta, ops: Vec<Op>, tid: Tid) -> bool {
    let mut steps = ops.into_iter().map(Ok);
    let Ok(Vote::Ready(prepared)) = storage.prepare(meta, &mut steps, OnConflict::Resolve) else {
        return false;
    };
    let mut batch = [Commit { tid, prepared }];
    let written = storage.append(&mut batch).is_ok();
    if written {
        batch.iter().for_each(|commit| storage.publish(commit));
    }
    written
}

/// The pickle of a transaction's extension.
pub fn extension() -> Vec<u8> {
    let value = Value::Dict(vec![
        (Value::str("request"), Value::str("/path")),
        (
            Value::str("list"),
            Value::List(vec![Value::Int(1), Value::Float(2.5), Value::bytes(b"x")]),
        ),
    ]);
    let mut out = Vec::new();
    // It can be encoded.
    let _ = pickle::encode(&value, &mut out, Memo::Memoizing);
    out
}
