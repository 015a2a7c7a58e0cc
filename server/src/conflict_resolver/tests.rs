use std::fs;
use std::os::unix::fs::PermissionsExt;

use slog::Discard;
use zeo_proto::{Oid, Tid};

use super::*;

/// A program that speaks the protocol by itself: `python` runs it in place of the script.
fn program(directory: &Path, body: &str) -> PathBuf {
    let path = directory.join("resolver");
    let text = format!(
        "#!/usr/bin/env python3\n\
         import os, socket, struct, sys, time\n\
         channel = socket.socket(fileno=os.dup(0))\n\
         messages = channel.makefile('rb')\n\
         def send(body):\n    channel.sendall(struct.pack('>I', len(body)) + body)\n\
         def receive():\n    \
         return messages.read(*struct.unpack('>I', messages.read(4)))\n\
         {body}\n"
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn log() -> Logger {
    Logger::root(Discard, o!())
}

fn start(body: &str, timeout: Duration) -> Result<ConflictResolver, String> {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path(), body);
    let resolver = ConflictResolver::new(&program, timeout, &log());
    // Later processes are started from here, too.
    std::mem::forget(directory);
    let started = resolver.start_within(timeout);
    started.map(|()| resolver).map_err(|why| why.reason)
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

fn ask(resolver: &ConflictResolver) -> Result<Vec<u8>, Unmerged> {
    ask_for(resolver, LONG)
}

fn ask_for(resolver: &ConflictResolver, time: Duration) -> Result<Vec<u8>, Unmerged> {
    let question = Question::new(
        Oid::new(1),
        Some("app.Thing"),
        (Tid::new(1), Tid::new(2)),
        [b"old", b"committed", b"new"],
    );
    let deadline = Instant::now() + time;
    ForVote { resolver, deadline }.resolve(&question)
}

fn failure(answer: Result<Vec<u8>, Unmerged>) -> String {
    match answer {
        Err(Unmerged::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_resolver_is_found_at_start() {
    for (body, expected) in [
        ("send(b'Ecan\\'t import ZODB')", "can't import ZODB"),
        ("send(b'X')", "it speaks another protocol"),
        (
            "channel.sendall(b'HTTP/1.1 400')",
            "an answer of 1213486160 bytes",
        ),
        (
            "print('no module'); sys.exit(3)",
            "it has ended with exit code 3; its last words: no module",
        ),
        ("os.kill(os.getpid(), 15)", "it was ended by signal 15"),
    ] {
        let why = start(body, LONG).expect_err(body);
        assert!(why.contains(expected), "{body}: {why}");
    }
    let why = start("time.sleep(1000)", SHORT).unwrap_err();
    assert!(why.contains("not answered in time"), "{why}");
    let resolver = ConflictResolver::new(Path::new("/no/such/program"), LONG, &log());
    let why = resolver.start().unwrap_err();
    let text = why.to_string();
    assert!(
        text.contains("/no/such/program does not work: it can't be started"),
        "{text}"
    );
}

#[test]
fn answers_and_refusals() {
    let resolver = start(
        "send(b'Vversion')\n\
         receive(); send(b'Rmerged')\n\
         asked = receive(); send(b'C' + asked[28:37])\n\
         receive(); send(b'Rmerged again')\nreceive()",
        LONG,
    )
    .unwrap();
    assert_eq!(ask(&resolver).unwrap(), b"merged");
    let refused = Err(Unmerged::Refused("app.Thing".to_owned()));
    assert_eq!(ask(&resolver), refused);
    assert_eq!(ask(&resolver).unwrap(), b"merged again");
    resolver.stop();
    assert_eq!(resolver.pool().running, 0);
    assert!(failure(ask(&resolver)).contains("the server is stopping"));
}

#[test]
fn a_failure_is_one_conflict_and_another_process_answers_the_next() {
    for (body, expected) in [
        ("sys.exit(1)", "it has ended with exit code 1"),
        (
            "receive(); os.kill(os.getpid(), 11)",
            "it was ended by signal 11",
        ),
        ("receive(); send(b'?')", "it has answered nonsense"),
        (
            "receive(); channel.sendall(b'\\0\\0\\0\\0')",
            "an answer of 0 bytes",
        ),
        (
            "receive(); channel.sendall(b'\\xff' * 5)",
            "an answer of 4294967295 bytes",
        ),
        (
            "receive(); channel.sendall(b'\\0\\0\\0\\x09Rhal'); sys.exit()",
            "exit code 0",
        ),
        (
            "receive(); channel.shutdown(2)",
            "it has closed its connection",
        ),
    ] {
        let marker = tempfile::tempdir().unwrap();
        let marker = marker.path().join("marker");
        let once = format!(
            "send(b'V')\nif not os.path.exists('{0}'):\n    open('{0}', 'w').close()\n    {1}\n    \
             time.sleep(1000)\nreceive(); send(b'Rfine'); receive()",
            marker.display(),
            body.replace("; ", "\n    ")
        );
        let resolver = start(&once, LONG).unwrap();
        fs::create_dir_all(marker.parent().unwrap()).unwrap();
        if body.starts_with("sys.exit") {
            // Whether it is found dead before or after the question, one of two is answered.
            let answers = [ask(&resolver), ask(&resolver)];
            assert!(answers.contains(&Ok(b"fine".to_vec())), "{answers:?}");
            continue;
        }
        let why = failure(ask(&resolver));
        assert!(why.contains(expected), "{body}: {why}");
        assert_eq!(ask(&resolver).unwrap(), b"fine", "{body}");
    }
}

#[test]
fn one_that_hangs_is_killed_and_rests_after_failures() {
    let resolver = start("send(b'V')\nreceive()\ntime.sleep(1000)", LONG).unwrap();
    let ask = || failure(ask_for(&resolver, SHORT));
    assert!(ask().contains("not answered in time"));
    // The second is asked at once; from then on there are pauses.
    let whys: Vec<_> = (0..3).map(|_| ask()).collect();
    assert!(whys.iter().any(|why| why.contains("rests for")), "{whys:?}");
    assert_eq!(resolver.pool().running, 0);
}

#[test]
fn pauses_grow() {
    let pauses = [0, 1, 2, 3, 5, 6, 70].map(|n| pause(n).as_secs());
    assert_eq!(pauses, [0, 1, 2, 4, 16, 30, 30]);
}

/// While one question hangs, another one gets a process of its own.
#[test]
fn a_second_process_for_those_that_wait() {
    let directory = tempfile::tempdir().unwrap();
    let (marker, released) = (directory.path().join("first"), directory.path().join("go"));
    let body = format!(
        "send(b'V')\nreceive()\n\
         if not os.path.exists('{0}'):\n    open('{0}', 'w').close()\n    \
         while not os.path.exists('{1}'): time.sleep(0.01)\n\
         send(b'Rfine')\nreceive()",
        marker.display(),
        released.display()
    );
    let resolver = start(&body, LONG).unwrap();
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| ask(&resolver));
        while !marker.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(ask(&resolver).unwrap(), b"fine");
        assert_eq!(resolver.pool().running, 2);
        fs::write(&released, "").unwrap();
        assert_eq!(hanging.join().unwrap().unwrap(), b"fine");
    });
    // The one that nobody needs has gone.
    assert_eq!(resolver.pool().running, 1);
    resolver.stop();
}

#[test]
fn a_stop_ends_one_that_is_not_ready_yet() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hangs");
    fs::write(&path, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let resolver = ConflictResolver::new(&path, LONG, &log());
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| resolver.start());
        let pid = loop {
            if let Some(pid) = resolver.pool().lines.keys().next() {
                break *pid;
            }
            std::thread::yield_now();
        };
        resolver.stop();
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(starting.join().unwrap().is_err());
    });
}
