//! Objects in transactions, against a server in this process.
#![allow(clippy::unwrap_used, clippy::panic)]

use zeo_client::db::{Db, Error, Object, Retry};
use zeo_client::record::{Class, Dict, Record, Reference, Shared, Value};
mod lost;
mod settings;

use zeo_client::ClientStorage;
use zeo_proto::{Oid, Tid};
use zeo_server::{AdHoc, AdHocServer, serve};

const PAGE: Class = Class::from_static("app", "Page");

/// A server, and a function that opens a database on it.
fn served() -> (AdHocServer, impl Fn() -> Db) {
    let server = serve(AdHoc::in_memory()).unwrap();
    let address: zeo_client::Address = server.address().parse().unwrap();
    let open = move || {
        let storage = ClientStorage::builder(address.clone()).open().unwrap();
        Db::new(storage)
    };
    (server, open)
}

fn page(title: &str) -> Dict {
    Dict::from([("title", title)])
}

fn title(object: &Object<'_>) -> String {
    let title = object.get("title").unwrap().unwrap();
    title.as_str().unwrap().to_owned()
}

/// A database with a root that has a page, of oid 1.
fn with_page(db: &Db) {
    db.transact(|t| {
        let home = t.new_object(PAGE, page("Home"));
        t.root()?.mapping()?.insert("home", &home)
    })
    .unwrap();
}

/// The same of a server; also what opens it again.
fn served_page() -> (AdHocServer, impl Fn() -> Db, Db) {
    let (server, open) = served();
    let db = open();
    with_page(&db);
    (server, open, db)
}

#[test]
fn objects_are_stored_behind_what_refers_to_them() {
    let (_server, open) = served();
    let db = open();
    let mut connection = db.connect();
    let t = connection.begin().unwrap();
    let [a, b, c, unused] = ["a", "b", "c", "unused"].map(|name| t.new_object(PAGE, page(name)));
    // The order of the references decides, not that in which they were made.
    c.set("next", &a).unwrap();
    let root = t.root().unwrap().mapping().unwrap();
    root.insert("c", &c).unwrap();
    root.insert("b", &b).unwrap();
    assert_eq!(title(&unused), "unused");
    let tid = t.commit().unwrap().unwrap();

    let t = connection.begin().unwrap();
    let root = t.root().unwrap();
    assert_eq!(root.serial().unwrap(), tid);
    let root = root.mapping().unwrap();
    let oid = |object: &Object<'_>| object.oid().unwrap().as_u64();
    let (c, b) = (root.follow("c").unwrap(), root.follow("b").unwrap());
    assert_eq!(
        (oid(&c), oid(&b), oid(&c.follow("next").unwrap())),
        (1, 2, 3)
    );
    assert_eq!(title(&c.follow("next").unwrap()), "a");
    let none = t.get(Oid::new(4)).unwrap_err();
    assert!(
        matches!(none, Error::Storage(zeo_client::Error::NoObject { .. })),
        "{none}"
    );
    assert_eq!(t.commit().unwrap(), None);
}

#[test]
fn all_handles_of_an_object_are_one() {
    let (_server, _open, db) = served_page();
    let mut connection = db.connect();
    let t = connection.begin().unwrap();
    let one = t.root().unwrap().mapping().unwrap().follow("home").unwrap();
    let other = t.get(Oid::new(1)).unwrap();
    assert_eq!(one, other);
    one.set("title", "One").unwrap();
    assert_eq!(title(&other), "One");
    other.set("title", "Other").unwrap();
    assert_eq!(title(&one), "Other");
    t.abort();
    let t = connection.begin().unwrap();
    assert_eq!(title(&t.get(Oid::new(1)).unwrap()), "Home");
}

#[test]
fn a_transaction_sees_one_moment() {
    let (_server, open, db) = served_page();
    let others = open();
    let mut connection = db.connect();
    let t = connection.begin().unwrap();
    let before = t.before();
    let change = |new: &str| {
        let tid = others.transact(|t| {
            t.get(Oid::new(1))?.set("title", new)?;
            Ok::<_, Error>(t.before())
        });
        tid.unwrap()
    };
    change("Changed");
    while db.storage().last_tid() < before {
        std::thread::yield_now();
    }
    assert_eq!(title(&t.get(Oid::new(1)).unwrap()), "Home");
    drop(t);
    let t = connection.begin().unwrap();
    assert_eq!(title(&t.get(Oid::new(1)).unwrap()), "Changed");
    // Also of what it has read.
    change("Again");
    assert_eq!(title(&t.get(Oid::new(1)).unwrap()), "Changed");
}

