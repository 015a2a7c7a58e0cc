//! What is wrong with the objects of a graph, and who refers to that.

use std::collections::BTreeMap;

use zeo_proto::repr::printable;
use zeo_proto::{Oid, Tid};

use super::graph::{Graph, Invalid, damage};
use super::objects::Objects;
use crate::Result;
use crate::observer::Observer;
use crate::record::class_name;
use crate::references::references_with_classes;

/// What is wrong with the objects of a file.
pub struct RefProblems {
    /// The objects that can't be read, and why.
    pub unreadable: Vec<(Oid, String)>,
    /// The objects that refer to what is not there.
    pub referrers: Vec<Referrer>,
    /// How many more of both there are.
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
    pub to: BTreeMap<Oid, (Option<String>, Invalid)>,
}

/// Reads all objects, and again if something is wrong, to see who refers to
/// it. Objects that can't be used are marked in the graph. No more than `most`
/// are given of each kind; `observer` hears of positions.
pub fn find(
    graph: &mut Graph<'_>,
    most: usize,
    observer: &mut dyn Observer,
) -> Result<RefProblems> {
    let mut positions: Vec<u64> = graph.unmarked().map(|(_, position)| position).collect();
    positions.sort_unstable();
    let mut found = Objects::read(graph, &positions, most, observer)?;
    for &oid in &found.undone {
        graph.mark_undone(oid);
    }
    for (oid, _) in &found.unreadable {
        graph.mark_unreadable(*oid);
    }
    let count = found.unreadable.len();
    found.unreadable.retain(|(_, why)| !why.is_empty());
    found.unreadable.sort();
    found.unreadable.truncate(most);
    let mut problems = RefProblems {
        hidden: count.saturating_sub(found.unreadable.len()) as u64,
        unreadable: found.unreadable,
        referrers: Vec::new(),
    };
    if found.dangling || !found.undone.is_empty() || count > 0 {
        positions.dedup();
        find_referrers(graph, &positions, most, &mut problems, observer)?;
    }
    Ok(problems)
}

fn find_referrers(
    graph: &Graph<'_>,
    positions: &[u64],
    most: usize,
    problems: &mut RefProblems,
    observer: &mut dyn Observer,
) -> Result<()> {
    let mut window = graph.window();
    for &position in positions {
        observer.set(position)?;
        let Ok(header) = damage(window.header(position))? else {
            continue;
        };
        if graph.position(header.oid) != Ok(position) {
            continue;
        }
        let Some((at, length)) = window.data_of(position, &header)? else {
            continue;
        };
        let data = window.bytes(at, length)?;
        let to = invalid_references(graph, data);
        if to.is_empty() {
            continue;
        }
        if problems.referrers.len() >= most {
            problems.hidden += 1;
            continue;
        }
        problems.referrers.push(Referrer {
            oid: header.oid,
            class: class_name(data).map(|name| printable(&name)),
            tid: header.tid,
            position,
            to,
        });
    }
    Ok(())
}

fn invalid_references(graph: &Graph<'_>, data: &[u8]) -> BTreeMap<Oid, (Option<String>, Invalid)> {
    let found = references_with_classes(data).unwrap_or_default();
    let invalid = found.into_iter().filter_map(|reference| {
        let why = graph.position(reference.oid).err()?;
        Some((reference.oid, (reference.class, why)))
    });
    invalid.collect()
}
