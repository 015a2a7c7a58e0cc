//! Steps from transaction to transaction and from record to record, with
//! every length checked, for all that reads more than one object.

use byteorder::{BE, ByteOrder};
use zeo_proto::Tid;

use super::{DataHeader, FIRST, Fault, Reader, TRAILER_LEN, TXN_HEADER_LEN, TxnHeader};
use crate::{Error, Result};

/// A transaction in the file, whose lengths add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Txn {
    /// Where it begins.
    pub position: u64,
    /// Its header.
    pub header: TxnHeader,
}

impl Txn {
    /// The transaction at `position`, if it is whole and lies before the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: it is not; or the file can't be read.
    pub fn read(reader: &Reader<'_>, position: u64) -> Result<Self> {
        let header = reader.txn_header(position)?;
        let txn = Self { position, header };
        txn.check(reader)?;
        let last = reader.number(txn.records_end())?;
        txn.check_trailer(last, reader)?;
        Ok(txn)
    }

    /// Where its records begin.
    pub fn records_start(&self) -> u64 {
        self.position.saturating_add(self.header.header_len())
    }

    /// Where its records end and its last 8 bytes begin.
    pub fn records_end(&self) -> u64 {
        self.position.saturating_add(self.header.length)
    }

    /// Where the next transaction begins.
    pub fn end(&self) -> u64 {
        self.records_end().saturating_add(TRAILER_LEN)
    }

    /// Checks that its length fits its header and what `reader` sees.
    pub(super) fn check(&self, reader: &Reader<'_>) -> Result<()> {
        let checked = self.header.check(self.position, reader.end);
        checked.map_err(|fault| self.corrupt(fault, reader))
    }

    /// Checks that this number, which stands at its end, is its length.
    pub(super) fn check_trailer(&self, length: u64, reader: &Reader<'_>) -> Result<()> {
        if length != self.header.length {
            return Err(self.corrupt(Fault::LengthsDiffer, reader));
        }
        Ok(())
    }

    fn corrupt(&self, fault: Fault, reader: &Reader<'_>) -> Error {
        reader.corrupt(self.position, fault.to_string())
    }
}

/// Transactions from the end to the front, by one read each. Ends after the
/// first error.
pub struct Backwards<'a> {
    reader: Reader<'a>,
    /// Where the transaction to come ends.
    end: u64,
    /// Its length, once read together with the transaction behind it.
    length: Option<u64>,
}

impl<'a> Backwards<'a> {
    /// The transactions before the end of `reader`, which must be where one
    /// ends.
    pub fn new(reader: Reader<'a>) -> Self {
        Self {
            reader,
            end: reader.end,
            length: None,
        }
    }

    fn step(&mut self) -> Result<Txn> {
        const HEADER: usize = TXN_HEADER_LEN as usize;
        const TRAILER: usize = TRAILER_LEN as usize;
        let (reader, end) = (self.reader, self.end);
        let records_end = end.saturating_sub(TRAILER_LEN);
        let length = match self.length {
            Some(length) => length,
            None => reader.number(records_end)?,
        };
        let position = records_end
            .checked_sub(length)
            .filter(|&position| position >= FIRST && length >= TXN_HEADER_LEN)
            .ok_or_else(|| {
                let what = format!("no transaction of {length} bytes can end here");
                reader.corrupt(records_end, what)
            })?;
        let (mut bytes, mut header) = ([0; TRAILER + HEADER], [0; HEADER]);
        if position > FIRST {
            reader.read_exact(&mut bytes, position.saturating_sub(TRAILER_LEN))?;
            self.length = Some(BE::read_u64(&bytes[..TRAILER]));
            header.copy_from_slice(&bytes[TRAILER..]);
        } else {
            reader.read_exact(&mut header, position)?;
        }
        let header = TxnHeader::parse(&header);
        let txn = Txn { position, header };
        txn.check_trailer(length, &reader)?;
        txn.check(&reader)?;
        self.end = position;
        Ok(txn)
    }
}

impl Iterator for Backwards<'_> {
    type Item = Result<Txn>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.end <= FIRST {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.end = 0;
        }
        Some(step)
    }
}

/// The headers of a transaction's records with their positions. Ends after
/// the first error.
pub struct RecordHeaders<'a> {
    /// Sees no farther than the end of the transaction.
    reader: Reader<'a>,
    txn: u64,
    position: u64,
}

impl<'a> RecordHeaders<'a> {
    /// The records of `txn`.
    pub fn new(reader: Reader<'a>, txn: &Txn) -> Self {
        Self {
            reader: Reader {
                end: txn.records_end(),
                ..reader
            },
            txn: txn.position,
            position: txn.records_start(),
        }
    }

    fn step(&mut self) -> Result<(u64, DataHeader)> {
        let position = self.position;
        let header = self.reader.data_header(position, None)?;
        check_record(&self.reader, self.txn, position, &header)?;
        self.position = position.saturating_add(header.record_len());
        Ok((position, header))
    }
}

