//! Settings of a database: its pool of connections, and large records.

use std::sync::{Arc, Barrier, Mutex};

use zeo_client::config::Config;
use zeo_client::db::{Connection, Db};
use zeo_proto::Oid;
use zeo_server::AdHocServer;

use super::{PAGE, page, served_page};

/// The database with a page, opened by a configuration with this in `<zodb>`; and what it logs.
fn configured(server: &AdHocServer, settings: &str) -> (Db, Arc<Mutex<Vec<String>>>) {
    let address = server.address();
    let text = format!("<zodb>\n{settings}\n<zeoclient>\nserver {address}\n</zeoclient>\n</zodb>");
    let mut config = Config::text(text).read().unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    config.storage.log = Arc::new(move |_, line| kept.lock().unwrap().push(line.to_owned()));
    (config.open().unwrap(), lines)
}

/// Reads the page; how many objects were known before.
fn read(mut connection: Connection) -> (usize, Connection) {
    let known = connection.cached();
    let t = connection.begin().unwrap();
    t.get(Oid::new(1)).unwrap();
    drop(t);
    (known, connection)
}

#[test]
fn as_many_connections_as_threads_and_some_are_kept() {
    let (server, _open, plain) = served_page();
    let (three, _) = configured(&server, "pool-size 3");
    let (none, _) = configured(&server, "pool-size 0");
    // The one that made the page is kept already.
    for (db, kept) in [(plain, 7), (three, 3), (none, 0)] {
        let all = Barrier::new(20);
        std::thread::scope(|threads| {
            for _ in 0..20 {
                threads.spawn(|| {
                    let (_, connection) = read(db.connect());
                    all.wait();
                    drop(connection);
                });
            }
        });
        let again: Vec<_> = (0..20).map(|_| read(db.connect())).collect();
        let known = again.iter().filter(|(known, _)| *known > 0).count();
        assert_eq!(known, kept);
    }
}

#[test]
fn large_records_are_warned_of() {
    let (server, ..) = served_page();
    let (db, lines) = configured(&server, "large-record-size 10KB");
    let warned = |length: usize| {
        let text = "x".repeat(length);
        let added = db.transact(|t| {
            let new = t.new_object(PAGE, page(&text));
            t.root()?.mapping()?.insert("new", &new)
        });
        added.unwrap();
        let lines = std::mem::take(&mut *lines.lock().unwrap());
        let mut lines = lines.into_iter();
        lines.find(|line| line.contains("of class app.Page has a record of 1"))
    };
    assert_eq!(warned(9000), None);
    assert!(warned(11_000).is_some());
}
