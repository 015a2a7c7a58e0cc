//! Files that nobody wrote: cut, changed, made up.

use zeo_proto::{Oid, Tid};

use super::disk::reopen;
use super::golden::files;
use crate::cache::open::Failure;

/// Opens what may be a cache, and uses it; true if it was opened.
fn uses(image: Vec<u8>, size: u64) -> bool {
    let (disk, mut cache) = match reopen(image, size) {
        Ok(opened) => opened,
        Err(Failure::Damage { .. }) => return false,
        Err(other) => panic!("{other}"),
    };
    assert_eq!(disk.bytes().len() as u64, size);
    let held = cache.held().unwrap();
    assert_eq!(held.len(), cache.len());
    for held in held {
        let _ = cache.load_before(held.oid, held.end.unwrap_or(Tid::MAX));
        let _ = cache.load(held.oid);
        cache.invalidate(held.oid, Some(Tid::new(u64::MAX - 1)));
    }
    for number in 0..40 {
        cache.store(Oid::new(1000 + number), Tid::new(5), None, &[b'x'; 100]);
    }
    // Whatever it was, it is a sound file now.
    let image = disk.bytes().clone();
    let (_, mut again) = reopen(image, size).unwrap();
    assert_eq!(again.held().unwrap(), cache.held().unwrap());
    true
}

#[test]
fn cut_at_every_byte() {
    for (name, bytes, known) in files() {
        let size = known["cache_size"].as_u64().unwrap();
        let mut opened = 0;
        for length in 0..bytes.len() {
            let is_opened = uses(bytes[..length].to_vec(), size);
            assert!(!is_opened || length >= 12, "{name} of {length} bytes");
            opened += usize::from(is_opened);
        }
        // At the ends of blocks, and within free ones.
        assert!(
            opened >= known["blocks"].as_array().unwrap().len(),
            "{name}: {opened}"
        );
    }
}

#[test]
fn changed_at_random() {
    let mut random = fastrand::Rng::with_seed(11);
    let (mut good, mut bad) = (0, 0);
    for (_, bytes, known) in files() {
        let size = known["cache_size"].as_u64().unwrap();
        for _ in 0..300 {
            let mut image = bytes.clone();
            for _ in 0..random.usize(1..5) {
                let at = random.usize(..image.len());
                image[at] = *random.choice(b"af1234\0\x01\x7f\xff").unwrap();
            }
            let size = *random
                .choice([size, size - 100, size + 100].iter())
                .unwrap();
            if uses(image, size) {
                good += 1
            } else {
                bad += 1
            }
        }
    }
    assert!(good > 100 && bad > 100, "{good} {bad}");
}

#[test]
fn a_size_of_four_gigabytes_takes_no_memory() {
    let mut image = b"ZEC3\0\0\0\0\0\0\0\x01a\xff\xff\xff\xff".to_vec();
    image.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    image.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xd4, b'x']);
    assert!(!uses(image.clone(), 1000));
    image[12..17].copy_from_slice(b"a\x7f\xff\xff\xff");
    image[43..47].copy_from_slice(b"\x7f\xff\xff\xd4");
    assert!(!uses(image, 1000));
}

/// Python's client leaves such files, when an object is stored twice in one transaction: it drops
/// one with two current records, and takes an outdated record for current in the other one.
#[test]
fn two_current_records() {
    let (disk, mut cache) = super::disk::create(1000);
    for start in [7, 9] {
        cache.store(
            Oid::new(1),
            Tid::new(start),
            Some(Tid::new(start + 1)),
            &[start as u8; 20],
        );
    }
    cache.store(Oid::new(2), Tid::new(7), None, b"another");
    let mut image = disk.bytes().clone();
    let first = 12 + 21;
    image[first..first + 8].fill(0);
    let outdated = image.clone();
    image[first + 63..first + 71].fill(0);

    let (_, mut cache) = reopen(image, 1000).unwrap();
    assert_eq!(cache.load(Oid::new(1)).unwrap().1, Tid::new(9));
    assert_eq!(cache.len(), 2);

    let (disk, mut cache) = reopen(outdated, 1000).unwrap();
    assert!(cache.load(Oid::new(1)).is_none());
    assert_eq!(cache.len(), 2);
    assert_eq!(reopen(disk.bytes().clone(), 1000).unwrap().1.len(), 2);
}
