//! Nodes that BTrees never write: errors that name the node, and nothing changed.

use zeo_proto::Oid;

use super::super::{Error, Result};
use super::{Memory, class};
use crate::record::{Class, Reference, Value};

fn refers(oid: u64, name: &str) -> Value {
    let class = Class::new(class("IIBTree").module(), name);
    Value::Reference(Box::new(Reference::new(Oid::new(oid), Some(class))))
}

fn bucket(oid: u64) -> Value {
    refers(oid, "IIBucket")
}

fn tree(oid: u64) -> Value {
    refers(oid, "IIBTree")
}

fn ints(ints: &[i64]) -> Value {
    Value::tuple(ints.iter().copied().map(Value::Int))
}

fn tuple<const N: usize>(items: [Value; N]) -> Value {
    Value::tuple(items)
}

/// A sound tree (1) of three buckets (2, 3, 4), of which a test spoils some.
fn sound() -> Memory {
    let memory = Memory::default();
    let children = tuple([
        bucket(2),
        Value::Int(10),
        bucket(3),
        Value::Int(20),
        bucket(4),
    ]);
    memory.put(1, "IIBTree", tuple([children, bucket(2)]));
    memory.put(2, "IIBucket", tuple([ints(&[1, 0, 2, 0]), bucket(3)]));
    memory.put(3, "IIBucket", tuple([ints(&[10, 0]), bucket(4)]));
    memory.put(4, "IIBucket", tuple([ints(&[20, 0, 21, 0])]));
    memory
}

/// What each operation says; those that write must not.
fn outcomes(memory: &Memory) -> Vec<String> {
    let before = memory.records.borrow().clone();
    let tree = match super::Tree::open(memory, &memory.forest, Oid::new(1)) {
        Ok(tree) => tree,
        Err(error) => return vec![error.to_string()],
    };
    let mut found = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
            found.push(error.to_string());
            assert!(memory.commit().is_empty(), "{error}");
            assert_eq!(*memory.records.borrow(), before);
        }
        memory.forest.borrow_mut().clear();
        memory.checked.borrow_mut().clear();
    };
    note(tree.iter().try_for_each(|item| item.map(|_| ())));
    note(
        tree.range_back::<i64>(..)
            .unwrap()
            .try_for_each(|item| item.map(|_| ())),
    );
    note(tree.get(10).map(|_| ()));
    note(tree.insert(11, 0).map(|_| ()));
    note(tree.delete(10).map(|_| ()));
    found
}

#[test]
fn a_sound_tree() {
    assert_eq!(outcomes(&sound()), [""; 0]);
}

/// Spoils the sound tree: how many of five operations fail at least, and what is said.
fn spoiled(spoil: impl FnOnce(&Memory), fails: usize, text: &str) {
    let memory = sound();
    spoil(&memory);
    let found = outcomes(&memory);
    assert!(found.len() >= fails, "{text}: {found:?}");
    assert!(
        found.iter().any(|error| error.contains(text)),
        "{text}: {found:?}"
    );
}

#[test]
fn buckets() {
    let spoil = |state: Value, fails, text| {
        spoiled(|memory| memory.put(3, "IIBucket", state), fails, text);
    };
    spoil(
        tuple([ints(&[10, 0, 11]), bucket(4)]),
        5,
        "its last key has no value",
    );
    spoil(tuple([ints(&[10, 0, 10, 1]), bucket(4)]), 5, "not in order");
    spoil(tuple([ints(&[11, 0, 10, 1]), bucket(4)]), 5, "not in order");
    spoil(
        tuple([tuple(["a".into(), Value::Int(1)]), bucket(4)]),
        5,
        "it holds text",
    );
    spoil(
        tuple([ints(&[10, 0]), Value::None]),
        5,
        "it has None for a child",
    );
    spoil(
        tuple([ints(&[10, 0]), tree(1)]),
        5,
        "its next leaf is no leaf",
    );
    spoil(tuple([Value::List(vec![])]), 5, "none of a bucket");
    spoil(Value::None, 5, "none of a bucket");
    spoil(tuple([ints(&[])]), 5, "it is empty");
    spoil(
        tuple([ints(&[9, 0]), bucket(4)]),
        3,
        "too small for its place",
    );
    spoil(
        tuple([ints(&[10, 0, 20, 0]), bucket(4)]),
        2,
        "too large for its place",
    );
    // Rings, and leaves that are left out.
    spoil(tuple([ints(&[10, 0]), bucket(2)]), 2, "for its next one");
    spoil(tuple([ints(&[10, 0]), bucket(3)]), 2, "for its next one");
    spoil(tuple([ints(&[10, 0])]), 2, "for its next one");
}

