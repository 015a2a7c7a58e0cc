//! What `fstool` prints of files that Python wrote (`storage/testdata`),
//! word by word. `UPDATE_GOLDEN=1 cargo test -p zeo-server --test fstool` writes
//! the expected texts anew; `tests/tools` compares the facts with Python's
//! tools.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILES: [&str; 7] = [
    "history/empty.fs",
    "history/gone.fs",
    "history/ignored.fs",
    "history/packed.fs",
    "history/plain.fs",
    "history/undone.fs",
    "commits/Data.fs",
];

const COMMANDS: [&[&str]; 8] = [
    &["test"],
    &["refs"],
    &["dump"],
    &["dump", "-v"],
    &["tail", "-n", "3"],
    &["size"],
    &["oids", "0", "1", "2"],
    &["index", "--check"],
];

#[test]
fn files_of_python() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in FILES {
        let path = root.join("../storage/testdata").join(name);
        let golden = root
            .join("tests/data")
            .join(format!("{}.txt", name.replace('/', "-")));
        compare(&golden, &all_of(&path));
    }
}

/// A file with a damaged transaction, and one that was cut off.
#[test]
fn damaged_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let good = fs::read(root.join("../storage/testdata/history/undone.fs")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Data.fs");
    let mut damaged = good.clone();
    damaged[100] ^= 0x80;
    let cut = good[..good.len() - 5].to_vec();
    for (name, bytes) in [("damaged", damaged), ("cut", cut)] {
        fs::write(&path, bytes).unwrap();
        compare(&root.join(format!("tests/data/{name}.txt")), &all_of(&path));
    }
}

/// All commands with what they print and how they end.
fn all_of(path: &Path) -> String {
    COMMANDS.map(|command| run(command, path)).concat()
}

fn run(command: &[&str], path: &Path) -> String {
    let (first, rest) = command.split_first().unwrap();
    let is_oids = *first == "oids";
    let mut program = Command::new(env!("CARGO_BIN_EXE_fstool"));
    program.arg(first);
    if is_oids {
        program.arg(path).args(rest);
    } else {
        program.args(rest).arg(path);
    }
    let done = program.output().unwrap();
    // Paths differ between machines.
    let absolute = std::path::absolute(path).unwrap();
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.replace(&absolute.display().to_string(), "FILE")
    };
    format!(
        "$ fstool {} FILE\n{}{}exit code {}\n\n",
        command.join(" "),
        text(&done.stdout),
        text(&done.stderr),
        done.status.code().unwrap()
    )
}

fn compare(golden: &PathBuf, found: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, found).unwrap();
    }
    let expected = fs::read_to_string(golden).unwrap_or_default();
    for (number, (expected, found)) in expected.lines().zip(found.lines()).enumerate() {
        assert_eq!(found, expected, "{}, line {}", golden.display(), number + 1);
    }
    assert_eq!(found, expected, "{}", golden.display());
}
