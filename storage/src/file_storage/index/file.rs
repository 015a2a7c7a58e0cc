//! `Data.fs.index`, as Python's `fsIndex` saves it: pickles one after the
//! other, read and written without a general pickle machine, since there may
//! be millions of entries.
//!
//! ```text
//! position             int: the file up to here is covered
//! (prefix, bucket)*    bytes(6), bytes: all 2-byte oid suffixes in order,
//!                      then as many 6-byte positions
//! None
//! accepted (8)         unless it is 0: seals before here prove nothing
//! sum (12)             XXH3-64 of all before it, "rzeo"
//! "open"               while the storage that saved it is open for writing
//! ```
//!
//! Python reads to None, and writes nothing behind it: that tells whose index
//! this is.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use byteorder::{BE, ByteOrder};
use xxhash_rust::xxh3::Xxh3;
use zeo_proto::Oid;

use super::Index;
use super::pickle::{Item, Pickles, write_int, write_none, write_pair};
use crate::disk::backend::{Backend, open_file};
use crate::disk::paths::{beside, failed, resolve, unfinished};
use crate::disk::sync_directory;
use crate::file_storage::files::index_of;
use crate::file_storage::format::{DATA_HEADER_LEN, END_MAX, FIRST};
use crate::{Error, Result};

/// Buffers for a file that is read or written from front to back.
const BUFFER_BYTES: usize = 1 << 16;
const SUFFIX_LEN: usize = 2;
const POSITION_LEN: usize = 6;
/// What ends the sum.
const SUM_MAGIC: &[u8; 4] = b"rzeo";
const SUM_LEN: usize = 12;
/// What stands behind the sum while a storage is open for writing.
const OPEN: &[u8; 4] = b"open";

/// A loaded index.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub index: Index,
    /// The file up to here is covered.
    pub position: u64,
    /// The program that saved it.
    pub origin: Origin,
}

/// The program that saved an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Python, or a tool of its kind.
    Python,
    /// This storage.
    Own(State),
}

/// What an index of ours says of the file besides its entries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// The storage was open for writing, and has not been closed since.
    pub is_open: bool,
    /// Seals before this position prove nothing, whether they hold or not.
    pub accepted: u64,
}

/// Loads the index file of `data`; `None` when there is none. Any fault in it
/// is an error, and so are the shapes that Python wrote before ZODB 3.9: a
/// scan makes a new one.
pub(crate) fn load(path: &Path, data: &dyn Backend) -> io::Result<Option<Loaded>> {
    match open_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        // In this order: a server at work may put a new one in its place.
        file => read(BufReader::with_capacity(BUFFER_BYTES, file?), data.len()?).map(Some),
    }
}

/// Reads an index as it stands in its file, of a file of `size` bytes.
pub(crate) fn read(file: impl BufRead, size: u64) -> io::Result<Loaded> {
    let mut pickles = Pickles::new(Summed::new(file));
    let Item::Int(position) = pickles.next()? else {
        return Err(invalid("its format is unknown"));
    };
    if position > size {
        let what = format!("it covers {position} bytes of a file of {size}");
        return Err(invalid(&what));
    }
    let (index, mut last) = (Index::default(), None);
    loop {
        match pickles.next()? {
            Item::Pair(prefix, bucket) => add_bucket(&index, position, prefix, bucket, &mut last)?,
            Item::None => break,
            Item::Int(_) => return Err(invalid("there is a number instead of a bucket")),
        }
    }
    let origin = read_origin(pickles.into_input())?;
    Ok(Loaded {
        index,
        position,
        origin,
    })
}

