//! What single operations do.

use zeo_proto::Oid;

use super::super::Error;
use super::Memory;
use crate::record::Value;

fn ints(ints: impl IntoIterator<Item = i64>) -> Value {
    Value::tuple(ints.into_iter().map(Value::Int))
}

/// The oids that a state refers to, in order.
fn references(state: &Value) -> Vec<u64> {
    match state {
        Value::Tuple(items) => items.iter().flat_map(references).collect(),
        Value::Reference(reference) => vec![reference.oid.as_u64()],
        _ => Vec::new(),
    }
}

#[test]
fn a_tree_of_one_bucket_is_one_record() {
    let memory = Memory::default();
    let oid = memory.plant("IIBTree");
    assert!(memory.state(oid).is_none());
    let tree = memory.tree(oid);
    assert_eq!(tree.insert(2, 20).unwrap(), None);
    assert_eq!(tree.insert(1, 10).unwrap(), None);
    assert_eq!(tree.insert(2, 21).unwrap(), Some(Value::Int(20)));
    assert_eq!(memory.commit(), [oid]);
    let bucket = Value::tuple([ints([1, 10, 2, 21])]);
    assert_eq!(memory.state(oid), Value::tuple([Value::tuple([bucket])]));
    // Nothing is written where nothing changes, but the tree is checked.
    assert_eq!(tree.insert(2, 21).unwrap(), Some(Value::Int(21)));
    assert!(!tree.insert_new(1, 5).unwrap());
    assert!(memory.checked.borrow().contains(&oid));
    assert!(memory.commit().is_empty());
    // Emptied.
    assert_eq!(tree.remove(1).unwrap(), Some(Value::Int(10)));
    assert!(tree.delete(2).unwrap() && !tree.delete(2).unwrap());
    memory.commit();
    assert!(memory.state(oid).is_none() && tree.is_empty().unwrap());
}

#[test]
fn splits_have_the_sizes_of_python() {
    let memory = Memory::default();
    let oid = memory.plant("OOBTree");
    let tree = memory.tree(oid);
    for key in 0..31 {
        tree.insert(key, "x").unwrap();
    }
    let written = memory.commit();
    assert_eq!(written.len(), 3, "the tree and two buckets");
    let lengths = |tree: Oid| -> Vec<usize> {
        let children = references(&memory.state(tree));
        let length = |&child: &u64| match memory.state(Oid::new(child)) {
            Value::Tuple(parts) => parts[0].as_items().unwrap().len() / 2,
            _ => panic!(),
        };
        let buckets = children.split_last().unwrap().1;
        buckets.iter().map(length).collect()
    };
    assert_eq!(lengths(oid), [15, 16]);
    let state = memory.state(oid);
    let refs = references(&state);
    assert_eq!(refs.first(), refs.last(), "the first bucket again");
    for key in 31..46 {
        tree.insert(key, "x").unwrap();
    }
    memory.commit();
    assert_eq!(lengths(oid), [15, 15, 16]);
    // A separator that goes is replaced by the smallest key.
    tree.delete(15).unwrap();
    memory.commit();
    let state = memory.state(oid);
    let parts = state.as_items().unwrap();
    assert_eq!(parts[0].as_items().unwrap()[1], Value::Int(16));
    assert_eq!(lengths(oid), [15, 14, 16]);
}

#[test]
fn an_emptied_bucket_is_unlinked_and_written() {
    let memory = Memory::default();
    let oid = memory.plant("IIBTree");
    let tree = memory.tree(oid);
    for key in 0..200 {
        tree.insert(key, key).unwrap();
    }
    memory.commit();
    let children = references(&memory.state(oid));
    let &[first, second, third, _] = &children[..] else {
        panic!("{children:?}");
    };
    for key in 60..120 {
        assert!(tree.delete(key).unwrap());
    }
    let mut written = memory.commit();
    written.sort();
    let expected = [oid.as_u64(), first, second].map(Oid::new);
    assert_eq!(written, expected);
    assert_eq!(references(&memory.state(oid)), [first, third, first]);
    assert_eq!(references(&memory.state(Oid::new(first))), [third]);
    let removed = memory.state(Oid::new(second));
    assert_eq!(removed.as_items().unwrap()[0], Value::tuple([]));
    assert_eq!(references(&removed), [third]);
    // One bucket with an oid is not taken into the tree.
    for key in 0..60 {
        tree.delete(key).unwrap();
    }
    memory.commit();
    assert_eq!(references(&memory.state(oid)), [third, third]);
    let left: Vec<_> = tree
        .keys()
        .map(|key| key.unwrap().as_int().unwrap())
        .collect();
    assert!(left.into_iter().eq(120..200));
}

