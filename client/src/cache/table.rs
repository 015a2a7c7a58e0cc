//! A hash table from oids to places that keeps 12 bytes a record, and no oids.
//!
//! A slot is 48 bits of the oid's hash and a [`Place`]. The slots are sorted by their hashes, each
//! stands at its home or behind it (linear probing), and the home grows with the hash: so a look-up
//! ends at the first greater hash, and a table grows in one pass, without the oids.
//! That two oids have the same 48 bits is next to impossible; who reads the record sees whose it is.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use zeo_proto::Oid;

use super::place::Place;

/// Upper 32 bits of the hash; lower 16 and upper 16 of the place; lower 32 of the place.
type Slot = [u32; 3];
const EMPTY: Slot = [0; 3];

/// Which records may be those of an oid.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// As many as there are homes, and behind them what the last homes could not hold.
    slots: Vec<Slot>,
    homes: usize,
    count: usize,
    seeds: RandomState,
}

/// Records that become a table all at once, which takes less than one after the other.
#[derive(Debug, Default)]
pub(super) struct Filling {
    /// In any order.
    slots: Vec<Slot>,
    seeds: RandomState,
}

impl Filling {
    /// Adds a record, beside others of the same oid.
    pub fn push(&mut self, oid: Oid, place: Place) {
        self.slots.push(slot(hash(&self.seeds, oid), place));
    }

    /// The places of all records whose oid has the hash of another one's: those of oids with
    /// several records are among them. In the order of the file.
    pub fn doubles(&mut self) -> Vec<Place> {
        self.slots.sort_unstable();
        let mut doubles = Vec::new();
        for same in self.slots.chunk_by(|a, b| hash_of(a) == hash_of(b)) {
            if same.len() > 1 {
                doubles.extend(same.iter().map(place_of));
            }
        }
        doubles.sort_unstable_by_key(|place| place.offset());
        doubles
    }

    /// The table of those records that are `wanted`.
    pub fn into_table(mut self, wanted: impl Fn(Place) -> bool) -> Table {
        self.slots.sort_unstable();
        self.slots.retain(|slot| wanted(place_of(slot)));
        let mut table = Table {
            seeds: self.seeds,
            count: self.slots.len(),
            ..Table::default()
        };
        table.spread(self.slots.len() * 8 / 7 + 64, self.slots);
        table
    }
}

impl Table {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The places of all records whose oid has this hash: that of the oid, if it is here.
    pub fn find(&self, oid: Oid) -> impl Iterator<Item = Place> {
        let hash = self.hash(oid);
        let slots = self.slots.get(self.home(hash)..).unwrap_or_default();
        slots
            .iter()
            .take_while(move |slot| !is_empty(slot) && hash_of(slot) <= hash)
            .filter(move |slot| hash_of(slot) == hash)
            .map(place_of)
    }

    /// Adds a record, beside others of the same oid.
    pub fn insert(&mut self, oid: Oid, place: Place) {
        if (self.count + 1) * 8 > self.homes * 7 {
            // A quarter larger: 14 to 17 bytes a record.
            self.rebuild((self.homes + self.homes / 4).max(64));
        }
        self.put(slot(self.hash(oid), place));
        self.count += 1;
    }

    /// Removes the record of this oid at an offset; whether it was there.
    pub fn remove(&mut self, oid: Oid, offset: u64) -> bool {
        let hash = self.hash(oid);
        let start = self.home(hash);
        let slots = self.slots.get(start..).unwrap_or_default();
        let found = slots
            .iter()
            .take_while(|slot| !is_empty(slot) && hash_of(slot) <= hash)
            .position(|slot| hash_of(slot) == hash && place_of(slot).offset() == offset);
        let Some(found) = found else {
            return false;
        };
        self.close_gap(start + found);
        self.count -= 1;
        true
    }

    /// Takes what stands behind nearer to its home, until one is at home.
    fn close_gap(&mut self, mut gap: usize) {
        while let Some(&next) = self.slots.get(gap + 1) {
            if is_empty(&next) || self.home(hash_of(&next)) > gap {
                break;
            }
            self.slots[gap] = next;
            gap += 1;
        }
        self.slots[gap] = EMPTY;
    }

    fn put(&mut self, new: Slot) {
        let mut at = self.home(hash_of(&new));
        while self
            .slots
            .get(at)
            .is_some_and(|slot| !is_empty(slot) && hash_of(slot) <= hash_of(&new))
        {
            at += 1;
        }
        let behind = self.slots.get(at..).unwrap_or_default();
        let gap = at + behind.iter().take_while(|slot| !is_empty(slot)).count();
        if gap >= self.slots.len() {
            self.slots.push(EMPTY);
        }
        self.slots.copy_within(at..gap, at + 1);
        self.slots[at] = new;
    }

    fn rebuild(&mut self, homes: usize) {
        let old = std::mem::take(&mut self.slots);
        self.spread(homes, old);
    }

