//! Does the repository hold the beginning of the file, so that the rest
//! suffices?

use super::content::{Content, Sum, read_exact, read_range};
use super::error::{Error, Result};
use super::name::Name;
use super::repository::{Line, Repository};
use crate::disk::backend::Backend;
use crate::observer::Observer;

/// What a backup has to do.
#[derive(Debug)]
pub enum Plan {
    /// A full backup, and why.
    Full(Reason),
    /// Go on behind what is there.
    Incremental(Chain),
    /// Nothing is new.
    Nothing(Chain),
}

/// Why a backup has to be a full one.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The caller wants that.
    #[error("as requested")]
    Demanded,
    /// There is no full backup yet.
    #[error("there is no full backup yet")]
    First,
    /// Without lines, the end of the last backup is unknown.
    #[error("the .dat file is missing or empty")]
    NoLines,
    /// A data file with a line is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// A data file is longer or shorter than its line says.
    #[error("the length of {0} differs from its line in the .dat file")]
    OtherLength(Name),
    /// The file holds something else than the backups.
    #[error("the file changed, possibly because of a pack")]
    Changed,
    /// The file ends before the backups.
    #[error("the file shrank, possibly because of a pack")]
    Shrunk,
    /// A file of the repository can't be read.
    #[error(transparent)]
    Unreadable(Error),
}

/// A full backup and those since, which hold the file up to `end`.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    /// The full backup.
    pub full: Name,
    /// A line for each of them.
    pub lines: Vec<Line>,
    /// Where the last one ends.
    pub end: u64,
}

/// The file that is to be backed up.
pub struct Source<'a> {
    /// Its bytes.
    pub backend: &'a dyn Backend,
    /// Where its last transaction ends.
    pub end: u64,
}

/// Compares the backups with the file: all of them, or with `quick` only the
/// last, for which its checksum stands. Adds lines that killed backups did
/// not write.
pub fn plan(
    repository: &Repository,
    source: &Source<'_>,
    quick: bool,
    observer: &mut dyn Observer,
) -> Result<Plan> {
    observer.begin("comparing", Some(source.end));
    let files = repository.chain(None)?;
    let Some(full) = files.first().filter(|name| name.is_full()) else {
        return Ok(Plan::Full(Reason::First));
    };
    let written = match repository.lines(full) {
        Ok(lines) => lines,
        Err(why) => return Ok(Plan::Full(Reason::Unreadable(why))),
    };
    let mut comparison = Comparison {
        repository,
        source,
        observer,
        lines: Vec::new(),
    };
    let differs = if quick {
        comparison.last(&files, &written)?
    } else {
        comparison.all(&files, &written)?
    };
    let lines = comparison.lines;
    if let Some(why) = differs {
        return Ok(Plan::Full(why));
    }
    if lines != written {
        repository.save_lines(full, &lines)?;
    }
    let end = lines.last().map_or(0, |line| line.end);
    let full = full.clone();
    let chain = Chain { full, lines, end };
    Ok(if end == source.end {
        Plan::Nothing(chain)
    } else {
        Plan::Incremental(chain)
    })
}

struct Comparison<'a> {
    repository: &'a Repository,
    source: &'a Source<'a>,
    observer: &'a mut dyn Observer,
    /// The lines of the files compared so far.
    lines: Vec<Line>,
}

impl Comparison<'_> {
    /// Why the files do not hold the beginning of the source, if they don't.
    fn all(&mut self, files: &[Name], written: &[Line]) -> Result<Option<Reason>> {
        for name in files {
            let line = written.iter().find(|line| line.name() == name.as_str());
            if let Some(why) = self.data_file(name, line)? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// As `all`, by the checksum of the last file that has one.
    fn last(&mut self, files: &[Name], written: &[Line]) -> Result<Option<Reason>> {
        let Some(last) = written.last() else {
            return Ok(Some(Reason::NoLines));
        };
        let place = files.iter().position(|name| name.as_str() == last.name());
        let Some(place) = place else {
            return Ok(Some(Reason::Missing(last.name().to_owned())));
        };
        if self.source.end < last.end {
            return Ok(Some(Reason::Shrunk));
        }
        let mut sum = Sum::default();
        read_range(self.source.backend, last.start, last.end, &mut |piece| {
            sum.add(piece);
            Ok(self.observer.set(last.start.saturating_add(sum.size))?)
        })?;
        if sum.finish() != last.sum {
            return Ok(Some(Reason::Changed));
        }
        self.lines = written.to_vec();
        // What follows has no line.
        for name in files.iter().skip(place.saturating_add(1)) {
            if let Some(why) = self.data_file(name, None)? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// Compares the next file with what the source has there, and notes its
    /// line.
    fn data_file(&mut self, name: &Name, line: Option<&Line>) -> Result<Option<Reason>> {
        let start = self.lines.last().map_or(0, |line| line.end);
        let (mut at, mut sum, mut found) = (start, Sum::default(), Vec::new());
        // Of damage to the repository a full backup makes good.
        let mut content = match Content::open(self.repository, name) {
            Ok(content) => content,
            Err(why) => return Ok(Some(Reason::Unreadable(why))),
        };
        loop {
            let piece = match content.next() {
                Ok([]) => break,
                Ok(piece) => piece,
                Err(why) => return Ok(Some(Reason::Unreadable(why))),
            };
            let end = at.saturating_add(piece.len() as u64);
            if end > self.source.end {
                return Ok(Some(Reason::Shrunk));
            }
            found.resize(piece.len(), 0);
            read_exact(self.source.backend, &mut found, at)?;
            if piece != found {
                return Ok(Some(Reason::Changed));
            }
            if line.is_none() {
                sum.add(piece);
            }
            at = end;
            self.observer.set(at)?;
        }
        self.lines.push(match line {
            Some(line) if (line.start, line.end) != (start, at) => {
                return Ok(Some(Reason::OtherLength(name.clone())));
            }
            Some(line) => line.clone(),
            None => Line {
                file: self.repository.written_down(name),
                start,
                end: at,
                sum: sum.finish(),
            },
        });
        Ok(None)
    }
}
