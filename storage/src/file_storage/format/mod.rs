//! The bytes of `Data.fs`: transaction and data record headers
//! (ZODB `FileStorage/format.py`; told in full in `FORMAT.md`).
//!
//! ```text
//! file         "FS30" transaction*
//! transaction  header user description extension record* length(8)
//! header (23)  tid(8) length(8) status(1) ulen(2) dlen(2) elen(2)
//!              length: of the transaction without its last 8 bytes
//! record       oid(8) tid(8) prev(8) tloc(8) 0(2) plen(8)   = 42 bytes
//!              then plen bytes of data, or for plen 0 a back-pointer(8):
//!              the record that holds the data, 0 when the object is gone
//! ```

pub(crate) mod back_pointers;
pub(crate) mod seal;
pub mod verify;
pub mod walk;
pub mod window;

use std::io;

use byteorder::{BE, ByteOrder};
use zeo_proto::{Oid, Tid};

use self::seal::unsealed;
use crate::disk::backend::Backend;
use crate::storage::{Data, TransactionMeta};
use crate::{Error, Result};

/// The first four bytes of the file, as ZODB writes them under Python 3.
pub const MAGIC: &[u8; 4] = b"FS30";
/// The same under Python 2. The records differ in what their strings mean,
/// so ZODB does not open one for the other.
pub const MAGIC_PYTHON_2: &[u8; 4] = b"FS21";
/// Where the first transaction begins.
pub const FIRST: u64 = 4;
/// No file ends behind this: indexes keep positions in 6 bytes.
pub const END_MAX: u64 = 1 << 48;
/// Length of a transaction header without its three texts.
pub const TXN_HEADER_LEN: u64 = 23;
/// Length of a data record's header.
pub const DATA_HEADER_LEN: u64 = 42;
/// The longest user name, description or extension.
pub const META_MAX: usize = 65_535;
/// How much a load reads along with a header, hoping to get the whole
/// record by one system call.
const READ_AHEAD: usize = 2048;
const HEADER: usize = DATA_HEADER_LEN as usize;

/// A transaction header, without its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnHeader {
    /// The transaction.
    pub tid: Tid,
    /// Length of the transaction without its last 8 bytes.
    pub length: u64,
    /// `b' '`, `b'p'` packed, `b'u'` undone (skipped), `b'c'` unfinished.
    pub status: u8,
    /// Lengths of user, description and extension.
    pub meta_lens: [u16; 3],
}

impl TxnHeader {
    /// Length of the header with its texts.
    pub fn header_len(&self) -> u64 {
        TXN_HEADER_LEN
            + self
                .meta_lens
                .iter()
                .map(|&len| u64::from(len))
                .sum::<u64>()
    }

    /// The header in its 23 bytes.
    pub fn parse(bytes: &[u8; TXN_HEADER_LEN as usize]) -> Self {
        Self {
            tid: Tid::new(BE::read_u64(&bytes[0..8])),
            length: BE::read_u64(&bytes[8..16]),
            status: bytes[16],
            meta_lens: [
                BE::read_u16(&bytes[17..19]),
                BE::read_u16(&bytes[19..21]),
                BE::read_u16(&bytes[21..23]),
            ],
        }
    }

    /// The 23 bytes of the header.
    pub fn encode(&self) -> [u8; TXN_HEADER_LEN as usize] {
        let mut bytes = [0; TXN_HEADER_LEN as usize];
        BE::write_u64(&mut bytes[0..8], self.tid.as_u64());
        BE::write_u64(&mut bytes[8..16], self.length);
        bytes[16] = self.status;
        for (slot, &len) in bytes[17..23].chunks_exact_mut(2).zip(&self.meta_lens) {
            BE::write_u16(slot, len);
        }
        bytes
    }
}

/// A data record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    /// The object.
    pub oid: Oid,
    /// The transaction that wrote the record.
    pub tid: Tid,
    /// Position of the object's previous record; 0 when there is none.
    pub prev: u64,
    /// Position of the transaction.
    pub tloc: u64,
    /// Length of the data; 0 when a back-pointer follows.
    pub plen: u64,
    /// The back-pointer when `plen` is 0 (0: the object is gone), else 0.
    pub back: u64,
}

