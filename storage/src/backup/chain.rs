//! Does the repository hold the beginning of the file, so that the rest
//! suffices?

use zeo_storage::backend::Backend;

use super::content::{Content, Sum, read_exact, read_range};
use super::repository::{Line, Name, Repository};
use crate::outcome::Result;
use crate::progress::Progress;

/// What a backup has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// A full backup, and why.
    Full(String),
    /// Go on behind what is there.
    Incremental(Chain),
    /// Nothing is new.
    Nothing(Chain),
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
    progress: &mut Progress,
) -> Result<Plan> {
    let files = repository.chain(None)?;
    let Some(full) = files.first().filter(|name| name.is_full()) else {
        return Ok(Plan::Full("there is none yet".to_owned()));
    };
    let written = match repository.lines(full) {
        Ok(lines) => lines,
        Err(why) => return Ok(Plan::Full(why.to_string())),
    };
    let mut comparison = Comparison {
        repository,
        source,
        progress,
        lines: Vec::new(),
    };
    let differs = match quick {
        true => comparison.last(&files, &written)?,
        false => comparison.all(&files, &written)?,
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
    Ok(match end == source.end {
        true => Plan::Nothing(chain),
        false => Plan::Incremental(chain),
    })
}

const CHANGED: &str = "the file changed, possibly because of a pack";
const SHRUNK: &str = "the file shrunk, possibly because of a pack";

struct Comparison<'a> {
    repository: &'a Repository,
    source: &'a Source<'a>,
    progress: &'a mut Progress,
    /// Those of the files that were compared.
    lines: Vec<Line>,
}

impl Comparison<'_> {
    /// Why the files do not hold the beginning of the source, if they don't.
    fn all(&mut self, files: &[Name], written: &[Line]) -> Result<Option<String>> {
        for name in files {
            let line = written.iter().find(|line| line.name() == name.as_str());
            if let Some(why) = self.data_file(name, line)? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// The same by the checksum of the last file that has one.
    fn last(&mut self, files: &[Name], written: &[Line]) -> Result<Option<String>> {
        let Some(last) = written.last() else {
            return Ok(Some("the .dat file is missing or empty".to_owned()));
        };
        let place = files.iter().position(|name| name.as_str() == last.name());
        let Some(place) = place else {
            return Ok(Some(format!("{} is missing", last.name())));
        };
        if self.source.end < last.end {
            return Ok(Some(SHRUNK.to_owned()));
        }
        let mut sum = Sum::default();
        read_range(self.source.backend, last.start, last.end, &mut |piece| {
            sum.add(piece);
            self.progress.set(last.start.saturating_add(sum.size));
            Ok(())
        })?;
        if sum.finish() != last.sum {
            return Ok(Some(CHANGED.to_owned()));
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
    fn data_file(&mut self, name: &Name, line: Option<&Line>) -> Result<Option<String>> {
        let start = self.lines.last().map_or(0, |line| line.end);
        let (mut at, mut sum, mut found) = (start, Sum::default(), Vec::new());
        // Of damage to the repository a full backup makes good.
        let mut content = match Content::open(self.repository, name) {
            Ok(content) => content,
            Err(why) => return Ok(Some(why.to_string())),
        };
        loop {
            let piece = match content.next() {
                Ok([]) => break,
                Ok(piece) => piece,
                Err(why) => return Ok(Some(why.to_string())),
            };
            let end = at.saturating_add(piece.len() as u64);
            if end > self.source.end {
                return Ok(Some(SHRUNK.to_owned()));
            }
            found.resize(piece.len(), 0);
            read_exact(self.source.backend, &mut found, at)?;
            if piece != found {
                return Ok(Some(CHANGED.to_owned()));
            }
            if line.is_none() {
                sum.add(piece);
            }
            at = end;
            self.progress.set(at);
        }
        self.lines.push(match line {
            Some(line) if (line.start, line.end) != (start, at) => {
                return Ok(Some(format!("{} is not what its line says", name.as_str())));
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
