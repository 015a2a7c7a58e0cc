//! Reading a file from front to back, by large pieces, record by record.

use byteorder::{BE, ByteOrder};
use zeo_proto::Tid;

use super::back_pointers::{Followed, LONG_WAY_STEPS};
use super::walk::{Txn, check_record};
use super::{DATA_HEADER_LEN, DataHeader, Reader, TRAILER_LEN, TXN_HEADER_LEN, TxnHeader};
use crate::Result;

/// The piece of the file that is being read.
pub struct Window<'a> {
    reader: Reader<'a>,
    piece: usize,
    bytes: Vec<u8>,
    at: u64,
    followed: Followed<Place>,
}

/// Where data are, and their length; `None` when the object is gone.
type Place = Option<(u64, u64)>;

impl<'a> Window<'a> {
    /// A window on what `reader` sees that moves by steps of `piece` bytes.
    pub fn new(reader: Reader<'a>, piece: usize) -> Self {
        Self {
            reader,
            piece,
            bytes: Vec::new(),
            at: 0,
            followed: Followed::default(),
        }
    }

    /// The bytes at `position`. Reads at least a
    /// piece, so `length` may be what a record claims.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), with the position: the file ends before; or it
    /// can't be read.
    pub fn bytes(&mut self, position: u64, length: u64) -> Result<&[u8]> {
        let room = self.reader.end.saturating_sub(position);
        let wanted = usize::try_from(length).ok().filter(|_| length <= room);
        let Some(length) = wanted else {
            let what = format!("the file ends within {length} bytes");
            return Err(self.reader.corrupt(position, what));
        };
        if self.offset(position, length).is_none() {
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            // What large records took is given back.
            self.bytes.clear();
            self.bytes.shrink_to(self.piece.max(length));
            self.bytes.resize(self.piece.max(length).min(room), 0);
            self.at = position;
            let read = self.reader.read_exact(&mut self.bytes, position);
            read.inspect_err(|_| self.bytes.clear())?;
        }
        let offset = self.offset(position, length).unwrap_or(0);
        Ok(self.bytes.get(offset..offset + length).unwrap_or_default())
    }

    fn offset(&self, position: u64, length: usize) -> Option<usize> {
        let offset = usize::try_from(position.checked_sub(self.at)?).ok()?;
        let end = offset.checked_add(length)?;
        (end <= self.bytes.len()).then_some(offset)
    }

    /// The transaction at `position`, whose lengths add up, whose status is
    /// one that a finished transaction has, and whose tid is later than
    /// `last`: what Python's packer checks.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt): there is no such transaction; or the file can't
    /// be read.
    pub fn txn(&mut self, position: u64, last: Tid) -> Result<Txn> {
        let reader = self.reader;
        let bytes = self.bytes(position, TXN_HEADER_LEN)?;
        let bytes = bytes.first_chunk().copied().unwrap_or_default();
        let header = TxnHeader::parse(&bytes);
        let txn = Txn { position, header };
        if header.tid <= last {
            let what = format!("transaction {} is not later than the last", header.tid);
            return Err(reader.corrupt(position, what));
        }
        if !header.is_finished() {
            let what = "the transaction is unfinished, or has an unknown status";
            return Err(reader.corrupt(position, what));
        }
        txn.check(&reader)?;
        Ok(txn)
    }

    /// Checks that the transaction ends in its length once more.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt): it does not; or the file can't be read.
    pub fn check_end(&mut self, txn: &Txn) -> Result<()> {
        let reader = self.reader;
        let length = BE::read_u64(self.bytes(txn.records_end(), TRAILER_LEN)?);
        txn.check_trailer(length, &reader)
    }

    /// The header of the record at `position` of this transaction.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt): there is none that belongs to the transaction; or
    /// the file can't be read.
    pub fn record(&mut self, position: u64, txn: &Txn) -> Result<DataHeader> {
        let reader = Reader {
            end: txn.records_end(),
            ..self.reader
        };
        let header = self.header(position)?;
        check_record(&reader, txn.position, position, &header)?;
        Ok(header)
    }

