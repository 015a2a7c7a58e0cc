//! A log file or standard stream.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zeo_storage::paths::resolve;

use super::config::{LogTarget, Rotation, When};
use super::error::EventLogError;
use super::rotation;

/// A file or stream that lines are written to. While the file can't be written, its lines go to
/// standard error, so that none is lost.
pub struct LogFile {
    target: LogTarget,
    /// None for a stream, before a delayed file's first line, and while it can't be opened.
    file: Option<File>,
    /// The length of the file in bytes, as far as this process knows.
    length: u64,
    /// When the file is to be replaced, if time says.
    due: Option<Timestamp>,
    /// Whether standard error has been told that the file fails.
    failing: bool,
    /// The file ends in a part of a line, behind which it was full.
    cut: bool,
}

impl LogFile {
    /// Opens the file `target`, unless it is to be delayed.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn open(target: LogTarget) -> Result<LogFile, EventLogError> {
        let mut logfile = LogFile {
            target,
            file: None,
            length: 0,
            due: None,
            failing: false,
            cut: false,
        };
        logfile.plan_rotation();
        if let LogTarget::File { delay: false, .. } = logfile.target {
            logfile.open_file()?;
        }
        Ok(logfile)
    }

    /// Writes `line` and a newline.
    pub fn write(&mut self, mut line: String) {
        line.push('\n');
        let written = match self.target {
            // Where the standard streams can't be written, there is nobody left to tell.
            LogTarget::Stdout => return drop(io::stdout().write_all(line.as_bytes())),
            LogTarget::File { encoding, .. } => self.write_file(&encoding.encode(&line)),
            // Other handlers are not opened here.
            _ => return to_stderr(&line),
        };
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !self.failing {
                    self.failing = true;
                    to_stderr(&format!("{error}; log lines go to standard error\n"));
                }
                to_stderr(&line);
            }
        }
    }

    /// Closes the file and opens its path again; a file that rotates is rotated, unless somebody
    /// else has done so: zdaemon's manager, which has the same configuration, or logrotate.
    ///
    /// # Errors
    /// The file can't be opened. It is tried again at every line.
    pub fn reopen(&mut self) -> Result<(), EventLogError> {
        let LogTarget::File {
            delay, rotation, ..
        } = &self.target
        else {
            return Ok(());
        };
        let (delay, rotates) = (*delay, rotation.is_some());
        if rotates {
            self.rotate();
        }
        self.file = None;
        if delay { Ok(()) } else { self.open_file() }
    }

    /// Whether this is standard error.
    pub fn is_stderr(&self) -> bool {
        self.target == LogTarget::Stderr
    }

    fn write_file(&mut self, line: &[u8]) -> Result<(), EventLogError> {
        if self.file.is_none() {
            self.open_file()?;
        }
        if self.is_due(line) {
            self.rotate();
            if self.file.is_none() {
                self.open_file()?;
            }
        }
        if self.cut {
            self.append(b"\n")?;
            self.cut = false;
        }
        self.append(line)
    }

    /// Writes to the end of the file. What it takes of a line before it is full stays there: the line
    /// is written whole elsewhere, and the next one must not be appended to it.
    fn append(&mut self, bytes: &[u8]) -> Result<(), EventLogError> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let (done, written) = write_most(file, bytes);
        self.length = self.length.saturating_add(done as u64);
        self.cut |= written.is_err() && done > 0;
        written.map_err(|source| EventLogError::Write {
            path: self.path().to_owned(),
            source,
        })
    }

    fn open_file(&mut self) -> Result<(), EventLogError> {
        let opened = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path())
            .and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) = opened.map_err(|source| EventLogError::Open {
            path: self.path().to_owned(),
            source,
        })?;
        (self.length, self.file) = (length, Some(file));
        self.cut &= length > 0;
        Ok(())
    }

    fn is_due(&mut self, line: &[u8]) -> bool {
        match self.rotation().map(|rotation| rotation.when) {
            None => false,
            Some(When::Size(limit)) => {
                self.length > 0 && self.length.saturating_add(line.len() as u64) >= limit
            }
            Some(when @ When::Every(..)) => {
                let now = Timestamp::now();
                // Where the clock was set back, what was due by it is too far away. (Python waits.)
                let latest = rotation::due(when, now, &TimeZone::system());
                self.due = self.due.min(latest.or(self.due));
                self.due.is_some_and(|due| now >= due)
            }
        }
    }

    /// Moves the file away, if it is a regular one and still has its name, and closes it, so that
    /// the next line opens a new one. When it can't be moved, lines go on into the old one until
    /// it is due again.
    fn rotate(&mut self) {
        if self.has_its_name()
            && let Err(error) = self.move_away()
        {
            to_stderr(&format!(
                "can't rotate {}: {error}\n",
                self.path().display()
            ));
            // If it can't be opened either, the next line says so.
            let _ = self.open_file();
            self.length = 0;
        } else {
            self.file = None;
        }
        self.plan_rotation();
    }

    fn move_away(&self) -> io::Result<()> {
        let Some(Rotation { when, old_files }) = self.rotation() else {
            return Ok(());
        };
        // A symbolic link stays, and points to the new file.
        let path = resolve(self.path())?;
        rotation::rotate(&path, *when, *old_files, self.due, &TimeZone::system())
    }

    /// Whether the path is that of the open file. If somebody else has moved that away, what has
    /// the name now is theirs, and not to be moved over what they keep.
    fn has_its_name(&self) -> bool {
        let Some(Ok(open)) = self.file.as_ref().map(File::metadata) else {
            return false;
        };
        let named = self.path().metadata();
        named.is_ok_and(|named| {
            named.is_file() && (named.dev(), named.ino()) == (open.dev(), open.ino())
        })
    }

    /// Finds when the file is due: an interval after it was last written, or after now.
    fn plan_rotation(&mut self) {
        let Some(when) = self.rotation().map(|rotation| rotation.when) else {
            return;
        };
        let written = self.path().metadata().and_then(|data| data.modified());
        let written = written.ok().and_then(|time| Timestamp::try_from(time).ok());
        let from = match self.due {
            None => written.unwrap_or_else(Timestamp::now),
            Some(_) => Timestamp::now(),
        };
        self.due = rotation::due(when, from, &TimeZone::system());
    }

    fn rotation(&self) -> Option<&Rotation> {
        match &self.target {
            LogTarget::File { rotation, .. } => rotation.as_ref(),
            _ => None,
        }
    }

    fn path(&self) -> &Path {
        match &self.target {
            LogTarget::File { path, .. } => path,
            _ => Path::new(""),
        }
    }
}

/// As `write_all`, but tells how much was written if that fails.
fn write_most(to: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match to.write(rest) {
            Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return (done, Err(why)),
        }
    }
    (done, Ok(()))
}

/// Writes to standard error, if it can be written.
pub fn to_stderr(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests;
