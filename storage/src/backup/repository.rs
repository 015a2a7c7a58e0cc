//! The directory with the backups: names, `.dat` files, what a killed backup
//! left.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::error::{Error, Result};
use super::name::{Name, TIME_LEN, Time, is_time};
use crate::disk::paths::{failed, remove, rename};

/// How a time looks in names.
const TIME: &str = "%Y-%m-%d-%H-%M-%S";
/// How often, and how long, to wait for a second that has no backup yet.
const CLOCK_TRIES: u32 = 15;
const CLOCK_STEP: Duration = Duration::from_millis(100);

/// A repository.
pub struct Repository {
    directory: PathBuf,
    /// Locked while a backup is made.
    _lock: Option<File>,
}

/// A line of a `.dat` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The data file as it was written down, perhaps with a directory.
    pub file: String,
    /// Where in the file its content begins.
    pub start: u64,
    /// Where in the file its content ends.
    pub end: u64,
    /// The MD5 of the content, in hexadecimal digits.
    pub sum: String,
}

impl Line {
    /// The file's name without a directory.
    pub fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }

    /// How much it holds, and the checksum of that.
    pub fn content(&self) -> (u64, &str) {
        (self.end.saturating_sub(self.start), &self.sum)
    }

    fn parse(line: &str) -> Option<Self> {
        // Python can't read names with spaces. We can.
        let mut words = line.trim_end().rsplitn(4, ' ');
        let sum = words.next()?.to_owned();
        let end = words.next()?.parse().ok()?;
        let start = words.next()?.parse().ok()?;
        let file = words.next()?.to_owned();
        let is_fine = start <= end && !file.is_empty();
        is_fine.then_some(Self {
            file,
            start,
            end,
            sum,
        })
    }
}

impl Repository {
    /// The repository in a directory that exists.
    pub fn open(directory: &Path) -> Result<Self> {
        match std::fs::metadata(directory) {
            Ok(found) if found.is_dir() => Ok(Self {
                directory: directory.to_owned(),
                _lock: None,
            }),
            Ok(_) => Err(Error::NoDirectory(directory.to_owned())),
            Err(why) => Err(failed("opening the repository", directory)(why).into()),
        }
    }

    /// The same for a backup: fails while there is another one.
    pub fn lock(directory: &Path) -> Result<Self> {
        let mut repository = Self::open(directory)?;
        let file = File::open(directory).map_err(failed("opening", directory))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::InProgress(directory.to_owned()));
            }
            Err(why) => return Err(failed("locking", directory)(why.into()).into()),
        }
        repository._lock = Some(file);
        Ok(repository)
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where a data file is made.
    pub fn temporary(&self) -> PathBuf {
        self.path("tmp.tmp")
    }

    /// The path of the file with another extension that belongs to a data
    /// file.
    pub fn companion(&self, name: &Name, extension: &str) -> PathBuf {
        self.path(&format!("{}.{extension}", name.root()))
    }

    /// All data files, the oldest first.
    pub fn data_files(&self) -> Result<Vec<Name>> {
        let names = self.file_names()?;
        let mut found: Vec<Name> = names.iter().filter_map(|name| Name::parse(name)).collect();
        found.sort();
        Ok(found)
    }

    /// The data files that make up the state at a time (now, if not given):
    /// the last full backup and all since. Empty when there is none.
    ///
    /// As in Python, times are compared as texts, so that a day means its
    /// begin.
    pub fn chain(&self, when: Option<&Time>) -> Result<Vec<Name>> {
        let now = now();
        let when = when.map_or(now.as_str(), Time::as_str);
        let mut chain = Vec::new();
        for name in self.data_files()?.into_iter().rev() {
            if name.root() > when {
                continue;
            }
            let is_full = name.is_full();
            chain.push(name);
            if is_full {
                break;
            }
        }
        chain.reverse();
        Ok(chain)
    }

    /// The lines about a full backup and those since; none when the `.dat`
    /// file is missing.
    pub fn lines(&self, full: &Name) -> Result<Vec<Line>> {
        let path = self.companion(full, "dat");
        let text = match std::fs::read_to_string(&path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.map_err(failed("reading", &path))?,
        };
        let line = |line: &str| {
            Line::parse(line).ok_or_else(|| Error::Line {
                file: path.clone(),
                line: line.to_owned(),
            })
        };
        text.lines().map(line).collect()
    }

    /// Writes the `.dat` file of a full backup, in place of an older one.
    pub fn save_lines(&self, full: &Name, lines: &[Line]) -> Result<()> {
        let (path, temporary) = (self.companion(full, "dat"), self.temporary());
        let text: String = lines
            .iter()
            .map(|line| format!("{} {} {} {}\n", line.file, line.start, line.end, line.sum))
            .collect();
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(failed("writing", &temporary))?;
        Ok(rename(&temporary, &path)?)
    }

    /// How a data file is written down in a line: as Python does, with the
    /// directory, but without it where Python could not read that.
    pub fn written_down(&self, name: &Name) -> String {
        match self.path(name.as_str()).into_os_string().into_string() {
            Ok(path) if !path.contains(char::is_whitespace) => path,
            _ => name.as_str().to_owned(),
        }
    }

    /// A time for a new backup, which is behind those of all others.
    pub fn new_root(&self) -> Result<String> {
        let all = self.data_files()?;
        let last = all.last().map_or("", Name::root);
        for _ in 0..CLOCK_TRIES {
            let now = now();
            if now.as_str() > last {
                return Ok(now);
            }
            std::thread::sleep(CLOCK_STEP);
        }
        Err(Error::Clock {
            last: last.to_owned(),
        })
    }

    /// Removes what killed backups left: a data file at work, and what belongs
    /// to data files that are not there.
    pub fn clean(&self) -> Result<()> {
        remove(&self.temporary())?;
        let all = self.data_files()?;
        for name in self.file_names()? {
            let Some((root, extension)) = name.split_once('.') else {
                continue;
            };
            let is_companion = matches!(
                extension,
                "index" | "index.index_tmp" | "blobs" | "blobs_tmp"
            );
            if is_companion
                && is_time(root, TIME_LEN)
                && !all.iter().any(|name| name.root() == root)
            {
                remove(&self.path(&name))?;
            }
        }
        Ok(())
    }

    /// Removes a backup with all that belongs to it.
    pub fn remove(&self, name: &Name) -> Result<()> {
        remove(&self.companion(name, "dat"))?;
        remove(&self.companion(name, "index"))?;
        remove(&self.companion(name, "blobs"))?;
        Ok(remove(&self.path(name.as_str()))?)
    }

    fn file_names(&self) -> Result<Vec<String>> {
        let reading = failed("reading the directory", &self.directory);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(&reading)? {
            // Our own names are ASCII.
            names.extend(entry.map_err(&reading)?.file_name().into_string().ok());
        }
        Ok(names)
    }
}

