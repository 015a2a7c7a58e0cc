use std::fs;
use std::time::Duration;

use super::*;

fn parse_with(args: &[&str], env: Env) -> Result<Options, String> {
    let args = std::iter::once("runzeo").chain(args.iter().copied());
    Options::parse(args, env).map_err(|error| {
        assert_eq!(error.exit_code(), 2, "{error}");
        error.report()
    })
}

fn parse(args: &[&str]) -> Result<Options, String> {
    parse_with(args, &|_| None)
}

fn summary(storages: &[StorageConfig]) -> Vec<String> {
    let path = |storage: &StorageConfig| match &storage.kind {
        StorageKind::FileStorage(file) => file.path.display().to_string(),
        StorageKind::MappingStorage { name } => name.clone(),
        other => other.type_name().to_owned(),
    };
    let shown = storages.iter().map(|s| format!("{}={}", s.name, path(s)));
    shown.collect()
}

#[test]
fn a_command_line_alone_is_enough() {
    let options = parse(&["-a", "8100", "-f", "a.fs", "-f", "b.fs"]).unwrap();
    assert_eq!(options.config.zeo.address.to_string(), ":8100");
    assert_eq!(summary(&options.config.storages), ["1=a.fs", "2=b.fs"]);
    assert_eq!(
        options.config.zeo.transaction_timeout,
        Duration::from_secs(30)
    );
    assert_eq!(options.max_message_size, DEFAULT_MAX_MESSAGE_SIZE);
    assert_eq!((options.msgpack, options.pid_file), (false, None));

    let long = [
        "--addr=/tmp/s",
        "--filename",
        "a.fs",
        "--time",
        "1.5",
        "--pid-file",
        "p",
    ];
    let options = parse(&long).unwrap();
    assert_eq!(options.config.zeo.address, Address::Unix("/tmp/s".into()));
    assert_eq!(
        options.config.zeo.transaction_timeout,
        Duration::from_millis(1500)
    );
    assert_eq!(options.pid_file, Some("p".into()));
}

#[test]
fn the_command_line_overrides_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("zeo.conf");
    let text = "<zeo>\naddress 1\ntransaction-timeout 5\npid-filename file.pid\n</zeo>\n\
                <mappingstorage main/>";
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();

    let options = parse(&["-C", file]).unwrap();
    assert_eq!(options.config.zeo.address.to_string(), ":1");
    assert_eq!(summary(&options.config.storages), ["main=Mapping Storage"]);
    assert_eq!(
        options.config.zeo.transaction_timeout,
        Duration::from_secs(5)
    );
    assert_eq!(options.pid_file, Some("file.pid".into()));

    let all = [
        "-C",
        file,
        "-a",
        "2",
        "-f",
        "x.fs",
        "-t",
        "0",
        "--pid-file",
        "line.pid",
    ];
    let options = parse(&all).unwrap();
    assert_eq!(options.config.zeo.address.to_string(), ":2");
    assert_eq!(summary(&options.config.storages), ["1=x.fs"]);
    assert_eq!(options.config.zeo.transaction_timeout, Duration::ZERO);
    assert_eq!(options.pid_file, Some("line.pid".into()));
}

#[test]
fn wrong_usage_is_one_line() {
    let good = ["-a", "8100", "-f", "a.fs"];
    for (args, expected) in [
        (
            &["-f", "a.fs"][..],
            "no server address specified; use -a or -C",
        ),
        (&["-a", "8100"], "no storages specified; use -f or -C"),
        (&["start"], "positional arguments are not supported"),
        (
            &["-a", "8100", "start"],
            "positional arguments are not supported",
        ),
        (&["-x"], "unexpected argument '-x' found"),
        (&["--no-such"], "unexpected argument '--no-such' found"),
        (
            &["-a"],
            "a value is required for '--address <ADDRESS>' but none was supplied",
        ),
        (
            &["-a", "h:x"],
            "invalid value 'h:x' for '--address <ADDRESS>': \"x\" is not a port",
        ),
        (
            &["-a", "zeo.sock"],
            "invalid value 'zeo.sock' for '--address <ADDRESS>': \"zeo.sock\" has no port; ",
        ),
        (
            &["--monitor", "localhost"],
            "invalid value 'localhost' for '--monitor <ADDRESS>': \"localhost\" has no port; ",
        ),
        (
            &["-t", "soon"],
            "invalid value 'soon' for '--timeout <TIMEOUT>': \"soon\" is not",
        ),
        (
            &["-t", "1", "-t", "2"],
            "conflicting command line option \"-t\"",
        ),
        (
            &["-C", "a", "-C", "b"],
            "conflicting command line option \"-C\"",
        ),
        (
            &["--log-format", "xml"],
            "invalid value 'xml' for '--log-format <FORMAT>'; expected text or json",
        ),
        (
            &["--max-message-size", "1"],
            "invalid value '1' for '--max-message-size <SIZE>'",
        ),
        (
            &["-a", "1", "-f", "a", "-X", "zeo/read-only=on"],
            "configuration overrides (-X) cannot be used without a configuration file",
        ),
        (
            &["-C", "/no/such/file", "-X", "zeo"],
            "invalid configuration specifier; expected SECTION/KEY=VALUE (in -X zeo)",
        ),
        (
            &["--check", "--man-page"],
            "the argument '--man-page' cannot be used with one or more of the other",
        ),
        (
            &["--completions", "cmd"],
            "there are no completions for \"cmd\", but for bash",
        ),
        (
            &["-C", "/no/such/file"],
            "error opening file /no/such/file: ",
        ),
    ] {
        let report = parse(args).expect_err(expected);
        assert!(
            report.starts_with(&format!("Error: {expected}")),
            "{args:?}: {report}"
        );
        assert!(
            report.ends_with('\n') && report.lines().count() <= 2,
            "{report}"
        );
    }
    let repeated = [&good[..], &["-t", "1", "-t", "1.0"]].concat();
    assert!(parse(&repeated).is_ok());
}

