use super::*;

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp {
        host: Some(host.to_owned()).filter(|host| !host.is_empty()),
        port: Some(port).filter(|port| *port != 0),
    }
}

#[test]
fn booleans() {
    for text in ["yes", "TRUE", "On"] {
        assert_eq!(boolean(text), Ok(true), "{text}");
    }
    for text in ["no", "False", "OFF"] {
        assert_eq!(boolean(text), Ok(false), "{text}");
    }
    for text in ["", "1", "0", "y", "yes ", "none"] {
        assert!(boolean(text).is_err(), "{text}");
    }
}

#[test]
fn integers() {
    for (text, expected) in [
        ("0", 0),
        ("007", 7),
        ("-12", -12),
        ("+5", 5),
        (" 5 ", 5),
        ("1_000", 1000),
        ("99999999999999999999", i64::MAX),
        ("-99999999999999999999", i64::MIN),
    ] {
        assert_eq!(integer(text), Ok(expected), "{text}");
    }
    for text in [
        "", "-", "--1", "1.0", "0x10", "_1", "1_", "1__0", "1 0", "+-1", "x",
    ] {
        assert!(integer(text).is_err(), "{text}");
    }
}

#[test]
fn floats() {
    for (text, expected) in [
        ("1", 1.0),
        ("2.5", 2.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1_0.5", 10.5),
        ("-1", -1.0),
        ("inf", f64::INFINITY),
        ("-Infinity", f64::NEG_INFINITY),
    ] {
        assert_eq!(float(text), Ok(expected), "{text}");
    }
    assert!(float("nan").is_ok_and(f64::is_nan));
    for text in ["", ".", "1,5", "1_.5", "0x1", "1e", "1s"] {
        assert!(float(text).is_err(), "{text}");
    }
}

#[test]
fn sizes_and_intervals() {
    for (text, expected) in [
        ("100", 100),
        ("10kb", 10240),
        ("10 KB", 10240),
        ("3Mb", 3 << 20),
        ("2gB", 2 << 30),
        ("-1kb", -1024),
        ("9999999999999gb", i64::MAX),
    ] {
        assert_eq!(byte_size(text), Ok(expected), "{text}");
    }
    for text in ["", "kb", "1.5mb", "10b", "10k", "10tb", "mb10"] {
        assert!(byte_size(text).is_err(), "{text}");
    }
    for (text, expected) in [
        ("90", 90),
        ("90s", 90),
        ("5M", 300),
        ("2h", 7200),
        ("1d", 86400),
    ] {
        assert_eq!(time_interval(text), Ok(expected), "{text}");
    }
    for text in ["", "s", "1w", "1m30s", "1.5h"] {
        assert!(time_interval(text).is_err(), "{text}");
    }
}

#[test]
fn addresses() {
    for (text, expected) in [
        ("8100", tcp("", 8100)),
        (":8100", tcp("", 8100)),
        ("localhost:8100", tcp("localhost", 8100)),
        ("LOCALHOST:8100", tcp("localhost", 8100)),
        ("127.0.0.1:9", tcp("127.0.0.1", 9)),
        ("[::1]:8100", tcp("::1", 8100)),
        ("[FE80::1]:8100", tcp("fe80::1", 8100)),
        ("::1", tcp("::1", 0)),
        ("[::1]", tcp("[::1]", 0)),
        ("localhost", tcp("localhost", 0)),
        ("localhost:", tcp("localhost", 0)),
        (":", tcp("", 0)),
        ("70000", tcp("70000", 0)),
        ("1:2:3", tcp("1:2:3", 0)),
        (
            "/tmp/zeo.sock",
            Address::Unix(PathBuf::from("/tmp/zeo.sock")),
        ),
        ("./zeo:1", Address::Unix(PathBuf::from("./zeo:1"))),
    ] {
        assert_eq!(socket_binding_address(text), Ok(expected), "{text}");
    }
    for text in ["", "two words", "host:70000", "host:x", "host:-1"] {
        assert!(socket_binding_address(text).is_err(), "{text}");
    }
    assert_eq!(tcp("::1", 80).to_string(), "[::1]:80");
    assert_eq!(tcp("", 80).to_string(), ":80");
}

#[test]
fn paths() {
    let directory = tempfile::tempdir().unwrap();
    let name = |tail: &str| format!("{}/{tail}", directory.path().display());
    fs::write(name("file"), "").unwrap();
    assert!(existing_directory(&name("")).is_ok());
    assert!(existing_directory(&name("file")).is_err());
    assert!(existing_path(&name("file")).is_ok());
    assert!(existing_path(&name("none")).is_err());
    assert!(existing_dirpath(&name("none")).is_ok());
    assert!(existing_dirpath(&name("none/none")).is_err());
    assert!(existing_dirpath(&name("file/none")).is_err());
    for good in ["Data.fs", "", "/Data.fs", "./x"] {
        assert_eq!(existing_dirpath(good), Ok(PathBuf::from(good)), "{good}");
    }
}

#[test]
fn home_directories() {
    let passwd = "root:x:0:0:root:/root:/bin/bash\nzope:x:9:9::/srv/zope:/bin/sh\nbad:x\n";
    assert_eq!(home_of("zope", passwd), Some(PathBuf::from("/srv/zope")));
    assert_eq!(home_of("bad", passwd), None);
    assert_eq!(home_of("none", passwd), None);
    assert_eq!(expand_user("a/~"), PathBuf::from("a/~"));
    assert_eq!(
        expand_user("~no such user/x"),
        PathBuf::from("~no such user/x")
    );
    let home = env::home_dir().unwrap();
    assert_eq!(expand_user("~"), home);
    assert_eq!(expand_user("~/db/Data.fs"), home.join("db/Data.fs"));
}

#[test]
fn names_and_levels() {
    assert_eq!(basic_key("Read-Only").as_deref(), Ok("read-only"));
    for text in ["", "1a", "a b", "a/b", "_a", "é"] {
        assert!(basic_key(text).is_err(), "{text}");
    }
    assert!(identifier("_a1").is_ok() && identifier("1a").is_err() && identifier("").is_err());
    assert!(dotted_name("a.b1._c").is_ok());
    assert!(dotted_name("a..b").is_err() && dotted_name("").is_err());
    for (text, expected) in [
        ("INFO", 20),
        ("blather", 15),
        ("all", 1),
        ("Trace", 5),
        ("fatal", 50),
        ("notset", 0),
        ("0", 0),
        ("50", 50),
        (" 7", 7),
    ] {
        assert_eq!(logging_level(text), Ok(expected), "{text}");
    }
    for text in ["", "51", "-1", "loud", "1.5"] {
        assert!(logging_level(text).is_err(), "{text}");
    }
}
