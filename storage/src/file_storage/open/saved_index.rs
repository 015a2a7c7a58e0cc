//! Does a saved index belong to this file? As in Python, the last
//! transaction that it covers tells.

use zeo_proto::Tid;

use super::torn::{Known, NOT_OURS};
use crate::disk::backend::Backend;
use crate::disk::paths::failed;
use crate::file_storage::format::room::data_end;
use crate::file_storage::format::verify::verify_seal;
use crate::file_storage::format::walk::{Backwards, RecordHeaders, Txn};
use crate::file_storage::format::{FIRST, Reader};
use crate::file_storage::index::Index;
use crate::file_storage::index::file::{Loaded, Origin, State};
use crate::log::{Level, Log};
use crate::{Error, Result};

/// Python trusts no index that covers less than this, in bytes.
const TRUSTED_END_MIN: u64 = 100;
/// How many records are looked at.
const CHECKED_RECORDS_MAX: usize = 5;

/// Where the scan begins: what the index file knew.
pub(crate) struct Start {
    pub index: Index,
    pub from: u64,
    pub last_tid: Tid,
    pub known: Known,
    /// There is a good index of ours.
    pub has_own_index: bool,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            index: Index::default(),
            from: FIRST,
            last_tid: Tid::ZERO,
            known: Known::default(),
            has_own_index: false,
        }
    }
}

/// Starts from the saved index, if there is a good one, else from the
/// beginning. Fails when the index shows that the file is damaged.
pub(crate) fn start(
    backend: &dyn Backend,
    loaded: std::result::Result<Option<Loaded>, String>,
    log: &Log,
) -> Result<Start> {
    let path = backend.path();
    let ignored = |why: &str| {
        let what = format!("{}: ignoring the index: {why}", path.display());
        log(Level::Warning, &what);
        Start::default()
    };
    let loaded = match loaded {
        // Of a storage that was new then, or that was being packed.
        Ok(Some(loaded)) if loaded.index.is_empty() => {
            let known = match loaded.origin {
                Origin::Python => Known::default(),
                Origin::Own(State { is_open, accepted }) => Known {
                    is_open,
                    accepted,
                    ..Known::default()
                },
            };
            return Ok(Start {
                known,
                ..Start::default()
            });
        }
        Ok(Some(loaded)) => loaded,
        Ok(None) => return Ok(Start::default()),
        Err(why) => return Ok(ignored(&why)),
    };
    let (end, known) = (loaded.position, loaded.known());
    match check(&Reader { backend, end }, &loaded) {
        Ok(last_tid) => Ok(Start {
            index: loaded.index,
            from: end,
            last_tid,
            known,
            has_own_index: loaded.origin != Origin::Python,
        }),
        Err(Rejected::Damaged(error)) => Err(error),
        Err(Rejected::Foreign(why)) => {
            let size = data_end(backend).map_err(failed("reading the end of", path))?;
            let known = Known {
                durable: if end <= size { end } else { FIRST },
                ..Known::default()
            };
            Ok(Start {
                known,
                ..ignored(&why)
            })
        }
    }
}

impl Loaded {
    /// What it says of the file, if it belongs to that. Python closed the file
    /// of which there is an index of Python's: it knows of no seals, so those
    /// in what the index covers may be from anywhere.
    pub fn known(&self) -> Known {
        let (is_open, accepted) = match self.origin {
            Origin::Python => (false, self.position),
            Origin::Own(State { is_open, accepted }) => (is_open, accepted),
        };
        Known {
            durable: self.position,
            accepted,
            is_open,
        }
    }
}

/// Whether this is an index of the file, up to the end of `reader`; if not,
/// why. Fails when it is, and shows that the file is damaged.
pub(crate) fn belongs(
    reader: &Reader<'_>,
    loaded: &Loaded,
) -> Result<std::result::Result<(), String>> {
    match check(reader, loaded) {
        Ok(_) => Ok(Ok(())),
        Err(Rejected::Foreign(why)) => Ok(Err(why)),
        Err(Rejected::Damaged(error)) => Err(error),
    }
}

/// Why an index is not used.
enum Rejected {
    /// It is not the index of this file.
    Foreign(String),
    /// It is, and the last transaction that it covers is damaged.
    Damaged(Error),
}

/// The last tid that the index covers (up to the end of `reader`), or why it
/// can't be used.
fn check(reader: &Reader<'_>, loaded: &Loaded) -> std::result::Result<Tid, Rejected> {
    let (last_tid, last) = find(reader, &loaded.index).map_err(Rejected::Foreign)?;
    if last.position < loaded.known().accepted {
        return Ok(last_tid);
    }
    match verify_seal(reader, &last) {
        Ok(_) => Ok(last_tid),
        Err(Error::Corrupt { position, what, .. }) => {
            let what = format!("{what}; {NOT_OURS}");
            Err(Rejected::Damaged(reader.corrupt(position, what)))
        }
        Err(error) => Err(Rejected::Damaged(error)),
    }
}

/// An error without saying that the file is damaged: the index may be of
/// another one.
fn in_words(error: Error) -> String {
    match error {
        Error::Corrupt { position, what, .. } => format!("at {position}: {what}"),
        error => error.to_string(),
    }
}

/// The last tid, and the last transaction with records, which stand where
/// the index says.
fn find(reader: &Reader<'_>, index: &Index) -> std::result::Result<(Tid, Txn), String> {
    if reader.end < TRUSTED_END_MIN {
        return Err("it covers too little of the file".to_owned());
    }
    let mut last_tid = None;
    for txn in Backwards::new(*reader) {
        let txn = txn.map_err(in_words)?;
        let last_tid = *last_tid.get_or_insert(txn.header.tid);
        match txn.header.status {
            b'u' => continue,
            b' ' | b'p' => {}
            _ => return Err("the last transaction is unfinished".to_owned()),
        }
        let mut records = RecordHeaders::new(*reader, &txn)
            .take(CHECKED_RECORDS_MAX)
            .peekable();
        if records.peek().is_none() {
            continue;
        }
        for record in records {
            let (position, header) = record.map_err(in_words)?;
            // An object may have another record in the same transaction.
            let known = index.get(header.oid).unwrap_or(0);
            if !(position..txn.records_end()).contains(&known) {
                return Err(format!(
                    "object {} is at {position}, not at {known}",
                    header.oid
                ));
            }
        }
        return Ok((last_tid, txn));
    }
    Err("the file has no transaction with records".to_owned())
}
