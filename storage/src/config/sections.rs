//! Storage sections: what to serve.

use super::kind::{FileStorageConfig, StorageConfig, StorageKind};
use super::openers::{Openers, ReadSection};
use crate::zconfig::reader::{self, Reader};
use crate::zconfig::{ConfigError, Section, datatypes};
use crate::zlib_storage::Transform;

/// The name of a storage that is given none, which is the one that clients ask for by default.
const DEFAULT_NAME: &str = "1";

/// The name of the section in a `<demostorage>` that is not its base.
const CHANGES: &str = "changes";

/// The keys of a `<filestorage>`.
const FILE_STORAGE_KEYS: [&str; 8] = [
    "path",
    "blob-dir",
    "create",
    "read-only",
    "quota",
    "packer",
    "pack-gc",
    "pack-keep-old",
];

/// What to do without the packers of `zc.FileStorage`, which collect no garbage, as other databases
/// may refer to the objects.
const PACKER_ADVICE: &str = "leave the key out, with pack-gc false if the packer collects no \
                             garbage";

/// The storages of this crate.
const OURS: [(&str, ReadSection); 6] = [
    ("filestorage", |section, _| file_storage(section)),
    ("blobstorage", blob_storage),
    ("mappingstorage", |section, _| mapping_storage(section)),
    ("demostorage", demo_storage),
    ("zlibstorage", |section, openers| {
        zlib_storage(section, openers, true)
    }),
    ("serverzlibstorage", |section, openers| {
        zlib_storage(section, openers, false)
    }),
];

impl Default for Openers {
    /// Those of the storages of this crate.
    fn default() -> Openers {
        Openers::of(OURS.to_vec())
    }
}

impl StorageConfig {
    /// Reads a storage section of the file `root`. A name that is missing stays empty, see
    /// [`name_the_unnamed`].
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that is wrong with it.
    pub fn from_section(
        section: &Section,
        root: &Section,
        openers: &Openers,
    ) -> Result<StorageConfig, ConfigError> {
        Ok(StorageConfig {
            name: section.name.clone().unwrap_or_default(),
            kind: openers.read(section, root)?,
            place: Some(section.place.clone()),
        })
    }
}

/// The storages of a configuration, be it that of a server or not. Sections of the types
/// `beside` may stand there, too, and are not looked at.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong with a storage, and when there is none.
pub fn storages(
    root: &Section,
    openers: &Openers,
    beside: &[&'static str],
) -> Result<Vec<StorageConfig>, ConfigError> {
    let is_beside = |section: &&Section| beside.contains(&section.kind.as_str());
    let sections = root.sections.iter().filter(|section| !is_beside(section));
    let mut storages = sections
        .map(|section| StorageConfig::from_section(section, root, openers))
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

fn file_storage(section: &Section) -> Result<StorageKind, ConfigError> {
    let reader = Reader::new(section, &FILE_STORAGE_KEYS)?;
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
    reader.python_code("packer", &[], PACKER_ADVICE)?;
    let pack_gc = reader.optional("pack-gc", datatypes::boolean)?;
    storage.pack_gc = pack_gc.unwrap_or(true);
    let keep_old = reader.optional("pack-keep-old", datatypes::boolean)?;
    storage.pack_keep_old = keep_old.unwrap_or(true);
    reader::no_sections(section)?;
    Ok(StorageKind::FileStorage(storage))
}

fn mapping_storage(section: &Section) -> Result<StorageKind, ConfigError> {
    let reader = Reader::new(section, &["name"])?;
    let name = reader.optional("name", |text| Ok(text.to_owned()))?;
    reader::no_sections(section)?;
    Ok(StorageKind::MappingStorage {
        name: name.unwrap_or_else(|| "Mapping Storage".to_owned()),
    })
}

fn demo_storage(section: &Section, openers: &Openers) -> Result<StorageKind, ConfigError> {
    let reader = Reader::new(section, &["name"])?;
    let name = reader.optional("name", |text| Ok(text.to_owned()))?;
    let (mut base, mut changes) = (None, None);
    for inner in &section.sections {
        let kind = Box::new(openers.read(inner, section)?);
        if inner.name.as_deref() == Some(CHANGES) {
            changes = Some(kind);
        } else if base.replace(kind).is_some() {
            return Err(reader.conflict("too many base storages are defined"));
        }
    }
    Ok(StorageKind::DemoStorage {
        name,
        base,
        changes,
    })
}

fn zlib_storage(
    section: &Section,
    openers: &Openers,
    for_clients: bool,
) -> Result<StorageKind, ConfigError> {
    let reader = Reader::new(section, &["compress"])?;
    let compress = reader.optional("compress", datatypes::boolean)?;
    let base = only_storage(section, &reader, openers)?;
    let transform = Transform {
        for_clients,
        compress: compress.unwrap_or(true),
    };
    Ok(StorageKind::ZlibStorage { transform, base })
}

/// As in Python, only over a storage without blobs.
fn blob_storage(section: &Section, openers: &Openers) -> Result<StorageKind, ConfigError> {
    let reader = Reader::new(section, &["blob-dir"])?;
    let blob_dir = reader.required("blob-dir", |text| match text {
        "" => Err("expected the path of a directory".to_owned()),
        text => datatypes::existing_dirpath(text),
    })?;
    let base = only_storage(section, &reader, openers)?;
    if base.has_blobs() {
        return Err(reader.conflict("the storage inside it has a blob directory of its own"));
    }
    Ok(StorageKind::BlobStorage { blob_dir, base })
}

/// The one storage on which that of `section` stands.
fn only_storage(
    section: &Section,
    reader: &Reader,
    openers: &Openers,
) -> Result<Box<StorageKind>, ConfigError> {
    match section.sections.as_slice() {
        [inner] => Ok(Box::new(openers.read(inner, section)?)),
        [] => Err(reader.conflict("a storage section is missing inside it")),
        _ => Err(reader.conflict("only one storage section is allowed inside it")),
    }
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