#[test]
fn the_leaf_before_a_deleted_one() {
    let memory = sound();
    memory.put(2, "IIBucket", tuple([ints(&[1, 0, 2, 0]), bucket(4)]));
    let found = outcomes(&memory);
    assert!(
        found
            .iter()
            .any(|error| error.contains("the one that the tree has next"))
    );
}

#[test]
fn inner_nodes() {
    let spoil = |state: Value, fails, text| {
        spoiled(|memory| memory.put(1, "IIBTree", state), fails, text);
    };
    let key = Value::Int;
    spoil(tuple([tuple([]), bucket(2)]), 5, "as many children as keys");
    spoil(
        tuple([tuple([bucket(2), key(10)]), bucket(2)]),
        5,
        "as many children as keys",
    );
    spoil(
        tuple([tuple([tree(1)]), bucket(2)]),
        5,
        "too deep, or contains itself",
    );
    spoil(
        tuple([tuple([bucket(2), key(10), bucket(2)]), bucket(2)]),
        5,
        "occurs twice",
    );
    spoil(
        tuple([tuple([bucket(2), key(10), tree(1)]), bucket(2)]),
        5,
        "of several kinds",
    );
    spoil(
        tuple([tuple([bucket(3)]), bucket(2)]),
        5,
        "not its first child",
    );
    spoil(
        tuple([tuple([bucket(2)]), tree(1)]),
        5,
        "its first leaf is no leaf",
    );
    spoil(
        tuple([tuple([key(2)]), bucket(2)]),
        5,
        "it has an int for a child",
    );
    spoil(
        tuple([tuple([refers(2, "IISet")]), bucket(2)]),
        5,
        "as a node",
    );
    spoil(tuple([tuple([])]), 5, "none of a tree");
    spoil(
        tuple([tuple([tuple([ints(&[])])])]),
        5,
        "its only leaf is empty",
    );
    spoil(Value::Int(1), 5, "none of a tree");
    let unsorted = tuple([bucket(2), key(20), bucket(3), key(10), bucket(4)]);
    spoil(tuple([unsorted, bucket(2)]), 5, "not in order");
    // A node of another class than its parent says.
    let leaf = tuple([ints(&[10, 0]), bucket(4)]);
    spoiled(
        |memory| memory.put(3, "LLBucket", leaf),
        5,
        "it is of class BTrees.LLBTree.LLBucket",
    );
    spoiled(
        |memory| memory.put(3, "IIBTree", Value::None),
        5,
        "another kind of node",
    );
}

#[test]
fn rings_of_inner_nodes() {
    let memory = sound();
    for (node, child) in [(1, 5), (5, 6), (6, 5)] {
        memory.put(node, "IIBTree", tuple([tuple([tree(child)]), bucket(2)]));
    }
    assert_eq!(outcomes(&memory).len(), 5);
    // Many ways to the same leaf: found at the second.
    let two = |child| {
        tuple([
            tuple([tree(child), Value::Int(5), tree(child + 1)]),
            bucket(2),
        ])
    };
    for node in (10..60).step_by(2) {
        memory.put(node, "IIBTree", two(node + 2));
        memory.put(node + 1, "IIBTree", two(node + 2));
    }
    memory.put(1, "IIBTree", two(10));
    let leaf = tuple([tuple([bucket(2), Value::Int(2), bucket(3)]), bucket(2)]);
    memory.put(60, "IIBTree", leaf.clone());
    memory.put(61, "IIBTree", leaf);
    memory.forest.borrow_mut().clear();
    let found = outcomes(&memory);
    assert!(found.len() >= 2, "{found:?}");
}

#[test]
fn no_trees() {
    let memory = Memory::default();
    let class = Class::new("app", "Folder");
    let record = crate::record::Record::new(class, Value::None);
    super::Nodes::write(&memory, Oid::new(1), record).unwrap();
    let error = outcomes(&memory).remove(0);
    assert!(error.contains("but of class app.Folder"), "{error}");
    let class = Class::new("BTrees.OOBTree", "OOBTreePy");
    let record = crate::record::Record::new(class, Value::None);
    super::Nodes::write(&memory, Oid::new(1), record).unwrap();
    let error = outcomes(&memory).remove(0);
    assert!(error.contains("implementation in Python"), "{error}");
}