    /// The header of the record at `position`, back-pointer included.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt): there is no record, or it refers to one behind
    /// it; or the file can't be read.
    pub fn header(&mut self, position: u64) -> Result<DataHeader> {
        let header = self.parsed(position)?;
        if header.prev >= position || header.back >= position {
            let what = "the record's previous record does not come before it";
            return Err(self.reader.corrupt(position, what));
        }
        Ok(header)
    }

    fn parsed(&mut self, position: u64) -> Result<DataHeader> {
        // Behind the last record stands a length.
        let bytes = self.bytes(position, DATA_HEADER_LEN + TRAILER_LEN)?;
        let (header, rest) = bytes
            .split_first_chunk::<{ DATA_HEADER_LEN as usize }>()
            .unwrap_or((&[0; DATA_HEADER_LEN as usize], &[]));
        let Some(mut header) = DataHeader::parse(header) else {
            let what = "this is not a data record, or one of a version (before ZODB 3.9)";
            return Err(self.reader.corrupt(position, what));
        };
        if header.plen == 0 {
            header.back = rest.first_chunk().copied().map_or(0, u64::from_be_bytes);
        }
        Ok(header)
    }

    /// Where the data stand that a record of `header` at `position` holds,
    /// itself or by back-pointers, and their length; `None` when the object
    /// is gone there.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt): a back-pointer leads to something else than a
    /// record of this object, or the record is longer than the file; or the file can't be read.
    pub fn data_of(&mut self, position: u64, header: &DataHeader) -> Result<Option<(u64, u64)>> {
        let (start, mut position, mut found, mut steps) = (position, position, *header, 0);
        let place = loop {
            if found.plen > 0 {
                if found.record_len() > self.reader.end.saturating_sub(position) {
                    let what = "the record is longer than the file";
                    return Err(self.reader.corrupt(position, what));
                }
                break Some((position.saturating_add(DATA_HEADER_LEN), found.plen));
            }
            if found.back == 0 {
                break None;
            }
            if let Some(known) = self.followed.get(position) {
                break known;
            }
            let next = self.header(found.back)?;
            if next.oid != header.oid {
                let what = format!("the back-pointer points to a record of object {}", next.oid);
                return Err(self.reader.corrupt(position, what));
            }
            (position, found) = (found.back, next);
            steps += 1;
        };
        if steps >= LONG_WAY_STEPS {
            self.followed.note(start, place);
        }
        Ok(place)
    }

    /// The header of the record at `position`, back-pointer included, which
    /// must belong to `txn` and end with it. Where it leads to is not checked.
    ///
    /// # Errors
    /// As for [`Window::record`].
    pub fn record_of(&mut self, position: u64, txn: &Txn) -> Result<DataHeader> {
        let reader = Reader {
            end: txn.records_end(),
            ..self.reader
        };
        if reader.end.saturating_sub(position) < DATA_HEADER_LEN {
            let what = "the transaction ends within a record's header";
            return Err(reader.corrupt(position, what));
        }
        let header = self.parsed(position)?;
        check_record(&reader, txn.position, position, &header)?;
        Ok(header)
    }

    /// Forgets what was read, since the file may have changed.
    pub fn forget(&mut self) {
        self.bytes.clear();
        self.followed = Followed::default();
    }

    /// How many bytes are read at once.
    pub fn piece(&self) -> u64 {
        self.piece as u64
    }

    /// What is read.
    pub fn reader(&self) -> Reader<'a> {
        self.reader
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::files::{Counting, chain};

    #[test]
    fn a_long_chain_of_back_pointers_is_not_gone_through_again_and_again() {
        const COUNT: u64 = 6000;
        let (file, records) = chain(COUNT);
        let first = records[0];
        let backend = Counting::of(&file.bytes);
        let end = file.bytes.len() as u64;
        let mut window = Window::new(
            Reader {
                backend: &backend,
                end,
            },
            256,
        );
        for &position in &records {
            let header = window.header(position).unwrap();
            let found = window.data_of(position, &header).unwrap();
            assert_eq!(found, Some((first + DATA_HEADER_LEN, 1)));
        }
        let reads = backend.reads();
        assert!(reads < 20 * COUNT, "{reads}");
    }
}