/// Adds the entries of a bucket, which come behind `last`.
fn add_bucket(
    index: &Index,
    end: u64,
    prefix: &[u8],
    bucket: &[u8],
    last: &mut Option<Oid>,
) -> io::Result<()> {
    let count = bucket.len() / (SUFFIX_LEN + POSITION_LEN);
    if prefix.len() != 8 - SUFFIX_LEN || bucket.len() != count * (SUFFIX_LEN + POSITION_LEN) {
        return Err(invalid("a bucket has a wrong length"));
    }
    // Each takes memory, and those far from the others much.
    if index.len().saturating_add(count as u64) > end / DATA_HEADER_LEN {
        let what = "it has more objects than fit into the file that it covers";
        return Err(invalid(what));
    }
    let high = BE::read_uint(prefix, 8 - SUFFIX_LEN) << (8 * SUFFIX_LEN);
    let (suffixes, positions) = bucket.split_at(count * SUFFIX_LEN);
    let suffixes = suffixes.chunks_exact(SUFFIX_LEN).map(BE::read_u16);
    let positions = positions.chunks_exact(POSITION_LEN);
    for (suffix, position) in suffixes.zip(positions) {
        let position = BE::read_uint(position, POSITION_LEN);
        if !(FIRST..end).contains(&position) {
            return Err(invalid(
                "a position lies outside of the file that it covers",
            ));
        }
        let oid = Oid::new(high | u64::from(suffix));
        if last.is_some_and(|last| last >= oid) {
            return Err(invalid("its objects are not in order"));
        }
        *last = Some(oid);
        index.set(oid, position);
    }
    Ok(())
}

/// Reads what stands behind the entries: nothing in an index of Python's.
/// Fails unless the sum of one of ours holds.
fn read_origin(mut file: Summed<impl Read>) -> io::Result<Origin> {
    const LONGEST: usize = 8 + SUM_LEN + OPEN.len();
    let mut left = Vec::new();
    let most = LONGEST as u64 + 1;
    file.inner.by_ref().take(most).read_to_end(&mut left)?;
    if left.is_empty() {
        return Ok(Origin::Python);
    }
    let is_open = left.len() > SUM_LEN && left.ends_with(OPEN);
    if is_open {
        left.truncate(left.len() - OPEN.len());
    }
    let sum = left.split_off(left.len().saturating_sub(SUM_LEN));
    file.hasher.update(&left);
    let accepted = match (&left[..], left.first_chunk()) {
        ([], _) => 0,
        ([_, _, _, _, _, _, _, _], Some(&bytes)) => u64::from_be_bytes(bytes),
        _ => return Err(invalid("it does not match its checksum")),
    };
    if sum == file.sum() {
        Ok(Origin::Own(State { is_open, accepted }))
    } else {
        Err(invalid("it does not match its checksum"))
    }
}

/// A file of which all that passes is summed up.
struct Summed<T> {
    inner: T,
    hasher: Xxh3,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Self {
        let hasher = Xxh3::new();
        Self { inner, hasher }
    }

    /// What stands at the end of the file.
    fn sum(&self) -> [u8; SUM_LEN] {
        let mut bytes = [0; SUM_LEN];
        let (sum, magic) = bytes.split_at_mut(8);
        BE::write_u64(sum, self.hasher.digest());
        magic.copy_from_slice(SUM_MAGIC);
        bytes
    }
}

impl<T: Read> Read for Summed<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl<T: Write> Write for Summed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Saves the index beside the storage at `path`. See [`save_as`].
pub(crate) fn save(
    path: &Path,
    position: u64,
    entries: impl Iterator<Item = Result<(Oid, u64)>>,
    state: State,
) -> Result<()> {
    save_at(&index_of(path)?, position, entries, state)
}

/// Notes in the index beside the storage at `path`, which is one of ours, that
/// the storage goes on to write. Durable when this returns.
pub(crate) fn mark_open(path: &Path) -> Result<()> {
    let name = beside(path, ".index");
    let mark = || {
        let mut file = OpenOptions::new().append(true).open(&name)?;
        file.write_all(OPEN)?;
        file.sync_all()
    };
    mark().map_err(failed("marking the index as in use", &name))
}

/// The index of a storage that is open for writing and covers nothing, so that
/// it belongs to any file.
pub(crate) fn empty(accepted: u64) -> io::Result<Vec<u8>> {
    let (mut out, is_open) = (Summed::new(Vec::new()), true);
    write_int(&mut out, FIRST)?;
    write_end(&mut out, State { is_open, accepted })?;
    Ok(out.inner)
}

