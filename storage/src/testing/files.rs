//! Files of a FileStorage, built in memory.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zeo_proto::{Oid, Tid};

use crate::disk::backend::{Backend, MemoryBackend};
use crate::file_storage::commit::pending::Payload;
use crate::file_storage::format::walk::{RecordHeaders, Txn};
use crate::file_storage::format::{DataHeader, FIRST, MAGIC, Reader, TXN_HEADER_LEN, TxnHeader};
use crate::file_storage::index::Index;
use crate::file_storage::read::generation::Generation;

/// A transaction of records (oid, previous position, payload) as it stands
/// in the file at `tloc`.
pub fn encode_txn(
    tloc: u64,
    tid: Tid,
    status: u8,
    texts: [&[u8]; 3],
    records: &[(Oid, u64, Payload)],
) -> Vec<u8> {
    let mut body = texts.concat();
    for (oid, prev, payload) in records {
        let (plen, data) = match payload {
            Payload::Back(back) => (0, back.to_be_bytes().to_vec()),
            Payload::Data(data) => (data.len() as u64, data.clone()),
        };
        let header = DataHeader {
            oid: *oid,
            tid,
            prev: *prev,
            tloc,
            plen,
            back: 0,
        };
        body.extend(header.encode());
        body.extend(data);
    }
    let length = TXN_HEADER_LEN + body.len() as u64;
    let header = TxnHeader {
        tid,
        length,
        status,
        meta_lens: texts.map(|text| u16::try_from(text.len()).unwrap()),
    };
    [&header.encode()[..], &body, &length.to_be_bytes()].concat()
}

/// A file under construction.
pub struct Builder {
    pub bytes: Vec<u8>,
}

impl Builder {
    pub fn new() -> Self {
        Self {
            bytes: MAGIC.to_vec(),
        }
    }

    /// Adds a transaction without texts; gives its position.
    pub fn txn(&mut self, tid: u64, status: u8, records: &[(u64, u64, Payload)]) -> u64 {
        let position = self.bytes.len() as u64;
        let records: Vec<_> = records
            .iter()
            .map(|(oid, prev, payload)| (Oid::new(*oid), *prev, payload.clone()))
            .collect();
        let txn = encode_txn(position, Tid::new(tid), status, [b""; 3], &records);
        self.bytes.extend(txn);
        position
    }

    /// The file with an index of its intact state.
    pub fn build(&self) -> Arc<Generation> {
        generation(&self.bytes, &positions(&self.bytes))
    }
}

/// Counts the reads of a file in memory.
pub struct Counting {
    memory: Arc<MemoryBackend>,
    reads: AtomicU64,
}

impl Backend for Counting {
    fn path(&self) -> &Path {
        self.memory.path()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.memory.read_at(buffer, position)
    }
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.memory.write_all_at(bytes, position)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.memory.truncate(length)
    }
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }
    fn reserve(&self, _start: u64, _end: u64) -> io::Result<()> {
        Ok(())
    }
}

impl Counting {
    pub fn of(bytes: &[u8]) -> Self {
        let memory = memory(bytes);
        let reads = AtomicU64::new(0);
        Self { memory, reads }
    }

    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

/// One object with so many records in all, of which each leads back to the one
/// before; and where they stand.
pub fn chain(count: u64) -> (Builder, Vec<u64>) {
    let mut file = Builder::new();
    let mut records = vec![file.txn(1, b' ', &[(1, 0, data("x"))]) + TXN_HEADER_LEN];
    for tid in 2..=count {
        let last = records[records.len() - 1];
        let txn = file.txn(tid, b' ', &[(1, last, Payload::Back(last))]);
        records.push(txn + TXN_HEADER_LEN);
    }
    (file, records)
}

/// A payload of data.
pub fn data(text: &str) -> Payload {
    Payload::Data(text.into())
}

/// The file as it would be had its transactions been written without seals,
/// and what became of its positions.
pub fn without_seals(bytes: &[u8]) -> (Vec<u8>, HashMap<u64, u64>) {
    let backend = memory(bytes);
    let reader = Reader {
        backend: &*backend,
        end: bytes.len() as u64,
    };
    let (mut out, mut moved) = (MAGIC.to_vec(), HashMap::from([(0, 0)]));
    let mut position = FIRST;
    while position < reader.end {
        let txn = Txn::read(&reader, position).unwrap();
        let meta = reader.txn_meta(position, &txn.header).unwrap();
        let tloc = out.len() as u64;
        let mut body = [meta.user, meta.description, meta.extension.clone()].concat();
        for record in RecordHeaders::new(reader, &txn) {
            let (position, mut record) = record.unwrap();
            moved.insert(position, tloc + TXN_HEADER_LEN + body.len() as u64);
            record.prev = moved[&record.prev];
            record.tloc = tloc;
            body.extend(record.encode());
            match record.plen {
                0 => body.extend(moved[&record.back].to_be_bytes()),
                _ => body.extend(&*reader.data(position, &record).unwrap()),
            }
        }
        let mut header = txn.header;
        header.length = TXN_HEADER_LEN + body.len() as u64;
        header.meta_lens[2] = u16::try_from(meta.extension.len()).unwrap();
        out.extend(header.encode());
        out.extend(body);
        out.extend(header.length.to_be_bytes());
        position = txn.end();
    }
    moved.insert(position, out.len() as u64);
    (out, moved)
}

/// The records of all objects with their positions, in the order of the
/// file, without ignored transactions.
pub fn positions(bytes: &[u8]) -> Vec<(Oid, u64)> {
    let backend = memory(bytes);
    let reader = Reader {
        backend: &*backend,
        end: bytes.len() as u64,
    };
    let mut found = Vec::new();
    let mut position = FIRST;
    while position < reader.end {
        let txn = Txn::read(&reader, position).unwrap();
        position = txn.end();
        if txn.header.status != b'u' {
            found.extend(RecordHeaders::new(reader, &txn).map(|record| {
                let (position, header) = record.unwrap();
                (header.oid, position)
            }));
        }
    }
    found
}

/// A generation over these bytes, damaged or not, with this index.
pub fn generation(bytes: &[u8], positions: &[(Oid, u64)]) -> Arc<Generation> {
    let index = Index::default();
    for &(oid, position) in positions {
        index.set(oid, position);
    }
    let backend = memory(bytes);
    let end = bytes.len() as u64;
    Arc::new(Generation::new(backend, index, end, Tid::ZERO))
}

/// These bytes in memory.
pub fn memory(bytes: &[u8]) -> Arc<MemoryBackend> {
    let backend = MemoryBackend::default();
    backend.write_all_at(bytes, 0).unwrap();
    Arc::new(backend)
}

/// All bytes of a backend.
pub fn content(backend: &dyn Backend) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(backend.len().unwrap()).unwrap()];
    assert_eq!(backend.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}
