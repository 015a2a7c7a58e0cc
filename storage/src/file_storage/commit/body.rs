//! The records of a transaction that is being prepared: what they say in
//! memory, their data in memory as well, up to a limit, and then in a
//! temporary file beside the database. Tid and positions come at the append.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::{SpooledTempFile, spooled_tempfile, spooled_tempfile_in};
use zeo_proto::{Oid, Tid};

use super::pending::{Payload, Pending};
use crate::file_storage::format::DataHeader;

/// How much data stays in memory.
const IN_MEMORY_MAX_BYTES: usize = 8 << 20;

/// The records of one transaction, in the order of the file.
#[derive(Debug)]
pub(crate) struct Body {
    records: Vec<Record>,
    /// The data of all records, one after the other.
    data: SpooledTempFile,
    /// Length of the records in the file.
    length: u64,
}

/// One record, without what is known only at the append.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub oid: Oid,
    /// The serial of a restored record; `None`: the transaction's tid.
    pub serial: Option<Tid>,
    /// Position of the object's committed record; 0 when there is none.
    pub prev: u64,
    /// Length of the data; 0 for a back-pointer.
    pub plen: u64,
    back: u64,
}

impl Record {
    fn header(&self, tid: Tid, tloc: u64) -> DataHeader {
        DataHeader {
            oid: self.oid,
            tid: self.serial.unwrap_or(tid),
            prev: self.prev,
            tloc,
            plen: self.plen,
            back: self.back,
        }
    }

    fn length(&self) -> u64 {
        self.header(Tid::ZERO, 0).record_len()
    }
}

impl Body {
    /// A body without records. Large data go to a file in `dir`; without
    /// one, they stay in memory.
    pub fn new(dir: Option<&Path>) -> Self {
        Self {
            records: Vec::new(),
            data: match dir {
                Some(dir) => spooled_tempfile_in(IN_MEMORY_MAX_BYTES, dir),
                None => spooled_tempfile(usize::MAX),
            },
            length: 0,
        }
    }

    /// Adds a record with data, of which there must be some: in the file, no
    /// data means a back-pointer.
    pub fn push_data(
        &mut self,
        oid: Oid,
        serial: Option<Tid>,
        prev: u64,
        data: &[u8],
    ) -> io::Result<()> {
        self.data.write_all(data)?;
        self.push(Record {
            oid,
            serial,
            prev,
            plen: data.len() as u64,
            back: 0,
        });
        Ok(())
    }

    /// Adds a record with a back-pointer; 0: the object is gone.
    pub fn push_back(&mut self, oid: Oid, serial: Option<Tid>, prev: u64, back: u64) {
        self.push(Record {
            oid,
            serial,
            prev,
            plen: 0,
            back,
        });
    }

    fn push(&mut self, record: Record) {
        self.length = self.length.saturating_add(record.length());
        self.records.push(record);
    }

    /// Sets the previous position of every record.
    pub fn set_previous(&mut self, previous: impl Fn(Oid) -> u64) {
        for record in &mut self.records {
            record.prev = previous(record.oid);
        }
    }

    /// Length of the records in the file, saturating.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The records in the order of the file.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The records with their positions, the first one's being `start`.
    pub fn positions(&self, start: u64) -> impl Iterator<Item = (Oid, u64)> {
        self.records.iter().scan(start, |position, record| {
            let here = *position;
            *position = position.saturating_add(record.length());
            Some((record.oid, here))
        })
    }

    /// What an undo is to know of the records so far.
    pub fn pending(&mut self) -> io::Result<Pending> {
        let mut pending = Pending::default();
        self.data.rewind()?;
        for record in &self.records {
            let payload = match record.plen {
                0 => Payload::Back(record.back),
                plen => {
                    let mut data = Vec::new();
                    (&mut self.data).take(plen).read_to_end(&mut data)?;
                    Payload::Data(data)
                }
            };
            pending.push(record.oid, payload);
        }
        self.data.seek(SeekFrom::End(0))?;
        Ok(pending)
    }

    /// Writes the records as they stand in the file, of transaction `tid` at
    /// position `tloc`.
    pub fn write_to(&mut self, out: &mut impl Write, tid: Tid, tloc: u64) -> io::Result<()> {
        self.data.rewind()?;
        for record in &self.records {
            let header = record.header(tid, tloc);
            out.write_all(&header.encode())?;
            if record.plen == 0 {
                out.write_all(&record.back.to_be_bytes())?;
            } else if io::copy(&mut (&mut self.data).take(record.plen), out)? < record.plen {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Frees the data, which are in the file now.
    pub fn drop_data(&mut self) {
        self.data = spooled_tempfile(0);
    }
}
