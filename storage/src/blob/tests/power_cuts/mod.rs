//! Random work with blobs on a disk whose power fails, and what is left after
//! it. There is one run for 20 of `RZEO_POWER_CUTS`.

mod broken;
mod model;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fastrand::Rng;

use self::broken::Broken;
use self::model::{Model, Txn};
use super::*;
use crate::disk::power::PowerCuts;

/// Runs by default: what takes some seconds without optimization.
const RUNS: u64 = 8;
/// How often the power fails again during a recovery and what follows.
const FAILURES_IN_RECOVERY_MAX: usize = 2;
/// What tids begin with, in this century, and their distance: packs go to
/// times between them.
const FIRST: u64 = 0x03f0_0000_0000_0000;
const STEP: u64 = 1 << 20;
/// It fails once in so many steps.
const ODDS: [u32; 2] = [8, 60];

/// A storage at work on such a disk.
struct Run<'a> {
    dice: Rng,
    /// Given up, but their files are still there.
    given_up: Vec<Prepared>,
    /// Some have voted.
    are_voted: bool,
    disk: PowerCuts,
    storage: FileStorage,
    directory: &'a Path,
    model: Model,
    /// The model at each mark.
    models: Vec<Model>,
}

/// Opens what a power cut has left, looks at it, works with it, and does the
/// same for what power cuts meanwhile leave.
fn live(directory: &Path, model: Model, broken: Broken, seed: u64, depth: usize) {
    let mut dice = Rng::with_seed(seed);
    let odds = match depth {
        FAILURES_IN_RECOVERY_MAX => 0,
        _ => ODDS[dice.usize(..ODDS.len())],
    };
    let disk = PowerCuts::new(directory, dice.u64(..), odds);
    broken.apply(&disk, directory);
    let storage = open(&disk, directory, "blobs", model.keep_old).unwrap();
    let mut run = Run {
        dice,
        given_up: Vec::new(),
        are_voted: false,
        disk,
        storage,
        directory,
        models: vec![model.clone()],
        model,
    };
    run.recover();
    run.check();
    for _ in 0..run.dice.usize(3..10) {
        run.act();
    }
    run.check();
    run.storage.close().unwrap();
    let (mut dice, models) = (run.dice, run.models);
    for cut in run.disk.take_cuts() {
        let model = models[cut.mark].clone();
        let seed = dice.u64(..);
        let image = cut.image.path();
        let lived =
            std::panic::catch_unwind(|| live(image, model.clone(), broken, seed, depth + 1));
        if lived.is_err() {
            let kept = cut.image.keep();
            panic!("power cut before: {}, left {kept:?}", cut.before);
        }
    }
}

fn open(disk: &PowerCuts, at: &Path, blobs: &str, keep_old: bool) -> Result<FileStorage> {
    let options = Options {
        blob_dir: Some(at.join(blobs)),
        pack_keep_old: keep_old,
        prepare_room: if keep_old { 3000 } else { 0 },
        ..Options::default()
    };
    FileStorage::open_on(Arc::new(disk.clone()), &at.join("Data.fs"), &options)
}

