//! Storage sections: what to serve.

use std::path::PathBuf;

use crate::zconfig::reader::{self, Reader};
use crate::zconfig::{ConfigError, Place, Section, datatypes};
use crate::zlib_storage::Transform;

/// The name of a storage that is given none, which is the one that clients ask for by default.
const DEFAULT_NAME: &str = "1";

/// Storages that Python's server can serve and this one can't yet.
const NOT_SUPPORTED: [&str; 7] = [
    "clientstorage",
    "fullstorage",
    "minimalstorage",
    "relstorage",
    "temporarystorage",
    "zeoclient",
    "zrs",
];

/// The sections that are storages here.
const STORAGES: [&str; 6] = [
    "filestorage",
    "blobstorage",
    "mappingstorage",
    "demostorage",
    "zlibstorage",
    "serverzlibstorage",
];

/// The name of the section in a `<demostorage>` that is not its base.
const CHANGES: &str = "changes";

/// A storage to serve.
#[derive(Clone, Debug, PartialEq)]
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
}

/// A `Data.fs` and how to treat it.
#[derive(Clone, Debug, PartialEq)]
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
    /// The Python function that packs, if one is named.
    pub packer: Option<String>,
    /// The directory of blob files, if there are to be blobs.
    pub blob_dir: Option<PathBuf>,
    /// How many bytes are written before a sync; no key, but what copies use.
    pub sync_every: u64,
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
        }
    }

    /// All the files that the storage is made of, to change how they are
    /// opened.
    pub fn files_mut(&mut self) -> Vec<&mut FileStorageConfig> {
        match self {
            StorageKind::FileStorage(file) => vec![file],
            StorageKind::MappingStorage { .. } => Vec::new(),
            StorageKind::DemoStorage { base, changes, .. } => {
                let parts = [base, changes].into_iter().flatten();
                parts.flat_map(|part| part.files_mut()).collect()
            }
            StorageKind::ZlibStorage { base, .. } | StorageKind::BlobStorage { base, .. } => {
                base.files_mut()
            }
        }
    }

    /// Whether there is a directory for blobs.
    fn has_blobs(&self) -> bool {
        match self {
            StorageKind::FileStorage(file) => file.blob_dir.is_some(),
            StorageKind::MappingStorage { .. } => false,
            StorageKind::DemoStorage { changes, .. } => match changes {
                Some(changes) => changes.has_blobs(),
                None => true,
            },
            StorageKind::ZlibStorage { base, .. } => base.has_blobs(),
            StorageKind::BlobStorage { .. } => true,
        }
    }

    /// Reads a storage section that stands in `parent`.
    fn from_section(section: &Section, parent: &Section) -> Result<StorageKind, ConfigError> {
        Ok(match section.kind.as_str() {
            "filestorage" => StorageKind::FileStorage(FileStorageConfig::from_section(section)?),
            "mappingstorage" => mapping_storage(section)?,
            "demostorage" => demo_storage(section)?,
            "zlibstorage" => zlib_storage(section, true)?,
            "serverzlibstorage" => zlib_storage(section, false)?,
            "blobstorage" => blob_storage(section)?,
            kind if NOT_SUPPORTED.contains(&kind) => {
                return Err(reader::section_not_supported(section));
            }
            _ => return Err(unknown(section, parent)),
        })
    }
}

impl StorageConfig {
    /// Reads a storage section. A name that is missing stays empty, see [`name_the_unnamed`].
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that is wrong with it.
    pub fn from_section(section: &Section, root: &Section) -> Result<StorageConfig, ConfigError> {
        Ok(StorageConfig {
            name: section.name.clone().unwrap_or_default(),
            kind: StorageKind::from_section(section, root)?,
            place: Some(section.place.clone()),
        })
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
            packer: None,
            blob_dir: None,
            sync_every: 0,
        }
    }

    fn from_section(section: &Section) -> Result<FileStorageConfig, ConfigError> {
        let mut reader = Reader::new(section)?;
        let path = reader.required("path", |text| match text {
            "" => Err("expected the path of a file".to_owned()),
            text => datatypes::existing_dirpath(text),
        })?;
        let mut storage = FileStorageConfig::new(path);
        let blob_dir = reader.optional("blob-dir", datatypes::existing_dirpath)?;
        storage.blob_dir = blob_dir.filter(|directory| !directory.as_os_str().is_empty());
        storage.create = reader
            .optional("create", datatypes::boolean)?
            .unwrap_or(false);
        let read_only = reader.optional("read-only", datatypes::boolean)?;
        storage.read_only = read_only.unwrap_or(false);
        let quota = reader.optional("quota", datatypes::byte_size)?;
        storage.quota = quota.map(|bytes| bytes.try_into().unwrap_or(0));
        let packer = reader.optional("packer", |text| Ok(text.to_owned()))?;
        storage.packer = packer.filter(|packer| !packer.is_empty());
        let pack_gc = reader.optional("pack-gc", datatypes::boolean)?;
        storage.pack_gc = pack_gc.unwrap_or(true);
        let keep_old = reader.optional("pack-keep-old", datatypes::boolean)?;
        storage.pack_keep_old = keep_old.unwrap_or(true);
        reader.finish()?;
        reader::no_sections(section)?;
        Ok(storage)
    }
}