impl DataHeader {
    /// Length of the record: header and data, or header and back-pointer.
    /// Saturates on nonsense lengths; compare it with the room there is.
    pub fn record_len(&self) -> u64 {
        DATA_HEADER_LEN.saturating_add(if self.plen == 0 { 8 } else { self.plen })
    }

    /// The header in its 42 bytes, without the back-pointer. `None` when the
    /// two bytes of the version length are not 0: versions ended with ZODB 3.9.
    pub fn parse(bytes: &[u8; DATA_HEADER_LEN as usize]) -> Option<Self> {
        (BE::read_u16(&bytes[32..34]) == 0).then(|| Self {
            oid: Oid::new(BE::read_u64(&bytes[0..8])),
            tid: Tid::new(BE::read_u64(&bytes[8..16])),
            prev: BE::read_u64(&bytes[16..24]),
            tloc: BE::read_u64(&bytes[24..32]),
            plen: BE::read_u64(&bytes[34..42]),
            back: 0,
        })
    }

    /// The 42 bytes of the header; data or back-pointer follow.
    pub fn encode(&self) -> [u8; DATA_HEADER_LEN as usize] {
        let mut bytes = [0; DATA_HEADER_LEN as usize];
        BE::write_u64(&mut bytes[0..8], self.oid.as_u64());
        BE::write_u64(&mut bytes[8..16], self.tid.as_u64());
        BE::write_u64(&mut bytes[16..24], self.prev);
        BE::write_u64(&mut bytes[24..32], self.tloc);
        BE::write_u64(&mut bytes[34..42], self.plen);
        bytes
    }
}

/// A record of which the header has been read, and some of the data.
#[derive(Debug)]
pub struct Head {
    /// The header.
    pub header: DataHeader,
    position: u64,
    buffer: Vec<u8>,
}

/// Reads the structures of a file up to `end`; everything is checked against
/// that, so that no length in the file is believed.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The file.
    pub backend: &'a dyn Backend,
    /// Where the readable part of it ends.
    pub end: u64,
}

