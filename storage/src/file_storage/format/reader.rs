//! Reading one structure of a file, with every length checked.

use byteorder::{BE, ByteOrder};
use zeo_proto::Oid;

use super::seal::unsealed;
use super::{DATA_HEADER_LEN, DataHeader, END_MAX, TXN_HEADER_LEN, TxnHeader};
use crate::disk::backend::Backend;
use crate::error::ReadFailed;
use crate::storage::{Data, TransactionMeta};
use crate::{Error, Result};

/// How much a load reads along with a header, hoping to get the whole
/// record by one system call.
const READ_AHEAD_BYTES: usize = 2048;
const HEADER: usize = DATA_HEADER_LEN as usize;

/// A record of which the header has been read, and some of the data.
#[derive(Debug)]
pub struct Head {
    /// The header.
    pub header: DataHeader,
    position: u64,
    buffer: Vec<u8>,
}

/// Reads the structures of a file up to `end`. All positions and lengths are checked against it, so
/// that no length in the file is trusted.
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

    /// Checks the length of the file.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: the file is longer than a FileStorage can be.
    pub fn check_end(&self) -> Result<()> {
        if self.end > END_MAX {
            Err(self.corrupt(END_MAX, "the file is longer than a FileStorage can be"))
        } else {
            Ok(())
        }
    }

    /// Fills `buffer` from `position`.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: the file ends before; or it can't be read.
    pub fn read_exact(&self, buffer: &mut [u8], position: u64) -> Result<()> {
        let room = self.end.saturating_sub(position);
        if room < buffer.len() as u64 || self.read(buffer, position)? < buffer.len() {
            return Err(self.corrupt(
                position,
                format!("the file ends within these {} bytes", buffer.len()),
            ));
        }
        Ok(())
    }

    /// The 8-byte number at `position`.
    ///
    /// # Errors
    /// As for [`Reader::read_exact`].
    pub fn number(&self, position: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read_exact(&mut bytes, position)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// The transaction header at `position`.
    ///
    /// # Errors
    /// As for [`Reader::read_exact`].
    pub fn txn_header(&self, position: u64) -> Result<TxnHeader> {
        let mut bytes = [0; TXN_HEADER_LEN as usize];
        self.read_exact(&mut bytes, position)?;
        Ok(TxnHeader::parse(&bytes))
    }

    /// User, description and extension (without its seal) behind the header
    /// at `position`.
    ///
    /// # Errors
    /// As for [`Reader::read_exact`].
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
    ///
    /// # Errors
    /// [`Error::Corrupt`]: the file ends before, or this is not such a record; or the file can't be
    /// read.
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
    ///
    /// # Errors
    /// [`Error::Corrupt`]: the file ends before; or it can't be read.
    pub fn data(&self, position: u64, header: &DataHeader) -> Result<Data> {
        let mut buffer = vec![0; self.length(position, header)?];
        self.read_exact(&mut buffer, position + DATA_HEADER_LEN)?;
        Ok(buffer.into())
    }

    /// Header and data (empty for a back-pointer) of the record at
    /// `position`, by one read when the record is small.
    ///
    /// # Errors
    /// As for [`Reader::data_header`].
    pub fn record(&self, position: u64, oid: Option<Oid>) -> Result<(DataHeader, Data)> {
        let head = self.head(position, oid)?;
        Ok((head.header, self.rest(head)?))
    }

    /// The header of the record at `position`, back-pointer included, with
    /// as much of the data as one small read brings.
    ///
    /// # Errors
    /// As for [`Reader::data_header`].
    pub fn head(&self, position: u64, oid: Option<Oid>) -> Result<Head> {
        let mut buffer = vec![0; READ_AHEAD_BYTES];
        let room = usize::try_from(self.end.saturating_sub(position)).unwrap_or(usize::MAX);
        buffer.truncate(room);
        let got = self.read(&mut buffer, position)?;
        buffer.truncate(got);
        let Some(first) = buffer.first_chunk::<HEADER>() else {
            return Err(self.corrupt(position, "the file ends within a record's header"));
        };
        let mut header = self.checked_header(first, position, oid)?;
        if header.plen == 0 {
            let Some(back) = buffer.get(HEADER..HEADER + 8) else {
                return Err(self.corrupt(position, "the file ends within a back-pointer"));
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
    ///
    /// # Errors
    /// As for [`Reader::data`].
    pub fn rest(&self, head: Head) -> Result<Data> {
        let Head {
            position,
            header,
            mut buffer,
        } = head;
        let length = self.length(position, &header)?;
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

    /// Where the data of a record that was begun by [`Reader::head`] stands, and how long it is.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: the file ends before.
    pub fn place(&self, head: &Head) -> Result<(u64, usize)> {
        let length = self.length(head.position, &head.header)?;
        Ok((head.position + DATA_HEADER_LEN, length))
    }

    /// The length of the data of a record, for which there is room.
    fn length(&self, position: u64, header: &DataHeader) -> Result<usize> {
        self.check_room(position, header)?;
        usize::try_from(header.plen)
            .map_err(|_| self.corrupt(position, "the record is too large to read"))
    }

    fn read(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        self.backend
            .read_at(buffer, position)
            .map_err(|source| Error::Io {
                doing: "reading",
                file: self.backend.path().to_owned(),
                source: ReadFailed::at(position, source),
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
                "this is not a data record, or one of a version (before ZODB 3.9)",
            )
        })?;
        if let Some(oid) = oid.filter(|&oid| oid != header.oid) {
            let what = format!("the record is of object {}, not {oid}", header.oid);
            return Err(self.corrupt(position, what));
        }
        if header.prev >= position {
            return Err(self.corrupt(
                position,
                "the previous record does not come before this one",
            ));
        }
        Ok(header)
    }

    /// Back-pointers point towards the beginning of the file, so following them comes to an end.
    fn check_back(&self, position: u64, back: u64) -> Result<()> {
        if back >= position {
            return Err(self.corrupt(
                position,
                "the back-pointer does not point to an earlier record",
            ));
        }
        Ok(())
    }

    fn check_room(&self, position: u64, header: &DataHeader) -> Result<()> {
        if header.record_len() > self.end.saturating_sub(position) {
            return Err(self.corrupt(position, "the record is longer than the space for it"));
        }
        Ok(())
    }
}
