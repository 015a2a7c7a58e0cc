//! Where the record of each object stood at the pack time.
//!
//! For most objects it is where the storage's index leads to, so a pack needs
//! no index of its own: it only notes the objects that have records behind
//! the pack time (in the file as it was when the pack began, or written since),
//! and those that are gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use zeo_proto::Oid;

use crate::file_storage::format::Reader;
use crate::file_storage::read::generation::Generation;
use crate::packing::marks::{Mark, Marks};
use crate::{Error, Result};

/// The object has no record before the pack time. (No record stands there.)
const NONE: u64 = 1;

/// How many neighbouring objects are noted together: changes come alone, new objects in
/// a row.
const GROUP_OBJECTS: usize = 8;

/// Positions of some objects: 13 bytes each, or 100 where they are alone.
#[derive(Default)]
struct Changed {
    groups: BTreeMap<u64, [u64; GROUP_OBJECTS]>,
}

impl Changed {
    fn place(oid: Oid) -> (u64, usize) {
        let number = oid.as_u64();
        (
            number / GROUP_OBJECTS as u64,
            number as usize % GROUP_OBJECTS,
        )
    }

    fn get(&self, oid: Oid) -> Option<u64> {
        let (group, number) = Self::place(oid);
        let position = self.groups.get(&group)?[number];
        (position != 0).then_some(position)
    }

    fn set(&mut self, oid: Oid, position: u64) {
        let (group, number) = Self::place(oid);
        self.groups.entry(group).or_default()[number] = position;
    }
}

/// The objects of the file that is packed.
pub(super) struct Objects {
    old: Arc<Generation>,
    /// The file as it was when the pack began: up to where the index knew
    /// every record.
    end: u64,
    /// The last records before the pack time of objects that have others
    /// behind it.
    changed: Changed,
    /// What is noted of them.
    pub marks: Marks,
}

impl Objects {
    /// The objects of this file. Up to the pack time all records must be met
    /// before others may be asked for, and before that those behind it be
    /// noted.
    pub fn new(old: Arc<Generation>) -> Self {
        Self {
            end: old.indexed(),
            old,
            changed: Changed::default(),
            marks: Marks::default(),
        }
    }

    /// Reads the file as it was when the pack began.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            backend: &*self.old.backend,
            end: self.end,
        }
    }

    /// Notes that the object has a record behind the pack time.
    pub fn changed(&mut self, oid: Oid) {
        self.changed.set(oid, NONE);
    }

    /// Notes a record before the pack time; records come in the order of the
    /// file. Fails when the index leads to an older one.
    pub fn met(&mut self, oid: Oid, position: u64, is_gone: bool) -> Result<()> {
        let current = self.old.index.get(oid).unwrap_or(0);
        if self.changed.get(oid).is_some() || current >= self.end {
            let last = if is_gone { NONE } else { position };
            self.changed.set(oid, last);
            self.marks.clear(oid, Mark::Waiting);
        } else if position < current {
            self.marks.set(oid, Mark::Waiting);
        } else if position == current {
            self.marks.clear(oid, Mark::Waiting);
            if is_gone {
                self.marks.set(oid, Mark::Gone);
            }
        } else {
            return Err(self.wrong_index(oid, current));
        }
        Ok(())
    }

    /// Fails unless the record to which the index leads was met of each
    /// object of which another one was.
    pub fn all_met(&self) -> Result<()> {
        match self.marks.next_from(Oid::ZERO, Mark::Waiting) {
            None => Ok(()),
            Some(oid) => Err(self.wrong_index(oid, self.old.index.get(oid).unwrap_or(0))),
        }
    }

    /// Where the object's record at the pack time stands; `None` when there
    /// was none, or the object was gone.
    pub fn get(&mut self, oid: Oid) -> Result<Option<u64>> {
        if let Some(position) = self.changed.get(oid) {
            return Ok((position != NONE).then_some(position));
        }
        let Some(current) = self.old.index.get(oid) else {
            return Ok(None);
        };
        let found = if current < self.end {
            Some(current)
        } else {
            // It is asked for again and again while the object changes.
            let found = self.old.before(oid, current, self.end)?;
            let found = found.filter(|_| !self.marks.has(oid, Mark::Gone));
            self.changed.set(oid, found.unwrap_or(NONE));
            found
        };
        Ok(found.filter(|_| !self.marks.has(oid, Mark::Gone)))
    }

    /// True when there was no object at the pack time.
    pub fn is_empty(&mut self) -> Result<bool> {
        let old = Arc::clone(&self.old);
        for (oid, _) in old.index.iter() {
            if self.get(oid)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives back the memory, when nothing will be asked any more.
    pub fn forget(&mut self) {
        self.changed = Changed::default();
        self.marks = Marks::default();
    }

    fn wrong_index(&self, oid: Oid, position: u64) -> Error {
        let what = format!(
            "the index points here for object {oid}, but this is not its last record: stop the \
             server, remove the .index file, and start it again"
        );
        self.reader().corrupt(position, what)
    }
}
