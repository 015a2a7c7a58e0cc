//! Dangling references in a file, and objects that can't be read (ZODB's
//! `fsrefs`).

mod graph;
mod objects;
mod path;
mod referrers;

use std::collections::{HashMap, HashSet};

use zeo_proto::Oid;

use self::graph::Graph;
pub use self::graph::Invalid;
pub use self::path::ObjectPath;
use self::path::paths_from_root;
use self::referrers::find;
pub use self::referrers::{RefProblems, Referrer};
use super::data_file::DataFile;
use super::reading::Reading;
use crate::file_storage::format::Reader;
use crate::file_storage::index::Index;
use crate::log::Log;
use crate::observer::Observer;
use crate::{Error, Result};

/// What was found.
#[non_exhaustive]
pub struct Refs {
    /// How many objects there are.
    pub objects: u64,
    /// How often something in the file was damaged, so that objects may be
    /// missing.
    pub damages: u64,
    /// What is wrong with the objects.
    pub problems: RefProblems,
    /// The paths from the root to the objects in `problems`; none to those that
    /// can't be reached.
    pub paths: HashMap<Oid, ObjectPath>,
}

/// Reads the current record of every object, and finds those that can't be
/// read, and those that refer to what is missing, undone or can't be read. No
/// more than `most` of either are given.
///
/// Reads the file and its `.index`, and writes nothing. From a damaged file,
/// takes the transactions that are whole; `observer` is told what is not. `log`
/// hears of what is odd in the file. Takes at most 20 bytes of memory an object,
/// and as much again if something is wrong.
///
/// # Errors
///
/// `Corrupt` when this is no FileStorage, `Io` when it can't be read, and
/// `Cancelled`.
pub fn check_refs(
    file: &DataFile,
    most: usize,
    log: &Log,
    observer: &mut dyn Observer,
) -> Result<Refs> {
    let (index, end, damages) = index(file, log, observer)?;
    let reader = Reader {
        end,
        ..file.reader()
    };
    let mut graph = Graph::new(reader, index);
    observer.begin("reading objects", Some(end));
    let problems = find(&mut graph, most, observer)?;
    let unreadable = problems.unreadable.iter().map(|(oid, _)| *oid);
    let targets: HashSet<Oid> = unreadable
        .chain(problems.referrers.iter().map(|from| from.oid))
        .collect();
    let paths = if targets.is_empty() {
        HashMap::new()
    } else {
        observer.begin("finding paths from the root", None);
        paths_from_root(&graph, &targets, observer)?
    };
    Ok(Refs {
        objects: graph.len(),
        damages,
        problems,
        paths,
    })
}

/// Where current records stand, where the file ends, and how often it is
/// damaged.
fn index(file: &DataFile, log: &Log, observer: &mut dyn Observer) -> Result<(Index, u64, u64)> {
    match file.index(log, observer) {
        Ok(found) => return Ok((found.index, found.end, 0)),
        Err(Error::Corrupt { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut reading = Reading::new(file, observer)?;
    let index = Index::default();
    while reading.txn()?.is_some() {
        while let Some((position, header)) = reading.transactions.record()? {
            index.set(header.oid, position);
        }
    }
    Ok((index, file.size(), reading.problems()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_storage::commit::pending::Payload;
    use crate::testing::Cancelling;
    use crate::testing::files::{Builder, memory};

    /// An object of class `C` that refers to another one.
    fn referring(to: u64) -> Payload {
        let oid = to.to_be_bytes();
        let reference = [&b"C\x08"[..], &oid, b"cm\nC\n\x86Q."].concat();
        Payload::Data([&b"cm\nC\n."[..], &reference].concat())
    }

    fn file() -> DataFile {
        let mut file = Builder::new();
        for oid in 0..5 {
            file.txn(oid + 1, b' ', &[(oid, 0, referring(oid + 1))]);
        }
        DataFile::over(memory(&file.bytes)).unwrap()
    }

    #[test]
    fn finds_who_refers_to_nothing_and_the_way_there() {
        let found = check_refs(&file(), 10, &crate::log::silent(), &mut ()).unwrap();
        assert_eq!((found.objects, found.damages), (5, 0));
        let [referrer] = &found.problems.referrers[..] else {
            panic!("{} referrers", found.problems.referrers.len());
        };
        assert_eq!(referrer.oid, Oid::new(4));
        assert_eq!(referrer.to[&Oid::new(5)].1, Invalid::Missing);
        assert_eq!(found.paths[&Oid::new(4)].begin.len(), 5);
    }

    #[test]
    fn each_call_can_cancel() {
        let mut observer = Cancelling::default();
        for calls in 0.. {
            observer = Cancelling::after(calls);
            match check_refs(&file(), 10, &crate::log::silent(), &mut observer) {
                Ok(_) => break,
                Err(error) => assert!(matches!(error, Error::Cancelled), "{error}"),
            }
        }
        assert_eq!(observer.heard.len(), 3, "{:?}", observer.heard);
    }
}
