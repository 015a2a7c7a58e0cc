//! Reading a record: one positioned read.

use std::io;

use zeo_proto::Oid;
use zeo_storage::backend::Backend;
use zeo_storage::storage::Data;

use super::format::{self, Block, Damage, HEAD, Head};
use super::index::Index;
use super::open::read_block;
use super::place::Place;

/// Longer records are read in two steps, rather than up to an eighth too much.
const LONG: u64 = 1 << 16;

/// The current record of an object, and where it stands.
///
/// # Errors
/// The system's, or the file was changed by another.
pub(super) fn current(
    file: &dyn Backend,
    index: &Index,
    oid: Oid,
) -> io::Result<Option<(u64, Head, Data)>> {
    for place in index.current.find(oid) {
        let (head, data) = record(file, place)?;
        if head.end.is_some() {
            return Err(io::Error::other(Damage::Moved));
        }
        if head.oid == oid {
            return Ok(Some((place.offset(), head, data)));
        }
    }
    Ok(None)
}

/// The head of an object's current record, and where it stands.
///
/// # Errors
/// As of [`current`].
pub(super) fn current_head(
    file: &dyn Backend,
    index: &Index,
    oid: Oid,
) -> io::Result<Option<(u64, Head)>> {
    for place in index.current.find(oid) {
        match read_block(file, place.offset())? {
            Block::Record(head) if head.end.is_some() => break,
            Block::Record(head) if head.oid == oid => return Ok(Some((place.offset(), head))),
            Block::Record(_) => {}
            Block::Free(_) => return Err(io::Error::other(Damage::Moved)),
        }
    }
    Ok(None)
}

/// The record at a place.
///
/// # Errors
/// As of [`current`].
pub(super) fn record(file: &dyn Backend, place: Place) -> io::Result<(Head, Data)> {
    let mut enough = place.enough();
    if enough > LONG {
        let Block::Record(head) = read_block(file, place.offset())? else {
            return Err(io::Error::other(Damage::Moved));
        };
        enough = head.size().min(enough);
    }
    let mut buffer = vec![0; usize::try_from(enough).map_err(io::Error::other)?];
    let count = file.read_at(&mut buffer, place.offset())?;
    buffer.truncate(count);
    let block = format::decode(&buffer).map_err(io::Error::other)?;
    let Block::Record(head) = block else {
        return Err(io::Error::other(Damage::Moved));
    };
    let end = HEAD + head.length as usize;
    if buffer.get(end..end + 8) != Some(&head.oid.to_bytes()) {
        return Err(io::Error::other(Damage::Moved));
    }
    buffer.truncate(end);
    Ok((head, Data::new(buffer, HEAD)))
}
