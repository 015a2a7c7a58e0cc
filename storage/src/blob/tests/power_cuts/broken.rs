//! Each promise broken in turn, to see that it is noticed; and packs, where two
//! of them meet.

use std::fs;
use std::path::Path;

use fastrand::Rng;

use super::{Model, Run, Txn, check_whole, open, run};
use crate::Storage;
use crate::blob::TEMPORARY;
use crate::blob::staged_name::StagedName;
use crate::disk::power::{Lie, PowerCuts};
use crate::testing::prepare;

/// What is broken, to see that it is noticed.
#[derive(Debug, Clone, Copy)]
pub enum Broken {
    Nothing,
    /// The disk lies.
    Disk(Lie),
    /// A start finds no staged files.
    Mending,
    /// It takes the first ones of those that follow one revision.
    LastOne,
}

impl Broken {
    /// Breaks it on this disk, before a storage opens in the directory.
    pub fn apply(self, disk: &PowerCuts, directory: &Path) {
        match self {
            Broken::Disk(lie) => disk.lie(Some(lie)),
            Broken::Mending => change_staged(directory, |_| None),
            Broken::LastOne => change_staged(directory, |name| {
                let number = u64::MAX - name.number;
                Some(StagedName { number, ..name })
            }),
            Broken::Nothing => {}
        }
    }
}

/// Renames staged files, or removes them.
fn change_staged(at: &Path, change: impl Fn(StagedName) -> Option<StagedName>) {
    let Ok(entries) = fs::read_dir(at.join("blobs").join(TEMPORARY)) else {
        return;
    };
    for path in entries.map(|entry| entry.unwrap().path()) {
        match StagedName::parse(&path).map(&change) {
            Some(Some(name)) => fs::rename(&path, path.with_file_name(name.to_string())).unwrap(),
            Some(None) => fs::remove_file(&path).unwrap(),
            None => {}
        }
    }
}

/// Whatever is broken is noticed.
#[test]
fn broken_promises_are_noticed() {
    const SEEDS: u64 = 200;
    for broken in [
        Broken::Disk(Lie::Contents),
        Broken::Disk(Lie::Names(TEMPORARY)),
        Broken::Disk(Lie::OtherNames(TEMPORARY)),
        Broken::Mending,
        Broken::LastOne,
    ] {
        let fails = |seed: &u64| std::panic::catch_unwind(|| run(*seed, broken)).is_err();
        let found = (0..SEEDS).find(fails);
        assert!(found.is_some(), "{broken:?} was not noticed");
        println!("{broken:?}: seed {found:?}");
    }
}

/// A pack takes the revisions by which staged files are found: those of what
/// was committed before its switch are settled by then, and those of what is
/// committed after it have their names first.
#[test]
fn power_cuts_in_a_pack_take_no_blob() {
    for (seed, is_referred) in (0..2).flat_map(|seed| [(seed, true), (seed, false)]) {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let disk = PowerCuts::new(at, seed, 0);
        let storage = open(&disk, at, "blobs", false).unwrap();
        let mut run = Run {
            dice: Rng::with_seed(seed),
            given_up: Vec::new(),
            are_voted: true,
            disk,
            storage,
            directory: at,
            model: Model::default(),
            models: Vec::new(),
        };
        run.create();
        run.settle();
        let oid = run.model.referred()[0];
        let revise = |run: &mut Run<'_>| {
            let mut txn = Txn::default();
            let ops = run.store(oid, &mut txn);
            (txn, prepare(&run.storage, ops).unwrap())
        };
        let revised = revise(&mut run);
        run.commit(vec![revised]);
        if !is_referred {
            run.forget();
        }
        let voted = revise(&mut run);
        run.disk.fail_always();
        run.mark();
        let time = run.model.last_tid().unix_time() + 1e-3;
        run.storage.pack(time, None).unwrap();
        run.commit(vec![voted]);
        run.mark();
        run.settle();
        for cut in run.disk.take_cuts() {
            let mut model = run.models[cut.mark].clone();
            let at = cut.image.path();
            let again = open(&PowerCuts::new(at, 0, 0), at, "blobs", false).unwrap();
            let found = check_whole(&again, &model);
            let acknowledged = model.given.split_off(model.acknowledged).is_empty();
            let current = model.revisions(oid).next().unwrap().0;
            let last = run.model.last_tid();
            let is_there = |tid| found.contains(&(oid, tid));
            assert!(
                is_there(current) || is_there(last) && !acknowledged || !is_referred,
                "seed {seed}, power cut before: {}",
                cut.before
            );
        }
    }
}
