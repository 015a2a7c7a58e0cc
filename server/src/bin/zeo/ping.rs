//! `zeo ping`.

use std::io::{self, Write};
use std::time::Instant;

use clap::Args;
use zeo_client::{Address, Connection, Options, Raised};
use zeo_proto::message::{Call, Revision};
use zeo_proto::{Oid, Tid, repr};

use crate::arguments::ServerArguments;
use crate::{Result, status};

/// Check that a server answers and reads its storages
///
/// Asks for the state of the server, and loads the root object of each storage. The exit code
/// tells whether all that worked.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    server: ServerArguments,
    /// Check this storage only
    #[arg(long, value_name = "NAME")]
    storage: Option<String>,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let (address, options) = (&arguments.server.address, arguments.server.options()?);
    let begin = Instant::now();
    let (greeting, storages) = status::counters(address, &options)?;
    let say = |line: String| {
        if arguments.quiet {
            Ok(())
        } else {
            writeln!(io::stdout(), "{address}: {line}")
        }
    };
    say(format!("answers ({greeting}) in {}", since(begin)))?;
    let names = match &arguments.storage {
        Some(name) => vec![name.as_str()],
        None => storages.keys().map(String::as_str).collect(),
    };
    if names.is_empty() {
        return Err(format!("{address}: the server has no storages").into());
    }
    for name in names {
        let begin = Instant::now();
        let found = match load_root(address, &options, name)? {
            Some(size) => format!("root object of {size} bytes loaded"),
            None => "empty".to_owned(),
        };
        let name = repr::printable(name);
        say(format!("storage {name}: {found} in {}", since(begin)))?;
    }
    Ok(())
}

/// The size of the root object's record; none if the storage has no root yet.
fn load_root(address: &Address, options: &Options, storage: &str) -> Result<Option<usize>> {
    let mut connection = Connection::open(address, options)?;
    let read_only = true;
    connection.register(storage, read_only)?;
    let call = Call::LoadBefore {
        oid: Oid::ZERO,
        before: Tid::MAX,
    };
    let loaded = connection.call_with(&call, &mut |_| {}, |reply| {
        let revision: Option<Revision<'_>> = reply.result(call.method())?;
        Ok(revision.map(|revision| revision.data.len()))
    });
    match loaded {
        Err(why) if why.raised() == Some(Raised::NoObject) => Ok(None),
        loaded => Ok(loaded?),
    }
}

fn since(begin: Instant) -> String {
    format!("{:.1} ms", begin.elapsed().as_secs_f64() * 1000.0)
}
