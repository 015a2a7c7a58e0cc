use std::collections::BTreeMap;
use std::thread;

use super::*;

/// Numbers around every boundary of the tree, and a few at random.
fn numbers() -> Vec<u64> {
    let mut numbers = vec![0, 1, 63, 64, 65, u64::MAX, u64::MAX - 1];
    for bit in 0..64 {
        let power = 1_u64 << bit;
        numbers.extend([power - 1, power, power + 1]);
    }
    let mut state = 1_u64;
    for _ in 0..500 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        numbers.extend([state, state >> 40]);
    }
    numbers
}

#[test]
fn agrees_with_a_map() {
    let index = Index::default();
    let mut model = BTreeMap::new();
    for (i, &number) in numbers().iter().enumerate() {
        // The second time, some stand far from where they stood.
        for position in [i as u64 + 4, (i as u64 + 4) << (i % 40)] {
            index.set(Oid::new(number), position);
            model.insert(Oid::new(number), position);
        }
    }
    assert_eq!(index.len(), model.len() as u64);
    assert_eq!(index.max_oid(), Some(Oid::MAX));
    assert!(
        index
            .iter()
            .eq(model.iter().map(|(&oid, &position)| (oid, position)))
    );
    for number in numbers() {
        for probe in [number.saturating_sub(1), number, number.saturating_add(1)] {
            let oid = Oid::new(probe);
            assert_eq!(index.get(oid), model.get(&oid).copied());
            let next = model
                .range(oid..)
                .next()
                .map(|(&oid, &position)| (oid, position));
            assert_eq!(index.next_from(oid), next, "from {probe:#x}");
        }
    }
}

#[test]
fn memory_is_that_of_all_nodes() {
    fn walk(node: &Node) -> usize {
        let children = node.children.get();
        let below = children.into_iter().flat_map(|children| children.iter());
        let below = below.filter_map(|child| Some(walk(child.get()?)));
        let own = size_of::<Node>() + node.leaf.memory();
        own + children.map_or(0, |children| size_of_val(&**children)) + below.sum::<usize>()
    }
    let index = Index::default();
    for (i, number) in numbers().into_iter().enumerate() {
        index.set(Oid::new(number), 4 << (i % 45));
    }
    let trees = index
        .trees
        .iter()
        .filter_map(|tree| Some(walk(tree.get()?)));
    let all = size_of::<Index>() + trees.sum::<usize>();
    assert_eq!(index.memory(), all as u64);
}

#[test]
fn random_changes() {
    for seed in 1..=4 {
        let mut state = seed;
        let mut random = |bits: u64| {
            state = xorshift(state);
            state >> (64 - bits.max(1))
        };
        let (index, mut model) = (Index::default(), BTreeMap::new());
        for _ in 0..5_000 {
            // Neighbours near and far apart, huge ones, and a few again and
            // again.
            let bits = [4, 10, 16, 63][random(2) as usize];
            let oid = Oid::new(random(bits));
            let known: Option<u64> = model.get(&oid).copied();
            let position = match (random(2), known) {
                (0, Some(known)) => (known + 1000).min(POSITION_END - 1),
                _ => {
                    let bits = 1 + random(6) % 55;
                    random(bits).max(1)
                }
            };
            assert_eq!(index.get(oid), known);
            index.set(oid, position);
            model.insert(oid, position);
            assert_eq!(index.get(oid), Some(position));
            let from = Oid::new(random(bits));
            let next = model.range(from..).next();
            assert_eq!(index.next_from(from), next.map(|(&oid, &at)| (oid, at)));
        }
        assert_eq!(index.len(), model.len() as u64);
        assert_eq!(index.max_oid(), model.keys().next_back().copied());
        assert!(index.iter().eq(model));
    }
}

fn xorshift(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}

/// Pages and leaves grow below the readers, who find all that was there
/// when they began, and nothing that never was.
#[test]
fn readers_while_it_grows() {
    const OBJECTS: u64 = 30_000;
    // No two are the same: 256 is 1 modulo 5.
    let oid = |number: u64| Oid::new(number << (number % 5 * 8));
    let position = |round: u64, number: u64| round << 38 | (number + 1) << 7 | round;
    let (index, done) = (Index::default(), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..4 {
                for number in 0..OBJECTS {
                    index.set(oid(number), position(round, number));
                    done.fetch_add(1, Ordering::Release);
                }
            }
        });
        let mut state = 1;
        while done.load(Ordering::Acquire) < 3 * OBJECTS {
            state = xorshift(state);
            let (done, number) = (done.load(Ordering::Acquire), state % OBJECTS);
            let least = (done + OBJECTS - 1 - number) / OBJECTS;
            match index.get(oid(number)) {
                None => assert_eq!(least, 0),
                Some(found) => {
                    let round = found % (1 << 7);
                    assert_eq!(found, position(round, number));
                    assert!(round >= least, "{round} after {least}");
                }
            }
        }
    });
    let found = index.iter().map(|(_, position)| position % (1 << 7));
    assert!(found.eq((0..OBJECTS).map(|_| 3)));
}

#[test]
fn empty() {
    let index = Index::default();
    assert!(index.is_empty());
    assert_eq!(index.get(Oid::ZERO), None);
    assert_eq!(index.max_oid(), None);
    assert_eq!(index.next_from(Oid::ZERO), None);
}
