use std::fs;
use std::path::PathBuf;

use super::*;
use crate::eventlog::{LogEncoding, Unit};

fn open(path: PathBuf, delay: bool, rotation: Option<Rotation>) -> Result<LogFile, EventLogError> {
    LogFile::open(LogTarget::File {
        path,
        delay,
        encoding: LogEncoding::Utf8,
        rotation,
    })
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

#[test]
fn lines_are_appended() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("x.log"), "old\n").unwrap();
    let mut logfile = open(directory.path().join("x.log"), false, None).unwrap();
    logfile.write("one".to_owned());
    assert_eq!(read(directory.path(), "x.log"), "old\none\n");
}

#[test]
fn lines_are_encoded() {
    let directory = tempfile::tempdir().unwrap();
    let mut logfile = open(directory.path().join("x.log"), false, None).unwrap();
    if let LogTarget::File { encoding, .. } = &mut logfile.target {
        *encoding = LogEncoding::Latin1;
    }
    logfile.write("Gr\u{fc}\u{df}e f\u{fc}r 3 \u{20ac}".to_owned());
    let written = fs::read(directory.path().join("x.log")).unwrap();
    assert_eq!(written, b"Gr\xfc\xdfe f\xfcr 3 \\u20ac\n");
    assert_eq!(logfile.length, written.len() as u64);
}

#[test]
fn a_delayed_file_is_opened_by_its_first_line() {
    let directory = tempfile::tempdir().unwrap();
    let mut logfile = open(directory.path().join("x.log"), true, None).unwrap();
    assert!(!directory.path().join("x.log").exists());
    logfile.write("one".to_owned());
    assert_eq!(read(directory.path(), "x.log"), "one\n");
}

#[test]
fn reopening_follows_the_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    let mut logfile = open(path.clone(), false, None).unwrap();
    logfile.write("one".to_owned());
    fs::rename(&path, directory.path().join("old.log")).unwrap();
    logfile.write("two".to_owned());
    logfile.reopen().unwrap();
    logfile.write("three".to_owned());
    assert_eq!(read(directory.path(), "old.log"), "one\ntwo\n");
    assert_eq!(read(directory.path(), "x.log"), "three\n");
}

#[test]
fn a_file_that_fails_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sub/x.log");
    assert!(matches!(
        open(path.clone(), false, None),
        Err(EventLogError::Open { .. })
    ));

    fs::create_dir(directory.path().join("sub")).unwrap();
    let mut logfile = open(path, false, None).unwrap();
    fs::remove_dir_all(directory.path().join("sub")).unwrap();
    assert!(logfile.reopen().is_err());
    logfile.write("this goes to standard error".to_owned());
    fs::create_dir(directory.path().join("sub")).unwrap();
    logfile.write("back".to_owned());
    assert_eq!(read(directory.path(), "sub/x.log"), "back\n");
}

#[test]
fn a_full_disk_is_survived() {
    let mut logfile = open(PathBuf::from("/dev/full"), false, None).unwrap();
    logfile.write("this goes to standard error".to_owned());
    assert!(logfile.failing);
}

#[test]
fn files_rotate_by_size() {
    let directory = tempfile::tempdir().unwrap();
    let rotation = Rotation {
        when: When::Size(10),
        old_files: Some(2),
    };
    let mut logfile = open(directory.path().join("x.log"), false, Some(rotation)).unwrap();
    for message in ["a", "b", "c", "d", "e", "longer than the limit", "f"] {
        logfile.write(message.to_owned());
    }
    // Python's limit is reached, not passed: four lines of two bytes.
    assert_eq!(read(directory.path(), "x.log.2"), "e\n");
    assert_eq!(read(directory.path(), "x.log.1"), "longer than the limit\n");
    assert_eq!(read(directory.path(), "x.log"), "f\n");
    assert!(!directory.path().join("x.log.3").exists());
    logfile.reopen().unwrap();
    assert_eq!(read(directory.path(), "x.log.1"), "f\n");
    assert_eq!(read(directory.path(), "x.log"), "");
}

#[test]
fn files_rotate_by_time() {
    let directory = tempfile::tempdir().unwrap();
    for name in [
        "x.log.2020-01-01",
        "x.log.2020-01-02",
        "x.log.2020-01-02.gz",
        "y.log.2019-01-01",
    ] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    let rotation = Rotation {
        when: When::Every(Unit::Day, 1),
        old_files: Some(2),
    };
    let mut logfile = open(directory.path().join("x.log"), false, Some(rotation)).unwrap();
    logfile.write("one".to_owned());
    logfile.due = Some("2026-02-03T12:00:00Z".parse().unwrap());
    logfile.write("two".to_owned());
    logfile.write("three".to_owned());
    let start = logfile.due.unwrap();
    assert!(start > Timestamp::now());
    assert_eq!(read(directory.path(), "x.log"), "two\nthree\n");
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    // The day before noon of 2026-02-03 begins on 2026-02-02, in most time zones.
    let dated = names
        .iter()
        .filter(|name| name.starts_with("x.log.2026-02-0"));
    assert_eq!(dated.count(), 1);
    assert!(!names.contains(&"x.log.2020-01-01".to_owned()));
    assert!(names.contains(&"x.log.2020-01-02".to_owned()));
    assert!(names.contains(&"x.log.2020-01-02.gz".to_owned()));
    assert!(names.contains(&"y.log.2019-01-01".to_owned()));
}

