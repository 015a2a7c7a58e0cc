//! Session: which of Python's interfaces a storage has, for `get_info`.

use zeo_storage::Storage;

/// The names that `zope.interface.providedBy` gives for Python's storages that
/// can do the same, as pairs (module, name), most specific first.
pub(super) fn interfaces(storage: &dyn Storage) -> Vec<(&'static str, &'static str)> {
    let able = storage.capabilities();
    let blobs = storage.blobs().is_some();
    let zodb = [
        ("IBlobStorageRestoreable", blobs && able.restore),
        ("IBlobStorage", blobs),
        ("IStorageRestoreable", able.restore),
        // Whoever restores extends `IStorage`.
        ("IStorageIteration", able.restore),
        ("IStorageUndoable", able.undo),
        ("IStorageCurrentRecordIteration", able.record_iternext),
        ("IExternalGC", able.delete),
        ("IStorage", true),
        ("IStorageIteration", !able.restore),
        ("IStorageWrapper", able.transforms),
    ];
    let names = zodb.into_iter().filter(|&(_, has)| has);
    let names = names.map(|(name, _)| ("ZODB.interfaces", name));
    names.chain([("zope.interface", "Interface")]).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zeo_storage::Transform;
    use zeo_storage::file_storage::Options;
    use zeo_storage::{DemoStorage, FileStorage, MappingStorage, ZlibStorage};

    use super::*;

    fn names(storage: &dyn Storage) -> Vec<&'static str> {
        let names = interfaces(storage).into_iter();
        names.map(|(_, name)| name).collect()
    }

    #[test]
    fn storages_have_the_interfaces_of_pythons() {
        let directory = tempfile::tempdir().unwrap();
        let blob_dir = |name: &str| Some(directory.path().join(name));
        let options = Options::with(|options| options.blob_dir = blob_dir("blobs"));
        let file = FileStorage::open(directory.path().join("Data.fs"), options).unwrap();
        let expected = [
            "IBlobStorageRestoreable",
            "IBlobStorage",
            "IStorageRestoreable",
            "IStorageIteration",
            "IStorageUndoable",
            "IStorageCurrentRecordIteration",
            "IExternalGC",
            "IStorage",
            "Interface",
        ];
        assert_eq!(names(&file), expected);

        let mapping = Arc::new(MappingStorage::new("m").unwrap());
        let plain = ["IStorage", "IStorageIteration", "Interface"];
        assert_eq!(names(&*mapping), plain);
        let blobs = MappingStorage::with_blobs("b", blob_dir("more")).unwrap();
        assert_eq!(names(&blobs), [&["IBlobStorage"], &plain[..]].concat());
        let demo = DemoStorage::new(None, mapping, Arc::new(file));
        let undoable = ["IBlobStorage", "IStorageUndoable"];
        let expected = [&undoable[..], &plain].concat();
        assert_eq!(names(&demo), expected);

        let transform = Transform {
            for_clients: true,
            compress: true,
        };
        let zlib = ZlibStorage::new(Arc::new(blobs), transform);
        let expected = [
            "IBlobStorage",
            "IStorage",
            "IStorageIteration",
            "IStorageWrapper",
            "Interface",
        ];
        assert_eq!(names(&zlib), expected);
    }
}