/// Saves an index as the file at `name`, in place of an older one: that of the
/// file up to `position`, with the entries in the order of their oids. Commits
/// may go on meanwhile.
pub(crate) fn save_as(
    name: &Path,
    position: u64,
    entries: impl Iterator<Item = Result<(Oid, u64)>>,
    state: State,
) -> Result<()> {
    let target = resolve(name).map_err(failed("saving the index", name))?;
    save_at(&target, position, entries, state)
}

fn save_at(
    name: &Path,
    position: u64,
    entries: impl Iterator<Item = Result<(Oid, u64)>>,
    state: State,
) -> Result<()> {
    let failed = failed("saving the index", name);
    // A part of one would take the room on a full disk that commits need.
    let temporary = unfinished(&beside(name, ".index_tmp"))?;
    let file = File::create(&temporary).map_err(&failed)?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    write(&mut out, position, entries, state, &failed)?;
    let finish = || {
        out.into_inner()?.sync_all()?;
        temporary.persist(name).map_err(|why| why.error)?;
        sync_directory(name)
    };
    finish().map_err(failed)
}

/// Writes an index as it stands in its file.
pub(crate) fn write(
    out: &mut impl Write,
    position: u64,
    entries: impl Iterator<Item = Result<(Oid, u64)>>,
    state: State,
    failed: impl Fn(io::Error) -> Error,
) -> Result<()> {
    let out = &mut Summed::new(out);
    write_int(out, position).map_err(&failed)?;
    let mut bucket = Bucket::default();
    for entry in entries {
        let (oid, found) = entry?;
        if found >= END_MAX {
            let what = format!("object {oid} is at {found}, which is too large for an index");
            return Err(failed(invalid(&what)));
        }
        let prefix = oid.as_u64() >> (8 * SUFFIX_LEN);
        if prefix != bucket.prefix {
            bucket.write(out).map_err(&failed)?;
            bucket.prefix = prefix;
        }
        bucket.add(oid, found);
    }
    bucket.write(out).map_err(&failed)?;
    write_end(out, state).map_err(&failed)
}

/// Writes what stands behind the entries.
fn write_end(out: &mut Summed<impl Write>, state: State) -> io::Result<()> {
    write_none(out)?;
    if state.accepted > 0 {
        out.write_all(&state.accepted.to_be_bytes())?;
    }
    let sum = out.sum();
    out.inner.write_all(&sum)?;
    if state.is_open {
        out.inner.write_all(OPEN)?;
    }
    out.flush()
}

/// The entries of one prefix.
#[derive(Default)]
struct Bucket {
    prefix: u64,
    suffixes: Vec<u8>,
    positions: Vec<u8>,
}

impl Bucket {
    fn add(&mut self, oid: Oid, position: u64) {
        self.suffixes
            .extend_from_slice(&oid.to_bytes()[8 - SUFFIX_LEN..]);
        self.positions
            .extend_from_slice(&position.to_be_bytes()[8 - POSITION_LEN..]);
    }

    /// Writes what there is, and begins anew.
    fn write(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.suffixes.is_empty() {
            return Ok(());
        }
        let prefix = self.prefix.to_be_bytes();
        write_pair(
            out,
            &prefix[SUFFIX_LEN..],
            [&self.suffixes, &self.positions],
        )?;
        self.suffixes.clear();
        self.positions.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Oids of some buckets, full, sparse and far apart, with positions.
    fn entries(seed: u64) -> Vec<(Oid, u64)> {
        let mut state = seed;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 16
        };
        let mut oids: Vec<u64> = (0..70_000).filter(|oid| oid % seed != 1).collect();
        oids.extend((0..2000).map(|_| random() << (random() % 17)));
        oids.push(u64::MAX);
        oids.sort_unstable();
        oids.dedup();
        let position = |oid| (Oid::new(oid), FIRST + random() % (END_MAX - FIRST));
        oids.into_iter().map(position).collect()
    }

