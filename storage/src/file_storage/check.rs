//! Checking all of a file, and going on behind damage: what `fstest` checks,
//! checksums, and where records lead to.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use zeo_proto::{Oid, Tid};

use super::data_file::DataFile;
use super::format::{DataHeader, FIRST, Reader};
use super::index::Index;
use super::resync::{next_transaction, transaction_at};
use super::torn;
use super::walk::Txn;
use super::whole::{Read, read_whole};
use super::window::Window;
use crate::{Error, Result};

/// The file is read by pieces of this from front to back,
const PIECE: usize = 1 << 20;
/// and of this where back-pointers lead to.
const OLD_PIECE: usize = 1 << 12;

/// How often the end of a file in use is looked at before it counts as torn.
const TRIES: usize = 3;
/// The time between that.
const PAUSE: Duration = Duration::from_millis(100);
/// What is to be known of a torn end.
const TORN: &str = ", as a crash leaves it: a server cuts that off when it opens the file";

/// What a check meets, in the order of the file.
#[derive(Debug)]
pub enum Event<'a> {
    /// A record of the transaction that comes next, unless that is damaged.
    Record(u64, &'a DataHeader),
    /// A whole transaction.
    Transaction(&'a Txn),
    /// Something is wrong.
    Problem(Problem),
    /// All up to here was read.
    Progress(u64),
}

/// Something that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub position: u64,
    /// What, in words.
    pub what: String,
    /// The bytes that can't be trusted, if more than a reference is wrong.
    pub lost: Option<Range<u64>>,
}

/// What there is in a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Transactions that are whole.
    pub transactions: u64,
    /// Those of them with a checksum, which holds.
    pub sealed: u64,
    /// Their records.
    pub records: u64,
    /// Their objects.
    pub objects: u64,
    /// How often something was wrong.
    pub problems: u64,
    /// Where the last whole transaction ends.
    pub end: u64,
    /// A server was writing a transaction behind that.
    pub is_growing: bool,
}

/// Checks the file; `watch` hears of all that is met. Takes little more than
/// 8 bytes of memory an object.
///
/// A file without problems opens under Python and here. Wrong are, in the
/// order of severity: transactions that are not whole, or not what their
/// checksum says; tids that do not grow and unknown statuses; records whose
/// previous record or back-pointer is no record of the object. Records that
/// don't lead to a previous one count for nothing: a pack leaves them.
///
/// Fails when the file can't be read.
pub fn check(file: &DataFile, watch: &mut dyn FnMut(Event<'_>)) -> Result<Checked> {
    let reader = file.reader();
    let mut check = Check {
        file,
        window: Window::new(reader, PIECE),
        seen: Seen {
            index: Index::default(),
            old: Window::new(reader, OLD_PIECE),
            lost: Vec::new(),
            problems: Vec::new(),
        },
        records: Vec::new(),
        last: Tid::ZERO,
        found: Checked {
            end: FIRST.min(reader.end),
            ..Checked::default()
        },
        watch,
    };
    if let Err(error) = file.check_magic() {
        check.tell(problem(error)?);
    }
    let mut next = Some(FIRST);
    while let Some(position) = next.filter(|&position| position < reader.end) {
        next = check.transaction(position)?;
        (check.watch)(Event::Progress(position));
    }
    check.found.objects = check.seen.index.len();
    Ok(check.found)
}

struct Check<'a, 'w> {
    file: &'a DataFile,
    window: Window<'a>,
    seen: Seen<'a>,
    /// The records of one transaction.
    records: Vec<(Oid, u64)>,
    last: Tid,
    found: Checked,
    watch: &'w mut dyn FnMut(Event<'_>),
}

impl Check<'_, '_> {
    /// Checks what stands at `position`, and gives where to go on.
    fn transaction(&mut self, position: u64) -> Result<Option<u64>> {
        let mut tries = TRIES;
        loop {
            let (torn, error) = match self.read(position) {
                Ok(Read::Whole { txn, sealed }) => {
                    self.take(&txn, sealed);
                    return Ok(Some(txn.end()));
                }
                Ok(Read::Torn(why)) => (Some(why), self.window.reader().corrupt(position, why)),
                Err(error) => (None, error),
            };
            let problem = problem(error)?;
            if tries == 0 || !self.seen.lost.is_empty() || !self.file.is_in_use() {
                return self.not_whole(position, torn, problem);
            }
            // It may be written at this moment, or be taken back.
            tries -= 1;
            thread::sleep(PAUSE);
            self.window.forget();
        }
    }

    fn read(&mut self, position: u64) -> Result<Read> {
        self.records.clear();
        self.seen.problems.clear();
        let (seen, records, watch) = (&mut self.seen, &mut self.records, &mut self.watch);
        read_whole(&mut self.window, position, &mut |at, header| {
            watch(Event::Record(at, header));
            seen.look_at(at, header);
            records.push((header.oid, at));
        })
    }

