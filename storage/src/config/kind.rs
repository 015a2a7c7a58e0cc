//! Storages as a configuration describes them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::log::Log;
use crate::zconfig::Place;
use crate::zlib_storage::Transform;
use crate::{Result, Storage};

/// A storage to serve.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StorageConfig {
    /// The name that clients ask for.
    pub name: String,
    /// What it is.
    pub kind: StorageKind,
    /// Its section; `None` if the command line gave it.
    pub place: Option<Place>,
}

/// The kinds of storages; some stand on others.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StorageKind {
    /// A `Data.fs`.
    FileStorage(FileStorageConfig),
    /// A storage in memory.
    MappingStorage {
        /// What it calls itself to clients.
        name: String,
    },
    /// A storage with changes to another one, that does not change by them.
    DemoStorage {
        /// What it calls itself to clients; by default, it tells of what it
        /// is made.
        name: Option<String>,
        /// What is changed; an empty one in memory by default.
        base: Option<Box<StorageKind>>,
        /// What keeps the changes; one in memory by default.
        changes: Option<Box<StorageKind>>,
    },
    /// A storage of compressed records (`zc.zlibstorage`).
    ZlibStorage {
        /// Who compresses and decompresses them.
        transform: Transform,
        /// The storage that keeps them.
        base: Box<StorageKind>,
    },
    /// Blobs for a storage that has none.
    BlobStorage {
        /// The directory of their files.
        blob_dir: PathBuf,
        /// The storage that keeps the records.
        base: Box<StorageKind>,
    },
    /// A storage of a crate above this one, which brings its own opener.
    Other(Other),
}

/// A storage of a crate above this one, as its section describes it.
pub trait Opener: fmt::Debug + Send + Sync {
    /// The name of the kind, for the log: that of Python's class.
    fn type_name(&self) -> &'static str;

    /// Whether it has a directory for blobs.
    fn has_blobs(&self) -> bool;

    /// Opens it, with blobs if it stands in a `<blobstorage>` with this directory.
    ///
    /// # Errors
    /// As [`open`](super::open).
    fn open(&self, blob_dir: Option<&Path>, log: &Log) -> Result<Arc<dyn Storage>>;

    /// One that opens it only to read it, and makes nothing that is not there; `None`: this one does.
    fn to_read(&self) -> Option<Arc<dyn Opener>> {
        None
    }

    /// Looks whether it can be opened, and makes nothing. For people: what is there; `None`: that is found
    /// by opening it only.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    fn look(&self, _log: &Log) -> Result<Option<String>> {
        Ok(None)
    }
}

/// An [`Opener`] in a [`StorageKind`].
#[derive(Clone, Debug)]
pub struct Other(pub Arc<dyn Opener>);

impl PartialEq for Other {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A `Data.fs` and how to treat it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FileStorageConfig {
    /// The file.
    pub path: PathBuf,
    /// Whether to empty the file if it is there.
    pub create: bool,
    /// Whether writing is refused.
    pub read_only: bool,
    /// The size in bytes that the file may not exceed.
    pub quota: Option<u64>,
    /// Whether packing drops objects that nothing refers to.
    pub pack_gc: bool,
    /// Whether packing leaves the file as it was in `.old`.
    pub pack_keep_old: bool,
    /// The directory of blob files, if there are to be blobs.
    pub blob_dir: Option<PathBuf>,
    /// How many bytes are written before a sync; no key, but what copies use.
    pub sync_every: u64,
    /// How many bytes to prepare at a time behind the last transaction; no key,
    /// but an option of the server.
    pub prepare_room: u64,
}

impl StorageConfig {
    /// A storage that stands in no file.
    pub fn new(name: String, kind: StorageKind) -> StorageConfig {
        StorageConfig {
            name,
            kind,
            place: None,
        }
    }
}

impl StorageKind {
    /// The name of the kind, for the log: that of Python's class.
    pub fn type_name(&self) -> &'static str {
        match self {
            StorageKind::FileStorage(_) => "FileStorage",
            StorageKind::MappingStorage { .. } => "MappingStorage",
            StorageKind::DemoStorage { .. } => "DemoStorage",
            StorageKind::ZlibStorage { transform, .. } => match transform {
                Transform {
                    for_clients: true, ..
                } => "ZlibStorage",
                _ => "ServerZlibStorage",
            },
            StorageKind::BlobStorage { .. } => "BlobStorage",
            StorageKind::Other(other) => other.0.type_name(),
        }
    }