    /// On a full disk, it would take the room that commits need.
    #[test]
    fn nothing_is_left_of_what_can_not_be_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Data.fs");
        save(&path, FIRST, std::iter::empty(), State::default()).unwrap();
        let before = std::fs::read(beside(&path, ".index")).unwrap();
        let too_large = [(Oid::new(1), FIRST), (Oid::new(2), END_MAX)];
        let saved = save(
            &path,
            END_MAX,
            too_large.map(Ok).into_iter(),
            State::default(),
        );
        assert!(saved.is_err());
        let left = std::fs::read_dir(dir.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["Data.fs.index"]);
        assert_eq!(std::fs::read(beside(&path, ".index")).unwrap(), before);
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Data.fs");
        for seed in 2..8 {
            let (entries, end) = (entries(seed), END_MAX);
            let state = State::default();
            save(&path, end, entries.iter().copied().map(Ok), state).unwrap();
            let saved = std::fs::read(beside(&path, ".index")).unwrap();
            let loaded = read(&saved[..], end).unwrap();
            assert_eq!(loaded.position, end);
            assert!(loaded.index.iter().eq(entries));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn entries_must_fit() {
        let index = Index::default();
        let prefix = [0; 6];
        let bucket = |position: u64| [&[0, 1][..], &position.to_be_bytes()[2..]].concat();
        let add = |prefix: &[u8], bucket: &[u8]| add_bucket(&index, 100, prefix, bucket, &mut None);
        assert!(add(&prefix, &bucket(99)).is_ok());
        for position in [0, 3, 100, END_MAX - 1] {
            assert!(add(&prefix, &bucket(position)).is_err());
        }
        assert!(add(&prefix, &bucket(50)[..7]).is_err());
        assert!(add(&prefix[..5], &bucket(50)).is_err());
        // So much is in the file once at most.
        let pair = [&[0, 1, 0, 2][..], &[0, 0, 0, 0, 0, 50].repeat(2)].concat();
        assert!(add(&prefix, &pair).is_err());
        assert_eq!(index.iter().collect::<Vec<_>>(), [(Oid::new(1), 99)]);
        let mut last = Some(Oid::new(1));
        assert!(add_bucket(&index, 1000, &prefix, &bucket(50), &mut last).is_err());
    }

    #[test]
    fn every_change_is_noticed() {
        let entries = [(0, 4), (1, 40), (2, 400), (70_000, 4000)];
        let entries = || entries.map(|(oid, position)| Ok((Oid::new(oid), position)));
        for (is_open, accepted) in [(false, 0), (true, 0), (false, 700), (true, 5000)] {
            let state = State { is_open, accepted };
            let (entries, mut bytes) = (entries().into_iter(), Vec::new());
            write(&mut bytes, 5000, entries, state, |why| panic!("{why}")).unwrap();
            assert!(read(&bytes[..], 4999).is_err(), "of a longer file");
            assert_eq!(origin_of(&bytes), Some(Origin::Own(state)));
            // As Python writes it, and without the mark.
            let closed = bytes.len() - if is_open { OPEN.len() } else { 0 };
            let plain = closed - SUM_LEN - if accepted == 0 { 0 } else { 8 };
            assert_eq!(origin_of(&bytes[..plain]), Some(Origin::Python));
            let is_open = false;
            let origin = Origin::Own(State { is_open, accepted });
            assert_eq!(origin_of(&bytes[..closed]), Some(origin));
            for bit in 0..8 * bytes.len() {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(origin_of(&changed), None, "bit {bit}");
            }
            for cut in (0..bytes.len()).filter(|&cut| cut != plain && cut != closed) {
                assert_eq!(origin_of(&bytes[..cut]), None, "cut at {cut}");
            }
            bytes.push(0);
            assert_eq!(origin_of(&bytes), None);
        }
    }

    /// Whose index this is of four objects in 5000 bytes, if it is a good one.
    fn origin_of(bytes: &[u8]) -> Option<Origin> {
        let loaded = read(bytes, 5000).ok()?;
        assert_eq!(loaded.index.len(), 4);
        Some(loaded.origin)
    }

    #[test]
    fn an_empty_index_can_be_marked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Data.fs");
        save(&path, FIRST, std::iter::empty(), State::default()).unwrap();
        mark_open(&path).unwrap();
        let marked = std::fs::read(beside(&path, ".index")).unwrap();
        assert_eq!(marked, empty(0).unwrap());
        let loaded = read(&empty(9).unwrap()[..], FIRST).unwrap();
        let (is_open, accepted) = (true, 9);
        assert_eq!(loaded.origin, Origin::Own(State { is_open, accepted }));
    }
}
