use std::fs;
use std::path::Path;

use slog::{Logger, debug, error, info, o, trace};

use super::*;

fn logfile(path: &Path, level: u8) -> HandlerConfig {
    HandlerConfig {
        target: LogTarget::File {
            path: path.to_owned(),
            delay: false,
            encoding: LogEncoding::Utf8,
            rotation: None,
        },
        level,
        template: Template::parse(Style::Classic, "%(levelname)s %(name)s %(message)s", false)
            .unwrap(),
        dates: DateFormat::default(),
    }
}

fn start(level: u8, handlers: Vec<HandlerConfig>) -> (EventLog, Logger) {
    let log = EventLog::start(EventLogConfig { level, handlers }).unwrap();
    let root = Logger::root(log.drain(), o!("logger" => "ZEO"));
    (log, root)
}

#[test]
fn records_reach_the_files_of_their_level() {
    let directory = tempfile::tempdir().unwrap();
    let (all, some) = (directory.path().join("all"), directory.path().join("some"));
    let (log, root) = start(5, vec![logfile(&all, 0), logfile(&some, 40)]);
    let server = root.new(o!("logger" => "ZEO.StorageServer", "client" => 7));
    info!(root, "started");
    error!(server, "{} failed", "it"; "oid" => "0x01");
    trace!(root, "traced");
    log.flush().unwrap();
    let expected = "INFO ZEO started\n\
                    ERROR ZEO.StorageServer (7) it failed oid=0x01\nTRACE ZEO traced\n";
    assert_eq!(fs::read_to_string(&all).unwrap(), expected);
    let expected = "ERROR ZEO.StorageServer (7) it failed oid=0x01\n";
    assert_eq!(fs::read_to_string(&some).unwrap(), expected);
}

/// Clients choose their label, storage and transaction ids: these are quoted in messages.
#[test]
fn nobody_can_make_up_a_line_or_command_a_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    let (log, root) = start(20, vec![logfile(&path, 0)]);
    let client = root.new(o!("client" => "a\u{202e}b"));
    info!(client, "no storage {}", "x\nINFO ZEO fake\u{1b}[31m"; "id" => "\r\u{e9}");
    log.flush().unwrap();
    let expected = "INFO ZEO (a\\u{202e}b) no storage x\\nINFO ZEO fake\\u{1b}[31m id=\\r\u{e9}\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn the_logs_level_comes_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    let (log, root) = start(20, vec![logfile(&path, 0)]);
    debug!(root, "no");
    info!(root, "yes");
    drop(log);
    assert_eq!(fs::read_to_string(&path).unwrap(), "INFO ZEO yes\n");
    // Whoever still logs then does no harm.
    info!(root, "late");
}

#[test]
fn reopening_loses_no_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    let (log, root) = start(20, vec![logfile(&path, 0)]);
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let root = root.clone();
            thread::spawn(move || (0..500).for_each(|n| info!(root, "line {n}")))
        })
        .collect();
    for number in 0..10 {
        fs::rename(&path, directory.path().join(format!("x.log.{number}"))).unwrap();
        log.reopen_flag().store(true, Ordering::SeqCst);
        log.reopen().unwrap();
    }
    writers
        .into_iter()
        .for_each(|writer| writer.join().unwrap());
    log.flush().unwrap();
    let files = fs::read_dir(directory.path()).unwrap();
    let lines = files.map(|file| {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        text.lines().count()
    });
    assert_eq!(lines.sum::<usize>(), 2000);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none/x.log");
    let config = EventLogConfig {
        level: 20,
        handlers: vec![logfile(&path, 0)],
    };
    let error = EventLog::start(config).err().unwrap().to_string();
    let expected = format!("can't open log file {}: ", path.display());
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn dropped_lines_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    let (log, root) = start(20, vec![logfile(&path, 0)]);
    log.lost.store(3, Ordering::Relaxed);
    info!(root, "next");
    drop(log);
    let text = fs::read_to_string(&path).unwrap();
    let expected = "INFO ZEO next\nWARNING ZEO.runzeo 3 log lines were dropped";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn without_files_nothing_is_logged() {
    let (log, root) = start(0, Vec::new());
    assert!(!log.drain().is_enabled(slog::Level::Critical));
    error!(root, "nothing");
    log.reopen_flag().store(true, Ordering::SeqCst);
    log.reopen().unwrap();
    assert!(EventLogConfig::standard().is_ok());
}

/// Of a file that was moved away before the flag was set, no line more; and the file that takes
/// its place is opened once.
#[test]
fn the_next_line_is_in_the_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    let (log, root) = start(20, vec![logfile(&path, 0)]);
    info!(root, "before");
    log.flush().unwrap();
    let old = directory.path().join("x.log.old");
    fs::rename(&path, &old).unwrap();
    log.reopen_flag().store(true, Ordering::SeqCst);
    info!(root, "after");
    log.flush().unwrap();
    assert_eq!(fs::read_to_string(&old).unwrap(), "INFO ZEO before\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "INFO ZEO after\n");
    fs::rename(&path, &old).unwrap();
    log.reopen().unwrap();
    assert!(!path.exists());
}

/// Two receivers that are down, and a log file that tells of both.
#[test]
fn lost_lines_are_told_in_files_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    let missing = |name| HandlerConfig {
        target: LogTarget::Syslog(SyslogConfig {
            address: SyslogAddress::Path(directory.path().join(name)),
            facility: 1,
        }),
        ..logfile(&path, 0)
    };
    let (log, root) = start(20, vec![missing("a"), logfile(&path, 0), missing("b")]);
    info!(root, "line");
    log.flush().unwrap();
    drop(log);
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    lines.sort_unstable();
    let lost = |name| {
        let path = directory.path().join(name);
        format!(
            "WARNING ZEO.runzeo lost 1 log line to syslog at {}",
            path.display()
        )
    };
    assert_eq!(lines, ["INFO ZEO line", &lost("a"), &lost("b")]);
}
