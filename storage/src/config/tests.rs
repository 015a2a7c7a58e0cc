//! Storages of crates above this one.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::log::Log;
use crate::mapping_storage::MappingStorage;
use crate::zconfig::reader::Reader;
use crate::zconfig::{self, ConfigError, Section};
use crate::{Result, Storage};

/// `<teststorage>` with a label.
#[derive(Debug)]
struct TestStorage {
    label: String,
}

impl Opener for TestStorage {
    fn type_name(&self) -> &'static str {
        "TestStorage"
    }
    fn has_blobs(&self) -> bool {
        true
    }
    fn open(&self, _blob_dir: Option<&Path>, _log: &Log) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(MappingStorage::new(self.label.clone())?))
    }
}

fn test_storage(section: &Section, _: &Openers) -> std::result::Result<StorageKind, ConfigError> {
    let reader = Reader::new(section, &["label"])?;
    let label = reader.required("label", |text| Ok(text.to_owned()))?;
    Ok(StorageKind::Other(Other(Arc::new(TestStorage { label }))))
}

/// What the only storage of a configuration calls itself.
fn name_of_the_storage(text: &str, openers: &Openers) -> std::result::Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.conf");
    std::fs::write(&path, text).unwrap();
    let root = zconfig::load(&path, &|_| None).map_err(|why| why.to_string())?;
    let found = storages(&root, openers, &["zeo"]).map_err(|why| {
        let directory = format!("{}/", directory.path().display());
        why.to_string().replace(&directory, "")
    })?;
    let log: Log = Arc::new(|_, _| {});
    let storage = open(&found[0].kind, None, &log).map_err(|why| why.to_string())?;
    Ok(storage.name())
}

#[test]
fn a_demostorage_stands_over_a_storage_of_another_crate() {
    let openers = Openers::default().with("teststorage", test_storage);
    let text =
        "<zeo>\n</zeo>\n<demostorage>\n<teststorage>\nlabel base\n</teststorage>\n</demostorage>\n";
    let name = name_of_the_storage(text, &openers).unwrap();
    assert!(name.contains("base"), "{name}");
    let without = name_of_the_storage(text, &Openers::default()).unwrap_err();
    assert_eq!(
        without,
        "unknown section <teststorage> in <demostorage>; expected filestorage, blobstorage, \
         mappingstorage, demostorage, zlibstorage or serverzlibstorage (line 4, in test.conf)"
    );
}

#[test]
fn a_blobstorage_does_not_stand_over_blobs_of_another_crate() {
    let openers = Openers::default().with("teststorage", test_storage);
    let text =
        "<blobstorage>\nblob-dir blobs\n<teststorage>\nlabel x\n</teststorage>\n</blobstorage>\n";
    let why = name_of_the_storage(text, &openers).unwrap_err();
    assert!(
        why.contains("the storage inside it has a blob directory of its own"),
        "{why}"
    );
}

#[test]
fn what_another_crate_brings_is_supported() {
    let text = "<zeoclient>\nlabel far\n</zeoclient>\n";
    let openers = Openers::default();
    let why = name_of_the_storage(text, &openers).unwrap_err();
    assert!(why.contains("<zeoclient> is not supported"), "{why}");
    let openers = openers.with("zeoclient", test_storage);
    assert_eq!(name_of_the_storage(text, &openers).unwrap(), "far");
}
