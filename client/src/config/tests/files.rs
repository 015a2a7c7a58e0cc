use super::*;

/// As plone.recipe.zope2instance writes it.
const ZOPE_CONF: &str = r"
%import Products.Something
%define INSTANCEHOME /srv/plone/parts/instance
instancehome $INSTANCEHOME
%define CLIENTHOME /srv/plone/var/instance
clienthome $CLIENTHOME
products /srv/plone/products
products /srv/more
debug-mode off
security-policy-implementation C

<environment>
    zope_i18n_compile_mo_files true
    PATH /bin:/usr/bin
</environment>

<eventlog>
  level INFO
  <logfile>
    path /srv/plone/var/log/instance.log
  </logfile>
</eventlog>

<zodb_db temporary>
    # Temporary storage database (for sessions)
    <temporarystorage>
      name temporary storage for sessioning
    </temporarystorage>
    mount-point /temp_folder
    container-class Products.TemporaryFolder.TemporaryContainer
</zodb_db>
<zodb_db main>
    # Main database
    cache-size 30000
    cache-size-bytes 100MB
    # Blob-enabled ZEOStorage database
    <zeoclient>
      read-only false
      read-only-fallback false
      blob-dir $CLIENTHOME/blobstorage
      shared-blob-dir off
      server 127.0.0.1:8100
      storage 1
      name zeostorage
      cache-size 128MB
      blob-cache-size 1GB
      blob-cache-size-check 20
      realm plone
      username jane
      password secret
      var $INSTANCEHOME/var
      client instance1
      min-disconnect-poll 2
      max-disconnect-poll 10
      drop-cache-rather-verify true
    </zeoclient>
    mount-point /
</zodb_db>
<zodb_db catalog>
    <zeoclient>
      server db.example.org:8100
      server [::1]:8101
      storage catalog
    </zeoclient>
    mount-point /site/catalog
    mount-point /site/uids:/uids
    database-name other
</zodb_db>
python-check-interval 1000
<product-config x>
  any thing
</product-config>
";

#[test]
fn zope_conf_has_its_databases_by_name() {
    let main = read(ZOPE_CONF, None).unwrap();
    assert_eq!((main.name.as_str(), main.cache_size), ("main", 30_000));
    assert_eq!((main.cache_size_bytes, main.pool_size), (100 << 20, 7));
    let settings = main.storage;
    assert_eq!(addresses(&settings), ["127.0.0.1:8100"]);
    assert_eq!(settings.cache_size, 128 << 20);
    let cache = "/srv/plone/parts/instance/var/instance1-1.zec";
    assert_eq!(settings.cache.as_deref(), Some(Path::new(cache)));
    let blobs = "/srv/plone/var/instance/blobstorage";
    assert_eq!(settings.blob_dir.as_deref(), Some(Path::new(blobs)));
    assert_eq!(settings.blob_cache_size, Some(1 << 30));
    assert_eq!(settings.blob_cache_size_check, 20);
    assert_eq!(settings.disconnect_poll, Duration::from_secs(2));
    assert_eq!(settings.max_disconnect_poll, Duration::from_secs(10));

    // The name is that of the section; case does not matter.
    let catalog = read(ZOPE_CONF, Some("Catalog")).unwrap();
    assert_eq!(catalog.name, "catalog");
    assert_eq!(
        addresses(&catalog.storage),
        ["db.example.org:8100", "[::1]:8101"]
    );
    assert_eq!(catalog.storage.storage, "catalog");

    for (name, expected) in [
        (
            "temporary",
            "<temporarystorage> is no client of a ZEO server; expected <zeoclient> or \
             <clientstorage> (line 26, in zodb.conf)",
        ),
        (
            "none",
            "there is no database \"none\"; there are [\"temporary\", \"main\", \"catalog\"] \
             (in zodb.conf)",
        ),
    ] {
        assert_eq!(read(ZOPE_CONF, Some(name)).unwrap_err(), expected);
    }
}

#[test]
fn the_first_database_is_read_if_none_is_main() {
    let text = "<zodb a>\n <zeoclient>\n server 1\n </zeoclient>\n</zodb>\n\
                <zodb b>\n database-name X\n <zeoclient>\n server 2\n </zeoclient>\n</zodb>\n";
    let name = |wanted| read(text, wanted).map(|config| config.name);
    assert_eq!(name(None).unwrap(), "a");
    assert_eq!(name(Some("x")).unwrap(), "X");
    assert!(
        name(Some("b"))
            .unwrap_err()
            .contains("there are [\"a\", \"X\"]")
    );
    let text = format!(
        "{text}<zodb>\n database-name main\n <zeoclient>\n server 3\n </zeoclient>\n</zodb>"
    );
    assert_eq!(
        addresses(&read(&text, None).unwrap().storage),
        ["127.0.0.1:3"]
    );

    let text =
        "<zeoclient a>\n server 1\n</zeoclient>\n<clientstorage b>\n server 2\n</clientstorage>\n";
    assert_eq!(read(text, None).unwrap().name, "a");
    assert_eq!(
        addresses(&read(text, Some("b")).unwrap().storage),
        ["127.0.0.1:2"]
    );
    let why = read(
        "<zeo>\n address 1\n</zeo>\n<filestorage>\n path x\n</filestorage>",
        None,
    );
    assert_eq!(
        why.unwrap_err(),
        "no <zodb>, <zodb_db>, <zeoclient> or <clientstorage> section is given (in zodb.conf)"
    );
}

