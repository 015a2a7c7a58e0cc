//! Following references.

use zeo_proto::Oid;

use super::objects::Objects;
use crate::file_storage::format::window::Window;
use crate::packing::marks::Mark;
use crate::packing::watch::Watch;
use crate::references::references;
use crate::{Error, Result};

/// How many objects that are found and not yet read have room in a list, or
/// one for so many objects; others wait by their marks. (Few in tests, so
/// that some do.)
const WAVE_MIN: usize = if cfg!(test) { 3 } else { 1 << 12 };
const WAVE_PART: u64 = 256;
/// How many objects there are between two looks at the watch.
const LOOK_EVERY_OBJECTS: u64 = 1 << 12;

/// Which objects are garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collect {
    /// None.
    Nothing,
    /// Objects that can't be reached at the pack time.
    AsOfPackTime,
    /// As `AsOfPackTime`, without objects to which any later record refers.
    AsOfNow,
}

/// Marks what can be reached.
pub(super) struct Marking<'a> {
    window: Window<'a>,
    /// With `AsOfNow`, a reference to what is not there is no error.
    pub collect: Collect,
    /// The greatest length of a wave.
    room: usize,
    /// The number of waiting objects.
    waiting: u64,
    /// Where to continue looking for waiting objects.
    looked_to: Oid,
    /// How many objects were found to be reachable.
    pub found: u64,
    /// What their records take, at least.
    pub bytes: u64,
}

impl<'a> Marking<'a> {
    /// Nothing is marked yet, of so many objects.
    pub fn new(window: Window<'a>, collect: Collect, objects: u64) -> Self {
        Self {
            window,
            collect,
            room: WAVE_MIN.max(usize::try_from(objects / WAVE_PART).unwrap_or(WAVE_MIN)),
            waiting: 0,
            looked_to: Oid::ZERO,
            found: 0,
            bytes: 0,
        }
    }

    /// Marks what can be reached from these objects, each with the position
    /// of the record that refers to it. Reads in waves, each by position, so
    /// that the disk is read in one direction.
    pub fn follow(
        &mut self,
        objects: &mut Objects,
        roots: Vec<(Oid, Option<u64>)>,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let (mut wave, mut next) = (Vec::new(), Vec::new());
        for (oid, from) in roots {
            self.reach(objects, oid, from, &mut wave)?;
        }
        while !wave.is_empty() {
            wave.sort_unstable();
            for position in wave.drain(..) {
                for oid in self.references(position)? {
                    self.reach(objects, oid, Some(position), &mut next)?;
                }
                self.found += 1;
                if self.found.is_multiple_of(LOOK_EVERY_OBJECTS) {
                    watch.objects("following references", self.found)?;
                }
            }
            if next.is_empty() {
                self.take_waiting(objects, &mut next)?;
            }
            std::mem::swap(&mut wave, &mut next);
        }
        Ok(())
    }

    /// Marks what can be reached from what these records refer to.
    pub fn follow_records(
        &mut self,
        objects: &mut Objects,
        records: Vec<u64>,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        for position in records {
            let refs = self.references(position)?;
            let roots = refs.into_iter().map(|oid| (oid, Some(position)));
            self.follow(objects, roots.collect(), watch)?;
        }
        Ok(())
    }

    fn reach(
        &mut self,
        objects: &mut Objects,
        oid: Oid,
        from: Option<u64>,
        wave: &mut Vec<u64>,
    ) -> Result<()> {
        if objects.marks.has(oid, Mark::Reachable) {
            return Ok(());
        }
        let Some(position) = objects.get(oid)? else {
            return match self.collect {
                // It may have been stored after the pack time.
                Collect::AsOfNow => Ok(()),
                _ => Err(self.missing(oid, from)),
            };
        };
        objects.marks.set(oid, Mark::Reachable);
        if wave.len() < self.room {
            wave.push(position);
        } else {
            objects.marks.set(oid, Mark::Waiting);
            self.waiting += 1;
        }
        Ok(())
    }

    /// Takes objects that wait, in the order of oids from where it was left,
    /// round and round.
    fn take_waiting(&mut self, objects: &mut Objects, wave: &mut Vec<u64>) -> Result<()> {
        while self.waiting > 0 && wave.len() < self.room {
            let Some(oid) = objects.marks.next_from(self.looked_to, Mark::Waiting) else {
                self.looked_to = Oid::ZERO;
                continue;
            };
            objects.marks.clear(oid, Mark::Waiting);
            wave.extend(objects.get(oid)?);
            self.waiting -= 1;
            self.looked_to = Oid::new(oid.as_u64().wrapping_add(1));
        }
        Ok(())
    }

    fn missing(&self, oid: Oid, from: Option<u64>) -> Error {
        let file = self.window.reader().backend.path().to_owned();
        Error::Dangling { file, oid, from }
    }

    /// True when the record at `position` says that its object is gone, by
    /// itself or over back-pointers.
    pub fn is_gone(&mut self, position: u64) -> Result<bool> {
        let header = self.window.header(position)?;
        Ok(self.window.data_of(position, &header)?.is_none())
    }

    /// The objects that the record at `position` refers to.
    pub fn references(&mut self, position: u64) -> Result<Vec<Oid>> {
        let header = self.window.header(position)?;
        let Some((at, length)) = self.window.data_of(position, &header)? else {
            return Ok(Vec::new());
        };
        self.bytes = self.bytes.saturating_add(length);
        let found = references(self.window.bytes(at, length)?);
        found.map_err(|why| {
            let what = format!("the record of object {} can't be read: {why}", header.oid);
            self.window.reader().corrupt(position, what)
        })
    }
}
