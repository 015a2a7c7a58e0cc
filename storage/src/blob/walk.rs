//! What is there in a blob directory, for those who care for it.

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeo_proto::{Oid, Tid};

use super::removal::{LINE_MAX, LIST, parse};
use super::{BlobDirectory, BlobFile, Layout, TEMPORARY, serial_of};
use crate::disk::backend::open_file;

/// Directories are not followed to deeper levels; an oid has eight.
const WALK_LEVELS_MAX: usize = 10;

/// Something in a blob directory.
#[derive(Debug)]
#[non_exhaustive]
pub enum FoundFile {
    /// The file of a revision, where it belongs.
    Blob(PathBuf, Oid, Tid),
    /// A file that would be one in this other layout.
    OtherLayout(PathBuf, Layout),
    /// Anything else but directories, uploads, and hidden files on top.
    Other(PathBuf),
    /// A directory, or something in it, that can't be read.
    Unreadable(PathBuf, io::Error),
}

/// The revisions that a pack has listed to be removed.
#[derive(Debug, Default)]
pub struct Listed(HashSet<(Oid, Option<Tid>)>);

impl Listed {
    /// True for a revision that is listed, or all of its object are.
    pub fn has(&self, oid: Oid, serial: Tid) -> bool {
        self.0.contains(&(oid, Some(serial))) || self.0.contains(&(oid, None))
    }
}

impl BlobDirectory {
    /// The length of the file of a revision.
    ///
    /// # Errors
    ///
    /// Why it can't be read: it is not there, for instance.
    pub fn length_of(&self, oid: Oid, serial: Tid) -> io::Result<u64> {
        Ok(open_file(&self.path_of(oid, serial))?.metadata()?.len())
    }

    /// As [`BlobDirectory::copy_of`], or why the file can't be read.
    ///
    /// # Errors
    ///
    /// When the copy can't be written.
    pub fn copy_if_readable(&self, committed: &Path) -> crate::Result<io::Result<BlobFile>> {
        let mut file = match open_file(committed) {
            Ok(file) => file,
            Err(why) => return Ok(Err(why)),
        };
        match self.copy_of(committed) {
            Ok(copy) => Ok(Ok(copy)),
            // Of reading and writing, one has failed.
            Err(error) => match io::copy(&mut file, &mut io::sink()) {
                Ok(_) => Err(error),
                Err(why) => Ok(Err(why)),
            },
        }
    }

    /// What the last pack has listed to be removed, and is not yet done with.
    ///
    /// # Errors
    ///
    /// When the list can't be read.
    pub fn listed(&self) -> io::Result<Listed> {
        let mut list = match open_file(&self.path().join(LIST)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listed::default()),
            file => BufReader::new(file?),
        };
        let (mut listed, mut line) = (Listed::default(), Vec::new());
        while (&mut list).take(LINE_MAX).read_until(b'\n', &mut line)? > 0 {
            listed.0.extend(parse(&line));
            line.clear();
        }
        Ok(listed)
    }

    /// Shows all that is there. Links are followed, since they may lead parts
    /// of the directory to other devices. What is removed meanwhile is passed
    /// over.
    ///
    /// # Errors
    ///
    /// Those of `found`, at once.
    pub fn walk<E>(&self, found: &mut dyn FnMut(FoundFile) -> Result<(), E>) -> Result<(), E> {
        let mut walk = Walk {
            waiting: vec![(self.path().to_owned(), 0)],
            links: Vec::new(),
            followed: HashSet::new(),
        };
        while let Some((directory, depth)) = walk.waiting.pop().or_else(|| walk.links.pop()) {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(why) if why.kind() == io::ErrorKind::NotFound && depth > 0 => continue,
                Err(why) => {
                    found(FoundFile::Unreadable(directory, why))?;
                    continue;
                }
            };
            for entry in entries {
                match entry.and_then(|entry| walk.entry(&entry, depth)) {
                    Ok(Entry::Passed) => {}
                    Ok(Entry::File(path)) => found(self.file(path, &directory))?,
                    Ok(Entry::Other(path)) => found(FoundFile::Other(path))?,
                    Err(why) => found(FoundFile::Unreadable(directory.clone(), why))?,
                }
            }
        }
        Ok(())
    }

    /// What a file is, by its name and directory.
    fn file(&self, path: PathBuf, directory: &Path) -> FoundFile {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(serial) = name.and_then(serial_of) else {
            return FoundFile::Other(path);
        };
        let below = directory.strip_prefix(self.path()).unwrap_or(directory);
        let other = match self.layout() {
            Layout::Bushy => Layout::Lawn,
            Layout::Lawn => Layout::Bushy,
        };
        match (self.layout().oid_of(below), other.oid_of(below)) {
            (Some(oid), _) => {
                // Ids have several spellings, of which one is right.
                if self.path_of(oid, serial) == path {
                    FoundFile::Blob(path, oid, serial)
                } else {
                    FoundFile::Other(path)
                }
            }
            (None, Some(_)) => FoundFile::OtherLayout(path, other),
            (None, None) => FoundFile::Other(path),
        }
    }
}

