use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::mpsc;
use std::{fs, io};

use slog::Level;

use super::*;

/// A destination that loses every line that begins with `!`.
struct Picky(mpsc::Sender<Vec<u8>>);

impl Transport for Picky {
    fn name(&self) -> String {
        "somewhere".to_owned()
    }

    fn send(&mut self, line: &[u8]) -> Result<(), String> {
        if line.starts_with(b"!") {
            return Err("it is down".to_owned());
        }
        self.0.send(line.to_vec()).map_err(|why| why.to_string())
    }
}

fn flush(remote: &Remote) {
    let deadline = Instant::now() + Duration::from_secs(60);
    remote.flush(deadline).unwrap().recv().unwrap();
}

#[test]
fn lost_lines_are_told_once_and_then_counted() {
    let ((sent, lines), (tell, told)) = (mpsc::channel(), mpsc::channel());
    let remote = Remote::start(Picky(sent), move |text| tell.send(text).unwrap()).unwrap();
    for line in ["a", "!", "!", "b", "!"] {
        remote.send(line.into());
    }
    flush(&remote);
    assert_eq!(lines.try_iter().collect::<Vec<_>>(), [b"a", b"b"]);
    let expected = [
        "lost 1 log line to somewhere: it is down",
        "lost 2 log lines to somewhere: it is down",
    ];
    assert_eq!(told.try_iter().collect::<Vec<_>>(), expected);
    remote.send("c".into());
    flush(&remote);
    assert_eq!(told.try_iter().count(), 0);
}

/// A destination that says when it gets a line, and then waits.
struct Slow(mpsc::Sender<()>, crossbeam_channel::Receiver<()>);

impl Transport for Slow {
    fn name(&self) -> String {
        "somewhere".to_owned()
    }

    fn send(&mut self, _: &[u8]) -> Result<(), String> {
        self.0.send(()).unwrap();
        let _ = self.1.recv();
        Ok(())
    }
}

#[test]
fn a_slow_destination_makes_nobody_wait() {
    let ((begun, begins), (go, wait)) = (mpsc::channel(), bounded(0));
    let (tell, told) = mpsc::channel();
    let remote = Remote::start(Slow(begun, wait), move |text| tell.send(text).unwrap()).unwrap();
    remote.send(b"x".to_vec());
    begins.recv().unwrap();
    for _ in 0..QUEUE_LINES + 8 {
        remote.send(b"x".to_vec());
    }
    assert!(remote.flush(Instant::now()).is_none());
    drop(go);
    flush(&remote);
    let expected = ["lost 8 log lines to somewhere: they came faster than they could be sent"];
    assert_eq!(told.try_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn messages_have_pythons_priorities() {
    for (facility, level, expected) in [
        ("user", Level::Info, "<14>x\0"),
        ("KERN", Level::Critical, "<2>x\0"),
        ("local7", Level::Debug, "<191>x\0"),
        ("security", Level::Error, "<35>x\0"),
        ("authpriv", Level::Warning, "<84>x\0"),
        ("cron", Level::Trace, "<76>x\0"),
    ] {
        let facility = syslog::facility(facility).unwrap();
        assert_eq!(syslog::message(facility, level, "x"), expected.as_bytes());
    }
    assert!(syslog::facility("local8").is_err());
}

/// The socket may come late, go, and come back as one of the other kind.
#[test]
fn a_syslog_socket_is_connected_again_by_the_next_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut daemon = syslog::Syslog::new(SyslogAddress::Path(path.clone())).unwrap();
    assert!(daemon.send(b"early\0").is_err());

    let socket = UnixDatagram::bind(&path).unwrap();
    let mut buffer = [0; 100];
    for message in [&b"one\0"[..], b"two\0"] {
        daemon.send(message).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], message);
    }
    drop(socket);
    assert!(daemon.send(b"lost\0").is_err());
    fs::remove_file(&path).unwrap();
    assert!(daemon.send(b"lost, too\0").is_err());

    let listener = UnixListener::bind(&path).unwrap();
    daemon.send(b"three\0").unwrap();
    daemon.send(b"four\0").unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut received = [0; 11];
    io::Read::read_exact(&mut stream, &mut received).unwrap();
    assert_eq!(&received, b"three\0four\0");
    // A line that meets a socket that was replaced is not lost.
    drop((stream, listener));
    fs::remove_file(&path).unwrap();
    let socket = UnixDatagram::bind(&path).unwrap();
    daemon.send(b"five\0").unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"five\0");
}

#[test]
fn an_unknown_syslog_host_is_named() {
    // Too long for a name, so that no name server is asked.
    let host = "x".repeat(300);
    let unknown = syslog::Syslog::new(SyslogAddress::Host(host.clone(), 514));
    let told = unknown.err().unwrap().to_string();
    assert!(
        told.starts_with(&format!("can't find the syslog host {host}: ")),
        "{told}"
    );
}
