//! Random operations against the standard library's map; after each, all nodes are looked at.

use std::collections::BTreeMap;

use zeo_proto::Oid;

use super::{Memory, class};
use crate::record::{Record, Value};

/// A generator of numbers that are random enough (xorshift).
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// All that `BTrees.check` looks at, over the records; the keys.
fn check(memory: &Memory, root: Oid) -> Vec<i64> {
    let mut seen = Seen {
        memory,
        leaves: Vec::new(),
        keys: Vec::new(),
    };
    let state = memory.state(root);
    if state.is_none() {
        return Vec::new();
    }
    let parts = state.as_items().unwrap();
    if let [only] = parts {
        let bucket = only.as_items().unwrap()[0].as_items().unwrap();
        assert_eq!(bucket.len(), 1);
        return bucket[0]
            .as_items()
            .unwrap()
            .iter()
            .step_by(2)
            .map(int)
            .collect();
    }
    let first = seen.visit(root, i64::MIN, i64::MAX, true);
    assert_eq!(oid(&parts[1]), first);
    for pair in seen.leaves.windows(2) {
        assert_eq!(pair[0].1, Some(pair[1].0), "next");
    }
    assert_eq!(seen.leaves.last().unwrap().1, None);
    assert!(seen.keys.is_sorted_by(|a, b| a < b));
    seen.keys
}

struct Seen<'m> {
    memory: &'m Memory,
    leaves: Vec<(Oid, Option<Oid>)>,
    keys: Vec<i64>,
}

impl Seen<'_> {
    fn visit(&mut self, node: Oid, low: i64, high: i64, is_root: bool) -> Oid {
        let record = Record::decode(self.memory.records.borrow()[&node].clone()).unwrap();
        let state = record.state.as_items().unwrap();
        let items = state[0].as_items().unwrap();
        if record.class_name().ends_with("Bucket") {
            let keys: Vec<i64> = items.iter().step_by(2).map(int).collect();
            assert!(!keys.is_empty() && keys.len() <= class("IIBTree").leaf_max());
            assert!(keys.iter().all(|key| (low..high).contains(key)));
            self.keys.extend(keys);
            self.leaves.push((node, state.get(1).map(oid)));
            return node;
        }
        let most = class("IIBTree").inner_max() * if is_root { 2 } else { 1 };
        assert!(items.len() / 2 < most);
        let mut first = None;
        for at in (0..items.len()).step_by(2) {
            let low = at.checked_sub(1).map_or(low, |at| int(&items[at]));
            let high = items.get(at + 1).map_or(high, int);
            let leaf = self.visit(oid(&items[at]), low, high, false);
            first.get_or_insert(leaf);
        }
        assert_eq!(Some(oid(&state[1])), first);
        first.unwrap()
    }
}

fn int(value: &Value) -> i64 {
    value.as_int().unwrap()
}

fn oid(value: &Value) -> Oid {
    value.as_reference().unwrap().oid
}

#[test]
fn random_operations() {
    for seed in 1..=6 {
        run(seed, 160, 8);
    }
}

/// Small and large keys spaces, phases of growth and of shrinking.
fn run(seed: u64, steps: u64, most_at_once: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let memory = Memory::default();
    let root = memory.plant("IIBTree");
    let mut model = BTreeMap::new();
    let space = [40, 400, 4000][seed as usize % 3];
    for step in 0..steps {
        let grows = (step / (steps / 4)).is_multiple_of(2);
        for _ in 0..=dice.roll(most_at_once) {
            operate(&mut dice, &memory, root, &mut model, space, grows);
        }
        if dice.roll(40) == 0 {
            memory.commit();
        }
        // In memory, and after a commit.
        let tree = memory.tree(root);
        let low = dice.roll(space) as i64;
        let high = low + dice.roll(space) as i64;
        let some = tree
            .range(low..high)
            .unwrap()
            .map(|item| int(&item.unwrap().0));
        assert!(
            some.eq(model.range(low..high).map(|(key, _)| *key)),
            "seed {seed}"
        );
        let back = tree
            .range_back(..high)
            .unwrap()
            .map(|item| int(&item.unwrap().0));
        assert!(
            back.eq(model.range(..high).rev().map(|(key, _)| *key)),
            "seed {seed}"
        );
        if dice.roll(3) == 0 {
            memory.commit();
            assert_eq!(
                check(&memory, root),
                model.keys().copied().collect::<Vec<_>>()
            );
        }
    }
    memory.commit();
    assert_eq!(
        check(&memory, root),
        model.keys().copied().collect::<Vec<_>>()
    );
}

fn operate(
    dice: &mut Dice,
    memory: &Memory,
    root: Oid,
    model: &mut BTreeMap<i64, i64>,
    space: u64,
    grows: bool,
) {
    let tree = memory.tree(root);
    // Runs of neighbours fill and empty whole buckets.
    let from = dice.roll(space) as i64;
    let run = if dice.roll(10) == 0 {
        dice.roll(space / 2)
    } else {
        1
    };
    let inserts = dice.roll(10) < if grows { 7 } else { 3 };
    for key in from..from + run as i64 {
        let value = dice.roll(1000) as i64;
        let was = if inserts {
            assert_eq!(
                tree.get(key).unwrap().as_ref().map(int),
                model.get(&key).copied()
            );
            (tree.insert(key, value).unwrap(), model.insert(key, value))
        } else {
            (tree.remove(key).unwrap(), model.remove(&key))
        };
        assert_eq!(was.0.as_ref().map(int), was.1);
    }
    if dice.roll(300) == 0 {
        tree.clear().unwrap();
        model.clear();
    }
}

#[test]
fn a_tree_of_three_levels() {
    let memory = Memory::default();
    let root = memory.plant("OOTreeSet");
    let tree = memory.tree(root);
    // 31 keys make two buckets, then each 15 one more: at 500 the tree gets another level.
    for key in 0..7500 {
        tree.add(key).unwrap();
    }
    memory.commit();
    let children = |oid: Oid| {
        let state = memory.state(oid);
        state.as_items().unwrap()[0]
            .as_items()
            .unwrap()
            .len()
            .div_ceil(2)
    };
    assert_eq!(children(root), 499);
    tree.add(7500).unwrap();
    let written = memory.commit();
    assert_eq!(children(root), 2);
    assert_eq!(written.len(), 5, "the tree, two halves, two buckets");
    // All but the last few, from the front and from within.
    for key in (0..7000)
        .step_by(3)
        .chain((0..7000).filter(|key| key % 3 > 0))
    {
        assert!(tree.delete(key).unwrap());
        if key % 1000 == 0 {
            memory.commit();
        }
    }
    memory.commit();
    assert!(tree.keys().map(|key| int(&key.unwrap())).eq(7000..7501));
    for key in (7000..7501).rev() {
        assert!(tree.delete(key).unwrap());
    }
    memory.commit();
    assert!(memory.state(root).is_none());
}
