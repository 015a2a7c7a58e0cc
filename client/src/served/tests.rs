use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use zeo_proto::{Oid, Tid};
use zeo_storage::Error;
use zeo_storage::storage::{OutsideChange, Wake};

use super::changes::{Changes, Report};
use super::errors::storage_error;
use crate::client_storage::{self, Conflict, Disconnected, Listener};

fn tids(numbers: &[u64]) -> BTreeSet<Tid> {
    numbers.iter().map(|&tid| Tid::new(tid)).collect()
}

fn oids(numbers: &[u64]) -> Vec<Oid> {
    numbers.iter().map(|&oid| Oid::new(oid)).collect()
}

fn others(tid: u64, numbers: &[u64]) -> OutsideChange {
    OutsideChange::Transaction {
        tid: Tid::new(tid),
        oids: oids(numbers),
    }
}

fn own(all: &[(u64, &[u64])]) -> BTreeMap<Tid, Vec<Oid>> {
    let all = all.iter();
    all.map(|&(tid, numbers)| (Tid::new(tid), oids(numbers)))
        .collect()
}

fn since(tid: u64) -> Changes {
    let changes = Changes::new();
    changes.begin(Tid::new(tid));
    changes
}

fn tell(changes: &Changes, tid: u64, numbers: &[u64]) {
    changes.invalidated(Tid::new(tid), &oids(numbers));
}

fn reconnect(changes: &Changes, tell: impl FnOnce()) {
    changes.disconnected();
    tell();
    changes.connected(&"localhost:1".parse().unwrap(), false);
}

#[test]
fn own_transactions_stand_between_those_of_others() {
    let changes = since(10);
    for (tid, oid) in [(11, 1), (12, 2), (13, 3), (14, 4)] {
        tell(&changes, tid, &[oid]);
    }
    let report = changes.report(&tids(&[12, 14]));
    assert_eq!(report.outside, [others(11, &[1]), others(13, &[3])]);
    assert_eq!(report.own, own(&[(12, &[2]), (14, &[4])]));
    assert_eq!(changes.report(&tids(&[])), Report::default(), "once");
}

#[test]
fn what_was_not_told_is_not_in_order() {
    let changes = since(10);
    tell(&changes, 11, &[1]);
    let report = changes.report(&tids(&[12]));
    assert_eq!(report.outside, [others(11, &[1])]);
    assert!(report.own.is_empty());
    // It is reported as that of others, who did not answer for it.
    tell(&changes, 12, &[2]);
    assert_eq!(changes.report(&tids(&[])).outside, [others(12, &[2])]);
}

/// What was missed may have come before or behind our transactions: it is told on both sides.
#[test]
fn what_was_missed_is_told_before_and_behind_own_transactions() {
    let renewed = |tid| OutsideChange::Renewed { tid: Tid::new(tid) };
    let changes = since(10);
    reconnect(&changes, || tell(&changes, 30, &[1, 2]));
    let report = changes.report(&tids(&[20, 25]));
    let all = [
        others(19, &[1, 2]),
        others(24, &[1, 2]),
        others(30, &[1, 2]),
        renewed(30),
    ];
    assert_eq!(report.outside, all);
    assert_eq!(report.own, own(&[(20, &[]), (25, &[])]));

    // Nothing can have come between 30 and 31, or behind 32.
    reconnect(&changes, || tell(&changes, 32, &[3]));
    let report = changes.report(&tids(&[31, 32]));
    assert_eq!(report.outside, [renewed(32)]);
    assert_eq!(report.own, own(&[(31, &[]), (32, &[])]));

    // A connection that has missed nothing.
    reconnect(&changes, || {});
    assert_eq!(changes.report(&tids(&[])).outside, [renewed(32)]);
    tell(&changes, 33, &[4]);
    assert_eq!(changes.report(&tids(&[])).outside, [others(33, &[4])]);
}

#[test]
fn the_last_tid_never_goes_back() {
    let changes = since(10);
    changes.everything_changed(Tid::new(5));
    let unknown = |tid| OutsideChange::Unknown { tid: Tid::new(tid) };
    let report = changes.report(&tids(&[]));
    assert_eq!(report.outside, [unknown(11)]);
    changes.everything_changed(Tid::new(20));
    let report = changes.report(&tids(&[15]));
    assert_eq!(report.outside, [unknown(20)]);
    assert!(report.own.is_empty(), "its client has to come back");
}

#[test]
fn what_nobody_takes_has_a_bound() {
    let changes = since(10);
    let many: Vec<u64> = (0..1 << 20).collect();
    for tid in 11..16 {
        tell(&changes, tid, &many);
    }
    tell(&changes, 16, &[1]);
    let unknown = OutsideChange::Unknown { tid: Tid::new(14) };
    let report = changes.report(&tids(&[]));
    assert_eq!(report.outside[0], unknown);
    assert_eq!(report.outside.len(), 3);
}

#[test]
fn whoever_waits_is_told() {
    let changes = Arc::new(since(10));
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    changes.watch(Wake::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    assert!(!changes.wait_for(Tid::new(11), Instant::now()));
    let waiting = Arc::clone(&changes);
    let until = Instant::now() + Duration::from_secs(600);
    let thread = std::thread::spawn(move || waiting.wait_for(Tid::new(12), until));
    tell(&changes, 11, &[1]);
    tell(&changes, 12, &[1]);
    assert!(thread.join().unwrap());
    assert_eq!(woken.load(Ordering::Relaxed), 3);
}

#[test]
fn what_may_be_tried_again_says_so() {
    let lost = client_storage::Error::Disconnected {
        what: "loadBefore",
        why: Disconnected::BegunBefore,
    };
    let conflict = |oid, serials| Conflict {
        message: "why".to_owned(),
        oid,
        class: None,
        serials,
        reason: None,
    };
    let serials = Some((Tid::new(2), Tid::new(1)));
    let told = conflict(Some(Oid::new(7)), serials);
    let nothing = conflict(None, None);
    let read = |conflict| client_storage::Error::ReadConflict(Box::new(conflict));
    let write = |conflict| client_storage::Error::Conflict(Box::new(conflict));
    assert!(matches!(storage_error(lost), Error::Unavailable(_)));
    for (why, is_conflict) in [
        (read(told.clone()), true),
        (write(told), true),
        // Of a server that can't reach its own upstream server.
        (read(nothing.clone()), false),
        (write(nothing), false),
    ] {
        let why = storage_error(why);
        assert_eq!(why.is_conflict(), is_conflict);
        assert_eq!(matches!(why, Error::Unavailable(_)), !is_conflict);
    }
}

#[test]
fn a_conflict_keeps_the_class_that_the_server_tells() {
    let conflict = Conflict {
        message: "why".to_owned(),
        oid: Some(Oid::new(7)),
        class: Some("app.Thing".to_owned()),
        serials: Some((Tid::new(2), Tid::new(1))),
        reason: None,
    };
    let why = storage_error(client_storage::Error::Conflict(Box::new(conflict)));
    let Error::Conflict(conflict) = &why else {
        panic!("{why:?}")
    };
    assert_eq!(conflict.class_name().as_deref(), Some("app.Thing"));
    assert!(conflict.reason.is_some(), "it is not left to the client");
}