impl Run<'_> {
    /// Does something, and takes note of it before and after.
    fn act(&mut self) {
        match self.dice.u32(..100) {
            0..45 => self.revise(),
            45..60 => self.create(),
            60..68 => self.forget(),
            68..83 => self.undo(),
            83..88 => self.fail(),
            88..92 => self.settle(),
            92..97 => self.revise_over_a_pack(),
            _ => self.pack(),
        }
        self.mark();
    }

    fn mark(&mut self) {
        self.disk.mark(self.models.len());
        self.models.push(self.model.clone());
    }

    /// What was not acknowledged is there or not.
    fn recover(&mut self) {
        let last = self.storage.last_tid();
        let given = self.model.given.iter();
        let there = given.filter(|txn| txn.tid <= last).count();
        // A pack leaves out transactions, also the last ones.
        let there = if self.model.packed {
            there.max(self.model.acknowledged)
        } else {
            there
        };
        assert!(there >= self.model.acknowledged, "acknowledged is lost");
        self.model.given.truncate(there);
        self.model.acknowledged = there;
        self.mark();
    }

    /// No acknowledged blob is lost, and no file left behind.
    fn check(&self) {
        assert_eq!(self.storage.latched(), None);
        let found = check_whole(&self.storage, &self.model);
        for (oid, tid) in &found {
            let known = self.model.revisions(*oid).any(|(known, _)| known == *tid);
            assert!(known, "{oid} at {tid} was never given");
        }
        for txn in &self.model.given {
            for (oid, _) in &txn.blobs {
                let there = found.contains(&(*oid, txn.tid));
                let current = self.model.revisions(*oid).next().unwrap().0 == txn.tid;
                let needed = current && self.model.referred().contains(oid);
                assert!(there || self.model.packed && !needed, "{oid}, {}", txn.tid);
                let path = self.blobs().path_of(*oid, txn.tid);
                assert_eq!(path.exists(), there, "{}", path.display());
            }
        }
        assert!(!self.blobs().path().join(".removed").exists());
        if self.given_up.is_empty() && !self.are_voted {
            self.settle();
            assert_eq!(temporary(self.blobs().path()), [""; 0]);
        }
        let number = |name| Some(fs::metadata(self.directory.join(name)).ok()?.ino());
        // Before the switch it is a second name for the file.
        if number("Data.fs.old").is_some_and(|old| Some(old) != number("Data.fs")) {
            let options = Options {
                blob_dir: Some(self.directory.join("blobs.old")),
                read_only: true,
                ..Options::default()
            };
            let old = FileStorage::open(self.directory.join("Data.fs.old"), options).unwrap();
            check_whole(&old, &self.model);
        }
    }

    fn blobs(&self) -> &BlobDirectory {
        self.storage.blobs().unwrap()
    }

    /// Several transactions of one batch, of different blobs.
    fn revise(&mut self) {
        let mut oids = self.model.referred().to_vec();
        self.dice.shuffle(&mut oids);
        let mut batch = Vec::new();
        for _ in 0..self.dice.usize(1..4) {
            let some = oids.split_off(oids.len() - oids.len().min(self.dice.usize(1..3)));
            if some.is_empty() {
                break;
            }
            let mut txn = Txn::default();
            let ops = some.iter().flat_map(|oid| self.store(*oid, &mut txn));
            let ops: Vec<_> = ops.collect();
            let prepared = prepare(&self.storage, ops).unwrap();
            // Some are given up, and tried again, perhaps before their files go.
            match self.dice.u32(..12) {
                0 => {}
                1..4 => {
                    self.given_up.push(prepared);
                    let mut txn = Txn::default();
                    let ops = some.iter().flat_map(|oid| self.store(*oid, &mut txn));
                    let ops: Vec<_> = ops.collect();
                    batch.push((txn, prepare(&self.storage, ops).unwrap()));
                }
                _ => batch.push((txn, prepared)),
            }
        }
        if self.dice.bool() {
            self.given_up.clear();
        }
        self.commit(batch);
    }

    /// Blobs that have voted when a pack begins, and are committed after it.
    /// It may have taken their objects.
    fn revise_over_a_pack(&mut self) {
        if self.dice.bool() {
            self.forget();
        }
        let mut oids: Vec<Oid> = (1..=self.model.next_oid).map(Oid::new).collect();
        oids.retain(|oid| self.storage.get_tid(*oid).is_ok());
        let some = oids
            .into_iter()
            .filter(|_| self.dice.bool())
            .collect::<Vec<_>>();
        let mut txn = Txn::default();
        let ops = some.iter().flat_map(|oid| self.store(*oid, &mut txn));
        let ops: Vec<_> = ops.collect();
        if !ops.is_empty() {
            let prepared = prepare(&self.storage, ops).unwrap();
            self.are_voted = true;
            self.pack();
            self.are_voted = false;
            self.commit(vec![(txn, prepared)]);
        }
    }

    /// A new blob, and the root that refers to it.
    fn create(&mut self) {
        self.model.next_oid += [1, 0x100, 0x1_0000][self.dice.usize(..3)];
        let oid = Oid::new(self.model.next_oid);
        let mut oids = self.model.referred().to_vec();
        oids.push(oid);
        let mut txn = Txn::default();
        let mut ops = self.store(oid, &mut txn);
        ops.push(self.root(oids, &mut txn));
        let prepared = prepare(&self.storage, ops).unwrap();
        self.commit(vec![(txn, prepared)]);
    }

    /// The root refers to one blob less.
    fn forget(&mut self) {
        let mut oids = self.model.referred().to_vec();
        if !oids.is_empty() {
            oids.remove(self.dice.usize(..oids.len()));
            let mut txn = Txn::default();
            let op = self.root(oids, &mut txn);
            let prepared = prepare(&self.storage, vec![op]).unwrap();
            self.commit(vec![(txn, prepared)]);
        }
    }

    /// Takes back the last transaction, if it has only revised blobs.
    fn undo(&mut self) {
        let Some(last) = self.model.given.last().filter(|txn| txn.root.is_none()) else {
            return;
        };
        let before = |oid| Some((oid, self.model.revisions(oid).nth(1)?.1.to_owned()));
        let blobs: Option<Vec<_>> = last.blobs.iter().map(|(oid, _)| before(*oid)).collect();
        // What is packed can't be undone.
        let undone = prepare(&self.storage, vec![Op::Undo { tid: last.tid }]);
        assert!(!matches!(undone, Err(Error::NoBlob { .. })), "{undone:?}");
        if let (Some(blobs), Ok(prepared)) = (blobs, undone) {
            let (tid, root) = (Tid::ZERO, None);
            self.commit(vec![(Txn { tid, blobs, root }, prepared)]);
        }
    }

    /// A batch in which one file is not there any more.
    fn fail(&mut self) {
        self.settle();
        self.given_up.clear();
        let oids = self.model.referred().to_vec();
        let mut txn = Txn::default();
        let ops = oids.iter().flat_map(|oid| self.store(*oid, &mut txn));
        let ops: Vec<_> = ops.collect();
        let prepared = prepare(&self.storage, ops).unwrap();
        let tid = self.next_tid(self.model.last_tid());
        if let Some(name) = temporary(self.blobs().path()).first() {
            fs::remove_file(self.blobs().temporary().join(name)).unwrap();
            let mut batch = [Commit { tid, prepared }];
            self.storage.append(&mut batch).unwrap_err();
        }
    }

    /// What the storage does some time after a commit.
    fn settle(&self) {
        self.storage.blobs.as_ref().unwrap().settle().unwrap();
    }

    fn pack(&mut self) {
        self.model.packed = true;
        self.mark();
        let given = &self.model.given;
        let until = self.dice.usize(..=given.len()).checked_sub(1);
        let time = until.map_or(1e9, |until| given[until].tid.unix_time() + 1e-3);
        self.storage.pack(time, None).unwrap();
        self.check();
    }

    /// A blob with another content: uploaded, or put there by the client.
    fn store(&mut self, oid: Oid, txn: &mut Txn) -> Vec<Op> {
        let content = self
            .dice
            .u64(..)
            .to_string()
            .repeat(self.dice.usize(1..200));
        let file = match self.dice.u32(..3) {
            0 => {
                let directory = self.blobs().directory_of(oid);
                fs::create_dir_all(&directory).unwrap();
                // A name that was never there, as clients take.
                let name = format!("theirs-{}.tmp", self.dice.u64(..));
                fs::write(directory.join(&name), &content).unwrap();
                self.blobs().shared_file(oid, &name).unwrap()
            }
            _ => {
                let (mut file, blob) = self.blobs().new_file().unwrap();
                file.write_all(content.as_bytes()).unwrap();
                blob
            }
        };
        let serial = self.storage.get_tid(oid).unwrap_or(Tid::ZERO);
        txn.blobs.push((oid, content));
        // Twice, as clients do.
        let store = || Op::Store {
            oid,
            serial,
            data: BLOB.to_vec(),
        };
        let blob = Op::Blob {
            oid,
            serial: None,
            file: Arc::new(file),
        };
        vec![store(), store(), blob]
    }

    fn root(&self, oids: Vec<Oid>, txn: &mut Txn) -> Op {
        let mut data = b"\x80\x03ca\nC\nq\x00.\x80\x03(".to_vec();
        for oid in &oids {
            data.extend([b"C\x08", &oid.to_bytes()[..], b"Q"].concat());
        }
        data.extend(b"t.");
        txn.root = Some(oids);
        Op::Store {
            oid: ROOT,
            serial: self.model.root_tid(),
            data,
        }
    }

    /// Right behind the last one: files of what was not committed may be there.
    fn next_tid(&mut self, last: Tid) -> Tid {
        Tid::new(last.as_u64().max(FIRST) + self.dice.u64(1..3) * STEP)
    }

    fn commit(&mut self, transactions: Vec<(Txn, Prepared)>) {
        let mut batch = Vec::new();
        for (mut txn, prepared) in transactions {
            let tid = self.next_tid(self.model.last_tid());
            txn.tid = tid;
            self.model.given.push(txn);
            batch.push(Commit { tid, prepared });
        }
        self.mark();
        self.storage.append(&mut batch).unwrap();
        batch.iter().for_each(|commit| self.storage.publish(commit));
        self.model.acknowledged = self.model.given.len();
    }
}

