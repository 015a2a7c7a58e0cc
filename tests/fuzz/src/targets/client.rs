//! The client itself: a `ClientStorage` on a server that sends whatever the fuzzer makes.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use zeo_client::{Address, ClientStorage, Error, Listener};
use zeo_proto::framing::FrameBuffer;
use zeo_proto::marshal::{Encode, Encoding, decode_message_within};
use zeo_proto::message::{
    Call, Incoming, Notification, Revision, Sizes, StorageInfo, Voted, encode_error, encode_reply,
};
use zeo_proto::pickle::Policy;
use zeo_proto::{Exception, Oid, Tid, Value};
use zeo_storage::storage::TransactionMeta;

use super::{MIB, Subject, Target};
use crate::corpus;

pub const CLIENT: Target = Target {
    name: "client",
    corpus: conversations,
    prepare: client,
    slack: 64 * MIB,
};

const FIRST: Tid = Tid::new(0x03e8_0000_0000_0001);
const SECOND: Tid = Tid::new(0x03e8_0000_0000_0002);
const THIRD: Tid = Tid::new(0x03e8_0000_0000_0003);
const LATEST: Tid = Tid::new(i64::MAX as u64);
const RECORD: &[u8] = b"\x80\x03cm\nC\n.\x80\x03}.";

/// All that a server sends in a conversation with [`converse`], and the same with Python's messages
/// in between.
fn conversations() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for encoding in [Encoding::Pickle, Encoding::Msgpack] {
        let opening = opening(encoding);
        found.push([opening.clone(), answers(encoding)].concat());
        for message in corpus::messages(encoding, &["reply", "notify"]) {
            found.push([opening.clone(), framed(&message), answers(encoding)].concat());
        }
    }
    found
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    zeo_proto::framing::write_frame(&mut frame, payload);
    frame
}

/// The greeting, and the answers to `register` and `get_info`.
fn opening(encoding: Encoding) -> Vec<u8> {
    let mut out = framed(match encoding {
        Encoding::Pickle => b"Z5",
        Encoding::Msgpack => b"M5",
    });
    let info = StorageInfo {
        name: "fuzz".into(),
        supports_undo: true,
        supports_record_iternext: true,
        ..StorageInfo::default()
    };
    let results: [&dyn Encode; 2] = [&Some(FIRST), &info];
    reply_all(&mut out, encoding, &results);
    out
}

/// The answers to the calls, whose ids begin anew.
fn answers(encoding: Encoding) -> Vec<u8> {
    let revision = |next| Revision {
        data: RECORD.into(),
        serial: FIRST,
        next,
    };
    let mut out = Vec::new();
    reply_all(&mut out, encoding, &[&Some(revision(None))]);
    let changed = Notification::InvalidateTransaction {
        tid: SECOND,
        oids: vec![Oid::new(1), Oid::new(2)].into(),
    };
    let sizes = Notification::Info(Sizes { length: 3, size: 5 });
    for notification in [changed, sizes] {
        // What can't be encoded is not in the corpus.
        let _ = notification.encode(&mut out, encoding);
    }
    let gone = Exception::with_args(
        "ZODB.POSException.POSKeyError",
        vec![Value::from(Oid::new(3))],
    );
    let mut rest = Vec::new();
    let results: [&dyn Encode; 7] = [
        &(),
        &Some(revision(Some(SECOND))),
        &(),
        &(),
        &vec![Oid::new(10), Oid::new(11)],
        &vec![Voted::Resolved(Oid::new(10))],
        &Some(THIRD),
    ];
    reply_all(&mut rest, encoding, &results);
    // The first one was answered above, the third one fails.
    for (number, frame) in frames(&rest).into_iter().enumerate() {
        match number {
            0 => {}
            2 => drop(encode_error(&mut out, encoding, &3_u64, &gone)),
            _ => out.extend(frame),
        }
    }
    out
}

/// The replies to the calls 1, 2, ...
fn reply_all(out: &mut Vec<u8>, encoding: Encoding, results: &[&dyn Encode]) {
    for (id, result) in (1_u64..).zip(results) {
        let _ = encode_reply(out, encoding, &id, *result);
    }
}

/// Frames, each with its length, and what stands behind the last whole one.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(length) = bytes.first_chunk::<4>() {
        let end = (u32::from_be_bytes(*length) as usize).saturating_add(4);
        let Some((frame, rest)) = bytes.split_at_checked(end) else {
            break;
        };
        found.push(frame);
        bytes = rest;
    }
    found.push(bytes);
    found
}

fn client() -> Subject {
    let panicked = panics();
    let directory = tempfile::tempdir();
    Box::new(move |input| {
        let directory = directory.as_ref().map_err(|why| why.to_string())?;
        let path = directory.path().join("socket");
        let result = attack(&path, input, converse);
        let _ = std::fs::remove_file(path);
        if panicked.load(Ordering::Relaxed) {
            Err("a thread of the client has panicked".to_owned())
        } else {
            result
        }
    })
}

/// Whether any thread has panicked so far: the client's own are not this one.
fn panics() -> &'static AtomicBool {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some("zeo-client") {
                PANICKED.store(true, Ordering::Relaxed);
            }
            shown(info);
        }));
    });
    &PANICKED
}

