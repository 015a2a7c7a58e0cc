//! Reading a whole file past damage, of which an observer is told, up to where
//! a running server writes.

use zeo_proto::repr;

use super::data_file::DataFile;
use super::transaction_reader::{Problem, Source, Step, TransactionReader};
use crate::file_storage::format::DataHeader;
use crate::file_storage::format::walk::Txn;
use crate::log::Level;
use crate::observer::Observer;
use crate::{Error, Result, record};

/// How much of a record is read to see its class, if that does.
const CLASS_PREFIX_BYTES: u64 = 1 << 12;
/// What stands for a class that can't be told.
pub const NO_CLASS: &str = "<unknown>";

/// A file that is read transaction by transaction, all that is whole of it.
pub struct Reading<'a> {
    /// Where it stands.
    pub transactions: TransactionReader<'a>,
    observer: &'a mut dyn Observer,
    problems: u64,
}

impl<'a> Reading<'a> {
    /// Begins to read. The observer is told how much was read, and what is
    /// damaged.
    ///
    /// # Errors
    ///
    /// `Corrupt` when this is no FileStorage.
    pub fn new(file: &'a DataFile, observer: &'a mut dyn Observer) -> Result<Self> {
        file.check_magic()?;
        observer.begin("reading", Some(file.size()));
        Ok(Self {
            transactions: TransactionReader::new(file),
            observer,
            problems: 0,
        })
    }

    /// The next whole transaction; `None` at the end.
    ///
    /// # Errors
    ///
    /// `Io` when the file can't be read, and `Cancelled`.
    pub fn txn(&mut self) -> Result<Option<Txn>> {
        loop {
            let step = self.transactions.step()?;
            self.observer.set(self.transactions.position())?;
            match step {
                Step::Whole { txn, .. } => return Ok(Some(txn)),
                Step::Damaged(problem) => self.tell_problem(&problem),
                Step::End { .. } => return Ok(None),
            }
        }
    }

    /// Where the data of a record are; `None` when they can't be read, of which
    /// the observer is told.
    ///
    /// # Errors
    ///
    /// `Io` when the file can't be read.
    pub fn source(&mut self, position: u64, header: &DataHeader) -> Result<Option<Source>> {
        match self.transactions.source(position, header) {
            Ok(source) => Ok(Some(source)),
            Err(Error::Corrupt { position, what, .. }) => {
                self.tell(position, format!("object {}: {what}", header.oid));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The dotted class name of the record whose data are there (position and
    /// length), or [`NO_CLASS`].
    ///
    /// # Errors
    ///
    /// `Io` when the file can't be read.
    pub fn class(&mut self, data: (u64, u64)) -> Result<String> {
        let prefix = self.transactions.data(data, Some(CLASS_PREFIX_BYTES))?;
        let mut name = record::class_name(prefix);
        if name.is_none() && data.1 > CLASS_PREFIX_BYTES {
            name = record::class_name(self.transactions.data(data, None)?);
        }
        Ok(name.map_or_else(|| NO_CLASS.to_owned(), |name| repr::printable(&name)))
    }

    /// How often something was wrong so far.
    pub fn problems(&self) -> u64 {
        self.problems
    }

    /// Tells of a problem, which counts.
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
        self.observer.say(Level::Warning, &line);
    }
}
