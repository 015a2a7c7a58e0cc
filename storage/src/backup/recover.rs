//! Recovering the file as it was at a time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::blobs::{self, Pool, differs};
use super::content::{Content, Sum};
use super::error::{Error, Problem, Result};
use super::name::{Name, Time};
use super::repository::{Line, Repository};
use crate::blob::BlobDirectory;
use crate::disk::paths::{beside, failed, rename, unfinished};
use crate::file_storage::DataFile;
use crate::file_storage::tools::replacement::{install_index, remove_indexes};
use crate::log::Level;
use crate::observer::Observer;

/// What to recover.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RecoverOptions {
    /// The state of this time; by default, the last.
    pub date: Option<Time>,
    /// Check sizes and checksums while recovering.
    pub verify: bool,
    /// The blob directory to which blobs are restored, if they are to be.
    pub blobs: Option<PathBuf>,
}

/// Where the recovered file goes.
pub enum Output<'a> {
    /// To this path, in place of a file that is there, with its index.
    File(&'a Path),
    /// Here.
    Writer(&'a mut dyn Write),
}

/// What was recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// How long the file is.
    pub bytes: u64,
    /// How many blobs could not be restored.
    pub missing_blobs: u64,
}

/// Puts the file together as it was at a time.
///
/// Reads the repository. First restores the blobs; what else is in their
/// directory stays. Then writes the file beside its place, with `.part` at the
/// end of the name, and puts it there, with its index, when it is whole: what
/// was there stays until then. All is on the disk when this returns. `observer`
/// is told each step, and each blob that can't be restored.
///
/// # Errors
///
/// When there is no backup, a file of it is missing or can't be read, or is not
/// what was written (with [`RecoverOptions::verify`]; only then also for a
/// blob); when a server has the output open, or that can't be written. After
/// these, and when `observer` cancels, the old output is as it was, and blobs
/// that were restored stay. A writer has got the beginning of the file.
pub fn recover(
    repository: &Path,
    options: &RecoverOptions,
    output: Output<'_>,
    observer: &mut dyn Observer,
) -> Result<Recovered> {
    let repository = Repository::open(repository)?;
    let files = repository.chain(options.date.as_ref())?;
    let Some(full) = files.first() else {
        return Err(no_files(options.date.as_ref()));
    };
    if !full.is_full() {
        return Err(Error::NoFull(full.clone()));
    }
    let lines = if options.verify {
        Some(repository.lines(full)?)
    } else {
        None
    };
    let date = options.date.as_ref().map(Time::as_str);
    check_that_all_are_there(&files, lines.as_deref(), date)?;
    let mut recovery = Recovery {
        repository: &repository,
        files: &files,
        lines,
        size: 0,
    };
    let missing_blobs = match &options.blobs {
        Some(directory) => recovery.restore_blobs(directory, observer)?,
        None => 0,
    };
    observer.begin("recovering", Some(recovery.compressed_size()?));
    match output {
        Output::Writer(out) => recovery.write(out, observer, &Error::Output)?,
        Output::File(path) => recovery.write_file(path, observer)?,
    }
    let bytes = recovery.size;
    observer.say(Level::Info, &format!("Recovered {bytes} bytes"));
    Ok(Recovered {
        bytes,
        missing_blobs,
    })
}

/// The error that there is no backup.
fn no_files(date: Option<&Time>) -> Error {
    let before = date.map(|date| date.as_str().to_owned());
    Error::NoFiles { before }
}

/// Fails when there are lines of data files up to that date that are missing.
fn check_that_all_are_there(
    files: &[Name],
    lines: Option<&[Line]>,
    date: Option<&str>,
) -> Result<()> {
    let names = lines.unwrap_or_default().iter();
    let mut names = names.filter_map(|line| Name::parse(line.name()));
    let missing = names.find(|name| {
        date.is_none_or(|date| name.root() <= date) && !files.iter().any(|file| file == name)
    });
    missing.map_or(Ok(()), |name| Err(Error::Missing(name)))
}

struct Recovery<'a> {
    repository: &'a Repository,
    files: &'a [Name],
    /// What the files should be, when that is to be checked.
    lines: Option<Vec<Line>>,
    /// How much was written.
    size: u64,
}