/// The clock was in another year for a while, when the file was due or last written.
#[test]
fn a_clock_that_is_set_back_delays_no_rotation() {
    for unit in [Unit::Second, Unit::Day, Unit::Midnight, Unit::Weekday(0)] {
        let directory = tempfile::tempdir().unwrap();
        let rotation = Rotation {
            when: When::Every(unit, 1),
            old_files: None,
        };
        let mut logfile = open(directory.path().join("x.log"), false, Some(rotation)).unwrap();
        logfile.due = Some("2126-02-03T12:00:00Z".parse().unwrap());
        logfile.write("one".to_owned());
        let week = jiff::SignedDuration::from_hours(7 * 24 + 1);
        let due = logfile.due.unwrap();
        assert!(due <= Timestamp::now() + week, "{unit:?}: {due}");
        assert_eq!(read(directory.path(), "x.log"), "one\n");
    }
}

#[test]
fn a_rotation_that_fails_loses_no_line() {
    let directory = tempfile::tempdir().unwrap();
    // A directory in the way.
    fs::create_dir_all(directory.path().join("x.log.1/x")).unwrap();
    let rotation = Rotation {
        when: When::Size(4),
        old_files: Some(1),
    };
    let mut logfile = open(directory.path().join("x.log"), false, Some(rotation)).unwrap();
    for message in ["a", "b", "c"] {
        logfile.write(message.to_owned());
    }
    assert_eq!(read(directory.path(), "x.log"), "a\nb\nc\n");
}

/// What is in all files of the directory, sorted.
fn all_lines(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap();
    let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let mut lines: Vec<_> = texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort();
    lines
}

/// zdaemon's manager rotates the same file, and before us.
#[test]
fn what_somebody_else_has_rotated_is_only_reopened() {
    for when in [When::Size(1 << 20), When::Every(Unit::Day, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (
            directory.path().join("x.log"),
            directory.path().join("x.log.1"),
        );
        let rotation = Rotation {
            when,
            old_files: Some(1),
        };
        let mut logfile = open(path.clone(), false, Some(rotation)).unwrap();
        logfile.write("1 ours".to_owned());
        fs::rename(&path, &old).unwrap();
        fs::write(&path, "2 theirs\n").unwrap();
        logfile.reopen().unwrap();
        logfile.write("3 ours".to_owned());
        assert_eq!(read(directory.path(), "x.log.1"), "1 ours\n");
        assert_eq!(read(directory.path(), "x.log"), "2 theirs\n3 ours\n");
        // The same when nobody has the name, and when it is due.
        fs::rename(&path, directory.path().join("moved")).unwrap();
        logfile.reopen().unwrap();
        assert_eq!(read(directory.path(), "x.log.1"), "1 ours\n");
        fs::rename(&path, directory.path().join("moved again")).unwrap();
        fs::write(&path, "4 theirs\n").unwrap();
        logfile.due = logfile.due.map(|_| Timestamp::UNIX_EPOCH);
        logfile.length = 1 << 20;
        logfile.write("5 ours".to_owned());
        assert_eq!(
            all_lines(directory.path()),
            ["1 ours", "2 theirs", "3 ours", "4 theirs", "5 ours"]
        );
    }
}

#[test]
fn a_second_rotation_in_a_period_loses_no_line() {
    let directory = tempfile::tempdir().unwrap();
    let rotation = Rotation {
        when: When::Every(Unit::Day, 1),
        old_files: Some(3),
    };
    let mut logfile = open(directory.path().join("x.log"), false, Some(rotation)).unwrap();
    let mut expected = Vec::new();
    for number in 0..4 {
        logfile.write(format!("line {number}"));
        expected.push(format!("line {number}"));
        logfile.reopen().unwrap();
        assert_eq!(all_lines(directory.path()), expected);
    }
}

#[test]
fn a_link_to_a_log_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (path, target) = (
        directory.path().join("x.log"),
        directory.path().join("sub/y.log"),
    );
    fs::create_dir(directory.path().join("sub")).unwrap();
    std::os::unix::fs::symlink("sub/y.log", &path).unwrap();
    let rotation = Rotation {
        when: When::Size(1 << 20),
        old_files: Some(1),
    };
    let mut logfile = open(path.clone(), false, Some(rotation)).unwrap();
    logfile.write("one".to_owned());
    logfile.reopen().unwrap();
    logfile.write("two".to_owned());
    assert!(path.is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), "two\n");
    assert_eq!(read(directory.path(), "sub/y.log.1"), "one\n");
}

/// The lines go to standard error until it is back.
#[test]
fn a_directory_that_is_gone_is_survived() {
    let directory = tempfile::tempdir().unwrap();
    let sub = directory.path().join("sub");
    for when in [When::Size(4), When::Every(Unit::Second, 1)] {
        fs::create_dir(&sub).unwrap();
        let rotation = Rotation {
            when,
            old_files: Some(2),
        };
        let mut logfile = open(sub.join("x.log"), false, Some(rotation)).unwrap();
        logfile.write("one".to_owned());
        fs::remove_dir_all(&sub).unwrap();
        assert!(logfile.reopen().is_err());
        logfile.write("lost to standard error".to_owned());
        fs::create_dir(&sub).unwrap();
        logfile.write("back".to_owned());
        assert_eq!(read(&sub, "x.log"), "back\n");
        fs::remove_dir_all(&sub).unwrap();
    }
}
