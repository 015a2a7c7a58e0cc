//! What is accepted and refused here was compared with ZEO's own `ZEOOptions`, which reads the
//! same files the same way but where a test says otherwise.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use zeo_storage::Transform;
use zeo_storage::config::{FileStorageConfig, StorageKind};
use zeo_storage::zconfig::{self, datatypes::Address};

use super::*;

mod logs;
mod ssl;

const ZEO: &str = "<zeo>\n address 8100\n</zeo>\n";
const MAPPING: &str = "<mappingstorage/>\n";

/// Reads `text` as a file; an error with the file's name shortened.
fn config(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zeo.conf");
    fs::write(&path, text).unwrap();
    let tree = zconfig::load(&path, &|_| None).map_err(|error| error.to_string());
    let config = tree.and_then(|tree| Config::from_tree(&tree).map_err(|e| e.to_string()));
    config.map_err(|error| error.replace(&path.display().to_string(), "zeo.conf"))
}

fn zeo(lines: &str) -> Result<ZeoConfig, String> {
    let text = format!("<zeo>\n address 8100\n{lines}\n</zeo>\n{MAPPING}");
    config(&text).map(|config| config.zeo)
}

fn file_storage(lines: &str) -> Result<FileStorageConfig, String> {
    let text = format!("{ZEO}<filestorage>\n path Data.fs\n{lines}\n</filestorage>\n");
    match config(&text)?.storages.remove(0).kind {
        StorageKind::FileStorage(storage) => Ok(storage),
        other => panic!("{other:?}"),
    }
}

fn storage_names(sections: &str) -> Result<Vec<String>, String> {
    let config = config(&format!("{ZEO}{sections}"))?;
    Ok(config.storages.into_iter().map(|s| s.name).collect())
}

fn logfile(lines: &str) -> Result<crate::eventlog::HandlerConfig, String> {
    handler("logfile", lines)
}

/// The handler in a section of this kind; its lines begin at line 8 of the file.
fn handler(kind: &str, lines: &str) -> Result<crate::eventlog::HandlerConfig, String> {
    let log = format!("<eventlog>\n\n<{kind}>\n{lines}\n</{kind}>\n</eventlog>\n");
    let config = config(&format!("{ZEO}{MAPPING}{log}"))?;
    Ok(config.eventlog.unwrap().handlers.remove(0))
}

#[test]
fn defaults_are_pythons_but_for_the_timeout() {
    let config = config(&format!("{ZEO}<filestorage>\npath Data.fs\n</filestorage>")).unwrap();
    let address = Address::Tcp {
        host: None,
        port: Some(8100),
    };
    assert_eq!(config.zeo, ZeoConfig::new(address));
    assert_eq!(config.zeo.invalidation_queue_size, 100);
    assert_eq!(config.zeo.transaction_timeout, Duration::from_secs(30));
    let expected = FileStorageConfig::new(PathBuf::from("Data.fs"));
    assert_eq!(config.storages[0].kind, StorageKind::FileStorage(expected));
    assert_eq!(config.storages[0].name, "1");
    assert!(config.eventlog.is_none());
}

#[test]
fn zeo_keys_are_read() {
    assert!(zeo("read-only true").unwrap().read_only);
    assert!(zeo("READ-ONLY on").unwrap().read_only);
    assert!(
        zeo("client-conflict-resolution yes")
            .unwrap()
            .client_conflict_resolution
    );
    assert_eq!(zeo("msgpack off").unwrap().msgpack, Some(false));
    assert_eq!(
        zeo("invalidation-queue-size 1_0")
            .unwrap()
            .invalidation_queue_size,
        10
    );
    assert_eq!(
        zeo("invalidation-queue-size -5")
            .unwrap()
            .invalidation_queue_size,
        0
    );
    assert_eq!(
        zeo("pid-filename p.pid").unwrap().pid_filename,
        Some("p.pid".into())
    );
    for (text, expected) in [("0", 0), ("-1", 0), ("60", 60)] {
        let zeo = zeo(&format!("transaction-timeout {text}")).unwrap();
        assert_eq!(
            zeo.transaction_timeout,
            Duration::from_secs(expected),
            "{text}"
        );
    }
    for (text, expected) in [
        ("1.5", Duration::from_millis(1500)),
        ("1e3", Duration::from_secs(1000)),
        ("-1", Duration::ZERO),
        ("inf", Duration::MAX),
    ] {
        let zeo = zeo(&format!("invalidation-age {text}")).unwrap();
        assert_eq!(zeo.invalidation_age, Some(expected), "{text}");
    }
}

