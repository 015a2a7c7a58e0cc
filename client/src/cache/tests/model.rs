//! Random histories beside a plain model of the truth: what a cache answers is true, also of a file
//! that was left at any write. The histories are those that a client may see.

use std::collections::BTreeMap;

use fastrand::Rng;
use zeo_proto::{Oid, Tid};

use super::disk::{Disk, apply, create, reopen};
use crate::cache::Cache;

/// All revisions of all objects, and the last transaction.
#[derive(Default)]
pub struct Truth {
    objects: BTreeMap<Oid, BTreeMap<Tid, Vec<u8>>>,
    last: u64,
}

impl Truth {
    /// A new transaction that writes these objects.
    fn commit(&mut self, random: &mut Rng, oids: &[Oid]) -> Tid {
        self.last += random.u64(1..4);
        let tid = Tid::new(self.last);
        for &oid in oids {
            let longest = *random.choice(&[0, 30, 90, 300]).unwrap();
            let mut data = vec![0; random.usize(..=longest)];
            random.fill(&mut data);
            self.objects.entry(oid).or_default().insert(tid, data);
        }
        tid
    }

    /// The revision before a transaction: start, end, data.
    fn before(&self, oid: Oid, before: Tid) -> Option<(Tid, Option<Tid>, &[u8])> {
        let revisions = self.objects.get(&oid)?;
        let (&start, data) = revisions.range(..before).next_back()?;
        let end = revisions.range(before..).next().map(|(&tid, _)| tid);
        Some((start, end, data))
    }

    /// All that a cache holds is true up to its last tid.
    fn agrees(&self, cache: &mut Cache) {
        for held in cache.held().unwrap() {
            let revisions = &self.objects[&held.oid];
            let data = &revisions[&held.start];
            assert_eq!(data.len() as u32, held.length);
            let next = revisions.range(held.start..).nth(1).map(|(&tid, _)| tid);
            match held.end {
                Some(_) => assert_eq!(held.end, next, "{held:?}"),
                None => assert!(
                    next.is_none_or(|next| next > cache.last_tid()),
                    "{held:?} {next:?}"
                ),
            }
            let before = held.end.unwrap_or(Tid::MAX);
            let Some(found) = cache.load_before(held.oid, before) else {
                assert!(
                    cache.stats().evictions > 0,
                    "a hit before has moved, and taken its place"
                );
                continue;
            };
            assert_eq!(
                (&*found.data, found.serial, found.next),
                (&data[..], held.start, held.end)
            );
        }
    }
}

/// A history under way.
struct History {
    random: Rng,
    truth: Truth,
    disk: std::sync::Arc<Disk>,
    cache: Cache,
    size: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let size = random.u64(300..3000);
        let (disk, cache) = create(size);
        Self {
            random,
            truth: Truth::default(),
            disk,
            cache,
            size,
        }
    }

    fn oid(&mut self) -> Oid {
        Oid::new(self.random.u64(..12))
    }

    /// A transaction of another client, or of this one, which stores what it has written.
    fn commit(&mut self) {
        let oids: Vec<Oid> = (0..self.random.usize(1..4)).map(|_| self.oid()).collect();
        let tid = self.truth.commit(&mut self.random, &oids);
        let is_own = self.random.bool();
        for oid in oids {
            self.cache.invalidate(oid, Some(tid));
            if is_own {
                let data = &self.truth.objects[&oid][&tid];
                self.cache.store_later(oid, tid, None, data);
            }
        }
        self.cache.set_last_tid(tid).unwrap();
    }

    /// A load; what is not there is stored, as the server answers it.
    fn load(&mut self) {
        let oid = self.oid();
        let before = if self.random.bool() {
            Tid::MAX
        } else {
            Tid::new(self.random.u64(1..=self.truth.last + 1))
        };
        let truth = self.truth.before(oid, before);
        let asks = self.random.bool();
        let is_there = asks.then(|| self.cache.contains(oid, before));
        let found = self.cache.load_before(oid, before);
        assert_eq!(found.is_some(), is_there.unwrap_or(found.is_some()));
        match (found, truth) {
            (Some(found), truth) => {
                let found = (found.serial, found.next, &*found.data);
                assert_eq!(Some(found), truth, "{oid} before {before}");
            }
            (None, Some((start, end, data))) => {
                self.cache.store_later(oid, start, end, data);
                if !asks {
                    return;
                }
                let fits = data.len() as u64 + 43 < self.size - 12;
                assert_eq!(
                    self.cache.contains(oid, before),
                    fits,
                    "{oid} {start} {end:?}"
                );
            }
            (None, None) => {}
        }
    }

    /// A revision comes that is younger than the last transaction: a reply before its invalidation.
    fn early_reply(&mut self) {
        let oid = self.oid();
        let tid = self.truth.commit(&mut self.random, &[oid]);
        let data = &self.truth.objects[&oid][&tid];
        self.cache.store_later(oid, tid, None, data);
        self.cache.invalidate(oid, Some(tid));
        self.cache.set_last_tid(tid).unwrap();
    }

    /// Some steps, and then another process.
    fn steps(&mut self) {
        let image = self.disk.bytes().clone();
        let mut next_size = self.size;
        for _ in 0..self.random.usize(1..6) {
            self.step(&mut next_size);
        }
        if self.random.bool() {
            self.cache.flush();
        }
        self.check_parts(image, self.size);
        self.cache.flush();
        self.reopen(next_size);
    }

    fn step(&mut self, next_size: &mut u64) {
        match self.random.u8(..100) {
            0..35 => self.commit(),
            35..85 => self.load(),
            85..90 => self.early_reply(),
            90..95 => {
                let oid = self.oid();
                self.cache.invalidate(oid, None);
                assert!(self.cache.load(oid).is_none());
            }
            95 => self.cache.clear(),
            96 => {
                *next_size = (self.size + self.random.u64(..400))
                    .saturating_sub(200)
                    .max(300)
            }
            _ => {}
        }
    }

    /// What is left of the file, whatever write was the last one.
    fn check_parts(&self, mut image: Vec<u8>, size: u64) {
        for write in &self.disk.take_writes() {
            let (_, mut cache) = reopen(image.clone(), size).unwrap();
            self.truth.agrees(&mut cache);
            apply(&mut image, write);
        }
    }

    /// The next process finds all that this one had.
    fn reopen(&mut self, size: u64) {
        let held = self.cache.held().unwrap();
        assert_eq!(held.len(), self.cache.len());
        let (disk, mut cache) = reopen(self.disk.bytes().clone(), size).unwrap();
        disk.take_writes();
        if size == self.size {
            assert_eq!(cache.held().unwrap(), held);
        }
        (self.disk, self.cache, self.size) = (disk, cache, size);
        self.truth.agrees(&mut self.cache);
        // That has moved records in the ring.
        self.disk.take_writes();
    }
}

#[test]
fn never_lies() {
    let seed = std::env::var("SEED")
        .map_or_else(|_| fastrand::u64(..1 << 32), |seed| seed.parse().unwrap());
    for seed in seed..seed + 60 {
        println!("SEED={seed}");
        let mut history = History::new(seed);
        for _ in 0..40 {
            history.steps();
        }
    }
}
