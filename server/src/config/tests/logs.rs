//! `<eventlog>` and its log files.

use std::path::PathBuf;

use super::{MAPPING, ZEO, config, logfile};
use crate::eventlog::{LogEncoding, LogTarget, Rotation, Unit, When};

#[test]
fn log_files_are_read() {
    let text = "<eventlog>\nlevel warn\n<logfile>\npath STDERR\nlevel error\n</logfile>\n\
                <logfile>\npath x.log\nformat %(name)s\n</logfile>\n</eventlog>";
    let log = config(&format!("{ZEO}{MAPPING}{text}"))
        .unwrap()
        .eventlog
        .unwrap();
    assert_eq!(log.level, 30);
    assert_eq!(
        (&log.logfiles[0].target, log.logfiles[0].level),
        (&LogTarget::Stderr, 40)
    );
    assert_eq!((log.logfiles.len(), log.logfiles[1].level), (2, 0));

    for (lines, expected) in [
        ("", None),
        ("max-size 1kb\nold-files 3", Some((When::Size(1024), 3))),
        ("when d\nold-files 2", Some((When::Every(Unit::Day, 1), 2))),
        (
            "when W6\ninterval 3\nold-files 1",
            Some((When::Every(Unit::Weekday(6), 3), 1)),
        ),
        // Negative numbers, as in Python: all old files are kept, or none, or the size is never
        // reached.
        ("when d\nold-files -1", Some((When::Every(Unit::Day, 1), 0))),
        ("max-size 1kb\nold-files -1\ninterval -3", None),
        (
            "max-size -1kb\nold-files 3",
            Some((When::Size(u64::MAX), 3)),
        ),
    ] {
        let logfile = logfile(&format!("path x.log\ndelay yes\n{lines}")).unwrap();
        let rotation = expected.map(|(when, old_files)| Rotation {
            when,
            old_files: (old_files > 0).then_some(old_files),
        });
        let expected = LogTarget::File {
            path: PathBuf::from("x.log"),
            delay: true,
            encoding: LogEncoding::Utf8,
            rotation,
        };
        assert_eq!(logfile.target, expected, "{lines}");
    }
    for lines in [
        "level info",
        "path STDERR\nmax-size 1\nold-files 1",
        "path STDOUT\ndelay true",
        "path STDOUT\nencoding utf-8",
        "path x.log\nmax-size 1kb",
        "path x.log\nold-files 3",
        "path x.log\ninterval 3",
        "path x.log\ninterval 3\nold-files 1",
        "path x.log\nwhen D\nmax-size 1\nold-files 1",
        "path x.log\nwhen W7\nold-files 1",
        "path x.log\nformat none",
        "path x.log\nstyle format",
        "path x.log\nstyle nope",
        "path x.log\nlevel loud",
        "path x.log\nformatter no.such",
        "path x.log\nencoding nosuch",
        "path x.log\nwhen D\nmax-size -1\nold-files 1",
        "path x.log\nold-files -1",
        "path STDERR\nold-files -1",
        "path /no/such/directory/x.log",
        "path x.log\nmode w",
        "path x.log\n<logfile/>",
    ] {
        assert!(logfile(lines).is_err(), "{lines}");
    }
}

#[test]
fn log_files_have_an_encoding() {
    for (lines, expected) in [
        ("", LogEncoding::Utf8),
        ("encoding", LogEncoding::Utf8),
        ("encoding latin-1", LogEncoding::Latin1),
    ] {
        let target = logfile(&format!("path x.log\n{lines}")).unwrap().target;
        assert!(
            matches!(target, LogTarget::File { encoding, .. } if encoding == expected),
            "{target:?}"
        );
    }
    let refused = logfile("path x.log\nencoding utf-16").unwrap_err();
    assert!(
        refused.starts_with("bad value for encoding: \"utf-16\""),
        "{refused}"
    );
}

#[test]
fn the_directory_of_a_log_file_must_be_there() {
    let missing = "path /no/such/directory/x.log";
    let refused = logfile(missing).unwrap_err();
    let expected = "bad value for path: the directory in the path \"/no/such/directory/x.log\" \
                    does not exist (line ";
    assert!(refused.starts_with(expected), "{refused}");
    // It may be made until the first line is written.
    assert!(logfile(&format!("{missing}\ndelay on")).is_ok());
    // This one is zdaemon's.
    let runner = format!(
        "<runner>\nprogram x\n<eventlog>\n<logfile>\n{missing}\n</logfile>\n\
                          </eventlog>\n</runner>\n"
    );
    assert!(config(&format!("{ZEO}{MAPPING}{runner}")).is_ok());
}