impl Recovery<'_> {
    /// Restores the blobs of all data files, durably. Others that are in the
    /// directory stay. Gives how many can't be restored; fails for these when
    /// files are to be checked.
    fn restore_blobs(&self, directory: &Path, observer: &mut dyn Observer) -> Result<u64> {
        let mut entries = Vec::new();
        for name in self.files {
            let list = blobs::list(self.repository, name)?;
            entries.extend(list.ok_or_else(|| Error::NoBlobs(name.clone()))?);
        }
        let pool = Pool::open_read_only(self.repository)?;
        let target = BlobDirectory::open(directory)?;
        observer.begin("restoring blobs", Some(blobs::total(&entries)));
        let (mut done, mut missing) = (0_u64, 0);
        let verify = self.lines.is_some();
        for entry in &entries {
            let path = pool.path_of(entry.oid, entry.tid);
            match pool.problem(entry, !verify) {
                Some(problem) if verify => return Err(problem.into()),
                Some(problem) => {
                    missing += 1;
                    observer.say(Level::Warning, &problem.to_string());
                }
                None => blobs::put(&target, &path, &target.path_of(entry.oid, entry.tid), None)?,
            }
            done = done.saturating_add(entry.size);
            observer.set(done)?;
        }
        blobs::sync(&target)?;
        let restored = (entries.len() as u64).saturating_sub(missing);
        observer.say(Level::Info, &format!("Restored {restored} blobs"));
        Ok(missing)
    }

    /// Writes the file beside its place, then puts it there. What was there
    /// before stays until then.
    fn write_file(&mut self, output: &Path, observer: &mut dyn Observer) -> Result<()> {
        let target = &DataFile::replaceable(output)?;
        let part = unfinished(&beside(target, ".part"))?;
        let file = File::create(&part).map_err(failed("creating", &part))?;
        let mut out = BufWriter::new(file);
        let writing = failed("writing", &part);
        self.write(&mut out, observer, &|why| writing(why).into())?;
        let synced = out.into_inner().map_err(|why| why.into_error());
        synced.and_then(|file| file.sync_all()).map_err(&writing)?;
        // The last time: a sync may take long.
        observer.set(self.compressed_size()?)?;
        remove_indexes(output, target)?;
        rename(&part, target)?;
        self.restore_index(output, observer)
    }

    fn restore_index(&self, output: &Path, observer: &mut dyn Observer) -> Result<()> {
        let Some(last) = self.files.last() else {
            return Ok(());
        };
        let source = self.repository.companion(last, "index");
        if !source.exists() {
            let what = format!("No index file to restore: {}", source.display());
            observer.say(Level::Info, &what);
            return Ok(());
        }
        Ok(install_index(&source, output)?)
    }

    fn write(
        &mut self,
        out: &mut dyn Write,
        observer: &mut dyn Observer,
        writing: &dyn Fn(std::io::Error) -> Error,
    ) -> Result<()> {
        let mut done = 0_u64;
        for name in self.files {
            let mut content = Content::open(self.repository, name)?;
            let mut sum = Sum::default();
            loop {
                let piece = content.next()?;
                if piece.is_empty() {
                    break;
                }
                if self.lines.is_some() {
                    sum.add(piece);
                }
                self.size = self.size.saturating_add(piece.len() as u64);
                out.write_all(piece).map_err(writing)?;
                observer.set(done.saturating_add(content.read()))?;
            }
            done = done.saturating_add(content.read());
            self.check(name, sum)?;
        }
        out.flush().map_err(writing)
    }

    /// Fails unless the data file holds what its line says.
    fn check(&self, name: &Name, sum: Sum) -> Result<()> {
        let Some(lines) = &self.lines else {
            return Ok(());
        };
        let path = self.repository.path(name.as_str());
        let line = lines.iter().find(|line| line.name() == name.as_str());
        let problem = match line {
            None => Some(Problem::NoLine(path)),
            Some(line) => differs(&path, line.content(), sum.size, Some(sum.finish())),
        };
        problem.map_or(Ok(()), |problem| Err(problem.into()))
    }

    /// How large all data files are.
    fn compressed_size(&self) -> Result<u64> {
        let mut size = 0_u64;
        for name in self.files {
            let path = self.repository.path(name.as_str());
            let found = std::fs::metadata(&path).map_err(failed("opening", &path))?;
            size = size.saturating_add(found.len());
        }
        Ok(size)
    }
}
