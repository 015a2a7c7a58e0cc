//! `zeo-load-client`: what `scripts/bench client` measures, done by this project's client. Python's
//! does the same in tests/load/python_client.py.

#![allow(missing_docs)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::Value;
use zeo_client::{Address, ClientStorage};

use measured::{Failure, measured};

mod floors;
mod measured;
mod works;

/// Bytes of the client's cache.
const CACHE_SIZE: u64 = 200 << 20;

/// Measure the client: print one line of JSON.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Where the server listens.
    address: Address,
    /// The file of the cache; `-` is a temporary one.
    cache: PathBuf,
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Open the storage.
    Open,
    /// Load so many objects that are not in the cache, each once, by so many threads.
    Loads { objects: u64, threads: usize },
    /// Load objects that are in the cache and were loaded before, in so many passes by so many
    /// threads.
    Cached {
        objects: u64,
        passes: u64,
        threads: usize,
    },
    /// Load objects that are in the cache, each for the first time.
    First { objects: u64 },
    /// Prefetch so many objects.
    Prefetch { objects: u64 },
    /// Read all records of all transactions.
    Iterate,
    /// Commit one object so many times.
    Commit { commits: usize },
    /// Read all items of the BTree that the root calls `tree`.
    Walk,
    /// The floor of a cache: positioned reads of this file, where a record of 1000 bytes may stand.
    Pread { file: PathBuf },
    /// The floor of opening a cache: the file is read through, and the places of its records kept.
    Heads { file: PathBuf },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = work(&options).and_then(|report| Ok(writeln!(std::io::stdout(), "{report}")?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "zeo-load-client: {why}");
            ExitCode::FAILURE
        }
    }
}

fn work(options: &Options) -> Result<Value, Failure> {
    match &options.work {
        Work::Pread { file } => return floors::pread(file),
        Work::Heads { file } => return floors::heads(file),
        _ => {}
    }
    let mut builder = ClientStorage::builder(options.address.clone()).cache_size(CACHE_SIZE);
    if options.cache.as_os_str() != "-" {
        builder = builder.cache(&options.cache, CACHE_SIZE);
    }
    let mut opened = None;
    let report = measured(|| {
        opened = Some(builder.open()?);
        Ok(1)
    })?;
    let storage = opened.ok_or("not opened")?;
    match options.work {
        Work::Loads { objects, threads } => works::loads(&storage, objects, threads),
        Work::Cached {
            objects,
            passes,
            threads,
        } => works::cached(&storage, objects, passes, threads),
        Work::First { objects } => works::first(&storage, objects),
        Work::Prefetch { objects } => works::prefetch(&storage, objects),
        Work::Iterate => works::iterate(&storage),
        Work::Commit { commits } => works::commit(&storage, commits),
        Work::Walk => works::walk(storage),
        Work::Open | Work::Pread { .. } | Work::Heads { .. } => Ok(report),
    }
}
