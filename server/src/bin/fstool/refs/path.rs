//! The shortest ways from the root to objects.

use std::collections::{HashMap, HashSet};

use zeo_proto::Oid;
use zeo_storage::file_storage::index::Index;
use zeo_storage::record::class_name;
use zeo_storage::references::references;

use super::graph::Graph;
use crate::outcome::Result;
use crate::reading::NO_CLASS;

/// The parent of the root: no record stands there.
const NOTHING: u64 = 1;

/// An object on a way, and its class.
pub type Place = (Oid, String);

/// For each of the objects that can be reached, the way from the root to it.
///
/// Follows references in waves, each in the order of the file, until all are
/// found. Takes little more than 8 bytes for each object met, and 8 for each in
/// a wave.
pub fn paths(graph: &Graph<'_>, targets: &HashSet<Oid>) -> Result<HashMap<Oid, Vec<Place>>> {
    // For each object the position of the record that led to it.
    let parents = Index::default();
    let mut left = targets.len();
    let mut window = graph.window();
    let mut wave = Vec::new();
    let mut meet = |oid: Oid, parent: u64, wave: &mut Vec<u64>| {
        if parents.get(oid).is_none() {
            parents.set(oid, parent);
            left -= usize::from(targets.contains(&oid));
            wave.extend(graph.position(oid));
        }
        left == 0
    };
    let mut done = meet(Oid::ZERO, NOTHING, &mut wave);
    while !wave.is_empty() && !done {
        wave.sort_unstable();
        let mut next = Vec::new();
        for position in wave {
            let header = window.header(position)?;
            let Some((at, length)) = window.data_of(position, &header)? else {
                continue;
            };
            // What can't be read has no position here.
            for oid in references(window.bytes(at, length)?).unwrap_or_default() {
                done = meet(oid, position, &mut next);
            }
            if done {
                break;
            }
        }
        wave = next;
    }
    let found = targets.iter().filter(|&&oid| parents.get(oid).is_some());
    found
        .map(|&oid| Ok((oid, trace(graph, &parents, oid)?)))
        .collect()
}

fn trace(graph: &Graph<'_>, parents: &Index, target: Oid) -> Result<Vec<Place>> {
    let mut window = graph.window();
    let mut path = vec![(target, class(graph, target)?)];
    let mut oid = target;
    while let Some(parent) = parents.get(oid).filter(|&parent| parent != NOTHING) {
        oid = window.header(parent)?.oid;
        path.push((oid, class(graph, oid)?));
    }
    path.reverse();
    Ok(path)
}

/// The class of an object, if it can be read.
pub fn class(graph: &Graph<'_>, oid: Oid) -> Result<String> {
    let Ok(position) = graph.position(oid) else {
        return Ok(NO_CLASS.to_owned());
    };
    let mut window = graph.window();
    let header = window.header(position)?;
    let name = match window.data_of(position, &header)? {
        Some((at, length)) => class_name(window.bytes(at, length)?),
        None => None,
    };
    Ok(name.unwrap_or_else(|| NO_CLASS.to_owned()))
}
