//! Reading the current record of every object.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use zeo_proto::Oid;

use super::graph::{Graph, damage};
use crate::file_storage::format::DataHeader;
use crate::file_storage::format::window::Window;
use crate::observer::{Cancelled, Observer};
use crate::references::references;
use crate::{Error, Result};

/// The number of records that a thread takes at once.
const CHUNK_RECORDS: usize = 1 << 10;

/// What was found.
#[derive(Default)]
pub struct Objects {
    /// Objects whose current record says that their creation was undone.
    pub undone: Vec<Oid>,
    /// Objects that can't be read, with the reason for the first ones.
    pub unreadable: Vec<(Oid, String)>,
    /// Whether any reference points to an object that does not exist.
    pub dangling: bool,
    /// How many reasons are told, by each thread.
    most: usize,
    /// Positions in the index where no record of the object stands.
    strays: HashSet<u64>,
}

/// What one object is.
enum State {
    Good,
    Undone,
    Unreadable(String),
}

impl Objects {
    /// Reads all, by as many threads as there are processors; `positions` are
    /// those of the graph, sorted. Gives the reasons for at least `most` of
    /// those that can't be read. `observer` hears of positions, from this
    /// thread.
    pub fn read(
        graph: &Graph<'_>,
        positions: &[u64],
        most: usize,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let pass = Pass {
            graph,
            positions,
            most,
            next: AtomicUsize::new(0),
        };
        let others = thread::available_parallelism().map_or(0, |count| count.get() - 1);
        let mut all = thread::scope(|scope| {
            let read = || pass.read_some(&mut |_| Ok(()));
            let others: Vec<_> = (0..others).map(|_| scope.spawn(read)).collect();
            let mut all = pass.read_some(&mut |at| observer.set(at))?;
            for other in others {
                // A panic there is one here.
                all.add(
                    other
                        .join()
                        .unwrap_or_else(|why| std::panic::resume_unwind(why))?,
                );
            }
            Ok::<_, Error>(all)
        })?;
        all.resolve_strays(graph)?;
        Ok(all)
    }

    fn add(&mut self, other: Self) {
        self.undone.extend(other.undone);
        self.unreadable.extend(other.unreadable);
        self.strays.extend(other.strays);
        self.dangling |= other.dangling;
    }

    /// Notes an object. Those that will not be shown cost no text.
    fn add_unreadable(&mut self, oid: Oid, mut why: String) {
        if self.unreadable.len() >= self.most {
            why = String::new();
        }
        self.unreadable.push((oid, why));
    }

    /// Finds the objects that the index leads to where they are not.
    fn resolve_strays(&mut self, graph: &Graph<'_>) -> Result<()> {
        let strays = std::mem::take(&mut self.strays);
        if strays.is_empty() {
            return Ok(());
        }
        let mut window = graph.window();
        for (oid, position) in graph.unmarked().filter(|(_, at)| strays.contains(at)) {
            let why = match damage(window.header(position))? {
                Ok(header) if header.oid == oid => continue,
                Ok(header) => format!("to a record of object {}", header.oid),
                Err(why) => why,
            };
            self.add_unreadable(oid, format!("the index points to {position}: {why}"));
        }
        Ok(())
    }
}

/// Takes note of a position.
type Progress<'a> = &'a mut dyn FnMut(u64) -> std::result::Result<(), Cancelled>;

/// What the threads share.
struct Pass<'a> {
    graph: &'a Graph<'a>,
    positions: &'a [u64],
    most: usize,
    /// Where the next chunk begins.
    next: AtomicUsize,
}

impl Pass<'_> {
    /// Reads chunks of records that nobody else reads. When it fails, the
    /// others stop, too.
    fn read_some(&self, progress: Progress<'_>) -> Result<Objects> {
        let found = self.read_chunks(progress);
        if found.is_err() {
            self.next.store(self.positions.len(), Ordering::Relaxed);
        }
        found
    }

    fn read_chunks(&self, progress: Progress<'_>) -> Result<Objects> {
        let mut window = self.graph.window();
        let mut found = Objects {
            most: self.most,
            ..Objects::default()
        };
        loop {
            let start = self.next.fetch_add(CHUNK_RECORDS, Ordering::Relaxed);
            let Some(rest) = self.positions.get(start..) else {
                return Ok(found);
            };
            let mut before = start.checked_sub(1).and_then(|i| self.positions.get(i));
            for position in rest.iter().take(CHUNK_RECORDS) {
                if before == Some(position) {
                    // Two objects can't have one record.
                    found.strays.insert(*position);
                } else {
                    self.read(&mut window, *position, &mut found)?;
                }
                before = Some(position);
            }
            progress(before.copied().unwrap_or(0))?;
        }
    }

    fn read(&self, window: &mut Window<'_>, position: u64, found: &mut Objects) -> Result<()> {
        let header = match damage(window.header(position))? {
            Ok(header) if self.graph.position(header.oid) == Ok(position) => header,
            _ => {
                found.strays.insert(position);
                return Ok(());
            }
        };
        match self.state(window, position, &header, &mut found.dangling)? {
            State::Good => {}
            State::Undone => found.undone.push(header.oid),
            State::Unreadable(why) => found.add_unreadable(header.oid, why),
        }
        Ok(())
    }

    fn state(
        &self,
        window: &mut Window<'_>,
        position: u64,
        header: &DataHeader,
        dangling: &mut bool,
    ) -> Result<State> {
        let (at, length) = match damage(window.data_of(position, header))? {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(State::Undone),
            Err(why) => return Ok(State::Unreadable(why)),
        };
        match references(window.bytes(at, length)?) {
            Ok(found) => {
                *dangling |= found.iter().any(|&oid| self.graph.position(oid).is_err());
                Ok(State::Good)
            }
            Err(why) => Ok(State::Unreadable(format!(
                "its record at {position}: {why}"
            ))),
        }
    }
}