#[test]
fn file_storage_keys_are_read() {
    assert!(file_storage("create yes").unwrap().create);
    assert!(file_storage("read-only yes").unwrap().read_only);
    assert_eq!(file_storage("quota 10 MB").unwrap().quota, Some(10 << 20));
    assert!(!file_storage("pack-gc no").unwrap().pack_gc);
    assert!(!file_storage("pack-keep-old no").unwrap().pack_keep_old);
    assert!(file_storage("packer\nblob-dir").is_ok());
}

/// To ignore a packer loses objects that other databases refer to.
#[test]
fn python_code_is_refused() {
    let packer = "zc.FileStorage:Packer(sleep=1)";
    let refused = file_storage(&format!("packer {packer}")).unwrap_err();
    let expected = format!(
        "packer {packer}: no Python code is run here; leave the key out, with pack-gc false \
         if the packer collects no garbage (line "
    );
    assert!(refused.starts_with(&expected), "{refused}");
    let refused = logfile("path x.log\nformatter no.such").unwrap_err();
    let expected = "formatter no.such: no Python code is run here; leave the key out (line ";
    assert!(refused.starts_with(expected), "{refused}");
    for formatter in super::eventlog::FORMATTERS {
        assert!(logfile(&format!("path x.log\nformatter {formatter}")).is_ok());
    }
}

#[test]
fn storages_have_names() {
    for (sections, expected) in [
        ("<mappingstorage/>", vec!["1"]),
        (
            "<mappingstorage Main/>\n<mappingstorage/>",
            vec!["main", "1"],
        ),
        ("<mappingstorage 1/>\n<mappingstorage 2/>", vec!["1", "2"]),
    ] {
        let names = storage_names(sections);
        assert_eq!(
            names,
            Ok(expected.into_iter().map(str::to_owned).collect()),
            "{sections}"
        );
    }
    for (sections, problem) in [
        (
            "<mappingstorage/>\n<mappingstorage/>",
            "No more than one storage may be unnamed. (line 5, in zeo.conf)",
        ),
        (
            "<mappingstorage/>\n<mappingstorage 1/>",
            "Can't have an unnamed storage and a storage named 1. (line 4, in zeo.conf)",
        ),
        (
            "<mappingstorage a/>\n<mappingstorage A/>",
            "section names must not be re-used within the same container: \"a\" \
             (line 5, in zeo.conf)",
        ),
    ] {
        assert_eq!(storage_names(sections).unwrap_err(), problem);
    }
}

#[test]
fn storages_stand_on_storages() {
    let kind = |text: &str| {
        let config = config(&format!("{ZEO}%import zc.zlibstorage\n{text}")).unwrap();
        config.storages[0].kind.clone()
    };
    let mapping = |name: &str| {
        let name = name.to_owned();
        Box::new(StorageKind::MappingStorage { name })
    };
    let file = FileStorageConfig::new(PathBuf::from("Data.fs"));
    let changed = "<demostorage>\nname n\n<mappingstorage CHANGES>\nname c\n</mappingstorage>\n\
                   <filestorage whatever>\npath Data.fs\n</filestorage>\n</demostorage>";
    let expected = StorageKind::DemoStorage {
        name: Some("n".to_owned()),
        base: Some(Box::new(StorageKind::FileStorage(file))),
        changes: Some(mapping("c")),
    };
    assert_eq!(kind(changed), expected);
    let expected = StorageKind::DemoStorage {
        name: None,
        base: None,
        changes: None,
    };
    assert_eq!(kind("<demostorage/>"), expected);
    for (tag, key, for_clients, compress) in [
        ("zlibstorage", "", true, true),
        ("zlibstorage", "compress no\n", true, false),
        ("serverzlibstorage", "compress on\n", false, true),
    ] {
        let transform = Transform {
            for_clients,
            compress,
        };
        let base = mapping("Mapping Storage");
        let text = format!("<{tag}>\n{key}{MAPPING}</{tag}>");
        assert_eq!(kind(&text), StorageKind::ZlibStorage { transform, base });
    }
    let deep = 90;
    let text = "<zlibstorage>\n".repeat(deep) + MAPPING + &"</zlibstorage>\n".repeat(deep);
    assert_eq!(kind(&text).type_name(), "ZlibStorage");
}