    /// Makes the table of slots in the order of their hashes; empty ones are left out.
    fn spread(&mut self, homes: usize, slots: Vec<Slot>) {
        self.homes = homes;
        self.slots = vec![EMPTY; homes];
        let mut next = 0;
        for slot in slots.into_iter().filter(|slot| !is_empty(slot)) {
            // Each behind the one before.
            let at = self.home(hash_of(&slot)).max(next);
            match self.slots.get_mut(at) {
                Some(room) => *room = slot,
                None => self.slots.push(slot),
            }
            next = at + 1;
        }
    }

    fn hash(&self, oid: Oid) -> u64 {
        hash(&self.seeds, oid)
    }

    fn home(&self, hash: u64) -> usize {
        let homes = self.homes as u64;
        usize::try_from(((hash >> 16) * homes) >> 32).unwrap_or(usize::MAX)
    }
}

fn hash(seeds: &RandomState, oid: Oid) -> u64 {
    seeds.hash_one(oid.as_u64()) >> 16
}

fn slot(hash: u64, place: Place) -> Slot {
    let place = place.to_bits();
    [
        (hash >> 16) as u32,
        (hash as u32) << 16 | (place >> 32) as u32,
        place as u32,
    ]
}

fn is_empty(slot: &Slot) -> bool {
    *slot == EMPTY
}

fn hash_of(slot: &Slot) -> u64 {
    u64::from(slot[0]) << 16 | u64::from(slot[1] >> 16)
}

fn place_of(slot: &Slot) -> Place {
    Place::from_bits(u64::from(slot[1] & 0xffff) << 32 | u64::from(slot[2]))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// The places of each oid, by the table and by a plain map.
    fn agree(table: &Table, model: &BTreeMap<u64, BTreeSet<u64>>) {
        assert_eq!(
            table.len(),
            model.values().map(BTreeSet::len).sum::<usize>()
        );
        for (&oid, offsets) in model {
            let found: BTreeSet<u64> = table.find(Oid::new(oid)).map(Place::offset).collect();
            assert_eq!(&found, offsets);
        }
        let used = table
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| !is_empty(slot));
        let mut before = 0;
        for (at, slot) in used {
            assert!(hash_of(slot) >= before, "sorted");
            before = hash_of(slot);
            let home = table.home(before);
            assert!(home <= at && table.slots[home..at].iter().all(|slot| !is_empty(slot)));
        }
    }

    proptest! {
        #[test]
        fn is_a_map(steps in prop::collection::vec((0_u64..60, 1_u64..4, any::<bool>()), 0..400)) {
            let (mut table, mut model) = (Table::default(), BTreeMap::<u64, BTreeSet<u64>>::new());
            for (oid, offset, adds) in steps {
                let offsets = model.entry(oid).or_default();
                if !adds {
                    prop_assert_eq!(table.remove(Oid::new(oid), offset), offsets.remove(&offset));
                } else if offsets.insert(offset) {
                    table.insert(Oid::new(oid), Place::new(offset, 50));
                }
            }
            agree(&table, &model);
        }
    }

    #[test]
    fn grows_by_a_quarter_and_loses_nothing() {
        let (mut table, mut model) = (Table::default(), BTreeMap::new());
        for oid in 0..20_000 {
            table.insert(Oid::new(oid), Place::new(oid * 100 + 12, 43 + oid));
            model.insert(oid, BTreeSet::from([oid * 100 + 12]));
        }
        agree(&table, &model);
        assert!(table.slots.len() * 12 < 20_000 * 18);
        for oid in (0..20_000).step_by(2) {
            assert!(table.remove(Oid::new(oid), oid * 100 + 12));
            model.remove(&oid);
        }
        agree(&table, &model);
        assert_eq!(table.find(Oid::new(2)).count(), 0);
    }

    #[test]
    fn is_filled_at_once() {
        for count in [0, 1, 2, 1000, 20_000] {
            let (mut filling, mut model) = (Filling::default(), BTreeMap::new());
            for oid in 0..count {
                filling.push(Oid::new(oid), Place::new(oid * 100 + 12, 50));
                model.insert(oid, BTreeSet::from([oid * 100 + 12]));
            }
            assert_eq!(filling.doubles(), []);
            let table = filling.into_table(|_| true);
            agree(&table, &model);
            assert!(table.slots.len() * 12 < count as usize * 14 + 1000);
        }
    }

    #[test]
    fn doubles_are_told() {
        let mut filling = Filling::default();
        for (oid, offset) in [(5, 12), (3, 100), (5, 200), (7, 300), (5, 400), (3, 500)] {
            filling.push(Oid::new(oid), Place::new(offset, 50));
        }
        let offsets: Vec<u64> = filling.doubles().into_iter().map(Place::offset).collect();
        assert_eq!(offsets, [12, 100, 200, 400, 500]);
        let table = filling.into_table(|place| place.offset() != 200);
        assert_eq!((table.len(), table.find(Oid::new(5)).count()), (5, 2));
    }
}