impl Reader<'_> {
    /// An error about this file at a position.
    pub fn corrupt(&self, position: u64, what: impl Into<String>) -> Error {
        Error::Corrupt {
            file: self.backend.path().to_owned(),
            position,
            what: what.into(),
        }
    }

    /// Fails when the file is longer than a FileStorage can be.
    pub fn check_end(&self) -> Result<()> {
        match self.end > END_MAX {
            true => Err(self.corrupt(END_MAX, "no FileStorage is longer than this")),
            false => Ok(()),
        }
    }

    /// Fills `buffer` from `position`, or fails.
    pub fn read_exact(&self, buffer: &mut [u8], position: u64) -> Result<()> {
        let room = self.end.saturating_sub(position);
        if room < buffer.len() as u64 || self.read(buffer, position)? < buffer.len() {
            return Err(self.corrupt(position, format!("it ends within {} bytes", buffer.len())));
        }
        Ok(())
    }

    /// The 8-byte number at `position`.
    pub fn number(&self, position: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read_exact(&mut bytes, position)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// The transaction header at `position`.
    pub fn txn_header(&self, position: u64) -> Result<TxnHeader> {
        let mut bytes = [0; TXN_HEADER_LEN as usize];
        self.read_exact(&mut bytes, position)?;
        Ok(TxnHeader::parse(&bytes))
    }

    /// User, description and extension (without its seal) behind the header
    /// at `position`.
    pub fn txn_meta(&self, position: u64, header: &TxnHeader) -> Result<TransactionMeta> {
        let [user_len, description_len, extension_len] = header.meta_lens.map(usize::from);
        let mut user = vec![0; user_len + description_len + extension_len];
        if !user.is_empty() {
            self.read_exact(&mut user, position.saturating_add(TXN_HEADER_LEN))?;
        }
        let mut description = user.split_off(user_len);
        let extension = unsealed(description.split_off(description_len));
        Ok(TransactionMeta {
            user,
            description,
            extension,
            tid: Some(header.tid),
            status: header.status,
        })
    }

    /// The header of the data record at `position`, back-pointer included.
    /// With `oid`, the record must be that object's.
    pub fn data_header(&self, position: u64, oid: Option<Oid>) -> Result<DataHeader> {
        let mut bytes = [0; DATA_HEADER_LEN as usize];
        self.read_exact(&mut bytes, position)?;
        let mut header = self.checked_header(&bytes, position, oid)?;
        if header.plen == 0 {
            header.back = self.number(position + DATA_HEADER_LEN)?;
            self.check_back(position, header.back)?;
        }
        Ok(header)
    }

    /// The data of the record at `position` with this header.
    pub fn data(&self, position: u64, header: &DataHeader) -> Result<Data> {
        self.check_room(position, header)?;
        let length = usize::try_from(header.plen)
            .map_err(|_| self.corrupt(position, "the record is too large to read"))?;
        let mut buffer = vec![0; length];
        self.read_exact(&mut buffer, position + DATA_HEADER_LEN)?;
        Ok(buffer.into())
    }

    /// Header and data (empty for a back-pointer) of the record at
    /// `position`, by one read when the record is small.
    pub fn record(&self, position: u64, oid: Option<Oid>) -> Result<(DataHeader, Data)> {
        let head = self.head(position, oid)?;
        Ok((head.header, self.rest(head)?))
    }

    /// The header of the record at `position`, back-pointer included, with
    /// as much of the data as one small read brings.
    pub fn head(&self, position: u64, oid: Option<Oid>) -> Result<Head> {
        let mut buffer = vec![0; READ_AHEAD];
        let room = usize::try_from(self.end.saturating_sub(position)).unwrap_or(usize::MAX);
        buffer.truncate(room);
        let got = self.read(&mut buffer, position)?;
        buffer.truncate(got);
        let Some(first) = buffer.first_chunk::<HEADER>() else {
            return Err(self.corrupt(position, "it ends within a record's header"));
        };
        let mut header = self.checked_header(first, position, oid)?;
        if header.plen == 0 {
            let Some(back) = buffer.get(HEADER..HEADER + 8) else {
                return Err(self.corrupt(position, "it ends within a back-pointer"));
            };
            header.back = BE::read_u64(back);
            self.check_back(position, header.back)?;
            buffer.truncate(HEADER);
        }
        Ok(Head {
            position,
            header,
            buffer,
        })
    }

    /// The data of a record that was begun by [`Reader::head`].
    pub fn rest(&self, head: Head) -> Result<Data> {
        let Head {
            position,
            header,
            mut buffer,
        } = head;
        self.check_room(position, &header)?;
        let length = usize::try_from(header.plen)
            .map_err(|_| self.corrupt(position, "the record is too large to read"))?;
        let missing_from = buffer.len();
        buffer.resize(HEADER + length, 0);
        if let Some(missing) = buffer
            .get_mut(missing_from..)
            .filter(|rest| !rest.is_empty())
        {
            self.read_exact(missing, position + missing_from as u64)?;
        }
        Ok(Data::new(buffer, HEADER))
    }

    fn read(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        self.backend
            .read_at(buffer, position)
            .map_err(|source| Error::Io {
                doing: "reading",
                file: self.backend.path().to_owned(),
                source: io::Error::new(source.kind(), format!("{source}, at {position}")),
            })
    }

    fn checked_header(
        &self,
        bytes: &[u8; DATA_HEADER_LEN as usize],
        position: u64,
        oid: Option<Oid>,
    ) -> Result<DataHeader> {
        let header = DataHeader::parse(bytes).ok_or_else(|| {
            self.corrupt(
                position,
                "this is no record, or one of a version, as before ZODB 3.9",
            )
        })?;
        if let Some(oid) = oid.filter(|&oid| oid != header.oid) {
            let what = format!("the record is of object {}, not {oid}", header.oid);
            return Err(self.corrupt(position, what));
        }
        if header.prev >= position {
            return Err(self.corrupt(position, "the previous record is not before this one"));
        }
        Ok(header)
    }

    /// Back-pointers lead to the front, so following them ends.
    fn check_back(&self, position: u64, back: u64) -> Result<()> {
        if back >= position {
            return Err(self.corrupt(position, "the back-pointer does not lead to the front"));
        }
        Ok(())
    }

    fn check_room(&self, position: u64, header: &DataHeader) -> Result<()> {
        if header.record_len() > self.end.saturating_sub(position) {
            return Err(self.corrupt(position, "the record is longer than the room there is"));
        }
        Ok(())
    }
}