fn now() -> String {
    Timestamp::now().strftime(TIME).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::name::NoTime;

    fn repository(names: &[&str]) -> (tempfile::TempDir, Repository) {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let repository = Repository::open(directory.path()).unwrap();
        (directory, repository)
    }

    #[test]
    fn a_chain_begins_with_the_last_full_backup() {
        let names = [
            "2020-01-01-00-00-00.fs",
            "2020-01-02-00-00-00.deltafs",
            "2020-01-03-00-00-00.fsz",
            "2020-01-03-00-00-00.dat",
            "2020-01-04-00-00-00.deltafsz",
            "2020-01-04-00-00-00.index",
            "2020-01-05-00-00-00.deltafs.keep",
            "9999-01-01-00-00-00.deltafs",
        ];
        let (_directory, repository) = repository(&names);
        let chain = |when: Option<&str>| -> Vec<String> {
            let when: Option<Time> = when.map(|when| when.parse().unwrap());
            let chain = repository.chain(when.as_ref()).unwrap();
            chain.iter().map(|name| name.as_str().to_owned()).collect()
        };
        assert_eq!(chain(None), [names[2], names[4]]);
        assert_eq!(chain(Some("2020-01-02-00-00-00")), names[..2]);
        assert_eq!(chain(Some("2020-01-02")), names[..1]);
        assert!(chain(Some("2020-01-01")).is_empty());
        assert!(repository.new_root().is_err());
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let (_directory, repository) = repository(&[]);
        let full = Name::parse("2020-01-01-00-00-00.fs").unwrap();
        assert_eq!(repository.lines(&full).unwrap(), []);
        let line = |file: &str| Line {
            file: file.to_owned(),
            start: 4,
            end: 17,
            sum: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        };
        let lines = [line("/a b/c.fs"), line("c.deltafs")];
        repository.save_lines(&full, &lines).unwrap();
        assert_eq!(repository.lines(&full).unwrap(), lines);
        assert_eq!(lines[0].name(), "c.fs");

        for text in ["c.fs 1 2", "c.fs 2 1 x", "c.fs -1 2 x", "\u{e4}", "\n"] {
            std::fs::write(repository.companion(&full, "dat"), text).unwrap();
            let error = repository.lines(&full).unwrap_err().to_string();
            assert!(error.contains("2020-01-01-00-00-00.dat"), "{error}");
        }
    }

    #[test]
    fn what_killed_backups_left_is_removed() {
        let (directory, repository) = repository(&[
            "tmp.tmp",
            "2020-01-01-00-00-00.fs",
            "2020-01-01-00-00-00.index",
            "2020-01-02-00-00-00.index",
            "2020-01-03-00-00-00.index.index_tmp",
            "2020-01-03-00-00-00.blobs",
            "mine.index",
        ]);
        repository.clean().unwrap();
        let mut left: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let kept = [
            "2020-01-01-00-00-00.fs",
            "2020-01-01-00-00-00.index",
            "mine.index",
        ];
        assert_eq!(left, kept);
    }

    #[test]
    fn one_backup_at_a_time() {
        let (directory, _) = repository(&[]);
        let held = Repository::lock(directory.path()).unwrap();
        assert!(Repository::lock(directory.path()).is_err());
        drop(held);
        Repository::lock(directory.path()).unwrap();
    }

    #[test]
    fn times_and_beginnings_of_times() {
        for text in [
            "2020-01-01",
            "2020-01-01-10",
            "2020-01-01-10-59",
            "2020-01-01-10-59-59",
        ] {
            assert_eq!(text.parse::<Time>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "2020-01",
            "2020-01-01-",
            "2020/01/01",
            "2020-01-01-1",
            "today",
        ] {
            assert_eq!(text.parse::<Time>(), Err(NoTime), "{text}");
        }
    }
}
