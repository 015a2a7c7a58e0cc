#!/usr/bin/env bash
# rmp-serde: a field that is left out when it is empty gives its place to the next one.
#
# Expected: with #[serde(default, skip_serializing_if = "Option::is_none")], as in every JSON API, a struct is read back
# as it was written, or not at all.
# Seen: rmp_serde::to_vec writes a struct as an array without names. A field that is skipped is missing in the middle,
# and each later value moves up: an end is read as the start. If the types fit there is no error. to_vec_named keeps
# the names, and is right.
# Why it matters: a struct that has served a JSON API for years is put into a cache or on a wire of msgpack; values are
# swapped only in records where the earlier field is empty.
# Versions: rmp-serde 1.3.0, serde 1.0.
#
# Output:
# written: Job { id: 1, start: None, end: Some(9) }
# to_vec: Job { id: 1, start: Some(9), end: None }
# to_vec_named: Job { id: 1, start: None, end: Some(9) }
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "skipped"
version = "0.1.0"
edition = "2021"

[dependencies]
rmp-serde = "=1.3.0"
serde = { version = "1", features = ["derive"] }
END
cat > src/main.rs <<'END'
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Job {
    id: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
}

fn main() {
    let job = Job { id: 1, start: None, end: Some(9) };
    println!("written: {job:?}");
    let by_place: Job = rmp_serde::from_slice(&rmp_serde::to_vec(&job).unwrap()).unwrap();
    println!("to_vec: {by_place:?}");
    let by_name: Job = rmp_serde::from_slice(&rmp_serde::to_vec_named(&job).unwrap()).unwrap();
    println!("to_vec_named: {by_name:?}");
    assert_eq!(by_place, Job { id: 1, start: Some(9), end: None });
    assert_eq!(by_name, job);
}
END
cargo run --quiet
