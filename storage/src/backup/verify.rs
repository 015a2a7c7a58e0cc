//! Verifying the last full backup and all since.

use std::path::Path;

use super::blobs::{self, Pool, differs};
use super::content::{Content, Sum};
use super::error::{Error, Problem, Result};
use super::name::Name;
use super::repository::{Line, Repository};
use crate::disk::paths::failed;
use crate::log::Level;
use crate::observer::Observer;

/// Compares the last full backup, and all since, with what their lines say,
/// and their blobs with their lists. With `quick`, sizes only. Gives what is
/// not as it should be.
///
/// Reads the repository, and writes nothing.
///
/// # Errors
///
/// When there is no backup, or a `.dat` file or a list of blobs can't be read,
/// and when `observer` cancels.
pub fn verify(repository: &Path, quick: bool, observer: &mut dyn Observer) -> Result<Vec<Problem>> {
    let repository = Repository::open(repository)?;
    let files = repository.chain(None)?;
    let Some(full) = files.first() else {
        return Err(Error::NoFiles { before: None });
    };
    let lines = repository.lines(full)?;
    observer.begin("verifying", Some(lines.last().map_or(0, |line| line.end)));
    let mut problems = gaps(&files, &lines);
    for line in &lines {
        let Some(name) = Name::parse(line.name()) else {
            let file = line.file.clone();
            problems.push(Problem::Name { file });
            continue;
        };
        let path = repository.path(name.as_str());
        observer.say(Level::Info, &format!("Verifying {}", path.display()));
        match look_at(&repository, &name, line, quick, observer) {
            Ok((size, sum)) => problems.extend(differs(&path, line.content(), size, sum)),
            Err(Error::Storage(crate::Error::Cancelled)) => {
                return Err(crate::Error::Cancelled.into());
            }
            Err(_) if !path.exists() => problems.push(Problem::Missing(path)),
            Err(Error::Storage(why)) => problems.push(why.into()),
            Err(why) => return Err(why),
        }
    }
    problems.extend(wrong_blobs(&repository, &files, quick, observer)?);
    Ok(problems)
}

/// What is wrong with the blobs, if the full backup has some.
fn wrong_blobs(
    repository: &Repository,
    files: &[Name],
    quick: bool,
    observer: &mut dyn Observer,
) -> Result<Vec<Problem>> {
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    let mut has_some = false;
    for name in files {
        match blobs::list(repository, name)? {
            Some(list) => {
                has_some = true;
                entries.extend(list);
            }
            None if has_some => problems.push(Problem::NoBlobs(name.clone())),
            None => {}
        }
    }
    if entries.is_empty() {
        return Ok(problems);
    }
    let pool = Pool::open_read_only(repository)?;
    observer.begin("verifying blobs", Some(blobs::total(&entries)));
    let mut done = 0_u64;
    for entry in &entries {
        problems.extend(pool.problem(entry, quick));
        done = done.saturating_add(entry.size);
        observer.set(done)?;
    }
    Ok(problems)
}

/// How much a data file holds, and its checksum, if that is not `quick`.
fn look_at(
    repository: &Repository,
    name: &Name,
    line: &Line,
    quick: bool,
    observer: &mut dyn Observer,
) -> Result<(u64, Option<String>)> {
    if quick && !name.is_zipped() {
        let path = repository.path(name.as_str());
        let found = std::fs::metadata(&path).map_err(failed("opening", &path))?;
        return Ok((found.len(), None));
    }
    let mut content = Content::open(repository, name)?;
    let mut sum = Sum::default();
    loop {
        let piece = content.next()?;
        if piece.is_empty() {
            break;
        }
        sum.add(piece);
        observer.set(line.start.saturating_add(sum.size))?;
    }
    Ok((sum.size, (!quick).then(|| sum.finish())))
}

/// What the lines do not tell of.
fn gaps(files: &[Name], lines: &[Line]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(first) = files.first().filter(|name| !name.is_full()) {
        return vec![Problem::NoFull(first.clone())];
    }
    for name in files {
        if !lines.iter().any(|line| line.name() == name.as_str()) {
            problems.push(Problem::Unfinished(name.clone()));
        }
    }
    let mut end = 0;
    for line in lines {
        if line.start != end {
            problems.push(Problem::Gap {
                file: line.name().to_owned(),
                start: line.start,
                expected: end,
            });
        }
        end = line.end;
    }
    problems
}