struct Walk {
    /// Directories, and how deep they are.
    waiting: Vec<(PathBuf, usize)>,
    /// Links to directories, for when all that is here was seen.
    links: Vec<(PathBuf, usize)>,
    /// The directories that links led to, so that none does twice.
    followed: HashSet<(u64, u64)>,
}

enum Entry {
    File(PathBuf),
    Other(PathBuf),
    /// Gone, of no interest, or for later.
    Passed,
}

impl Walk {
    fn entry(&mut self, entry: &fs::DirEntry, depth: usize) -> io::Result<Entry> {
        let (path, mut kind) = (entry.path(), entry.file_type()?);
        if depth == 0 && is_ours(&path) {
            return Ok(Entry::Passed);
        }
        if kind.is_symlink() {
            let target = match fs::metadata(&path) {
                Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Entry::Other(path)),
                target => target?,
            };
            kind = target.file_type();
            if kind.is_dir() {
                if depth < WALK_LEVELS_MAX && self.followed.insert((target.dev(), target.ino())) {
                    self.links.push((path, depth + 1));
                }
                return Ok(Entry::Passed);
            }
        }
        Ok(match (kind.is_dir(), kind.is_file()) {
            (true, _) if depth < WALK_LEVELS_MAX => {
                self.waiting.push((path, depth + 1));
                Entry::Passed
            }
            (_, true) => Entry::File(path),
            _ => Entry::Other(path),
        })
    }
}

/// True for what stands on top of the directory besides those of objects.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name == TEMPORARY || name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "some").unwrap();
    }

    fn name(path: &Path) -> String {
        path.file_name().unwrap().to_string_lossy().into_owned()
    }

    #[test]
    fn everything_is_told_by_its_kind() {
        let base = tempfile::tempdir().unwrap();
        let blobs = BlobDirectory::open(&base.path().join("blobs")).unwrap();
        let at = blobs.path().to_owned();
        let (oid, tid) = (Oid::new(0x12a), Tid::new(7));
        let blob = blobs.path_of(oid, tid);
        put(&blob);
        put(&at.join("tmp/upload"));
        put(&at.join("0x012a/0x07.blob"));
        put(&blob.with_file_name("0x007.blob"));
        put(&blob.with_file_name("client.tmp"));
        let other = blobs.directory_of(Oid::new(9));
        put(&base.path().join("elsewhere/0x08.blob"));
        fs::create_dir_all(other.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(base.path().join("elsewhere"), &other).unwrap();
        std::os::unix::fs::symlink(&at, at.join("round")).unwrap();
        std::os::unix::fs::symlink("nowhere", at.join("broken")).unwrap();
        let (mut all, mut round) = (Vec::new(), 0);
        let walked = blobs.walk(&mut |found| {
            let told = match found {
                FoundFile::Blob(path, oid, tid) => {
                    assert_eq!(blobs.path_of(oid, tid), path);
                    format!("blob {} {}", oid.as_u64(), tid.as_u64())
                }
                FoundFile::OtherLayout(path, layout) => format!("{layout:?} {}", name(&path)),
                FoundFile::Other(path) if path.starts_with(at.join("round")) => {
                    round += 1;
                    return Ok(());
                }
                FoundFile::Other(path) => name(&path),
                FoundFile::Unreadable(path, why) => panic!("{path:?} {why}"),
            };
            all.push(told);
            Ok::<(), ()>(())
        });
        walked.unwrap();
        all.sort();
        let expected = [
            "0x007.blob",
            "Lawn 0x07.blob",
            "blob 298 7",
            "blob 9 8",
            "broken",
            "client.tmp",
        ];
        assert_eq!(all, expected);
        assert!(round < 10, "{round}");
        assert_eq!(blobs.length_of(oid, tid).unwrap(), 4);
        for wrong in [Oid::new(1), Oid::new(0)] {
            assert!(blobs.length_of(wrong, tid).is_err());
        }
        fs::create_dir_all(blobs.path_of(Oid::new(1), tid)).unwrap();
        let why = blobs.length_of(Oid::new(1), tid).unwrap_err().to_string();
        assert!(why.contains("directory"), "{why}");
    }

    #[test]
    fn a_list_names_revisions_and_objects() {
        let base = tempfile::tempdir().unwrap();
        let blobs = BlobDirectory::open(base.path()).unwrap();
        let has = |oid, tid| blobs.listed().unwrap().has(Oid::new(oid), Tid::new(tid));
        assert!(!has(1, 2));
        let list = format!("{:016x}{:016x}\n{:016x}\ngarbage\n{:016x}", 1, 2, 3, 4);
        fs::write(base.path().join(LIST), list).unwrap();
        assert!(has(1, 2) && has(3, 9) && !has(1, 3) && !has(4, 4));
    }
}
