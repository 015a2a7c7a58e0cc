//! The server itself: a session that is sent whatever the fuzzer makes.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slog::{Drain, Logger, o};
use zeo_proto::Tid;
use zeo_proto::framing::{FrameBuffer, write_frame};
use zeo_proto::marshal::Encoding;
use zeo_proto::message::Call;
use zeo_proto::stream::Stream;
use zeo_server::{Server, Settings};
use zeo_storage::storage::{Op, TransactionMeta};
use zeo_storage::{FileStorage, Storage};

use super::{MIB, Subject, Target};
use crate::corpus;

pub const SESSION: Target = Target {
    name: "session",
    corpus: streams,
    prepare: session,
    slack: 64 * MIB,
};

/// Streams of calls, framed, as they would follow `register`.
fn streams() -> Vec<Vec<u8>> {
    let calls = corpus::calls(Encoding::Pickle);
    let mut found: Vec<Vec<u8>> = calls.iter().map(|call| framed(call)).collect();
    found.push(
        calls
            .iter()
            .skip(1)
            .map(|call| framed(call))
            .collect::<Vec<_>>()
            .concat(),
    );
    found
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&mut frame, payload);
    frame
}

/// Notes whether anything that is logged calls itself a bug. (The method that a
/// client calls may have one in its name.)
struct BugBell(Arc<AtomicBool>);

impl Drain for BugBell {
    type Ok = ();
    type Err = slog::Never;
    fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
        if record.msg().to_string().contains("this is a bug") {
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// One server for all inputs; each gets a connection of its own, and after it
/// a client that behaves finds the server at work.
fn session() -> Subject {
    let rang = Arc::new(AtomicBool::new(false));
    let log = Logger::root(BugBell(Arc::clone(&rang)).fuse(), o!());
    let server = start(log);
    Box::new(move |input| {
        let server = server.as_ref().ok_or("the server does not start")?;
        converse(server, input).map_err(|why| format!("the attack: {why}"))?;
        converse(server, &[]).map_err(|why| format!("the server does not serve: {why}"))?;
        if rang.load(Ordering::Relaxed) {
            Err("the log tells of a bug".to_owned())
        } else {
            Ok(())
        }
    })
}

fn start(log: Logger) -> Option<Arc<Server>> {
    let storage = FileStorage::in_memory().ok()?;
    let tid = Tid::new(0x03e8_0000_0000_0001);
    let data = b"\x80\x03cm\nC\n.\x80\x03}.".to_vec();
    let oid = zeo_proto::Oid::new(1);
    let meta = TransactionMeta {
        status: b' ',
        ..TransactionMeta::default()
    };
    corpus::commit(
        &storage,
        &meta,
        vec![Op::Store {
            oid,
            serial: Tid::ZERO,
            data,
        }],
        tid,
    );
    let mut settings = Settings::default();
    settings.max_message_size = 1 << 16;
    settings.invalidation_age = Some(Duration::MAX);
    settings.invalidation_queue_size = 10;
    let storages: Vec<(String, Arc<dyn Storage>)> = vec![("1".to_owned(), Arc::new(storage))];
    let started = Server::start(settings, storages, log);
    started.inspect_err(|why| eprintln!("{why}")).ok()
}

/// Sends the greeting, `register` and the input, ends, and reads what comes
/// until the server has closed. A server that hangs keeps the watchdog
/// waiting.
fn converse(server: &Arc<Server>, input: &[u8]) -> std::io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    server.serve(Stream::unix(theirs)?, "fuzz".to_owned())?;
    let mut hello = framed(b"Z5");
    let register = Call::Register {
        storage: "1".into(),
        read_only: false,
    };
    register
        .encode(&mut hello, Encoding::Pickle, &1_u64)
        .map_err(std::io::Error::other)?;
    let mut reading = ours.try_clone()?;
    let reader = std::thread::spawn(move || {
        let mut received = FrameBuffer::new(1 << 20);
        let mut frames = 0;
        while let Ok(1..) = received.fill(|space| reading.read(space)) {
            while let Ok(Some(frame)) = received.frame() {
                let length = frame.len();
                received.consume(length);
                frames += 1;
            }
        }
        frames
    });
    // The server may close before it has read all.
    let mut writing = &ours;
    let greeted = writing.write_all(&hello);
    let _ = writing.write_all(input);
    if input.is_empty() {
        let mut ping = Vec::new();
        { Call::Ping.encode(&mut ping, Encoding::Pickle, &1_u64) }
            .map_err(std::io::Error::other)?;
        writing.write_all(&ping)?;
    }
    greeted?;
    let _ = ours.shutdown(Shutdown::Write);
    let frames = reader
        .join()
        .map_err(|_| std::io::Error::other("the reader failed"))?;
    // The greeting, at the least.
    match frames {
        0 => Err(std::io::Error::other("no greeting")),
        _ => Ok(()),
    }
}
