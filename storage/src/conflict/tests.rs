//! Resolution against Python's, and hostile records.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::prelude::{BASE64_STANDARD, Engine};

use super::*;
use zeo_proto::value::Object;

/// A case as `tests/make_conflict_data.py` writes it.
struct Case<'t> {
    name: &'t str,
    records: [Vec<u8>; 3],
    outcome: &'t str,
}

fn case(line: &str) -> Case<'_> {
    let fields: Vec<_> = line.split('\t').collect();
    let [name, old, committed, new, outcome] = fields[..] else {
        panic!("{line}");
    };
    Case {
        name,
        records: [old, committed, new].map(|field| BASE64_STANDARD.decode(field).unwrap()),
        outcome,
    }
}

/// How many cases there were, and how many of them were resolved.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    cases: usize,
    resolved: usize,
}

/// Fails unless every case comes out as in Python. Gives each resolved pair
/// of records, ours and Python's, to `resolved`.
fn check(lines: &str, mut resolved: impl FnMut(&[u8], &[u8])) -> Counts {
    let mut counts = Counts::default();
    let mut wrong = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let Case {
            name,
            records: [old, committed, new],
            outcome,
        } = case(line);
        let answer = resolve(&old, &committed, &new);
        let expected = outcome
            .strip_prefix('=')
            .map(|record| BASE64_STANDARD.decode(record).unwrap());
        let same = match (&answer, &expected) {
            (Ok(record), Some(expected)) => {
                counts.resolved += 1;
                resolved(record, expected);
                shown(record) == shown(expected)
            }
            (Err(Unresolved::Merge { reason, .. }), None) => {
                outcome == format!("!{}", *reason as u8)
            }
            // Python may find a reason before it meets what it can't take;
            // and where a comparison raises in C, it goes on.
            (Err(_), None) => true,
            _ => false,
        };
        if !same {
            let line = number + 1;
            let states = [&old, &committed, &new].map(|record| shown(record));
            let answer = answer.map(|record| shown(&record));
            let expected = expected.map(|record| shown(&record));
            wrong.push(format!(
                "line {line}, {name}: {states:#?}\n{answer:?}\nbut in Python {outcome:.9} {expected:?}"
            ));
        }
        counts.cases += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        counts.cases,
        wrong[..wrong.len().min(5)].join("\n\n")
    );
    counts
}

/// Class and state as text that tells types, NaN and -0.0 apart, but not in
/// which of two ways a reference names a class, and the order of sets.
fn shown(record: &[u8]) -> String {
    let mut pickles = Unpickler::new(record, &Policy::FILE);
    let mut next = || pickles.value().map(canonical);
    let class = next();
    format!("{class:?} {:?}", next())
}

fn canonical(value: Value<'_>) -> Value<'_> {
    let all = |items: Vec<_>| items.into_iter().map(canonical).collect();
    match value {
        Value::Tuple(items) => Value::Tuple(all(items)),
        Value::List(items) => Value::List(all(items)),
        Value::Dict(pairs) => {
            let pairs = pairs.into_iter();
            Value::Dict(pairs.map(|(k, v)| (canonical(k), canonical(v))).collect())
        }
        Value::Object(object) => {
            let mut args = canonical(object.args);
            if let Value::Tuple(args) = &mut args
                && let [Value::List(items)] = args.as_mut_slice()
            {
                items.sort_by_key(|item| format!("{item:?}"));
            }
            Value::Object(Box::new(Object { args, ..*object }))
        }
        Value::Persistent(id) => Value::Persistent(Box::new(class_as_global(*id))),
        other => other,
    }
}

fn class_as_global(id: Value<'_>) -> Value<'_> {
    match id {
        Value::Tuple(items) => match <[Value<'_>; 2]>::try_from(items) {
            Ok([Value::Str(module), Value::Str(name)]) => Value::Global { module, name },
            Ok(items) => Value::Tuple(items.into_iter().map(class_as_global).collect()),
            Err(items) => Value::Tuple(items.into_iter().map(class_as_global).collect()),
        },
        Value::List(items) => Value::List(items.into_iter().map(class_as_global).collect()),
        other => other,
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/make_conflict_data.py")
}

#[test]
fn recorded_outcomes_of_python() {
    let counts = check(include_str!("../../tests/data/conflict.txt"), |_, _| {});
    assert!(counts.cases > 400 && counts.resolved > 100, "{counts:?}");
}

/// Set `RZEO_VENV6` to a virtual environment with ZODB, and
/// `RZEO_CONFLICT_CASES` (cases for each class) and `RZEO_CONFLICT_SEED` for
/// more and others than usual.
#[test]
fn fresh_outcomes_of_python() {
    let Some(venv) = std::env::var_os("RZEO_VENV6") else {
        return;
    };
    let python = || {
        let mut python = Command::new(Path::new(&venv).join("bin/python"));
        python.arg(script());
        python
    };
    let number = |name, usually: &str| std::env::var(name).unwrap_or(usually.to_owned());
    let cases = python()
        .args([
            number("RZEO_CONFLICT_CASES", "20"),
            number("RZEO_CONFLICT_SEED", "1"),
        ])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(cases.status.success());
    let mut pairs = String::new();
    let counts = check(&String::from_utf8(cases.stdout).unwrap(), |ours, theirs| {
        let [ours, theirs] = [ours, theirs].map(|record| BASE64_STANDARD.encode(record));
        pairs += &format!("{ours}\t{theirs}\n");
    });
    println!("{counts:?}");

    let mut judge = python()
        .arg("--compare")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = judge.stdin.take().unwrap();
    input.write_all(pairs.as_bytes()).unwrap();
    drop(input);
    assert!(judge.wait().unwrap().success(), "Python sees a difference");
    assert!(counts.resolved > 0);
}
