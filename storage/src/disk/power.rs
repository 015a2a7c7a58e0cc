//! A disk whose power fails, under a real directory.
//!
//! Whatever has changed there since the last look is seen, however it was
//! done. What was made durable has to be told: by [`FileSystem`]. After a power
//! cut, each name that was not synced is what it was at any moment since the
//! last sync, or before, whatever the others are; of a file that was not
//! synced, each sector is there or not.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use tempfile::TempDir;

use super::backend::{Backend, FileBackend};
use super::{Disk, Failure, FileSystem};

const SECTOR: usize = 512;
/// How often the power fails at most, unless it always does.
const CUTS: usize = 8;

/// The disk. Clones are the same one.
#[derive(Clone)]
pub(crate) struct PowerCuts(Arc<Inner>);

struct Inner {
    root: PathBuf,
    /// Second names of all files, so that their numbers are not given again.
    files: TempDir,
    state: Mutex<State>,
}

/// What would be left if the power failed at a moment.
pub(crate) struct Cut {
    pub image: TempDir,
    /// See [`PowerCuts::mark`].
    pub mark: usize,
    /// What was about to be done.
    pub before: String,
}

/// What the disk says to have done, and has not: each must be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Files that are synced together are durable.
    Contents,
    /// The names in the directory of this name are.
    Names(&'static str),
    /// Those in all others are.
    OtherNames(&'static str),
}

struct State {
    lie: Option<Lie>,
    dice: Rng,
    odds: u32,
    cuts_max: usize,
    mark: usize,
    cuts: Vec<Cut>,
    /// By their numbers, as files are.
    directories: HashMap<u64, Listing>,
    /// The durable content of each file.
    contents: HashMap<u64, Vec<u8>>,
}

struct Listing {
    durable: BTreeMap<OsString, u64>,
    /// What became of names since.
    since: BTreeMap<OsString, Vec<Option<u64>>>,
    /// Keeps its number from being given again.
    _open: File,
}

impl Listing {
    fn latest(&self, name: &OsString) -> Option<u64> {
        match self.since.get(name).and_then(|values| values.last()) {
            Some(&value) => value,
            None => self.durable.get(name).copied(),
        }
    }

    fn sync(&mut self) {
        for (name, values) in std::mem::take(&mut self.since) {
            match values.last() {
                Some(&Some(number)) => drop(self.durable.insert(name, number)),
                _ => drop(self.durable.remove(&name)),
            }
        }
    }
}

impl PowerCuts {
    /// All that is below `root` is durable. The power fails once in `odds`
    /// steps, or never if that is 0.
    pub fn new(root: &Path, seed: u64, odds: u32) -> Self {
        let disk = Self(Arc::new(Inner {
            root: root.to_owned(),
            files: tempfile::tempdir().unwrap(),
            state: Mutex::new(State {
                lie: None,
                cuts_max: CUTS,
                dice: Rng::with_seed(seed),
                odds,
                mark: 0,
                cuts: Vec::new(),
                directories: HashMap::new(),
                contents: HashMap::new(),
            }),
        }));
        disk.sync_everything(&mut disk.state());
        disk
    }

    /// From now on the disk lies.
    pub fn lie(&self, lie: Option<Lie>) {
        self.state().lie = lie;
    }

    /// From now on the power fails at every step.
    pub fn fail_always(&self) {
        let mut state = self.state();
        (state.odds, state.cuts_max) = (1, usize::MAX);
    }

    /// From now on cuts have this number.
    pub fn mark(&self, mark: usize) {
        self.state().mark = mark;
    }

    /// What power cuts have left so far.
    pub fn take_cuts(&self) -> Vec<Cut> {
        std::mem::take(&mut self.state().cuts)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Looks around before something is done.
    fn step(&self, what: &str, path: &Path) -> MutexGuard<'_, State> {
        let mut state = self.state();
        self.look(&mut state, &self.0.root);
        let odds = state.odds;
        if odds > 0 && state.cuts.len() < state.cuts_max && state.dice.u32(..odds) == 0 {
            let image = self.image(&mut state);
            let (mark, before) = (state.mark, format!("{what} {}", path.display()));
            state.cuts.push(Cut {
                image,
                mark,
                before,
            });
        }
        state
    }

    fn look(&self, state: &mut State, directory: &Path) {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            let number = metadata.ino();
            found.insert(entry.file_name(), number);
            if metadata.is_dir() {
                self.look(state, &path);
            } else if let Entry::Vacant(unseen) = state.contents.entry(number) {
                fs::hard_link(&path, self.kept(number)).unwrap();
                unseen.insert(Vec::new());
            }
        }
        let number = fs::metadata(directory).unwrap().ino();
        let listing = state.directories.entry(number);
        let listing = listing.or_insert_with(|| Listing {
            durable: BTreeMap::new(),
            since: BTreeMap::new(),
            _open: File::open(directory).unwrap(),
        });
        let known = listing.durable.keys().chain(listing.since.keys());
        let names: BTreeSet<OsString> = known.chain(found.keys()).cloned().collect();
        for name in names {
            let now = found.get(&name).copied();
            if listing.latest(&name) != now {
                listing.since.entry(name).or_default().push(now);
            }
        }
    }

    fn kept(&self, number: u64) -> PathBuf {
        self.0.files.path().join(number.to_string())
    }

    fn sync_everything(&self, state: &mut State) {
        self.look(state, &self.0.root);
        state.directories.values_mut().for_each(Listing::sync);
        let numbers: Vec<u64> = state.contents.keys().copied().collect();
        for number in numbers {
            self.set_durable(state, number);
        }
    }

    fn set_durable(&self, state: &mut State, number: u64) {
        if let Some(content) = state.contents.get_mut(&number) {
            *content = fs::read(self.kept(number)).unwrap();
        }
    }

    fn image(&self, state: &mut State) -> TempDir {
        let image = tempfile::tempdir().unwrap();
        let number = fs::metadata(&self.0.root).unwrap().ino();
        let mut leaving = Leaving {
            disk: self,
            // Nothing that was not synced, all of it, or some.
            kept: *[0, 100, 30, 60, 90].get(state.dice.usize(..5)).unwrap(),
            dice: state.dice.fork(),
            names: HashMap::new(),
        };
        leaving.directory(state, number, image.path());
        image
    }
}