#[test]
fn defaults_are_those_of_python() {
    let config = read(
        "<zodb>\n<zeoclient>\nserver 8100\n</zeoclient>\n</zodb>",
        None,
    )
    .unwrap();
    assert_eq!((config.name.as_str(), config.cache_size), ("", 5000));
    assert_eq!((config.cache_size_bytes, config.pool_size), (0, 7));
    assert_eq!(config.large_record_size, 16 << 20);
    for kind in ["zeoclient", "clientstorage"] {
        let settings = storage(kind, "server 8100").unwrap();
        assert_eq!(settings.storage, "1");
        assert_eq!(settings.cache_size, 20 << 20);
        assert_eq!(
            (settings.cache, settings.blob_dir, settings.tls.is_some()),
            (None, None, false)
        );
        assert_eq!(
            (settings.blob_cache_size, settings.blob_cache_size_check),
            (None, 10)
        );
        assert_eq!(settings.wait_timeout, Duration::from_secs(30));
        let flags = (
            settings.wait,
            settings.read_only,
            settings.read_only_fallback,
        );
        assert_eq!(flags, (true, false, false));
        assert_eq!((settings.server_sync, settings.client_label), (false, None));
    }
}

#[test]
fn clientstorage_has_its_own_keys() {
    let settings = storage(
        "clientstorage",
        "server /run/zeo.sock\nserver a:1\ncache-path /c/x.zec\nserver-sync on\nwait-timeout 5\n\
         read-only on\nread-only-fallback on\nclient-label night job\nshared-blob-dir yes\n\
         blob-dir b",
    );
    let settings = settings.unwrap();
    assert_eq!(addresses(&settings), ["/run/zeo.sock", "a:1"]);
    assert_eq!(settings.cache.as_deref(), Some(Path::new("/c/x.zec")));
    assert_eq!(settings.wait_timeout, Duration::from_secs(5));
    assert_eq!(settings.client_label.as_deref(), Some("night job"));
    let flags = (
        settings.server_sync,
        settings.read_only,
        settings.read_only_fallback,
    );
    assert_eq!(flags, (true, true, true));
    assert!(settings.shared_blob_dir);
    // As in Python, where none is the default.
    let settings = storage("clientstorage", "server 1\nwait-timeout 0").unwrap();
    assert_eq!(settings.wait_timeout, Duration::from_secs(30));
}