#[test]
fn buckets_that_come_and_go_in_one_transaction_are_not_written() {
    let memory = Memory::default();
    let oid = memory.plant("IITreeSet");
    let tree = memory.tree(oid);
    for key in 0..300 {
        assert!(tree.add(key).unwrap());
    }
    for key in 0..295 {
        assert!(tree.delete(key).unwrap());
    }
    assert_eq!(memory.commit(), [oid]);
    let set = Value::tuple([ints(295..300)]);
    assert_eq!(memory.state(oid), Value::tuple([Value::tuple([set])]));
}

#[test]
fn ranges() {
    let memory = Memory::default();
    let oid = memory.plant("OOBTree");
    let tree = memory.tree(oid);
    for key in (0..1000).step_by(2) {
        tree.insert(format!("{key:04}"), key).unwrap();
    }
    memory.commit();
    let values = |items: super::super::Items<'_, '_>| -> Vec<i64> {
        items
            .map(|item| item.unwrap().1.as_int().unwrap())
            .collect()
    };
    assert_eq!(values(tree.range("0010".."0014").unwrap()), [10, 12]);
    assert_eq!(values(tree.range("0010"..="0014").unwrap()), [10, 12, 14]);
    assert_eq!(values(tree.range("0009".."0013").unwrap()), [10, 12]);
    assert_eq!(values(tree.range_back("0009".."0013").unwrap()), [12, 10]);
    assert_eq!(values(tree.range("0996"..).unwrap()), [996, 998]);
    assert_eq!(values(tree.range(.."0003").unwrap()), [0, 2]);
    assert!(values(tree.range("0014".."0010").unwrap()).is_empty());
    use std::ops::Bound::{Excluded, Included};
    let both = (Excluded("0010"), Excluded("0014"));
    assert_eq!(values(tree.range::<&str>(both).unwrap()), [12]);
    assert_eq!(
        values(
            tree.range::<&str>((Excluded("0010"), Included("0014")))
                .unwrap()
        ),
        [12, 14]
    );
    assert_eq!(tree.first().unwrap().unwrap().1, Value::Int(0));
    assert_eq!(tree.last().unwrap().unwrap().1, Value::Int(998));
    assert_eq!(tree.len().unwrap(), 500);
    let back = values(tree.range_back::<&str>(..).unwrap());
    assert!(back.into_iter().rev().eq((0..1000).step_by(2)));
}

#[test]
fn a_walk_asks_for_what_comes_once() {
    let memory = Memory::default();
    let oid = memory.plant("IOBTree");
    let tree = memory.tree(oid);
    for key in 0..50_000 {
        tree.insert(key, key).unwrap();
    }
    memory.commit();
    let records = memory.records.borrow().len();
    memory.reads.set(0);
    tree.first().unwrap();
    assert!(memory.prefetched.borrow().is_empty(), "for one item");
    assert!(memory.reads.get() < 4);
    memory.forest.borrow_mut().clear();
    memory.reads.set(0);
    assert_eq!(tree.iter().count(), 50_000);
    assert_eq!(memory.reads.get(), records);
    let mut asked = memory.prefetched.borrow().clone();
    let all = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), all, "each once");
    assert!(all > records - 10, "{all} of {records}");
}