/// The storages of a configuration, be it that of a server or not. What else stands there is not
/// looked at.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong with a storage, and when there is none.
pub fn storages(root: &Section) -> Result<Vec<StorageConfig>, ConfigError> {
    const OTHERS: [&str; 3] = ["zeo", "eventlog", "runner"];
    let sections = root.sections.iter();
    let sections = sections.filter(|section| !OTHERS.contains(&section.kind.as_str()));
    let mut storages = sections
        .map(|section| StorageConfig::from_section(section, root))
        .collect::<Result<Vec<_>, _>>()?;
    if storages.is_empty() {
        return Err(ConfigError::MissingSection {
            what: "storage",
            file: root.place.file.to_path_buf(),
        });
    }
    name_the_unnamed(&mut storages)?;
    Ok(storages)
}

fn mapping_storage(section: &Section) -> Result<StorageKind, ConfigError> {
    let mut reader = Reader::new(section)?;
    let name = reader.optional("name", |text| Ok(text.to_owned()))?;
    reader.finish()?;
    reader::no_sections(section)?;
    Ok(StorageKind::MappingStorage {
        name: name.unwrap_or_else(|| "Mapping Storage".to_owned()),
    })
}

fn demo_storage(section: &Section) -> Result<StorageKind, ConfigError> {
    let mut reader = Reader::new(section)?;
    let name = reader.optional("name", |text| Ok(text.to_owned()))?;
    let (mut base, mut changes) = (None, None);
    for inner in &section.sections {
        let kind = Box::new(StorageKind::from_section(inner, section)?);
        if inner.name.as_deref() == Some(CHANGES) {
            changes = Some(kind);
        } else if base.replace(kind).is_some() {
            return Err(reader.conflict("too many base storages are defined"));
        }
    }
    reader.finish()?;
    Ok(StorageKind::DemoStorage {
        name,
        base,
        changes,
    })
}

fn zlib_storage(section: &Section, for_clients: bool) -> Result<StorageKind, ConfigError> {
    let mut reader = Reader::new(section)?;
    let compress = reader.optional("compress", datatypes::boolean)?;
    let base = only_storage(section, &reader)?;
    reader.finish()?;
    let transform = Transform {
        for_clients,
        compress: compress.unwrap_or(true),
    };
    Ok(StorageKind::ZlibStorage { transform, base })
}

/// As in Python, only over a storage without blobs.
fn blob_storage(section: &Section) -> Result<StorageKind, ConfigError> {
    let mut reader = Reader::new(section)?;
    let blob_dir = reader.required("blob-dir", |text| match text {
        "" => Err("expected the path of a directory".to_owned()),
        text => datatypes::existing_dirpath(text),
    })?;
    let base = only_storage(section, &reader)?;
    if base.has_blobs() {
        return Err(reader.conflict("the storage in it has blobs of its own"));
    }
    reader.finish()?;
    Ok(StorageKind::BlobStorage { blob_dir, base })
}

/// The one storage on which that of `section` stands.
fn only_storage(section: &Section, reader: &Reader) -> Result<Box<StorageKind>, ConfigError> {
    match section.sections.as_slice() {
        [inner] => Ok(Box::new(StorageKind::from_section(inner, section)?)),
        [] => Err(reader.conflict("a storage section is missing in it")),
        _ => Err(reader.conflict("only one storage section may stand in it")),
    }
}

/// Refuses a section that is no storage, nor anything else that may stand in
/// `parent`.
fn unknown(section: &Section, parent: &Section) -> ConfigError {
    let mut expected = STORAGES.to_vec();
    if parent.kind.is_empty() {
        expected.insert(0, "zeo");
        expected.extend(["eventlog", "runner"]);
    }
    reader::unknown_section(section, &reader::described(parent), expected)
}

/// Gives the storage without a name, if there is one, the name that clients ask for by default.
/// That two have the same name is impossible otherwise, since sections can't.
///
/// # Errors
/// Two have no name, or one has none and another that name.
pub fn name_the_unnamed(storages: &mut [StorageConfig]) -> Result<(), ConfigError> {
    let has_one = storages.iter().any(|storage| storage.name == DEFAULT_NAME);
    let mut unnamed = storages
        .iter_mut()
        .filter(|storage| storage.name.is_empty());
    let Some(first) = unnamed.next() else {
        return Ok(());
    };
    if let Some(place) = unnamed.next().and_then(|second| second.place.clone()) {
        return Err(ConfigError::UnnamedStorages { place });
    }
    match &first.place {
        Some(place) if has_one => Err(ConfigError::UnnamedAndOne {
            place: place.clone(),
        }),
        _ => {
            first.name = DEFAULT_NAME.to_owned();
            Ok(())
        }
    }
}