#[test]
fn conflicts_are_errors_and_retried() {
    let (_server, open, db) = served_page();
    let others = open();
    let other_change = || {
        others
            .transact(|t| t.get(Oid::new(1))?.set("title", "Theirs"))
            .unwrap();
    };

    let mut connection = db.connect();
    let t = connection.begin().unwrap();
    t.get(Oid::new(1)).unwrap().set("visits", 1).unwrap();
    other_change();
    let error = t.commit().unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(matches!(
        error,
        Error::Storage(zeo_client::Error::Conflict(_))
    ));

    let mut tries = 0;
    let seen = db.transact(|t| {
        tries += 1;
        let home = t.get(Oid::new(1))?;
        home.set("visits", tries)?;
        let seen = title(&home);
        if tries < 3 {
            other_change();
        }
        Ok::<_, Error>(seen)
    });
    assert_eq!((seen.unwrap().as_str(), tries), ("Theirs", 3));

    // Not for ever, and not what fails for other reasons.
    let mut tries = 0;
    let retry = Retry {
        attempts: 2,
        ..Retry::default()
    };
    let failed = db.transact_with(retry, |t| {
        tries += 1;
        t.get(Oid::new(1))?.set("visits", 0)?;
        other_change();
        Ok::<_, Error>(())
    });
    assert!(failed.is_err());
    assert_eq!(tries, 2);
    let failed: Result<(), Box<dyn std::error::Error>> = db.transact(|_| Err("no".into()));
    assert_eq!(failed.unwrap_err().to_string(), "no");
}

#[test]
fn what_must_be_current_is_checked() {
    let (_server, open, db) = served_page();
    let others = open();
    let mut connection = db.connect();
    let t = connection.begin().unwrap();
    t.get(Oid::new(1)).unwrap().read_current().unwrap();
    t.root()
        .unwrap()
        .mapping()
        .unwrap()
        .insert("new", 1)
        .unwrap();
    others
        .transact(|t| t.get(Oid::new(1))?.set("title", "Theirs"))
        .unwrap();
    let error = t.commit().unwrap_err();
    assert!(
        matches!(error, Error::Storage(zeo_client::Error::ReadConflict(_))),
        "{error}"
    );

    // Not if it changes nothing, and not of what it stores itself.
    let t = connection.begin().unwrap();
    t.get(Oid::new(1)).unwrap().read_current().unwrap();
    assert_eq!(t.commit().unwrap(), None);
    let t = connection.begin().unwrap();
    let home = t.get(Oid::new(1)).unwrap();
    home.read_current().unwrap();
    home.set("visits", 2).unwrap();
    assert!(t.commit().unwrap().is_some());
}

#[test]
fn savepoints() {
    let (_server, _open, db) = served_page();
    let mut connection = db.connect();
    let t = connection.begin().unwrap();
    let home = t.get(Oid::new(1)).unwrap();
    let tags = Shared::new(Value::List(vec!["a".into()]));
    home.set("tags", Value::Shared(tags.clone())).unwrap();
    home.set("labels", Value::Shared(tags)).unwrap();
    let child = t.new_object(PAGE, page("Child"));
    home.set("child", &child).unwrap();
    let savepoint = t.savepoint().unwrap();

    let add = |tag: &str| {
        home.edit(|record| {
            let tags = record.get_mut("tags").unwrap();
            tags.edit(|tags| match tags {
                Value::List(tags) => tags.push(tag.into()),
                _ => unreachable!(),
            });
        })
        .unwrap();
    };
    for _ in 0..2 {
        add("b");
        child.set("title", "Other").unwrap();
        child.oid().unwrap();
        t.root().unwrap().mapping().unwrap().remove("home").unwrap();
        t.rollback(&savepoint).unwrap();
        assert_eq!(title(&child), "Child");
    }
    t.commit().unwrap().unwrap();
    let t = connection.begin().unwrap();
    let home = t.root().unwrap().mapping().unwrap().follow("home").unwrap();
    assert_eq!(title(&home.follow("child").unwrap()), "Child");
    let labels = home.get("labels").unwrap().unwrap();
    assert_eq!(labels.look().as_items(), Some(&["a".into()][..]));
    let error = t.rollback(&savepoint).unwrap_err();
    assert!(matches!(error, Error::OtherTransaction));
}