#[test]
fn the_runner_is_checked_and_ignored() {
    let good = "program a b\ndaemon on\nexit-codes 0, 2\numask 022\nsocket-name /no/such\n\
                <logger>\nname a.b\n</logger>";
    let text = |lines: &str| format!("{ZEO}{MAPPING}<runner>\n{lines}\n</runner>");
    let config_of = |text: &str| config(text).map(|config| (config.zeo, config.eventlog));
    assert_eq!(
        config_of(&text(good)),
        config_of(&format!("{ZEO}{MAPPING}"))
    );
    for lines in [
        "",
        "program x\nnope 1",
        "program x\ndaemon x",
        "program x\nexit-codes 0,",
        "program x\numask 99",
        "program x\n<eventlog/>\n<logger/>",
        "program x\n<zeo/>",
    ] {
        assert!(config(&text(lines)).is_err(), "{lines}");
    }
}

#[test]
fn mistakes_are_named_by_line() {
    for (text, expected) in [
        ("", "no <zeo> section is given (in zeo.conf)"),
        (ZEO, "no storage section is given (in zeo.conf)"),
        (
            "<zeo/>\n<mappingstorage/>",
            "<zeo> needs a value for \"address\" (line 1, in zeo.conf)",
        ),
        (
            "<zeo>\n address zeo.sock\n</zeo>\n<mappingstorage/>",
            "bad value for address: \"zeo.sock\" has no port; expected PORT, HOST:PORT, [IPV6]:PORT \
             or a path with a slash, such as ./zeo.sock (port 0 is any that is free) \
             (line 2, in zeo.conf)",
        ),
        (
            "<zeo>\n address 1\n</zeo>\n<zeo/>\n",
            "only one <zeo> section may be given; the first is at line 1 (line 4, in zeo.conf)",
        ),
        (
            "<zeo>\naddress 1\nread_only yes\n</zeo>\n",
            "\"read_only\" is not a known key of <zeo>; expected address, read-only, \
             invalidation-queue-size, invalidation-age, transaction-timeout, pid-filename, \
             client-conflict-resolution or msgpack (line 3, in zeo.conf)",
        ),
        (
            "<zeo>\naddress 1\nAddress 2\n</zeo>\n",
            "\"address\" may be given only once; the first is at line 2 (line 3, in zeo.conf)",
        ),
        (
            "<zeo>\naddress 1\nread-only 1\n</zeo>\n<mappingstorage/>",
            "bad value for read-only: \"1\" is not a boolean; expected yes, true, on, no, false \
             or off (line 3, in zeo.conf)",
        ),
        (
            "<zeo>\naddress 1\n1st x\n</zeo>\n",
            "\"1st\" is not a key; expected letters, digits, '-', '.' and '_' \
             (line 3, in zeo.conf)",
        ),
        (
            "key value\n",
            "\"key\" is not a known key of the configuration, which has no keys (line 1",
        ),
        (
            "<nostorage/>",
            "unknown section <nostorage> in the configuration; expected zeo, filestorage, \
             blobstorage, mappingstorage, demostorage, zlibstorage, serverzlibstorage, \
             clientstorage, zeoclient, relstorage, eventlog \
             or runner (line 1, in zeo.conf)",
        ),
        (
            "<zeo *>\n</zeo>",
            "\"*\" is not an allowed name for <zeo> sections (line 1",
        ),
        (
            "<filestorage a/>",
            "<filestorage a> needs a value for \"path\" (line 1",
        ),
        (
            "<filestorage>\npath /no/such/Data.fs\n</filestorage>",
            "bad value for path: the directory in the path \"/no/such/Data.fs\" does not exist \
             (line 2",
        ),
        (
            "<mappingstorage>\n<zeo/>\n</mappingstorage>",
            "unknown section <zeo> in <mappingstorage>, which has no sections (line 2",
        ),
        (
            "<filestorage>\npth Data.fs\n</filestorage>",
            "\"pth\" is not a known key of <filestorage>; expected path, blob-dir, create, \
             read-only, quota, packer, pack-gc or pack-keep-old (line 2, in zeo.conf)",
        ),
        (
            "<demostorage>\n<runner/>\n</demostorage>",
            "unknown section <runner> in <demostorage>; expected filestorage, blobstorage, \
             mappingstorage, demostorage, zlibstorage, serverzlibstorage, clientstorage, zeoclient or relstorage \
             (line 2, in zeo.conf)",
        ),
        (
            "<demostorage>\n<mappingstorage a/>\n<mappingstorage changes/>\n<mappingstorage/>\n\
             </demostorage>",
            "<demostorage>: too many base storages are defined (line 1, in zeo.conf)",
        ),
        (
            "<demostorage>\n<mappingstorage changes/>\n<mappingstorage Changes/>\n</demostorage>",
            "section names must not be re-used within the same container: \"changes\" (line 3",
        ),
        (
            "<zlibstorage/>",
            "<zlibstorage>: a storage section is missing inside it (line 1, in zeo.conf)",
        ),
        (
            "<serverzlibstorage x>\n<mappingstorage/>\n<mappingstorage/>\n</serverzlibstorage>",
            "<serverzlibstorage x>: only one storage section is allowed inside it (line 1",
        ),
        (
            "<zlibstorage>\ncompress maybe\n<mappingstorage/>\n</zlibstorage>",
            "bad value for compress: \"maybe\" is not a boolean",
        ),
        (
            "<blobstorage>\n<mappingstorage/>\n</blobstorage>",
            "<blobstorage> needs a value for \"blob-dir\" (line 1",
        ),
        (
            "<blobstorage>\nblob-dir b\n<demostorage/>\n</blobstorage>",
            "<blobstorage>: the storage inside it has a blob directory of its own",
        ),
        (
            "<blobstorage>\nblob-dir b\n<filestorage>\npath Data.fs\nblob-dir blobs\n\
             </filestorage>\n</blobstorage>",
            "<blobstorage>: the storage inside it has a blob directory of its own",
        ),
        (
            "<eventlog>\n<logfile level/>\n</eventlog>\n<zeo>\naddress 1\n</zeo>",
            "\"level\" is not",
        ),
    ] {
        let error = config(text).expect_err(text);
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
}

/// Python accepts these.
#[test]
fn what_is_not_supported_says_so() {
    let told = config("<demostorage>\n<zrs x/>\n</demostorage>").unwrap_err();
    assert_eq!(told, "<zrs x> is not supported yet (line 2, in zeo.conf)");
}

proptest::proptest! {
    /// Whatever is put together out of real sections, keys and values, nothing panics.
    #[test]
    fn no_configuration_panics(sections in proptest::collection::vec(
        (0..13usize, proptest::collection::vec((0..33usize, 0..24usize), 0..4)), 0..4,
    )) {
        let tags = [
            "zeo", "filestorage", "mappingstorage x", "runner", "eventlog", "logfile",
            "demostorage", "zlibstorage", "blobstorage y", "syslog", "http-logger",
            "email-notifier", "win32-eventlog",
        ];
        let keys = [
            "address", "read-only", "invalidation-queue-size", "invalidation-age",
            "transaction-timeout", "pid-filename", "msgpack", "path", "quota", "create",
            "blob-dir", "packer", "level", "format", "style", "dateformat", "max-size",
            "old-files", "when", "interval", "delay", "encoding", "program", "umask",
            "exit-codes", "name", "formatter", "facility", "url", "method", "from", "to",
            "smtp-server",
        ];
        let values = [
            "", "1", "-1", "1.5", "yes", "off", "8100", "[::1]:1", "host:99999", "/x/y", "~",
            "~x", "99999999999999999999999gb", "1e999", "nan", "%(message)s", "{message}",
            "$$name", "%(x)99999999999d", "STDERR", "W6", "info", "_", "\u{e9}\u{feff}",
        ];
        let mut text = ZEO.to_owned();
        for (tag, entries) in &sections {
            let (tag, entries) = (tags[*tag], entries.iter());
            let kind = tag.split(' ').next().unwrap();
            let lines: String =
                entries.map(|(k, v)| format!("{} {}\n", keys[*k], values[*v])).collect();
            let required = match kind {
                "filestorage" | "logfile" => "path x\n",
                "runner" => "program x\n",
                "demostorage" | "zlibstorage" => MAPPING,
                "blobstorage" => "<demostorage/>\n",
                _ => "",
            };
            let section = format!("<{tag}>\n{required}{lines}</{kind}>\n");
            text += &match kind {
                "logfile" | "syslog" | "http-logger" | "email-notifier" | "win32-eventlog" =>
                    format!("<eventlog>\n{section}</eventlog>\n"),
                _ => section,
            };
        }
        let _ = config(&text);
    }
}
