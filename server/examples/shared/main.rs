//! A storage that others change, too, served twice: two ZEO servers on one database, and a third
//! who commits directly, by lines on standard input. See `storage.rs` for the storage itself.
//!
//! `shared [msgpack]` writes `listening PORT PORT` and then answers each line with one line:
//!
//! | line | what happens | answer |
//! |---|---|---|
//! | `store OID RECORD` (in hexadecimal) | a transaction over the current revision | its tid |
//! | `lose` | changes that nobody knows | the tid that stands for them |
//! | `away`, `back` | the database can't be reached; it can again | `done` |
//! | `break before`, `break after` | the connection breaks around the next commit of a server | `done` |
//! | `last` | | the last tid |
//!
//! What fails is answered by `error` and the reason. It stops at the end of its input.

mod storage;

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use slog::{Drain, Logger, o};
use storage::{Database, View, Weather};
use zeo_proto::marshal::Encoding;
use zeo_proto::{Oid, Tid};
use zeo_server::{Acceptors, Address, NamedStorage, Server, Settings};
use zeo_storage::storage::Op;

/// What the lines have ordered.
#[derive(Default)]
struct Orders {
    away: AtomicBool,
    /// At how many of the places where it may the connection breaks: 0 for none, 1 for the next,
    /// 2 for the one after that.
    breaks_at: AtomicU8,
}

struct Ordered(Arc<Orders>);

impl Weather for Ordered {
    fn breaks(&self) -> bool {
        let count = |at: u8| at.checked_sub(1);
        let at = &self.0.breaks_at;
        at.fetch_update(Ordering::AcqRel, Ordering::Acquire, count) == Ok(1)
    }

    fn is_away(&self) -> bool {
        self.0.away.load(Ordering::Acquire)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let encoding = match std::env::args().nth(1).as_deref() {
        Some("msgpack") => Encoding::Msgpack,
        _ => Encoding::Pickle,
    };
    let orders = Arc::new(Orders::default());
    let database = Database::new(Ordered(Arc::clone(&orders)))?;
    let decorator = slog_term::PlainSyncDecorator::new(io::stderr());
    let log = Logger::root(slog_term::FullFormat::new(decorator).build().fuse(), o!());
    let mut out = io::stdout().lock();
    write!(out, "listening")?;
    let mut servers = Vec::new();
    for number in 0..2 {
        let (server, acceptors) = serve(&database, number, encoding, &log)?;
        for address in acceptors.addresses() {
            write!(out, " {}", address.port())?;
        }
        servers.push((server, acceptors));
    }
    writeln!(out)?;
    for line in io::stdin().lock().lines() {
        let answer = obey(&line?, &database, &orders);
        let answer = answer.unwrap_or_else(|why| format!("error {why}"));
        writeln!(out, "{answer}")?;
    }
    for (server, acceptors) in servers {
        drop(acceptors);
        server.stop();
    }
    Ok(())
}

/// Starts a server on a view of the database.
fn serve(
    database: &Arc<Database>,
    number: usize,
    encoding: Encoding,
    log: &Logger,
) -> Result<(Arc<Server>, Acceptors), Box<dyn Error>> {
    let mut settings = Settings::default();
    settings.encoding = encoding;
    settings.invalidation_age = Some(Duration::from_secs(3600));
    let view: NamedStorage = ("1".to_owned(), Arc::new(View::new(database, number)));
    let log = log.new(o!("server" => number));
    let server = Server::start(settings, vec![view], log)?;
    let address = Address::Tcp {
        host: Some("127.0.0.1".to_owned()),
        port: Some(0),
    };
    let acceptors = Acceptors::start(&address, &server, None)?;
    Ok((server, acceptors))
}

/// Does what a line orders.
fn obey(line: &str, database: &Database, orders: &Orders) -> Result<String, Box<dyn Error>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let done = Ok("done".to_owned());
    match words[..] {
        ["store", oid, record] => {
            let oid = Oid::new(u64::from_str_radix(oid, 16)?);
            let data = bytes(record)?;
            let serial = database.serial(oid);
            let tid = database.commit(&[Op::Store { oid, serial, data }])?;
            Ok(hex(tid))
        }
        ["lose"] => Ok(hex(database.lose_track())),
        ["last"] => Ok(hex(database.last())),
        ["away"] => {
            orders.away.store(true, Ordering::Release);
            done
        }
        ["back"] => {
            orders.away.store(false, Ordering::Release);
            done
        }
        ["break", "before"] => {
            orders.breaks_at.store(1, Ordering::Release);
            done
        }
        ["break", "after"] => {
            orders.breaks_at.store(2, Ordering::Release);
            done
        }
        _ => Err("no such order".into()),
    }
}

fn hex(tid: Tid) -> String {
    format!("{:016x}", tid.as_u64())
}

/// The bytes that stand in hexadecimal.
fn bytes(hex: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let digits = hex.as_bytes().chunks(2);
    let bytes = digits.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    bytes.collect()
}