impl Iterator for RecordHeaders<'_> {
    type Item = Result<(u64, DataHeader)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.reader.end {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.position = self.reader.end;
        }
        Some(step)
    }
}

/// Fails unless the record at `position` belongs to the transaction at `txn`
/// and ends with it, at the end of `reader`, or before.
pub(crate) fn check_record(
    reader: &Reader<'_>,
    txn: u64,
    position: u64,
    header: &DataHeader,
) -> Result<()> {
    if header.tloc != txn {
        let what = format!("the record belongs to a transaction at {}", header.tloc);
        return Err(reader.corrupt(position, what));
    }
    if header.record_len() > reader.end.saturating_sub(position) {
        return Err(reader.corrupt(position, "the record is longer than its transaction"));
    }
    Ok(())
}

/// Finds a transaction by its tid, from the end. Fails as Python does
/// (`UndoError`) when it is not there.
///
/// Python's code intends to stop at packed transactions, but does not. So to undo one is refused
/// because it is packed, and not because it is unknown.
pub(crate) fn find_txn(reader: Reader<'_>, tid: Tid) -> Result<Txn> {
    for txn in Backwards::new(reader) {
        let txn = txn?;
        if txn.header.tid == tid {
            return Ok(txn);
        }
    }
    Err(Error::Undo {
        reason: "Invalid transaction id".to_owned(),
        oid: None,
        failures: Vec::new(),
        conflicts: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::files::{Builder, data};

    /// Three transactions of one record each, at these positions.
    fn file() -> (Builder, [u64; 3]) {
        let mut file = Builder::new();
        let positions = [1, 2, 3].map(|tid| file.txn(tid, b' ', &[(tid, 0, data("some data"))]));
        (file, positions)
    }

    /// Overwrites the 8 bytes at `position`.
    fn put(file: &mut Builder, position: u64, number: u64) {
        let at = usize::try_from(position).unwrap();
        file.bytes[at..at + 8].copy_from_slice(&number.to_be_bytes());
    }

    /// What is wrong and where, as (position, text).
    fn damage<T: std::fmt::Debug>(result: Result<T>) -> (u64, String) {
        match result {
            Err(Error::Corrupt { position, what, .. }) => (position, what),
            other => panic!("{other:?}"),
        }
    }

    fn backwards(file: &Builder) -> Vec<Result<Txn>> {
        let generation = crate::testing::files::generation(&file.bytes, &[]);
        Backwards::new(generation.reader()).collect()
    }

    #[test]
    fn backwards_meets_all_transactions() {
        let (file, positions) = file();
        let found = backwards(&file)
            .into_iter()
            .map(|txn| txn.unwrap().position);
        assert!(found.eq(positions.into_iter().rev()));
        assert!(backwards(&Builder::new()).is_empty());
    }

    #[test]
    fn backwards_stops_at_damage() {
        let (mut broken, [_, second, third]) = file();
        put(&mut broken, third - 8, 1 << 40);
        let mut found = backwards(&broken);
        let text = "no transaction of 1099511627776 bytes can end here";
        assert_eq!(damage(found.pop().unwrap()), (third - 8, text.to_owned()));
        assert_eq!(found.len(), 1);

        let (mut broken, _) = file();
        put(&mut broken, second + 8, 60);
        let text = "the transaction's length differs between its two ends";
        let last = backwards(&broken).pop().unwrap();
        assert_eq!(damage(last), (second, text.to_owned()));
    }

    #[test]
    fn a_transaction_must_end_before_the_file() {
        let (mut broken, [first, _, third]) = file();
        put(&mut broken, third + 8, u64::MAX - 3);
        put(&mut broken, first + 8, 3);
        let generation = crate::testing::files::generation(&broken.bytes, &[]);
        let text = "a transaction is longer than the file";
        let read = |position| damage(Txn::read(&generation.reader(), position));
        assert_eq!(read(third), (third, text.to_owned()));
        let text = "a transaction is shorter than its header";
        assert_eq!(read(first), (first, text.to_owned()));
    }

    #[test]
    fn records_must_belong_to_their_transaction() {
        let (tloc_at, plen_at) = (TXN_HEADER_LEN + 24, TXN_HEADER_LEN + 34);
        for (field, number, text) in [
            (tloc_at, 9, "the record belongs to a transaction at 9"),
            (plen_at, 10, "the record is longer than its transaction"),
            (
                plen_at,
                u64::MAX,
                "the record is longer than its transaction",
            ),
        ] {
            let (mut broken, [_, second, _]) = file();
            put(&mut broken, second + field, number);
            let generation = crate::testing::files::generation(&broken.bytes, &[]);
            let txn = Txn::read(&generation.reader(), second).unwrap();
            let found: Vec<_> = RecordHeaders::new(generation.reader(), &txn).collect();
            let expected = (second + TXN_HEADER_LEN, text.to_owned());
            assert_eq!(
                found.into_iter().map(damage).collect::<Vec<_>>(),
                [expected]
            );
        }
    }
}