/// A power cut at work.
struct Leaving<'a> {
    disk: &'a PowerCuts,
    dice: Rng,
    /// How many of a hundred changes are there.
    kept: u32,
    names: HashMap<u64, PathBuf>,
}

impl Leaving<'_> {
    fn directory(&mut self, state: &State, number: u64, target: &Path) {
        let listing = &state.directories[&number];
        let names = listing.durable.keys().chain(listing.since.keys());
        for name in names.collect::<BTreeSet<_>>() {
            let mut values = vec![listing.durable.get(name).copied()];
            values.extend(listing.since.get(name).into_iter().flatten());
            let value = match self.is_kept() {
                true => values.last().copied().flatten(),
                false if self.kept == 0 => values[0],
                false => values[self.dice.usize(..values.len())],
            };
            let Some(number) = value else { continue };
            let target = target.join(name);
            if state.directories.contains_key(&number) {
                fs::create_dir(&target).unwrap();
                self.directory(state, number, &target);
            } else if let Some(first) = self.names.get(&number) {
                fs::hard_link(first, &target).unwrap();
            } else {
                fs::write(
                    &target,
                    self.content(&state.contents[&number], number, name),
                )
                .unwrap();
                self.names.insert(number, target);
            }
        }
    }

    fn is_kept(&mut self) -> bool {
        self.dice.u32(..100) < self.kept
    }

    fn content(&mut self, durable: &[u8], number: u64, name: &OsString) -> Vec<u8> {
        let current = fs::read(self.disk.kept(number)).unwrap();
        // These are synced by their own code, and summed up.
        let is_index = name.to_string_lossy().contains(".index");
        if is_index || durable == current || self.kept == 100 {
            return current;
        }
        if self.kept == 0 {
            return durable.to_vec();
        }
        let (least, most) = (
            durable.len().min(current.len()),
            durable.len().max(current.len()),
        );
        let length = match self.dice.u32(..4) {
            0 => durable.len(),
            1 => current.len(),
            _ => self.dice.usize(least..=most),
        };
        let sectors = (0..length).step_by(SECTOR).flat_map(|start| {
            let from = if self.is_kept() {
                &current[..]
            } else {
                durable
            };
            let end = length.min(start + SECTOR);
            (start..end).map(move |at| from.get(at).copied().unwrap_or(0))
        });
        sectors.collect()
    }
}

impl FileSystem for PowerCuts {
    fn create(&self, path: &Path) -> io::Result<File> {
        let _state = self.step("create", path);
        Disk.create(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let _state = self.step("remove", path);
        Disk.remove(path)
    }

    fn link(&self, path: &Path, name: &Path) -> io::Result<()> {
        let _state = self.step("link", name);
        Disk.link(path, name)
    }

    fn rename(&self, path: &Path, over: &Path) -> io::Result<()> {
        let _state = self.step("rename to", over);
        Disk.rename(path, over)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().unwrap();
        let mut state = self.step("sync", directory);
        let number = fs::metadata(directory)?.ino();
        let is_named = |name| directory.file_name().is_some_and(|found| found == name);
        let is_lie = match state.lie {
            Some(Lie::Names(name)) => is_named(name),
            Some(Lie::OtherNames(name)) => !is_named(name),
            Some(Lie::Contents) | None => false,
        };
        if let Some(listing) = state.directories.get_mut(&number).filter(|_| !is_lie) {
            listing.sync();
        }
        Ok(())
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        let number = file.metadata()?.ino();
        let mut state = self.step("sync file", &self.kept(number));
        self.set_durable(&mut state, number);
        Ok(())
    }

    /// At the same time is one after the other, in any order.
    fn sync_files(&self, files: &[PathBuf], directory: Option<&Path>) -> Result<(), Failure> {
        let mut all: Vec<_> = files.iter().map(Some).collect();
        all.push(None);
        self.state().dice.shuffle(&mut all);
        let is_lie = self.state().lie == Some(Lie::Contents);
        all.into_iter().try_for_each(|file| match file {
            Some(_) if is_lie => Ok(()),
            Some(path) => self.sync_path(path),
            None => self.sync_names(directory),
        })
    }

    fn settles_after(&self) -> Option<Duration> {
        None
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step("sync all", path);
        self.sync_everything(&mut state);
        Ok(())
    }

    fn backend(&self, file: File, path: PathBuf) -> Arc<dyn Backend> {
        Arc::new(OnDisk {
            disk: self.clone(),
            synced: file.try_clone().unwrap(),
            file: FileBackend::new(file, path),
        })
    }
}

/// A file on such a disk.
struct OnDisk {
    disk: PowerCuts,
    synced: File,
    file: FileBackend,
}

impl Backend for OnDisk {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_file(&self.synced)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn reserve(&self, _start: u64, _end: u64) -> io::Result<()> {
        Ok(())
    }
}
