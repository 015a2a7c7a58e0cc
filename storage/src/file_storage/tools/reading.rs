//! Reading a whole file for a subcommand: past damage, which is told on
//! standard error, up to where a running server writes.

use zeo_storage::file_storage::DataFile;
use zeo_storage::file_storage::format::DataHeader;
use zeo_storage::file_storage::forwards::{Forwards, Problem, Source, Step};
use zeo_storage::file_storage::walk::Txn;
use zeo_storage::{Error, record};

use crate::context::Context;
use crate::outcome::{Result, Verdict, tell};
use crate::progress::Progress;
use crate::python;

/// How much of a record is read to see its class, if that does.
const CLASS_PREFIX: u64 = 1 << 12;
/// What stands for a class that can't be told.
pub const NO_CLASS: &str = "<unknown>";

/// A file that is read transaction by transaction.
pub struct Reading<'a> {
    /// Where it stands.
    pub forwards: Forwards<'a>,
    progress: Option<Progress>,
    problems: u64,
}

impl<'a> Reading<'a> {
    /// Begins to read. With `context`, it is shown how much was read. Fails
    /// when this is no FileStorage.
    pub fn new(file: &'a DataFile, context: Option<&Context>) -> Result<Self> {
        file.check_magic()?;
        Ok(Self {
            forwards: Forwards::new(file),
            progress: context.map(|context| context.progress("reading", file.size())),
            problems: 0,
        })
    }

    /// The next whole transaction.
    pub fn txn(&mut self) -> Result<Option<Txn>> {
        loop {
            let step = self.forwards.step()?;
            if let Some(progress) = &mut self.progress {
                progress.set(self.forwards.position());
            }
            match step {
                Step::Whole { txn, .. } => return Ok(Some(txn)),
                Step::Damaged(problem) => self.tell_problem(&problem),
                Step::End { .. } => return Ok(None),
            }
        }
    }

    /// Where the data of a record are; `None` when they can't be read.
    pub fn source(&mut self, position: u64, header: &DataHeader) -> Result<Option<Source>> {
        match self.forwards.source(position, header) {
            Ok(source) => Ok(Some(source)),
            Err(Error::Corrupt { position, what, .. }) => {
                self.tell(position, format!("object {}: {what}", header.oid));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The dotted class name of the record whose data are there.
    pub fn class(&mut self, data: (u64, u64)) -> Result<String> {
        let prefix = self.forwards.data(data, Some(CLASS_PREFIX))?;
        let mut name = record::class_name(prefix);
        if name.is_none() && data.1 > CLASS_PREFIX {
            name = record::class_name(self.forwards.data(data, None)?);
        }
        Ok(name.map_or_else(|| NO_CLASS.to_owned(), |name| python::printable(&name)))
    }

    /// The verdict at the end.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.problems)
    }

    /// Tells of a problem, which counts for the verdict.
    pub fn tell(&mut self, position: u64, what: String) {
        self.tell_problem(&Problem {
            position,
            what,
            lost: None,
        });
    }

    fn tell_problem(&mut self, problem: &Problem) {
        self.problems += 1;
        let Problem {
            position,
            what,
            lost,
        } = problem;
        let lost = lost.as_ref().map_or_else(String::new, |lost| {
            format!("; left out: {} to {}", lost.start, lost.end)
        });
        let line = format!("Damaged at {position}: {what}{lost}");
        match &self.progress {
            Some(progress) => progress.say(&line),
            None => tell(line),
        }
    }
}
