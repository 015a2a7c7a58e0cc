//! The shortest paths from the root to objects.

use std::collections::{HashMap, HashSet};

use zeo_proto::Oid;
use zeo_proto::repr::printable;

use super::graph::Graph;
use crate::Result;
use crate::file_storage::format::FIRST;
use crate::file_storage::format::window::Window;
use crate::file_storage::index::Index;
use crate::file_storage::tools::reading::NO_CLASS;
use crate::observer::Observer;
use crate::record::class_name;
use crate::references::references;

/// How many objects of a long path are shown at its beginning.
const FIRST_OBJECTS_MAX: usize = 10;
/// How many are shown at its end.
const LAST_OBJECTS_MAX: usize = 10;

/// A path from the root to an object.
#[derive(Debug, PartialEq, Eq)]
pub struct ObjectPath {
    /// The objects from the root on, with their classes.
    pub begin: Vec<(Oid, String)>,
    /// How many objects are left out behind these.
    pub left_out: usize,
    /// The objects up to the one that is looked for.
    pub end: Vec<(Oid, String)>,
}

/// For each of the objects that can be reached, the path from the root to it.
///
/// Follows references in waves, each in the order of the file, until all are
/// found. Takes 4 to 6 bytes for each object met, and 8 for each in a wave.
pub fn paths_from_root(
    graph: &Graph<'_>,
    targets: &HashSet<Oid>,
    observer: &mut dyn Observer,
) -> Result<HashMap<Oid, ObjectPath>> {
    let mut search = Search {
        graph,
        targets,
        left: targets.len(),
        parents: Index::default(),
    };
    let mut window = graph.window();
    let mut wave = Vec::new();
    search.meet(Oid::ZERO, FIRST, &mut wave);
    while !wave.is_empty() && search.left > 0 {
        wave.sort_unstable();
        let mut next = Vec::new();
        for position in wave {
            observer.set(position)?;
            let header = window.header(position)?;
            let Some((at, length)) = window.data_of(position, &header)? else {
                continue;
            };
            // What can't be read has no position here.
            for oid in references(window.bytes(at, length)?).unwrap_or_default() {
                search.meet(oid, position, &mut next);
            }
        }
        wave = next;
    }
    let mut paths = HashMap::new();
    for &oid in targets {
        if let Some(path) = search.trace(oid, &mut window)? {
            paths.insert(oid, shown(graph, &path)?);
        }
    }
    Ok(paths)
}

struct Search<'a> {
    graph: &'a Graph<'a>,
    targets: &'a HashSet<Oid>,
    /// How many of them were not met yet.
    left: usize,
    /// For each object met, the position of the record that led to it.
    parents: Index,
}

impl Search<'_> {
    /// Comes to an object by a reference in the record at `parent`.
    fn meet(&mut self, oid: Oid, parent: u64, wave: &mut Vec<u64>) {
        if self.parents.get(oid).is_none() {
            self.parents.set(oid, parent);
            self.left = self.left.saturating_sub(self.targets.contains(&oid).into());
            wave.extend(self.graph.position(oid));
        }
    }

    /// The path to an object, backwards; `None` when it was not met.
    fn trace(&self, target: Oid, window: &mut Window<'_>) -> Result<Option<Vec<Oid>>> {
        let mut path = vec![target];
        let mut oid = target;
        while let Some(parent) = self.parents.get(oid) {
            if oid == Oid::ZERO {
                return Ok(Some(path));
            }
            oid = window.header(parent)?.oid;
            path.push(oid);
        }
        Ok(None)
    }
}

/// What is shown of a path that is told backwards.
fn shown(graph: &Graph<'_>, path: &[Oid]) -> Result<ObjectPath> {
    let place = |&oid: &Oid| Ok((oid, class(graph, oid)?));
    let begin = path.iter().rev().take(FIRST_OBJECTS_MAX);
    let rest = path.len().saturating_sub(FIRST_OBJECTS_MAX);
    let end = path.iter().take(rest.min(LAST_OBJECTS_MAX)).rev();
    Ok(ObjectPath {
        begin: begin.map(place).collect::<Result<_>>()?,
        left_out: rest.saturating_sub(LAST_OBJECTS_MAX),
        end: end.map(place).collect::<Result<_>>()?,
    })
}

/// The class of an object, if it can be read.
fn class(graph: &Graph<'_>, oid: Oid) -> Result<String> {
    let Ok(position) = graph.position(oid) else {
        return Ok(NO_CLASS.to_owned());
    };
    let mut window = graph.window();
    let header = window.header(position)?;
    let name = match window.data_of(position, &header)? {
        Some((at, length)) => class_name(window.bytes(at, length)?),
        None => None,
    };
    Ok(name.map_or_else(|| NO_CLASS.to_owned(), |name| printable(&name)))
}
