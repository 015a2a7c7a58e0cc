//! Files of other sizes than they had, and records at their limits.

use zeo_proto::{Oid, Tid};

use super::disk::{apply, create, reopen};
use crate::cache::Cache;
use crate::cache::format::{HEADER, MAX_BLOCK};
use crate::cache::open;

fn fill(cache: &mut Cache, records: u64) {
    for oid in 0..records {
        cache.store(Oid::new(oid), Tid::new(5), None, &vec![b'x'; oid as usize]);
    }
}

#[test]
fn every_size_from_nothing() {
    for size in 12..200 {
        let (disk, mut cache) = create(size);
        assert_eq!(disk.bytes().len() as u64, size);
        fill(&mut cache, 5);
        assert_eq!(cache.is_empty(), size < 56, "{size}");
        let (_, mut again) = reopen(disk.bytes().clone(), size).unwrap();
        assert_eq!(again.held().unwrap(), cache.held().unwrap());
    }
}

/// Any size after any other, also when the process is killed in between, and then the other way.
#[test]
fn grows_and_shrinks() {
    let (disk, mut cache) = create(700);
    fill(&mut cache, 30);
    let image = disk.bytes().clone();
    let all = cache.held().unwrap();
    let mut at = HEADER;
    let mut ends = vec![700];
    while at < 700 {
        at += match open::read_block(&*disk, at).unwrap() {
            crate::cache::format::Block::Free(size) => size,
            crate::cache::format::Block::Record(head) => head.size(),
        };
        ends.extend([at - 1, at, at + 1, at + 5]);
    }
    for size in ends {
        let (disk, mut cache) = reopen(image.clone(), size).unwrap();
        let held = cache.held().unwrap();
        assert!(held.iter().all(|held| all.contains(held)));
        // One may end with the file; and the last one is cut.
        let kept = all.len() as u64 * size.min(700) / 700;
        assert!(
            held.len() as u64 + 3 > kept,
            "{size}: {} of {kept}",
            held.len()
        );
        let mut part = image.clone();
        for write in disk.take_writes() {
            apply(&mut part, &write);
            for next in [size, 700, 900, 500] {
                let (disk, mut again) = reopen(part.clone(), next).unwrap();
                assert!(again.held().unwrap().iter().all(|held| all.contains(held)));
                ends_free(&disk.bytes(), next);
            }
        }
        ends_free(&disk.bytes(), size);
    }
}

/// The last block is free: if it is not, Python can't make the file larger.
fn ends_free(image: &[u8], size: u64) {
    let (disk, _) = reopen(image.to_vec(), size).unwrap();
    let (mut at, mut is_free) = (HEADER, false);
    while at < size {
        at += match open::read_block(&*disk, at).unwrap() {
            crate::cache::format::Block::Free(free) => {
                is_free = true;
                free
            }
            crate::cache::format::Block::Record(head) => {
                is_free = false;
                head.size()
            }
        };
    }
    assert_eq!(at, size);
    assert!(is_free || size == HEADER);
    assert!(
        disk.take_writes().is_empty(),
        "opened once more, nothing is to be done"
    );
}

#[test]
fn the_largest_record() {
    let (_, mut cache) = create(1000);
    cache.store(Oid::new(1), Tid::new(5), None, &[b'x'; 1000 - 12 - 43]);
    assert!(cache.is_empty());
    cache.store(Oid::new(1), Tid::new(5), None, &[b'x'; 1000 - 12 - 44]);
    assert_eq!(cache.load(Oid::new(1)).unwrap().0.len(), 944);
    cache.store(Oid::new(2), Tid::new(5), None, b"");
    assert!(cache.load(Oid::new(1)).is_none(), "evicted");
    assert!(cache.load(Oid::new(2)).unwrap().0.is_empty());
}

#[test]
fn files_of_more_than_a_block() {
    let file = std::sync::Arc::new(zeo_storage::backend::FileBackend::new(
        tempfile::tempfile().unwrap(),
        "sparse".into(),
    ));
    let size = 2 * MAX_BLOCK - 100;
    let opened = open::create(&*file, size, Tid::ZERO).unwrap();
    let mut cache = Cache::new(file.clone(), size, opened, zeo_storage::log::silent());
    fill(&mut cache, 3);
    cache.opened.at = HEADER + MAX_BLOCK;
    fill(&mut cache, 6);
    for smaller in [size, MAX_BLOCK + 500, size] {
        let opened = open::open(&*file, smaller).unwrap();
        let cache = Cache::new(file.clone(), smaller, opened, zeo_storage::log::silent());
        assert_eq!(cache.len(), 6);
    }
    // What is left of a store into more than one block, when the process was killed.
    let room = crate::cache::format::free(size - HEADER);
    zeo_storage::backend::Backend::write_all_at(&*file, &room, HEADER).unwrap();
    let opened = open::open(&*file, size).unwrap();
    assert!(opened.index.len() == 0);
    let block = open::read_block(&*file, HEADER + MAX_BLOCK).unwrap();
    let rest = size - HEADER - MAX_BLOCK;
    assert_eq!(block, crate::cache::format::Block::Free(rest));
}
