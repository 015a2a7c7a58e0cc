//! `repozo --verify`.

use std::path::Path;

use super::Arguments;
use super::blobs::{self, Pool};
use super::content::{Content, Sum};
use super::recover::no_files;
use super::repository::{Line, Name, Repository};
use crate::context::Context;
use crate::files::failed;
use crate::outcome::{Result, Verdict, tell};
use crate::progress::Progress;

/// Compares the last full backup, and all since, with their lines. Tells of
/// each that is not as it should be, on standard error.
pub fn verify(arguments: &Arguments, context: &mut Context) -> Result<Verdict> {
    let repository = Repository::open(&arguments.repository)?;
    let files = repository.chain(None)?;
    let Some(full) = files.first() else {
        return Err(no_files(None));
    };
    let lines = repository.lines(full)?;
    let total = lines.last().map_or(0, |line| line.end);
    let mut progress = context.progress("verifying", total);
    let mut problems = gaps(&files, &lines);
    for line in &lines {
        let Some(name) = Name::parse(line.name()) else {
            problems.push(format!("{} is no name of a data file", line.file));
            continue;
        };
        let path = repository.path(name.as_str());
        arguments.say(&format!("Verifying {}", path.display()));
        let found = look_at(&repository, &name, line, arguments.quick, &mut progress);
        match found {
            Ok((size, sum)) => problems.extend(differs(&path, line, size, sum)),
            Err(why) if !path.exists() => {
                drop(why);
                problems.push(format!("{} is missing", path.display()));
            }
            Err(why) => problems.push(why.to_string()),
        }
    }
    drop(progress);
    problems.extend(wrong_blobs(arguments, &repository, &files, context)?);
    for problem in &problems {
        tell(problem);
    }
    Ok(Verdict::of(problems.len() as u64))
}

/// What is wrong with the blobs, if the full backup has some.
fn wrong_blobs(
    arguments: &Arguments,
    repository: &Repository,
    files: &[Name],
    context: &Context,
) -> Result<Vec<String>> {
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    let mut has_some = false;
    for name in files {
        match blobs::list(repository, name)? {
            Some(list) => {
                has_some = true;
                entries.extend(list);
            }
            None if has_some => {
                let name = name.as_str();
                let what = "was backed up without blobs: the next backup with --blobs adds them";
                problems.push(format!("{name} {what}"));
            }
            None => {}
        }
    }
    if entries.is_empty() {
        return Ok(problems);
    }
    let pool = Pool::open_read_only(repository)?;
    let total = blobs::total(&entries);
    let (mut progress, mut done) = (context.progress("verifying blobs", total), 0_u64);
    for entry in &entries {
        problems.extend(pool.problem(entry, arguments.quick));
        done = done.saturating_add(entry.size);
        progress.set(done);
    }
    Ok(problems)
}

/// What is wrong with the data file at `path`, given what it holds.
pub fn differs(path: &Path, line: &Line, size: u64, sum: Option<String>) -> Option<String> {
    let (path, expected) = (path.display(), line.end.saturating_sub(line.start));
    if size != expected {
        return Some(format!(
            "{path} is {size} bytes, should be {expected} bytes"
        ));
    }
    let sum = sum.filter(|sum| *sum != line.sum)?;
    let expected = &line.sum;
    Some(format!("{path} has checksum {sum} instead of {expected}"))
}

/// How much a data file holds, and its checksum, if that is not `quick`.
fn look_at(
    repository: &Repository,
    name: &Name,
    line: &Line,
    quick: bool,
    progress: &mut Progress,
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
        progress.set(line.start.saturating_add(sum.size));
    }
    Ok((sum.size, (!quick).then(|| sum.finish())))
}

/// What the lines do not tell of.
fn gaps(files: &[Name], lines: &[Line]) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(first) = files.first().filter(|name| !name.is_full()) {
        return vec![format!("there is no full backup before {}", first.as_str())];
    }
    for name in files {
        if !lines.iter().any(|line| line.name() == name.as_str()) {
            let name = name.as_str();
            problems.push(format!(
                "{name} has no line in the .dat file: was its backup killed? The next one adds it"
            ));
        }
    }
    let mut end = 0;
    for line in lines {
        if line.start != end {
            let (name, start) = (line.name(), line.start);
            problems.push(format!("{name} begins at {start}, should begin at {end}"));
        }
        end = line.end;
    }
    problems
}
