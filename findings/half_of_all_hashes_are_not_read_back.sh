#!/usr/bin/env bash
# serde-pickle writes a u64 that it can't read as a u64.
#
# Expected: from_slice::<u64> reads what to_vec wrote of a u64, or to_vec fails.
# Seen: everything from 2^63 is written as one of Python's long integers, which Python reads rightly; from_slice takes
# such a number for an i64 only, and says that it is too large. As a Value it is read.
# Why it matters: ids that count up never come there; hashes, checksums and random ids do, every second one. Tests with
# small numbers pass.
# Versions: serde-pickle 1.2.0, serde 1.0.
#
# Output:
# 9223372036854775807: as u64 9223372036854775807, as a Value 9223372036854775807
# 9223372036854775808: as u64 not read: integer too large, as a Value 9223372036854775808
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "hashes"
version = "0.1.0"
edition = "2021"

[dependencies]
serde-pickle = "=1.2.0"
END
cat > src/main.rs <<'END'
use serde_pickle::{from_slice, to_vec, value_from_slice};

fn main() {
    let mut read = Vec::new();
    for number in [u64::MAX / 2, u64::MAX / 2 + 1] {
        let pickle = to_vec(&number, Default::default()).unwrap();
        let back = from_slice::<u64>(&pickle, Default::default());
        read.push(back.is_ok());
        let shown = match back {
            Ok(back) => back.to_string(),
            Err(error) if error.to_string().contains("too large") => "not read: integer too large".to_string(),
            Err(error) => error.to_string(),
        };
        let value = value_from_slice(&pickle, Default::default()).unwrap();
        println!("{number}: as u64 {shown}, as a Value {value}");
    }
    assert_eq!(read, [true, false]);
}
END
cargo run --quiet