/// The records of blobs, all of which have their files with what was given.
fn check_whole(storage: &FileStorage, model: &Model) -> Vec<(Oid, Tid)> {
    let mut given = BTreeMap::new();
    for txn in &model.given {
        for (oid, content) in &txn.blobs {
            given.insert((*oid, txn.tid), content);
        }
    }
    let mut found = Vec::new();
    for txn in storage.iterator(None, None).unwrap() {
        for record in (txn.unwrap().records)() {
            let record = record.unwrap();
            // Without data it says that the object is gone, as an undo does for
            // one that a pack had taken.
            if record.oid != ROOT && record.data.is_some() {
                let key = (record.oid, record.tid);
                let path = storage.load_blob(record.oid, record.tid).unwrap();
                let content = fs::read_to_string(&path).unwrap();
                assert_eq!(Some(&&content), given.get(&key), "{}", path.display());
                found.push(key);
            }
        }
    }
    found
}

fn temporary(blobs: &Path) -> Vec<String> {
    let entries = fs::read_dir(blobs.join(TEMPORARY)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// The run of this seed.
fn run(seed: u64, broken: Broken) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Data.fs");
    drop(FileStorage::open(&path, Options::default()).unwrap());
    if seed % 4 == 1 {
        fs::create_dir(directory.path().join("blobs")).unwrap();
        fs::write(directory.path().join("blobs").join(MARK), "lawn").unwrap();
    }
    let model = Model {
        keep_old: seed.is_multiple_of(2),
        ..Model::default()
    };
    live(directory.path(), model, broken, seed, 0);
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let runs = number("RZEO_POWER_CUTS").map_or(RUNS, |runs: u64| runs.div_ceil(20));
    let first = number("RZEO_POWER_CUTS_FIRST").unwrap_or(0);
    first..first + runs
}

#[test]
fn after_power_cuts_every_committed_blob_is_whole_and_nothing_is_in_the_way() {
    for seed in seeds() {
        if std::panic::catch_unwind(|| run(seed, Broken::Nothing)).is_err() {
            panic!("the run of seed {seed} failed");
        }
    }
}
