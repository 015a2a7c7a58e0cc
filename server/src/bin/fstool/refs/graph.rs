//! The current records of a file, and what is wrong with them.
//!
//! An object takes little more than 8 bytes in the index, and 8 in the list of
//! positions, by which records are read in the order of the file.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use zeo_proto::{Oid, Tid};
use zeo_storage::Error;
use zeo_storage::file_storage::format::{DataHeader, Reader};
use zeo_storage::file_storage::index::Index;
use zeo_storage::file_storage::window::Window;
use zeo_storage::record::class_name;
use zeo_storage::references::{references, references_with_classes};

use crate::outcome::Result;

/// How much of the file is read at once.
const PIECE: usize = 1 << 15;
/// How many records a thread takes at once.
const CHUNK: usize = 1 << 10;
/// The object's creation was undone, or it was deleted.
const UNDONE: u64 = 1 << 63;
/// The object can't be read.
const UNREADABLE: u64 = 1 << 62;

/// The current records, by the index of a file.
pub struct Graph<'a> {
    reader: Reader<'a>,
    /// Positions, with marks when all were read.
    index: Index,
    /// All of them, in the order of the file.
    positions: Vec<u64>,
}

/// What all is wrong.
#[derive(Default)]
pub struct Wrong {
    /// The objects that can't be read, and why.
    pub unreadable: Vec<(Oid, String)>,
    /// The objects that refer to what is not there.
    pub referrers: Vec<Referrer>,
    /// How many more of them there are.
    pub hidden: u64,
}

/// An object that refers to what is not there.
pub struct Referrer {
    /// The object.
    pub oid: Oid,
    /// Its class.
    pub class: Option<String>,
    /// The transaction that wrote its current record.
    pub tid: Tid,
    /// Where that is.
    pub position: u64,
    /// What it refers to, with the class that the reference gives.
    pub to: Vec<(Oid, Option<String>, Invalid)>,
}

/// Why a reference is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// There is no such object.
    Missing,
    /// Its current record says that it is gone.
    Undone,
    /// Its current record can't be read.
    Unreadable,
}

impl Invalid {
    /// In the words of fsrefs.
    pub fn words(self) -> &'static str {
        match self {
            Invalid::Missing => "missing",
            Invalid::Undone => "object creation was undone",
            Invalid::Unreadable => "failed to load",
        }
    }
}

/// What one object is.
enum State {
    Good,
    Undone,
    Unreadable(String),
}

/// What a pass over records found.
#[derive(Default)]
struct Pass {
    undone: Vec<Oid>,
    unreadable: Vec<(Oid, String)>,
    /// Positions in the index where no record of the object stands.
    strays: HashSet<u64>,
    /// A reference leads to no object.
    dangling: bool,
}

impl<'a> Graph<'a> {
    /// The records that the index names, all of which `reader` sees.
    pub fn new(reader: Reader<'a>, index: Index) -> Self {
        let mut positions: Vec<u64> = index.iter().map(|(_, position)| position).collect();
        positions.sort_unstable();
        Self {
            reader,
            index,
            positions,
        }
    }

    /// How many objects there are.
    pub fn len(&self) -> u64 {
        self.index.len()
    }

    /// Reads all objects, and again if something is wrong, to see who refers
    /// to it: of these, no more than `most` are given.
    pub fn check(&mut self, most: usize, progress: &mut dyn FnMut(u64)) -> Result<Wrong> {
        let mut found = self.read_all(progress)?;
        self.resolve_strays(&mut found)?;
        self.positions.dedup();
        for &oid in &found.undone {
            self.mark(oid, UNDONE);
        }
        for (oid, _) in &found.unreadable {
            self.mark(*oid, UNREADABLE);
        }
        found.unreadable.sort();
        let mut wrong = Wrong {
            unreadable: found.unreadable,
            ..Wrong::default()
        };
        if found.dangling || !found.undone.is_empty() || !wrong.unreadable.is_empty() {
            self.find_referrers(&mut wrong, most, progress)?;
        }
        self.positions = Vec::new();
        Ok(wrong)
    }

    /// Where the current record of an object stands, if it can be read.
    pub fn position(&self, oid: Oid) -> Option<u64> {
        let word = self.index.get(oid)?;
        (word & (UNDONE | UNREADABLE) == 0).then_some(word)
    }

