use super::*;

fn uri(text: &str) -> Result<DatabaseConfig, String> {
    Config::uri(text).read().map_err(|why| why.to_string())
}

#[test]
fn addresses_are_those_of_zodburi() {
    for (text, expected) in [
        ("zeo://localhost", "localhost:9991"),
        ("zeo://localhost:", "localhost:9991"),
        ("zeo://db.example.org:8100?wait=1", "db.example.org:8100"),
        ("zeo://db.example.org:8100/any/path", "db.example.org:8100"),
        ("zeo://:123", "127.0.0.1:123"),
        ("zeo://[::1]:123", "[::1]:123"),
        ("zeo://[::1]", "[::1]:9991"),
        ("zeo:///run/zeo.sock?storage=a#b", "/run/zeo.sock"),
        ("zeo:///run//./zeo.sock", "/run/zeo.sock"),
    ] {
        assert_eq!(addresses(&uri(text).unwrap().storage), [expected], "{text}");
    }
    for text in [
        "zeo://",
        "zeo:///",
        "zeo://a:b",
        "zeo://a:70000",
        "file:///x",
        "localhost:8100",
        "",
    ] {
        let why = uri(text).unwrap_err();
        assert!(why.starts_with("bad value for URI: "), "{text}: {why}");
    }
}

#[test]
fn keys_are_those_of_zodburi() {
    let config = uri("zeo://h:1").unwrap();
    assert_eq!(
        (config.name.as_str(), config.cache_size, config.pool_size),
        ("unnamed", 10_000, 7)
    );
    assert_eq!(config.storage.wait_timeout, Duration::from_secs(30));
    assert!(config.storage.wait);

    let config = uri(
        "zeo://h:1?storage=a%20b+c&cache_size=1MB&client=me&var=/v&wait=off&wait_timeout=7&\
         read_only=1&read_only_fallback=T&blob_dir=/b&shared_blob_dir=0&blob_cache_size=2gb&\
         blob_cache_size_check=30&client_label=x&min_disconnect_poll=40&name=&username=u&\
         password=p&drop_cache_rather_verify=1&connection_cache_size=5&\
         connection_cache_size_bytes=1KB&connection_pool_size=3&database_name=first&\
         database_name=last&connection_large_record_size=3&connection_pool_timeout=4",
    );
    let config = config.unwrap();
    assert_eq!((config.name.as_str(), config.cache_size), ("last", 5));
    assert_eq!((config.cache_size_bytes, config.pool_size), (1024, 3));
    assert_eq!(config.large_record_size, 3);
    let settings = config.storage;
    assert_eq!(settings.storage, "a b c");
    assert_eq!(settings.cache_size, 1 << 20);
    assert_eq!(
        settings.cache.as_deref(),
        Some(Path::new("/v/me-a b c.zec"))
    );
    assert_eq!(settings.wait_timeout, Duration::from_secs(7));
    let flags = (
        settings.wait,
        settings.read_only,
        settings.read_only_fallback,
    );
    assert_eq!(flags, (false, true, true));
    assert_eq!(settings.blob_dir.as_deref(), Some(Path::new("/b")));
    assert!(!settings.shared_blob_dir);
    assert_eq!(settings.blob_cache_size, Some(2 << 30));
    assert_eq!(settings.blob_cache_size_check, 30);
    // The longest pause is never shorter than the first one.
    assert_eq!(settings.max_disconnect_poll, Duration::from_secs(40));
}

#[test]
fn what_zodburi_refuses_is_refused_and_passwords_are_not_told() {
    for (query, expected) in [
        (
            "server_sync=1",
            "\"server_sync\" is not a known key of a zeo:// URI (in zeo://h:1)",
        ),
        ("cache=x&password=secret", "\"cache\" is not a known key"),
        ("debug=1", "\"debug\" is not a known key"),
        ("demostorage=", ""),
        ("demostorage=1", "\"demostorage\" is not a known key"),
        (
            "read_only=maybe",
            "bad value for read_only: \"maybe\" is not a boolean; expected 1 or 0",
        ),
        (
            "wait_timeout=soon&password=secret",
            "bad value for wait_timeout: \"soon\"",
        ),
        ("cache_size=1TB", "bad value for cache_size: \"1TB\""),
    ] {
        let why = uri(&format!("zeo://h:1?{query}")).err().unwrap_or_default();
        assert!(
            why.starts_with(expected) && why.is_empty() == expected.is_empty(),
            "{why}"
        );
        assert!(!why.contains("secret"), "{why}");
    }
}

#[test]
fn files_are_named_by_uris_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zodb.conf");
    let text = "<zodb a>\n <zeoclient>\n server 1\n </zeoclient>\n</zodb>\n\
                <zodb b>\n <zeoclient>\n server 2\n </zeoclient>\n</zodb>\n";
    fs::write(&path, text).unwrap();
    for (fragment, expected) in [("", "127.0.0.1:1"), ("#b", "127.0.0.1:2")] {
        let config = uri(&format!("zconfig://{}{fragment}", path.display())).unwrap();
        assert_eq!(addresses(&config.storage), [expected]);
    }
    assert!(
        uri("zconfig:///no/such/file")
            .unwrap_err()
            .contains("/no/such/file")
    );
}
