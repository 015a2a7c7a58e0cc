//! What inputs are made of: what Python wrote, and what our own encoders
//! write.

use std::sync::Arc;

use zeo_proto::marshal::{Encoding, Flag, encode_message};
use zeo_proto::pickle::{self, Memo};
use zeo_proto::{Oid, Tid, Value};
use zeo_storage::backend::{Backend, MemoryBackend};
use zeo_storage::file_storage::Options;
use zeo_storage::storage::{Commit, OnConflict, Op, TransactionMeta, Vote};
use zeo_storage::{FileStorage, Storage};

/// Values in both encodings, as Python wrote them: lines of kind, hex, value.
const GOLDEN: &str = include_str!("../../../proto/tests/golden/codecs.txt");
const CONF: &str = include_str!("../../../etc/zeo.conf");

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

/// Calls of every method, each in this encoding, without length.
pub fn calls(encoding: Encoding) -> Vec<Vec<u8>> {
    let id = || Value::bytes(b"\0\0\0\0\0\0\0\x01");
    let tid = || Value::bytes(b"\x03\xe8\0\0\0\0\0\x01");
    let data = || Value::bytes(b"\x80\x03cm\nC\n.\x80\x03}.");
    let txn = || Value::Int(7);
    let none = || Value::None;
    let key = |name: &'static str| (Value::str(name), Value::Int(1));
    let dict = || Value::Dict(vec![key("a"), key("b")]);
    let calls: Vec<(&str, Vec<Value<'static>>)> = vec![
        ("register", vec![Value::str("1"), Value::Bool(false)]),
        ("get_info", vec![]),
        ("lastTransaction", vec![]),
        ("getInvalidations", vec![tid()]),
        (
            "loadBefore",
            vec![id(), Value::bytes(b"\x7f\xff\xff\xff\xff\xff\xff\xff")],
        ),
        ("loadSerial", vec![id(), tid()]),
        ("getTid", vec![id()]),
        ("history", vec![id(), Value::Int(10)]),
        ("record_iternext", vec![none()]),
        ("record_iternext", vec![id()]),
        ("undoLog", vec![Value::Int(0), Value::Int(-20)]),
        ("undoInfo", vec![Value::Int(0), Value::Int(20), dict()]),
        ("undoa", vec![Value::bytes(b"A+gAAAAAAAE="), txn()]),
        ("iterator_start", vec![none(), tid()]),
        ("iterator_next", vec![Value::Int(0)]),
        ("iterator_record_start", vec![Value::Int(0), tid()]),
        ("iterator_record_next", vec![Value::Int(1)]),
        (
            "iterator_gc",
            vec![Value::List(vec![Value::Int(0), Value::Int(1)])],
        ),
        ("new_oid", vec![]),
        ("new_oids", vec![Value::Int(100)]),
        ("server_status", vec![]),
        ("set_client_label", vec![Value::str("label")]),
        ("ping", vec![]),
        (
            "tpc_begin",
            vec![
                txn(),
                Value::bytes(b"u"),
                Value::bytes(b"d"),
                dict(),
                none(),
                Value::str(" "),
            ],
        ),
        ("storea", vec![id(), tid(), data(), txn()]),
        ("storea", vec![id(), Value::bytes(&[0; 8]), data(), txn()]),
        ("restorea", vec![id(), tid(), data(), tid(), txn()]),
        ("deleteObject", vec![id(), tid(), txn()]),
        ("checkCurrentSerialInTransaction", vec![id(), tid(), txn()]),
        ("vote", vec![txn()]),
        ("tpc_finish", vec![txn()]),
        ("tpc_abort", vec![txn()]),
        ("pack", vec![Value::Float(0.0), Value::Bool(true)]),
        ("sendBlob", vec![id(), tid()]),
        ("storeBlobStart", vec![]),
        ("storeBlobChunk", vec![data()]),
    ];
    let message = |(name, args): (&str, Vec<Value<'static>>)| {
        let mut frame = Vec::new();
        let is_async = name.ends_with('a');
        let (number, flag) = match is_async {
            true => (0, Flag::Async),
            false => (1, Flag::Call),
        };
        let number = Value::Int(number);
        // What can't be encoded is not in the corpus.
        let _ = encode_message(
            &mut frame,
            encoding,
            &number,
            flag,
            name,
            &Value::Tuple(args),
        );
        frame.split_off(frame.len().min(4))
    };
    calls.into_iter().map(message).collect()
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