#[test]
fn errors_name_file_and_line() {
    for (kind, lines, expected) in [
        (
            "zeoclient",
            "storage 1",
            "<zeoclient> needs a value for \"server\" (line 2, in zodb.conf)",
        ),
        (
            "zeoclient",
            "server localhost",
            "bad value for server: \"localhost\" has no port; expected HOST:PORT, [IPv6]:PORT, \
             PORT or a path with a slash (line 3, in zodb.conf)",
        ),
        (
            "zeoclient",
            "server 1\n\ncache-size 1.5MB",
            "bad value for cache-size: \"1.5MB\" is not a size; expected bytes, such as 512 or \
             10mb (line 5, in zodb.conf)",
        ),
        (
            "zeoclient",
            "server 1\ncache-size -1",
            "bad value for cache-size: \"-1\" is negative (line 4, in zodb.conf)",
        ),
        (
            "zeoclient",
            "server 1\nblob-cache-size-check -1",
            "bad value for blob-cache-size-check: \"-1\" is not a percentage (line 4, in \
             zodb.conf)",
        ),
        (
            "zeoclient",
            "server 1\nblob-cache-size 1GB\nblob-cache-size-check 100",
            "<zeoclient>: blob-cache-size-check is 100; expected less than 100 (line 2, in \
             zodb.conf)",
        ),
        (
            "zeoclient",
            "server a:1 b:2",
            "bad value for server: \"a:1 b:2\" has a space in it; give each address a line (line \
             3, in zodb.conf)",
        ),
        (
            "zeoclient",
            "server 1\nread-only maybe",
            "bad value for read-only: \"maybe\" is not a boolean; expected yes, true, on, no, \
             false or off (line 4, in zodb.conf)",
        ),
        (
            "clientstorage",
            "server 1\nstorage a\nstorage b",
            "\"storage\" may be given only once; the first is at line 4 (line 5, in zodb.conf)",
        ),
        (
            "zeoclient",
            "server 1\n<ssl>\n</ssl>",
            "<ssl> can't stand in a <zeoclient>; a <clientstorage> may have one, with %import ZEO \
             before it (line 4, in zodb.conf)",
        ),
        (
            "clientstorage",
            "server 1\n<ssl>\ncertificate x\n</ssl>\n<ssl>\n</ssl>",
            "only one <ssl> section may be given; the first is at line 4 (line 7, in zodb.conf)",
        ),
        (
            "clientstorage",
            "server 1\n<other>\n</other>",
            "unknown section <other> in <clientstorage>; expected ssl (line 4, in zodb.conf)",
        ),
    ] {
        assert_eq!(storage(kind, lines).unwrap_err(), expected);
    }
    for (kind, key) in [
        ("zeoclient", "cache-path"),
        ("clientstorage", "var"),
        ("clientstorage", "wait"),
    ] {
        let why = storage(kind, &format!("server 1\n{key} x")).unwrap_err();
        let start = format!("\"{key}\" is not a known key of <{kind}>; expected server, ");
        assert!(
            why.starts_with(&start) && why.ends_with(" (line 4, in zodb.conf)"),
            "{why}"
        );
    }
    for (text, expected) in [
        (
            "<zodb>\n</zodb>",
            "<zodb>: a storage section is missing inside it (line 1, in zodb.conf)",
        ),
        (
            "<zodb>\n<zeoclient/>\n<zeoclient/>\n</zodb>",
            "<zodb>: only one storage section is allowed inside it (line 1, in zodb.conf)",
        ),
        (
            "<zodb>\nmount-point /\n<zeoclient>\nserver 1\n</zeoclient>\n</zodb>",
            "\"mount-point\" is not a known key of <zodb>",
        ),
        (
            "<zodb_db main>\n<zeoclient>\nserver 1\n</zeoclient>\n</zodb_db>",
            "<zodb_db main> needs a value for \"mount-point\" (line 1, in zodb.conf)",
        ),
        (
            "<zodb>\npool-timeout never\n<zeoclient>\nserver 1\n</zeoclient>\n</zodb>",
            "bad value for pool-timeout: \"never\" is not a time interval",
        ),
        ("<zodb>\n", "unclosed section <zodb> (line 1, in zodb.conf)"),
    ] {
        let why = read(text, None).unwrap_err();
        assert!(why.starts_with(expected), "{why}");
    }
}

#[test]
fn texts_are_read_as_files_are() {
    let text = "<zodb>\n<zeoclient>\nserver 1\nx 1\n</zeoclient>\n</zodb>";
    let why = Config::text(text).read().unwrap_err().to_string();
    assert!(why.ends_with(" (line 4, in the text)"), "{why}");
    let why = Config::file("no/such/file").read().unwrap_err().to_string();
    assert!(
        why.starts_with("error opening file no/such/file: "),
        "{why}"
    );
}

#[test]
fn ssl_names_files_that_are_of_no_use() {
    let directory = tempfile::tempdir().unwrap();
    let pem = directory.path().join("empty.pem");
    fs::write(&pem, "").unwrap();
    let pem = pem.to_str().unwrap();
    let refused = |lines: &str| {
        let lines = format!("server 1\n<ssl>\n{lines}\n</ssl>");
        storage("clientstorage", &lines).unwrap_err()
    };
    for (lines, expected) in [
        (
            "authenticate x",
            "<ssl> needs a value for \"certificate\" (line 4, in zodb.conf)",
        ),
        (
            "certificate /no/such/directory/x",
            "bad value for certificate: the directory in the path \"/no/such/directory/x\" does \
             not exist (line 5, in zodb.conf)",
        ),
        (
            "certificate x\nauthenticate SIGNED",
            "bad value for authenticate: \"SIGNED\" is not supported; use DYNAMIC or leave the \
             key out for the authorities of the system (line 6, in zodb.conf)",
        ),
        (
            "certificate no-such-file",
            "<ssl>: certificate no-such-file: No such file or directory (line 4, in zodb.conf)",
        ),
        (
            "certificate x\npassword-function app.password",
            "password-function app.password: no Python code is run here; leave the key out, \
             and let the program give the password (Config::key_password) (line 6, in zodb.conf)",
        ),
    ] {
        assert_eq!(refused(lines), expected);
    }
    let why = refused(&format!("certificate {pem}"));
    assert!(
        why.starts_with(&format!("<ssl>: certificate {pem}: ")),
        "{why}"
    );
}