    /// All the files that the storage is made of, to change how they are
    /// opened.
    pub fn files_mut(&mut self) -> Vec<&mut FileStorageConfig> {
        match self {
            StorageKind::FileStorage(file) => vec![file],
            StorageKind::MappingStorage { .. } | StorageKind::Other(_) => Vec::new(),
            StorageKind::DemoStorage { base, changes, .. } => {
                let parts = [base, changes].into_iter().flatten();
                parts.flat_map(|part| part.files_mut()).collect()
            }
            StorageKind::ZlibStorage { base, .. } | StorageKind::BlobStorage { base, .. } => {
                base.files_mut()
            }
        }
    }

    /// Has all of it opened only to be read: what is missing is not made.
    pub fn only_read(&mut self) {
        match self {
            StorageKind::FileStorage(file) => (file.read_only, file.create) = (true, false),
            StorageKind::MappingStorage { .. } => {}
            StorageKind::DemoStorage { base, changes, .. } => {
                let parts = [base, changes].into_iter().flatten();
                parts.for_each(|part| part.only_read());
            }
            StorageKind::ZlibStorage { base, .. } | StorageKind::BlobStorage { base, .. } => {
                base.only_read();
            }
            StorageKind::Other(other) => {
                if let Some(opener) = other.0.to_read() {
                    *other = Other(opener);
                }
            }
        }
    }

    /// All the files that the storage is made of.
    pub fn files(&self) -> Vec<&FileStorageConfig> {
        match self {
            StorageKind::FileStorage(file) => vec![file],
            StorageKind::MappingStorage { .. } | StorageKind::Other(_) => Vec::new(),
            StorageKind::DemoStorage { base, changes, .. } => {
                let parts = [base, changes].into_iter().flatten();
                parts.flat_map(|part| part.files()).collect()
            }
            StorageKind::ZlibStorage { base, .. } | StorageKind::BlobStorage { base, .. } => {
                base.files()
            }
        }
    }

    /// All storages of other kinds that it is made of.
    pub fn others(&self) -> Vec<&dyn Opener> {
        match self {
            StorageKind::Other(other) => vec![&*other.0],
            StorageKind::FileStorage(_) | StorageKind::MappingStorage { .. } => Vec::new(),
            StorageKind::DemoStorage { base, changes, .. } => {
                let parts = [base, changes].into_iter().flatten();
                parts.flat_map(|part| part.others()).collect()
            }
            StorageKind::ZlibStorage { base, .. } | StorageKind::BlobStorage { base, .. } => {
                base.others()
            }
        }
    }

    /// The directories that blobs are written to.
    pub fn blob_dirs(&self) -> Vec<&Path> {
        match self {
            StorageKind::FileStorage(file) if !file.read_only => {
                file.blob_dir.as_deref().into_iter().collect()
            }
            StorageKind::FileStorage(_)
            | StorageKind::MappingStorage { .. }
            | StorageKind::Other(_) => Vec::new(),
            // Nothing is written to the base.
            StorageKind::DemoStorage { changes, .. } => {
                let changes = changes.iter();
                changes.flat_map(|part| part.blob_dirs()).collect()
            }
            StorageKind::ZlibStorage { base, .. } => base.blob_dirs(),
            StorageKind::BlobStorage { blob_dir, base } => {
                let mut all = base.blob_dirs();
                all.push(blob_dir);
                all
            }
        }
    }

    /// Whether there is a directory for blobs.
    pub(super) fn has_blobs(&self) -> bool {
        match self {
            StorageKind::FileStorage(file) => file.blob_dir.is_some(),
            StorageKind::MappingStorage { .. } => false,
            StorageKind::DemoStorage { changes, .. } => match changes {
                Some(changes) => changes.has_blobs(),
                None => true,
            },
            StorageKind::ZlibStorage { base, .. } => base.has_blobs(),
            StorageKind::BlobStorage { .. } => true,
            StorageKind::Other(other) => other.0.has_blobs(),
        }
    }
}

impl FileStorageConfig {
    /// The configuration of the file `path` of which nothing else is said.
    pub fn new(path: PathBuf) -> FileStorageConfig {
        FileStorageConfig {
            path,
            create: false,
            read_only: false,
            quota: None,
            pack_gc: true,
            pack_keep_old: true,
            blob_dir: None,
            sync_every: 0,
            prepare_room: 0,
        }
    }
}
