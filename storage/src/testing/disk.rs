//! A directory that counts what is done in it, and is killed or fails at any
//! step.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::disk::{Disk, FileSystem};

/// Names each operation, before which it keeps a copy of everything below
/// `root`, or fails once.
pub(crate) struct Steps {
    root: PathBuf,
    failing: Option<usize>,
    images: Option<PathBuf>,
    names: Mutex<Vec<String>>,
    links: AtomicBool,
}

impl Steps {
    /// The step of number `failing` is to fail. Copies go to `images`, each to
    /// a directory named by the number of its step.
    pub fn new(root: &Path, failing: Option<usize>, images: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            root: root.to_owned(),
            failing,
            images,
            names: Mutex::default(),
            links: AtomicBool::new(true),
        })
    }

    /// From now on, there are no second names for files.
    pub fn without_links(&self) {
        self.links.store(false, Ordering::Relaxed);
    }

    /// What was done so far.
    pub fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }

    fn step(&self, name: &str, path: &Path) -> io::Result<()> {
        let extension = path
            .extension()
            .map(|text| format!(" .{}", text.to_string_lossy()));
        let shown = match name {
            "sync" | "rename" => name.to_owned(),
            _ => format!("{name}{}", extension.unwrap_or_default()),
        };
        let mut names = self.names.lock().unwrap();
        let number = names.len();
        names.push(shown);
        if let Some(images) = &self.images {
            copy_all(&self.root, &images.join(number.to_string()));
        }
        if self.failing == Some(number) {
            Err(io::Error::other("the disk is broken"))
        } else {
            Ok(())
        }
    }
}

impl FileSystem for Steps {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.step("create", path)?;
        Disk.create(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove", path)?;
        Disk.remove(path)
    }
    fn link(&self, path: &Path, name: &Path) -> io::Result<()> {
        self.step("link", name)?;
        if !self.links.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Disk.link(path, name)
    }
    fn rename(&self, path: &Path, over: &Path) -> io::Result<()> {
        self.step("rename", path)?;
        Disk.rename(path, over)
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        self.step("sync", path)?;
        Disk.sync(path)
    }
    fn sync_file(&self, file: &File) -> io::Result<()> {
        self.step("sync file", Path::new(""))?;
        Disk.sync_file(file)
    }
    fn settles_after(&self) -> Option<Duration> {
        None
    }
    fn sync_all(&self, path: &Path) -> io::Result<()> {
        self.step("sync all", Path::new(""))?;
        Disk.sync_all(path)
    }
}

/// Copies a directory with all that is in it.
pub(crate) fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &copy)
        } else {
            fs::copy(entry.path(), copy).unwrap();
        }
    }
}
