use super::*;

const A: Oid = Oid::new(1);
const B: Oid = Oid::new(2);

fn tid(number: u64) -> Tid {
    Tid::new(number)
}

fn told(number: u64, oids: &[Oid]) -> Event {
    Event::Invalidated(tid(number), oids.to_vec())
}

fn own(number: u64, oids: &[Oid]) -> Event {
    Event::Finished(tid(number), oids.to_vec())
}

/// `loadBefore(oid, before)` answers `serial` and `next` (0: none); what was
/// written is the serial.
fn load(oid: Oid, before: u64, serial: u64, next: u64) -> Event {
    Event::Loaded(Loaded {
        oid,
        before: tid(before),
        serial: tid(serial),
        next: (next > 0).then_some(tid(next)),
        stamp: Some(serial),
    })
}

const NOW: u64 = u64::MAX;

/// What a connection that registered at tid 10 finds in these events.
fn found(events: &[Event]) -> Option<Violation> {
    let mut witness = Witness::new("it".into(), tid(10));
    let results = events
        .iter()
        .map(|event| witness.observe(event.clone()).err());
    let mut results: Vec<_> = results.collect();
    let last = results.pop().flatten();
    assert_eq!(
        results.into_iter().flatten().next(),
        None,
        "only the last is wrong"
    );
    last
}

#[test]
fn a_good_server_passes() {
    let events = [
        load(A, NOW, 5, 0),
        load(A, 11, 5, 0),
        // A reply may run ahead of its own invalidation.
        load(A, NOW, 11, 0),
        load(A, 11, 5, 11),
        told(11, &[A]),
        load(A, 12, 11, 0),
        load(A, 11, 5, 11),
        own(12, &[B]),
        load(B, NOW, 12, 0),
        load(B, 12, 3, 12),
        load(A, NOW, 11, 0),
        told(14, &[A, B]),
        load(A, NOW, 14, 0),
        load(B, 14, 12, 14),
        load(B, 13, 12, 14),
    ];
    assert_eq!(found(&events), None);
}

#[test]
fn tids_must_grow() {
    let late = |number, last| {
        Some(Violation::NotLater {
            tid: tid(number),
            last: tid(last),
        })
    };
    assert_eq!(
        found(&[told(10, &[A])]),
        late(10, 10),
        "as register returned"
    );
    assert_eq!(found(&[told(12, &[A]), told(11, &[A])]), late(11, 12));
    assert_eq!(found(&[told(12, &[A]), told(12, &[B])]), late(12, 12));
    assert_eq!(found(&[own(12, &[A]), told(11, &[A])]), late(11, 12));
    assert_eq!(found(&[told(12, &[A]), own(11, &[A])]), late(11, 12));
}

#[test]
fn nothing_old_is_current() {
    let stale = Some(Violation::Stale {
        oid: A,
        serial: tid(5),
        newer: tid(11),
    });
    assert_eq!(found(&[told(11, &[A]), load(A, NOW, 5, 0)]), stale);
    assert_eq!(found(&[own(11, &[A]), load(A, NOW, 5, 0)]), stale);
    assert_eq!(found(&[told(11, &[A]), load(A, 11, 5, 0)]), stale);
    assert_eq!(
        found(&[told(11, &[A]), load(B, NOW, 5, 0)]),
        None,
        "another object"
    );
    let back = Some(Violation::Backwards {
        oid: A,
        serial: tid(5),
        newer: tid(11),
    });
    assert_eq!(found(&[load(A, NOW, 11, 0), load(A, NOW, 5, 0)]), back);
    assert_eq!(found(&[load(A, 7, 4, 11), load(A, NOW, 5, 0)]), back);
}

#[test]
fn what_is_told_is_there_to_read() {
    let early = Violation::NotReadable {
        oid: A,
        before: tid(12),
        serial: tid(5),
        expected: tid(11),
    };
    assert_eq!(found(&[told(11, &[A]), load(A, 12, 5, 12)]), Some(early));
    let untold = |serial| {
        Some(Violation::Untold {
            oid: A,
            before: tid(15),
            serial: tid(serial),
        })
    };
    assert_eq!(
        found(&[told(11, &[A]), told(14, &[B]), load(A, 15, 12, 0)]),
        untold(12)
    );
    assert_eq!(found(&[told(14, &[B]), load(A, 15, 12, 0)]), untold(12));
    assert_eq!(
        found(&[told(14, &[B]), load(A, 16, 15, 0)]),
        None,
        "not known yet"
    );
}

#[test]
fn answers_must_be_possible() {
    let range = |events: &[Event]| matches!(found(events), Some(Violation::Range { .. }));
    assert!(range(&[load(A, 7, 7, 0)]));
    assert!(range(&[load(A, 7, 5, 6)]));
    assert!(!range(&[load(A, 7, 5, 7)]));
    let missing = Violation::Missing {
        oid: A,
        before: tid(7),
    };
    assert_eq!(found(&[Event::Missing(A, tid(7))]), Some(missing));
    let Event::Loaded(mut loaded) = load(A, NOW, 5, 0) else {
        panic!()
    };
    loaded.stamp = None;
    let garbage = Violation::Garbage {
        oid: A,
        serial: tid(5),
    };
    assert_eq!(found(&[Event::Loaded(loaded)]), Some(garbage));
}

#[test]
fn revisions_stay_as_they_are() {
    let differs = |events: &[Event]| matches!(found(events), Some(Violation::Differs { .. }));
    let first = load(A, NOW, 5, 0);
    let Event::Loaded(mut changed) = first.clone() else {
        panic!()
    };
    changed.stamp = Some(6);
    assert!(differs(&[first, Event::Loaded(changed)]));
    assert!(differs(&[load(A, 6, 5, 7), load(A, 6, 5, 8)]));
}

#[test]
fn evidence_names_the_connection_and_what_came_before() {
    let mut witness = Witness::new("reader 3".into(), tid(10));
    for number in 11..100 {
        witness.observe(told(number, &[A])).expect("in order");
    }
    let violation = witness.observe(told(50, &[A])).expect_err("not later");
    let text = witness.evidence(violation).to_string();
    assert!(
        text.starts_with("reader 3: tid 0000000000000032 comes after"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1 + RECENT);
}