    /// A window for records here and there.
    pub fn window(&self) -> Window<'a> {
        Window::new(self.reader, PIECE)
    }

    fn mark(&self, oid: Oid, mark: u64) {
        if let Some(position) = self.index.get(oid) {
            self.index.set(oid, position | mark);
        }
    }

    /// Reads every record once, by as many threads as there are processors.
    fn read_all(&self, progress: &mut dyn FnMut(u64)) -> Result<Pass> {
        let next = AtomicUsize::new(0);
        let others = thread::available_parallelism().map_or(0, |count| count.get() - 1);
        thread::scope(|scope| {
            let read = || self.read_some(&next, &mut |_| {});
            let others: Vec<_> = (0..others).map(|_| scope.spawn(read)).collect();
            let mut all = self.read_some(&next, progress)?;
            for other in others {
                // A panic there is one here.
                let found = other
                    .join()
                    .unwrap_or_else(|why| std::panic::resume_unwind(why))?;
                all.undone.extend(found.undone);
                all.unreadable.extend(found.unreadable);
                all.strays.extend(found.strays);
                all.dangling |= found.dangling;
            }
            Ok(all)
        })
    }

    /// Reads chunks of records that nobody else reads.
    fn read_some(&self, next: &AtomicUsize, progress: &mut dyn FnMut(u64)) -> Result<Pass> {
        let mut window = self.window();
        let mut found = Pass::default();
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(rest) = self.positions.get(start..) else {
                return Ok(found);
            };
            let mut before = start.checked_sub(1).and_then(|i| self.positions.get(i));
            for position in rest.iter().take(CHUNK) {
                if before == Some(position) {
                    found.strays.insert(*position);
                } else {
                    self.read(&mut window, *position, &mut found)?;
                }
                before = Some(position);
            }
            progress(before.copied().unwrap_or(0));
        }
    }

    fn read(&self, window: &mut Window<'_>, position: u64, found: &mut Pass) -> Result<()> {
        let header = match damage(window.header(position))? {
            Ok(header) if self.index.get(header.oid) == Some(position) => header,
            _ => {
                found.strays.insert(position);
                return Ok(());
            }
        };
        match self.state(window, position, &header, &mut found.dangling)? {
            State::Good => {}
            State::Undone => found.undone.push(header.oid),
            State::Unreadable(why) => found.unreadable.push((header.oid, why)),
        }
        Ok(())
    }

    fn state(
        &self,
        window: &mut Window<'_>,
        position: u64,
        header: &DataHeader,
        dangling: &mut bool,
    ) -> Result<State> {
        let (at, length) = match damage(window.data_of(position, header))? {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(State::Undone),
            Err(why) => return Ok(State::Unreadable(why)),
        };
        let data = match damage(window.bytes(at, length))? {
            Ok(data) => data,
            Err(why) => return Ok(State::Unreadable(why)),
        };
        match references(data) {
            Ok(found) => {
                *dangling |= found.iter().any(|&oid| self.index.get(oid).is_none());
                Ok(State::Good)
            }
            Err(why) => Ok(State::Unreadable(format!(
                "its record at {position}: {why}"
            ))),
        }
    }

    /// Finds the objects that the index leads to where they are not.
    fn resolve_strays(&self, found: &mut Pass) -> Result<()> {
        if found.strays.is_empty() {
            return Ok(());
        }
        let mut window = self.window();
        let lead_astray = self
            .index
            .iter()
            .filter(|(_, at)| found.strays.contains(at));
        for (oid, position) in lead_astray {
            let why = match damage(window.header(position))? {
                Ok(header) if header.oid == oid => continue,
                Ok(header) => format!(
                    "the index leads to {position}, to a record of object {}",
                    header.oid
                ),
                Err(why) => format!("the index leads to {position}: {why}"),
            };
            found.unreadable.push((oid, why));
        }
        Ok(())
    }

    fn find_referrers(
        &self,
        wrong: &mut Wrong,
        most: usize,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let mut window = self.window();
        for &position in &self.positions {
            let Ok(header) = damage(window.header(position))? else {
                continue;
            };
            if self.position(header.oid) != Some(position) {
                continue;
            }
            let Some((at, length)) = window.data_of(position, &header)? else {
                continue;
            };
            let data = window.bytes(at, length)?;
            let to = self.invalid(data);
            if !to.is_empty() && wrong.referrers.len() < most {
                wrong.referrers.push(Referrer {
                    oid: header.oid,
                    class: class_name(data),
                    tid: header.tid,
                    position,
                    to,
                });
            } else if !to.is_empty() {
                wrong.hidden += 1;
            }
            progress(position);
        }
        Ok(())
    }

    /// The references in a record that lead to nothing, once each.
    fn invalid(&self, data: &[u8]) -> Vec<(Oid, Option<String>, Invalid)> {
        let mut classes = HashMap::new();
        let found = references_with_classes(data).unwrap_or_default();
        for reference in found {
            let invalid = match self.index.get(reference.oid) {
                None => Invalid::Missing,
                Some(word) if word & UNDONE != 0 => Invalid::Undone,
                Some(word) if word & UNREADABLE != 0 => Invalid::Unreadable,
                Some(_) => continue,
            };
            classes.insert(reference.oid, (reference.class, invalid));
        }
        let mut invalid: Vec<_> = classes
            .into_iter()
            .map(|(oid, (class, invalid))| (oid, class, invalid))
            .collect();
        invalid.sort_by_key(|&(oid, ..)| oid);
        invalid
    }
}

/// Damage as a text of its own; other errors are passed on.
fn damage<T>(result: zeo_storage::Result<T>) -> Result<std::result::Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Corrupt { position, what, .. }) => Ok(Err(format!("at {position}: {what}"))),
        Err(error) => Err(error.into()),
    }
}