#[test]
fn keys_and_values_of_wrong_types() {
    let memory = Memory::default();
    let check = |name: &str, key: Value, value: Value, text: &str| {
        let oid = memory.plant(name);
        let error = memory.tree(oid).insert(key, value).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(memory.commit().is_empty());
    };
    let int = || Value::Int(1);
    check(
        "IIBTree",
        Value::Int(1 << 31),
        int(),
        "2147483648 can't be a key of IIBTree",
    );
    check(
        "IIBTree",
        "1".into(),
        int(),
        "integers from -2147483648 to 2147483647",
    );
    check("UUBTree", Value::Int(-1), int(), "from 0 to 4294967295");
    check(
        "IUBTree",
        int(),
        Value::Int(1 << 32),
        "can't be a value of IUBTree",
    );
    check("LFBTree", int(), "1.0".into(), "it takes floats");
    check(
        "OOBTree",
        Value::Float(f64::NAN),
        int(),
        "not equal to itself",
    );
    check(
        "OOBTree",
        Value::Dict(Default::default()),
        int(),
        "have no order",
    );
    check(
        "fsBTree",
        Value::Bytes("abc".into()),
        int(),
        "bytes of length 2",
    );
    let oid = memory.plant("OOBTree");
    let tree = memory.tree(oid);
    tree.insert("a", 1).unwrap();
    let error = tree.insert(1, 1).unwrap_err();
    assert!(matches!(error, Error::NoOrder { .. }), "{error}");
    assert!(matches!(tree.add("b"), Err(Error::NeedsValues { .. })));
    tree.insert(Value::None, 0).unwrap();
    assert!(
        tree.first().unwrap().unwrap().0.is_none(),
        "None comes first"
    );
    // One number in several types is one key.
    let oid = memory.plant("OITreeSet");
    let set = memory.tree(oid);
    assert!(set.add(1).unwrap() && !set.add(1.0).unwrap() && !set.add(true).unwrap());
    assert!(matches!(set.insert(1, 1), Err(Error::NoValues { .. })));
    assert!(matches!(set.get(1), Err(Error::NoValues { .. })));
}

#[test]
fn floats_are_of_single_precision() {
    let memory = Memory::default();
    let oid = memory.plant("IFBTree");
    let tree = memory.tree(oid);
    tree.insert(1, 0.1).unwrap();
    assert_eq!(tree.get(1).unwrap(), Some(Value::Float(f64::from(0.1_f32))));
    memory.commit();
    tree.insert(1, 0.1).unwrap();
    assert!(memory.commit().is_empty(), "the same number");
}

#[test]
fn a_walk_ends_when_keys_change() {
    let memory = Memory::default();
    let (oid, other) = (memory.plant("IIBTree"), memory.plant("IIBTree"));
    let (tree, other) = (memory.tree(oid), memory.tree(other));
    for key in 0..1000 {
        tree.insert(key, 0).unwrap();
    }
    memory.commit();
    // Another tree, values of this one, and a savepoint between are all right.
    for key in tree.keys() {
        let key = key.unwrap();
        other.insert(key.clone(), 1).unwrap();
        tree.insert(key.clone(), 1).unwrap();
        if key == Value::Int(500) {
            memory.commit();
        }
    }
    assert!(tree.values().all(|value| value.unwrap() == Value::Int(1)));
    let mut keys = tree.keys();
    keys.next().unwrap().unwrap();
    tree.delete(999).unwrap();
    let error = keys.find_map(Result::err);
    assert!(matches!(error, Some(Error::Changed { .. })), "{error:?}");
    assert!(keys.next().is_none());
}

#[test]
fn a_bucket_alone() {
    let memory = Memory::default();
    let oid = memory.plant("OOBucket");
    let bucket = memory.tree(oid);
    for key in 0..100 {
        bucket.insert(key, 0).unwrap();
    }
    memory.commit();
    assert_eq!(memory.records.borrow().len(), 1, "it is never split");
    assert!(memory.checked.borrow().is_empty());
    assert_eq!(bucket.range(10..20).unwrap().count(), 10);
    bucket.clear().unwrap();
    memory.commit();
    assert_eq!(memory.state(oid), Value::tuple([Value::tuple([])]));
}

#[test]
fn what_was_only_read_is_forgotten() {
    let memory = Memory::default();
    let small: Vec<Oid> = (0..6000).map(|_| memory.plant("OOBTree")).collect();
    for &oid in &small {
        memory.tree(oid).insert("a", 1).unwrap();
    }
    assert_eq!(memory.forest.borrow().len(), 12_000, "changes are kept");
    memory.commit();
    memory.tree(small[0]).insert("b", 2).unwrap();
    for &oid in &small {
        assert_eq!(memory.tree(oid).get("a").unwrap(), Some(Value::Int(1)));
        assert!(memory.forest.borrow().len() < 3000);
    }
    assert_eq!(memory.commit(), [small[0]]);
}