    /// Enters a whole transaction.
    fn take(&mut self, txn: &Txn, sealed: bool) {
        let (position, tid) = (txn.position, txn.header.tid);
        let mut wrong = |what| self.seen.problems.push(Problem::new(position, what));
        if tid <= self.last {
            wrong(format!(
                "time-stamp reduction: {tid} is not later than {}",
                self.last
            ));
        }
        if !matches!(txn.header.status, b' ' | b'p' | b'u') {
            wrong(format!(
                "invalid status {:?}",
                char::from(txn.header.status)
            ));
        }
        self.last = tid;
        self.found.transactions += 1;
        self.found.sealed += u64::from(sealed);
        self.found.records += self.records.len() as u64;
        self.found.end = txn.end();
        for (oid, position) in self.records.drain(..) {
            self.seen.index.set(oid, position);
        }
        for problem in std::mem::take(&mut self.seen.problems) {
            self.tell(problem);
        }
        (self.watch)(Event::Transaction(txn));
    }

    /// Judges what is no whole transaction, and gives where to go on, if
    /// there is anything behind it. `torn` tells why it looks as if it was not
    /// written to its end.
    fn not_whole(
        &mut self,
        position: u64,
        torn: Option<&str>,
        mut problem: Problem,
    ) -> Result<Option<u64>> {
        let reader = self.window.reader();
        let is_torn = self.seen.lost.is_empty()
            && match torn::damage(&reader, position, torn, FIRST) {
                Ok(damage) => damage.is_none(),
                // The file became shorter.
                Err(Error::Corrupt { .. }) => true,
                Err(error) => return Err(error),
            };
        let next = match is_torn {
            true => None,
            false => behind(&reader, position)?,
        };
        if next.is_none() && self.file.is_in_use() {
            self.found.is_growing = true;
            return Ok(None);
        }
        if is_torn {
            problem.what.push_str(TORN);
        }
        let lost = position..next.unwrap_or(reader.end);
        self.seen.lost.push(lost.clone());
        problem.lost = Some(lost);
        self.tell(problem);
        Ok(next)
    }

    fn tell(&mut self, problem: Problem) {
        self.found.problems += 1;
        (self.watch)(Event::Problem(problem));
    }
}

/// Where the next transaction begins behind damage at `position`.
fn behind(reader: &Reader<'_>, position: u64) -> Result<Option<u64>> {
    if let Some(damaged) = transaction_at(reader, position)? {
        return Ok(Some(damaged.end()));
    }
    let next = next_transaction(reader, position.saturating_add(1))?;
    Ok(next.map(|txn| txn.position))
}

impl Problem {
    fn new(position: u64, what: String) -> Self {
        Self {
            position,
            what,
            lost: None,
        }
    }
}

/// Damage as a problem; other errors are passed on.
fn problem(error: Error) -> Result<Problem> {
    match error {
        Error::Corrupt { position, what, .. } => Ok(Problem::new(position, what)),
        error => Err(error),
    }
}

/// What a record is checked against.
struct Seen<'a> {
    /// The objects in whole transactions so far.
    index: Index,
    /// Reads records further to the front.
    old: Window<'a>,
    /// What can't be trusted, in order.
    lost: Vec<Range<u64>>,
    /// What is wrong with the records of one transaction.
    problems: Vec<Problem>,
}

impl Seen<'_> {
    fn look_at(&mut self, position: u64, header: &DataHeader) {
        let wrong = self.wrong_prev(header).or_else(|| self.wrong_back(header));
        if let Some(what) = wrong {
            let what = format!("object {}: {what}", header.oid);
            self.problems.push(Problem::new(position, what));
        }
    }

    fn wrong_prev(&self, header: &DataHeader) -> Option<String> {
        let known = self.index.get(header.oid).unwrap_or(0);
        let prev = header.prev;
        let is_lost = |range: &Range<u64>| range.contains(&prev);
        if prev == 0 || prev == known || self.lost.iter().any(is_lost) {
            return None;
        }
        Some(format!(
            "the previous record is said to be at {prev}, and is at {known}"
        ))
    }

    fn wrong_back(&mut self, header: &DataHeader) -> Option<String> {
        if header.back == 0 {
            return None;
        }
        let back = header.back;
        match self.old.header(back) {
            Ok(found) if found.oid == header.oid => None,
            Ok(found) => Some(format!(
                "the back-pointer leads to {back}, to a record of {}",
                found.oid
            )),
            Err(why) => Some(format!("the back-pointer leads to {back}: {why}")),
        }
    }
}
