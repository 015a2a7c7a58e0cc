//! `repozo --recover`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use zeo_storage::blob::BlobDirectory;

use super::Arguments;
use super::blobs::{self, Pool};
use super::content::{Content, Sum};
use super::repository::{Line, Name, Repository};
use crate::context::Context;
use crate::files::{beside, failed, remove, rename, replaceable};
use crate::outcome::{Failure, Result, Verdict};
use crate::progress::Progress;
use crate::unfinished::Unfinished;

/// Puts the file together as it was at a time.
pub fn recover(arguments: &Arguments, context: &mut Context) -> Result<Verdict> {
    let repository = Repository::open(&arguments.repository)?;
    let files = repository.chain(arguments.date.as_deref())?;
    let Some(full) = files.first() else {
        return Err(no_files(arguments.date.as_deref()));
    };
    if !full.is_full() {
        let what = format!("there is no full backup before {}", full.as_str());
        return Err(Failure::Other(what));
    }
    let lines = match arguments.with_verify {
        true => Some(repository.lines(full)?),
        false => None,
    };
    check_that_all_are_there(&files, lines.as_deref(), arguments.date.as_deref())?;
    let missing = match &arguments.blobs {
        Some(directory) => restore_blobs(arguments, &repository, &files, directory, context)?,
        None => 0,
    };
    let mut recovery = Recovery {
        arguments,
        repository: &repository,
        files: &files,
        lines,
        size: 0,
    };
    let mut progress = context.progress("recovering", recovery.compressed_size()?);
    match &arguments.output {
        None => {
            let writing = |why| Failure::Output(why);
            recovery.write(&mut context.out, &mut progress, &writing)?;
        }
        Some(output) => recovery.write_file(output, &mut progress)?,
    }
    arguments.say(&format!("Recovered {} bytes", recovery.size));
    Ok(Verdict::of(missing))
}

/// Restores the blobs of all data files, durably. Others that are in the
/// directory stay. Tells of those that can't be, and how many they are; with
/// `--with-verify`, fails.
fn restore_blobs(
    arguments: &Arguments,
    repository: &Repository,
    files: &[Name],
    directory: &Path,
    context: &Context,
) -> Result<u64> {
    let mut entries = Vec::new();
    for name in files {
        entries.extend(blobs::list(repository, name)?.ok_or_else(|| {
            let name = name.as_str();
            Failure::Other(format!("{name} was backed up without blobs"))
        })?);
    }
    let pool = Pool::open_read_only(repository)?;
    let target = BlobDirectory::open(directory)?;
    let total = blobs::total(&entries);
    let (mut progress, mut done) = (context.progress("restoring blobs", total), 0_u64);
    let mut missing = 0;
    for entry in &entries {
        let path = pool.path_of(entry.oid, entry.tid);
        match pool.problem(entry, !arguments.with_verify) {
            Some(what) if arguments.with_verify => return Err(Failure::Other(what)),
            Some(what) => {
                missing += 1;
                progress.say(&what);
            }
            None => blobs::put(&target, &path, &target.path_of(entry.oid, entry.tid), None)?,
        }
        done = done.saturating_add(entry.size);
        progress.set(done);
    }
    blobs::sync(&target)?;
    let restored = (entries.len() as u64).saturating_sub(missing);
    arguments.say(&format!("Restored {restored} blobs"));
    Ok(missing)
}

/// The error that there is no backup.
pub fn no_files(date: Option<&str>) -> Failure {
    Failure::Other(match date {
        Some(date) => format!("No files in repository before {date}"),
        None => "No files in repository".to_owned(),
    })
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
    match missing {
        Some(name) => Err(Failure::Other(format!("{} is missing", name.as_str()))),
        None => Ok(()),
    }
}

struct Recovery<'a> {
    arguments: &'a Arguments,
    repository: &'a Repository,
    files: &'a [Name],
    /// With `--with-verify`.
    lines: Option<Vec<Line>>,
    /// How much was written.
    size: u64,
}

impl Recovery<'_> {
    /// Writes the file beside its place, then puts it there. What was there
    /// before stays until then.
    fn write_file(&mut self, output: &Path, progress: &mut Progress) -> Result<()> {
        let output = &replaceable(output)?;
        let temporary = beside(output, ".part");
        let _unfinished = Unfinished::new(vec![temporary.clone()]);
        let file = File::create(&temporary).map_err(failed("creating", &temporary))?;
        let mut out = BufWriter::new(file);
        let writing = failed("writing", &temporary);
        self.write(&mut out, progress, &writing)?;
        let synced = out.into_inner().map_err(|why| why.into_error());
        synced.and_then(|file| file.sync_all()).map_err(&writing)?;
        // So that no index ever stands beside a file that it is not of.
        let index = beside(output, ".index");
        remove(&index)?;
        rename(&temporary, output)?;
        self.restore_index(&index)
    }

    fn restore_index(&self, index: &Path) -> Result<()> {
        let Some(last) = self.files.last() else {
            return Ok(());
        };
        let source = self.repository.companion(last, "index");
        if !source.exists() {
            self.arguments
                .say(&format!("No index file to restore: {}", source.display()));
            return Ok(());
        }
        let temporary = beside(index, ".index_tmp");
        std::fs::copy(&source, &temporary).map_err(failed("copying", &source))?;
        let synced = File::open(&temporary).and_then(|file| file.sync_all());
        synced.map_err(failed("syncing", &temporary))?;
        rename(&temporary, index)
    }

    fn write(
        &mut self,
        out: &mut dyn Write,
        progress: &mut Progress,
        writing: &dyn Fn(std::io::Error) -> Failure,
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
                progress.set(done.saturating_add(content.read()));
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
        let what = match line {
            None => Some(format!("{} has no line in its .dat file", path.display())),
            Some(line) => super::verify::differs(&path, line, sum.size, Some(sum.finish())),
        };
        match what {
            Some(what) => Err(Failure::Other(what)),
            None => Ok(()),
        }
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
