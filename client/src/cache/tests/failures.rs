//! A disk that fails: nothing untrue is answered, nothing stays broken.

use std::time::Duration;

use zeo_proto::{Oid, Tid};
use zeo_storage::log::Level;

use super::disk::{Disk, create, reopen};
use super::files::recorded;
use crate::cache::Cache;

/// Eight objects of one revision each; then transaction 10 changes half of them, while the disk fails
/// at the write of this number.
fn changes(disk: &Disk, cache: &mut Cache, fails_at: u64, part: u64, for_ever: bool) {
    for oid in 0..8 {
        cache.store(Oid::new(oid), Tid::new(5), None, &[oid as u8; 60]);
    }
    cache.set_last_tid(Tid::new(9)).unwrap();
    disk.fail_after(fails_at, part);
    for oid in 0..4 {
        cache.invalidate(Oid::new(oid), Some(Tid::new(10)));
        if !for_ever && cache.is_empty() {
            disk.fail_after(u64::MAX, 0);
        }
        cache.store(Oid::new(oid), Tid::new(10), None, &[0x40 + oid as u8; 50]);
    }
    cache.set_last_tid(Tid::new(10)).unwrap();
}

fn is_true(cache: &mut Cache) {
    let is_new = cache.last_tid() == Tid::new(10);
    for oid in 0..8 {
        if let Some((data, serial)) = cache.load(Oid::new(oid)) {
            let changed = oid < 4 && serial == Tid::new(10);
            let expected = if changed { 0x40 + oid as u8 } else { oid as u8 };
            assert!(data.iter().all(|&byte| byte == expected));
            assert!(changed || oid >= 4 || !is_new, "stale");
        }
    }
}

#[test]
fn at_every_write() {
    for fails_at in 0..24 {
        for (part, for_ever) in [(0, true), (3, true), (30, true), (0, false), (17, false)] {
            let (disk, mut cache) = create(600);
            changes(&disk, &mut cache, fails_at, part, for_ever);
            is_true(&mut cache);
            assert_eq!(cache.last_tid(), Tid::new(10));
            // The next process, without the failure. A header of which only a part was written is
            // damage.
            if let Ok((_, mut next)) = reopen(disk.bytes().clone(), 600) {
                is_true(&mut next);
            }
            // This one, when the disk works again.
            disk.fail_after(u64::MAX, 0);
            cache.retry = Duration::ZERO;
            cache.store(Oid::new(20), Tid::new(10), None, b"again");
            assert_eq!(&*cache.load(Oid::new(20)).unwrap().0, b"again");
            let (_, mut next) = reopen(disk.bytes().clone(), 600).unwrap();
            is_true(&mut next);
            assert_eq!(next.last_tid(), Tid::new(10));
            assert_eq!(&*next.load(Oid::new(20)).unwrap().0, b"again");
        }
    }
}

#[test]
fn is_told_once() {
    let (disk, mut cache) = create(600);
    let (log, told) = recorded();
    cache.log = log;
    disk.fail_after(0, 0);
    for oid in 0..10 {
        cache.store(Oid::new(oid), Tid::new(5), None, b"x");
        assert!(cache.load(Oid::new(oid)).is_none());
    }
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].0 == Level::Error && told[0].1.contains("memory.zec can't be used"),
        "{told:?}"
    );
}

#[test]
fn reads_that_fail_are_misses() {
    let (disk, mut cache) = create(600);
    cache.store(Oid::new(1), Tid::new(5), None, b"x");
    disk.fail_reads(true);
    assert!(!cache.contains(Oid::new(1), Tid::MAX));
    assert!(cache.load_before(Oid::new(1), Tid::MAX).is_none());
    disk.fail_reads(false);
    cache.retry = Duration::ZERO;
    cache.store(Oid::new(1), Tid::new(5), None, b"x");
    assert!(cache.load(Oid::new(1)).is_some());
}

/// Another program has written into the file, or cut it.
#[test]
fn a_file_that_is_changed_under_it() {
    for change in 0..4 {
        let (disk, mut cache) = create(600);
        cache.store(Oid::new(1), Tid::new(5), None, b"first");
        cache.store(Oid::new(2), Tid::new(5), None, b"other");
        match change {
            0 => disk.bytes().truncate(50),
            1 => disk.bytes()[12] = b'f',
            2 => disk.bytes()[12 + 35 + 5] ^= 1,
            _ => disk.bytes()[12..].fill(0),
        }
        assert!(cache.load(Oid::new(1)).is_none(), "{change}");
        cache.store(Oid::new(1), Tid::new(5), None, b"first");
        assert_eq!(&*cache.load(Oid::new(1)).unwrap().0, b"first");
        assert_eq!(
            reopen(disk.bytes().clone(), 600).unwrap().1.len(),
            cache.len()
        );
    }
}