#[test]
fn a_savepoint_is_one_of_its_transaction_wherever_the_next_one_is_in_memory() {
    let (_server, open) = served();
    let db = open();
    let mut connection = db.connect();
    let mut first = None;
    for _ in 0..2 {
        let t = connection.begin().unwrap();
        match &first {
            None => {
                let root = t.root().unwrap().mapping().unwrap();
                root.insert("aborted", 1).unwrap();
                first = Some(t.savepoint().unwrap());
            }
            Some(savepoint) => {
                let error = t.rollback(savepoint).unwrap_err();
                assert!(matches!(error, Error::OtherTransaction));
                assert!(!t.is_changed());
            }
        }
        t.abort();
    }
}

#[test]
fn references_to_new_objects_that_are_taken_back_are_not_stored() {
    let (_server, _open, db) = served_page();
    let mut connection = db.connect();
    for own_oid in [false, true] {
        let t = connection.begin().unwrap();
        let root = t.root().unwrap().mapping().unwrap();
        let savepoint = t.savepoint().unwrap();
        let lost = if !own_oid {
            Value::from(t.new_object(PAGE, page("Lost")))
        } else {
            Value::from(&t.new_tree("OOBTree").unwrap())
        };
        root.insert("lost", lost.clone()).unwrap();
        t.rollback(&savepoint).unwrap();
        root.insert("lost", lost).unwrap();
        let error = t.savepoint().unwrap_err();
        assert!(matches!(error, Error::NewElsewhere { oid: Oid::ZERO }));
        let error = t.commit().unwrap_err();
        assert!(matches!(error, Error::NewElsewhere { oid: Oid::ZERO }));
    }
}

#[test]
fn errors_name_the_object() {
    let (_server, _open, db) = served_page();
    let mut connection = db.connect();
    let t = connection.begin().unwrap();
    let home = t.get(Oid::new(1)).unwrap();
    let says = |error: Error| error.to_string();
    assert_eq!(
        says(home.follow("parent").unwrap_err()),
        "object 0x01 of class app.Page has no attribute \"parent\""
    );
    assert_eq!(
        says(home.follow("title").unwrap_err()),
        "object 0x01 of class app.Page has text as \"title\", not a reference"
    );
    assert_eq!(
        says(home.mapping().unwrap_err()),
        "object 0x01 of class app.Page has not the state of a PersistentMapping"
    );
    let root = t.root().unwrap().mapping().unwrap();
    assert_eq!(
        says(root.follow("away").unwrap_err()),
        "object 0x00 of class persistent.mapping.PersistentMapping has no key \"away\""
    );
    let away = Reference::new(Oid::new(7), Some(PAGE)).in_database("other");
    assert_eq!(
        says(t.follow(&away).unwrap_err()),
        "object 0x07 is in the database \"other\""
    );
    let nested = home.edit(|_| home.set("title", "x")).unwrap();
    assert!(matches!(nested, Err(Error::BeingChanged { .. })));
    assert_eq!(title(&home), "Home");
}

#[test]
fn records_that_are_not_changed_keep_their_bytes() {
    let (_server, open) = served();
    let db = open();
    // Text that Python would not write so: its memo is used for nothing.
    let odd = b"\x80\x03capp\nPage\nq\x07.\x80\x03}q\x01U\x05titleq\x02U\x03oddq\x03s.".to_vec();
    let storage = db.storage();
    let mut tpc = storage.begin(Default::default()).unwrap();
    tpc.store(Oid::new(9), Tid::ZERO, odd.clone()).unwrap();
    tpc.vote().unwrap();
    tpc.finish().unwrap();
    db.transact(|t| {
        let odd = t.get(Oid::new(9))?;
        assert_eq!(title(&odd), "odd");
        t.root()?.mapping()?.insert("odd", &odd)
    })
    .unwrap();
    assert_eq!(*storage.load(Oid::new(9)).unwrap().data, *odd);
}

#[test]
fn threads_have_connections_of_their_own() {
    let (_server, _open, db) = served_page();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let retry = Retry {
                        attempts: 1000,
                        ..Retry::default()
                    };
                    db.transact_with(retry, |t| {
                        let home = t.get(Oid::new(1))?;
                        let visits = home.get("visits")?.and_then(|visits| visits.as_int());
                        home.set("visits", visits.unwrap_or(0) + 1)
                    })
                    .unwrap();
                }
            });
        }
    });
    let mut connection = db.connect();
    let t = connection.begin().unwrap();
    assert_eq!(
        t.get(Oid::new(1)).unwrap().get("visits").unwrap(),
        Some(Value::Int(40))
    );
}