#[test]
fn help_is_no_error() {
    for (arg, expected) in [("-h", "--max-message-size"), ("--help", "-f, --filename")] {
        let error = Options::parse(["runzeo", arg], &|_| None).unwrap_err();
        assert_eq!(error.exit_code(), 0);
        assert!(error.report().contains(expected), "{}", error.report());
    }
    let error = Options::parse(["runzeo", "--version"], &|_| None).unwrap_err();
    assert_eq!(
        error.report(),
        format!("runzeo {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn abbreviations_of_python_s_options_stay() {
    for (short, long) in [
        ("--a=1", "--address=1"),
        ("--conf", "--configure"),
        ("--t", "--t"),
    ] {
        assert_eq!(environment::in_full(short.into()), long);
    }
}

#[test]
fn the_environment_fills_in() {
    let env = |name: &str| match name {
        "ZEO_MSGPACK" => Some("no".to_owned()),
        "INSTANCE_HOME" => Some("/srv/zope".to_owned()),
        "RZEO_MAX_MESSAGE_SIZE" => Some("10mb".to_owned()),
        _ => None,
    };
    let good = ["-a", "8100", "-f", "a.fs"];
    let options = parse_with(&good, &env).unwrap();
    assert!(options.msgpack);
    assert_eq!(options.pid_file, Some("/srv/zope/var/ZEO.pid".into()));
    assert_eq!(options.max_message_size, 10 << 20);
    let args = [&good[..], &["--max-message-size", "1gb", "--pid-file", "p"]].concat();
    let options = parse_with(&args, &env).unwrap();
    assert_eq!(options.max_message_size, 1 << 30);
    assert_eq!(options.pid_file, Some("p".into()));

    assert!(!parse_with(&good, &|_| Some(String::new())).unwrap().msgpack);
    let report = parse_with(&good, &|_| Some("big".to_owned())).unwrap_err();
    assert!(
        report.starts_with("Error: bad value in $RZEO_MAX_MESSAGE_SIZE"),
        "{report}"
    );

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("zeo.conf");
    let text = "<zeo>\naddress 1\nread-only on\nmsgpack off\n</zeo>\n<mappingstorage/>";
    fs::write(&file, text).unwrap();
    let options = parse_with(&["-C", file.to_str().unwrap()], &env).unwrap();
    assert_eq!((options.msgpack, options.pid_file), (false, None));
}

#[test]
fn the_sample_is_good() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../etc/zeo.conf");
    let config = parse(&["-C", file]).unwrap().config;
    assert_eq!(config.zeo.address.to_string(), "127.0.0.1:8100");
    assert_eq!(summary(&config.storages), ["1=./Data.fs"]);
    assert_eq!(config.eventlog.unwrap().handlers.len(), 1);

    // The settings that it only mentions are good, too.
    let directory = tempfile::tempdir().unwrap();
    let all = directory.path().join("zeo.conf");
    let text = fs::read_to_string(file).unwrap();
    let text = text
        .replace("path STDERR", "")
        .replace("#max-size", "# max-size");
    // Words behind a # stand one space away from it, settings none, 2 or 4.
    let is_setting = |text: &str| matches!(text.len() - text.trim_start().len(), 0 | 2 | 4);
    let lines = text
        .lines()
        .map(|line| match line.trim_start().strip_prefix('#') {
            Some(text) if is_setting(text) => text,
            _ => line,
        });
    fs::write(&all, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let config = parse(&["-C", all.to_str().unwrap()]).unwrap().config;
    assert_eq!(config.zeo.invalidation_age, Some(Duration::from_secs(7200)));
    assert!(config.zeo.ssl.is_some());
}

#[test]
fn room_is_prepared_for_all_files_or_none() {
    let rooms = |args: &[&str], variable: Option<&str>| -> Result<Vec<u64>, String> {
        let all = [&["-a", "1", "-f", "a.fs", "-f", "b.fs"], args].concat();
        let env = |name: &str| {
            variable
                .filter(|_| name == "RZEO_PREPARE_ROOM")
                .map(str::to_owned)
        };
        let options = parse_with(&all, &env)?;
        let storages = options.config.storages.iter();
        let files = storages.flat_map(|storage| storage.kind.files());
        Ok(files.map(|file| file.prepare_room).collect::<Vec<_>>())
    };
    assert_eq!(rooms(&[], None), Ok(vec![0, 0]));
    assert_eq!(
        rooms(&["--prepare-room", "1mb"], None),
        Ok(vec![1 << 20; 2])
    );
    assert_eq!(rooms(&[], Some("64kb")), Ok(vec![1 << 16; 2]));
    assert_eq!(
        rooms(&["--prepare-room", "0"], Some("64kb")),
        Ok(vec![0, 0])
    );
    for wrong in ["63kb", "65mb", "-1", "x"] {
        let error = rooms(&[&format!("--prepare-room={wrong}")], None).unwrap_err();
        assert!(error.contains("--prepare-room"), "{wrong}");
    }
}