/// Has a client talk to a server that sends the input.
fn attack(
    path: &Path,
    input: &[u8],
    talk: impl FnOnce(&ClientStorage) -> Result<(), String>,
) -> Result<(), String> {
    let listener = UnixListener::bind(path).map_err(|why| why.to_string())?;
    let (sender, over) = channel();
    let told = Arc::new(Told::default());
    thread::scope(|scope| {
        scope.spawn(move || {
            if let Ok((stream, _)) = listener.accept() {
                // The client may close before it has heard all.
                let _ = serve(stream, input);
            }
            let _ = sender.send(());
        });
        let hour = Duration::from_secs(3600);
        let opened = ClientStorage::builder(Address::Unix(path.to_owned()))
            .wait(false)
            .wait_timeout(Duration::from_millis(1))
            .disconnect_poll(hour, hour)
            .connect_timeout(hour)
            .cache_size(1 << 16)
            .open();
        let storage = opened.map_err(|why| why.to_string())?;
        let subscription = storage.subscribe(Arc::clone(&told) as Arc<dyn Listener>);
        let soon = Duration::from_micros(100);
        while !storage.is_connected() && over.recv_timeout(soon).is_err() {}
        let done = talk(&storage);
        drop(subscription);
        let _ = storage.close();
        done
    })?;
    if told.went_back.load(Ordering::Relaxed) {
        Err("a listener was told of an earlier transaction".to_owned())
    } else {
        Ok(())
    }
}

/// What a program does. Only what no server may make a client say is an error.
fn converse(storage: &ClientStorage) -> Result<(), String> {
    storage.prefetch(&[Oid::new(1), Oid::new(2)], LATEST);
    let _ = storage.load(Oid::new(3));
    let _ = storage.load_before(Oid::new(4), SECOND);
    let _ = storage.new_oid();
    let committed = commit(storage);
    let last = storage.last_tid();
    match committed {
        Ok(tid) if tid > last => Err(format!("committed {tid}, but the last tid is {last}")),
        _ => Ok(()),
    }
}

fn commit(storage: &ClientStorage) -> Result<Tid, Error> {
    let mut transaction = storage.begin(TransactionMeta::default())?;
    transaction.store(Oid::new(10), Tid::ZERO, RECORD.to_vec())?;
    transaction.vote()?;
    transaction.finish()
}

/// Sends the frames of the input, one for each call that wants a reply, and notifications as they
/// stand; behind the last one, that is the end.
fn serve(mut stream: UnixStream, input: &[u8]) -> std::io::Result<()> {
    let mut received = FrameBuffer::new(1 << 20);
    // The greeting comes unasked.
    let (mut wanted, mut encoding) = (1, None);
    let mut to_send = frames(input).into_iter();
    while let Some(frame) = to_send.next() {
        while wanted == 0 {
            while let Ok(Some(frame)) = received.frame() {
                wanted += answers_wanted(frame, &mut encoding);
                let length = frame.len();
                received.consume(length);
            }
            if wanted == 0 && received.fill(|space| stream.read(space))? == 0 {
                return Ok(());
            }
        }
        stream.write_all(frame)?;
        if to_send.len() == 0 {
            break;
        }
        let payload = frame.get(4..).unwrap_or_default();
        let asked = encoding.map(|encoding| Incoming::decode(payload, encoding));
        let answers_none = matches!(
            asked,
            Some(Ok(Incoming::Notification(_) | Incoming::KeepAlive))
        );
        wanted -= u32::from(!answers_none);
    }
    stream.shutdown(Shutdown::Write)?;
    while stream.read(&mut [0; 1 << 12])? > 0 {}
    Ok(())
}

/// How many frames a client's frame asks for. The first one is its greeting.
fn answers_wanted(frame: &[u8], encoding: &mut Option<Encoding>) -> u32 {
    let Some(encoding) = *encoding else {
        *encoding = Some(match frame.first() {
            Some(b'M') => Encoding::Msgpack,
            _ => Encoding::Pickle,
        });
        return 0;
    };
    let message = decode_message_within(frame, encoding, &Policy::REQUEST).ok();
    let call =
        message.and_then(|message| Call::parse(&message.name, message.args.into_items()?).ok());
    u32::from(call.is_some_and(|call| call.is_answered()))
}

/// Notes the order of what it is told.
#[derive(Default)]
struct Told {
    last: AtomicU64,
    went_back: AtomicBool,
}

impl Listener for Told {
    fn invalidated(&self, tid: Tid, _oids: &[Oid]) {
        if self.last.swap(tid.as_u64(), Ordering::Relaxed) >= tid.as_u64() {
            self.went_back.store(true, Ordering::Relaxed);
        }
    }

    fn everything_changed(&self, tid: Tid) {
        self.last.store(tid.as_u64(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_corpus_is_answered() {
        let directory = tempfile::tempdir().unwrap();
        for encoding in [Encoding::Pickle, Encoding::Msgpack] {
            let input = [opening(encoding), answers(encoding)].concat();
            let path = directory.path().join(format!("{encoding:?}"));
            let mut results = Vec::new();
            let done = attack(&path, &input, |storage| {
                storage.prefetch(&[Oid::new(1), Oid::new(2)], LATEST);
                let gone = storage.load(Oid::new(3));
                assert!(matches!(gone, Err(Error::NoObject { .. })), "{gone:?}");
                assert_eq!(storage.last_tid(), SECOND);
                assert_eq!(storage.load_before(Oid::new(4), SECOND).unwrap(), None);
                assert_eq!(storage.new_oid().unwrap(), Oid::new(10));
                results.push(commit(storage).unwrap());
                Ok(())
            });
            assert_eq!((done, results), (Ok(()), vec![THIRD]));
        }
    }
}