#[test]
fn old_mappings_and_objects_with_arguments() {
    let (_server, open) = served();
    let db = open();
    let mut connection = db.connect();
    let t = connection.begin().unwrap();
    let old = Dict::from([("_container", Dict::from([("a", 1)]))]);
    let old = t.new_object(Class::new("persistent.mapping", "PersistentMapping"), old);
    let mut record = Record::new(PAGE, page("Named"));
    record.args = Some(Value::tuple([Value::from("x")]));
    let named = t.new_record(record);
    let list = t.new_list(vec![Value::from(&named)]);
    list.push(&old).unwrap();
    let root = t.root().unwrap().mapping().unwrap();
    root.insert("list", &list).unwrap();
    t.commit().unwrap();

    let t = connection.begin().unwrap();
    let list = t.root().unwrap().mapping().unwrap().follow("list").unwrap();
    let list = list.list().unwrap();
    let reference = list.get(0).unwrap().unwrap();
    assert_eq!(reference.as_reference().unwrap().class, None);
    assert_eq!(list.follow(0).unwrap().class_name().unwrap(), "app.Page");
    let old = list.follow(1).unwrap().mapping().unwrap();
    assert_eq!(old.get("a").unwrap(), Some(Value::Int(1)));
    old.insert("b", 2).unwrap();
    let state = old.object().record().unwrap().state.clone();
    let data = Dict::from([("a", 1), ("b", 2)]);
    assert_eq!(state, Dict::from([("data", data)]).into());
}

#[test]
fn new_objects_of_other_transactions_are_told_apart() {
    let (_server, _open, db) = served_page();
    let mut connection = db.connect();
    let t = connection.begin().unwrap();
    let kept = Value::from(t.new_object(PAGE, page("Lost")));
    t.abort();
    let t = connection.begin().unwrap();
    let home = t.get(Oid::new(1)).unwrap();
    home.set("new", t.new_object(PAGE, page("New"))).unwrap();
    home.set("lost", kept).unwrap();
    let error = t.commit().unwrap_err();
    assert!(matches!(error, Error::NewElsewhere { .. }), "{error}");
    let t = connection.begin().unwrap();
    assert_eq!(t.get(Oid::new(1)).unwrap().get("new").unwrap(), None);
}

/// Money is moved between accounts by several clients; whoever looks sees none missing.
#[test]
fn every_transaction_sees_a_whole() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    const ACCOUNTS: u64 = 5;

    let (_server, open) = served();
    let dbs = [open(), open()];
    dbs[0]
        .transact(|t| {
            let root = t.root()?.mapping()?;
            for number in 1..=ACCOUNTS {
                let account = t.new_object(PAGE, Dict::from([("amount", 100)]));
                root.insert(number.to_string(), &account)?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    let amount = |t: &zeo_client::db::Transaction<'_>, number: u64| {
        let amount = t.get(Oid::new(number))?.get("amount")?;
        Ok::<_, Error>(amount.and_then(|amount| amount.as_int()).unwrap_or(0))
    };
    // The other client is told of it when it is.
    while dbs[1].storage().last_tid() < dbs[0].storage().last_tid() {
        std::thread::yield_now();
    }
    let working = AtomicUsize::new(4);
    std::thread::scope(|scope| {
        for (at, db) in dbs.iter().cycle().take(4).enumerate() {
            let (working, amount) = (&working, &amount);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(at as u64);
                for _ in 0..40 {
                    let from = random.u64(1..=ACCOUNTS);
                    let to = from % ACCOUNTS + 1;
                    let retry = Retry {
                        attempts: 1000,
                        ..Retry::default()
                    };
                    db.transact_with(retry, |t| {
                        let (taken, given) = (amount(t, from)? - 1, amount(t, to)? + 1);
                        t.get(Oid::new(from))?.set("amount", taken)?;
                        t.get(Oid::new(to))?.set("amount", given)
                    })
                    .unwrap();
                }
                working.fetch_sub(1, Ordering::Relaxed);
            });
        }
        for db in &dbs {
            let (working, amount) = (&working, &amount);
            scope.spawn(move || {
                let mut connection = db.connect();
                while working.load(Ordering::Relaxed) > 0 {
                    let t = connection.begin().unwrap();
                    let amounts = (1..=ACCOUNTS).map(|number| amount(&t, number).unwrap());
                    assert_eq!(amounts.sum::<i64>(), 500);
                }
            });
        }
    });
}
