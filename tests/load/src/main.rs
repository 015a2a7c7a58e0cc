//! `zeo-load`: drives a ZEO server with native clients, to measure it or to
//! check that it keeps the order that client caches depend on.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use connection::Address;
use drive::Run;
use error::{Error, Result};
use floor::Sizes;
use make_fs::Links;
use workloads::{Objects, Paced, Shape, Target};

mod blobs;
mod cache;
mod check;
mod connection;
mod drive;
mod error;
mod fan_out;
mod floor;
mod history;
mod listeners;
mod make_fs;
mod record;
mod requests;
mod storm;
mod wire;
mod witness;
mod workloads;

/// Drive a ZEO server: measure its speed, or check its order.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    work: Work,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Where the server listens: HOST:PORT, or a path with a slash.
    #[arg(long, global = true, default_value = "127.0.0.1:8100")]
    address: Address,
    #[command(flatten)]
    tls: wire::TlsArgs,
    /// The name of the storage.
    #[arg(long, global = true, default_value = "1")]
    storage: String,
    /// How many clients there are.
    #[arg(long, global = true, default_value_t = 1)]
    clients: usize,
    /// How long to work.
    #[arg(long, global = true, default_value_t = 5.0)]
    seconds: f64,
    /// Stop each client after so many operations instead.
    #[arg(long, global = true)]
    count: Option<u64>,
    /// Also report the processor time of this process, the server's.
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// Report one line of JSON.
    #[arg(long, global = true)]
    json: bool,
}

/// Which objects are loaded or filled in.
#[derive(Debug, Clone, Copy, Args)]
struct ObjectArgs {
    /// How many objects.
    #[arg(long, default_value_t = 10_000)]
    objects: u64,
    /// The first oid.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// From one oid to the next.
    #[arg(long, default_value_t = 1)]
    step: u64,
}

/// How transactions look.
#[derive(Debug, Clone, Copy, Args)]
struct ShapeArgs {
    /// The least objects in a transaction.
    #[arg(long, default_value_t = 1)]
    min_objects: usize,
    /// The most objects in a transaction.
    #[arg(long, default_value_t = 10)]
    max_objects: usize,
    /// Bytes of a record.
    #[arg(long, default_value_t = 1000)]
    size: usize,
}

/// The sizes of an echo, with the 4 bytes of the length: by default those of
/// a load of 1000 bytes in msgpack.
#[derive(Debug, Clone, Copy, Args)]
struct SizeArgs {
    #[arg(long, default_value_t = 59)]
    request_size: usize,
    #[arg(long, default_value_t = 1049)]
    reply_size: usize,
}

/// How fast each client works.
#[derive(Debug, Clone, Copy, Args)]
struct PaceArgs {
    /// How many operations a second each client makes; 0: as many as it can.
    #[arg(long, default_value_t = 0.0)]
    pace: f64,
}

impl PaceArgs {
    fn get(self) -> Option<f64> {
        pace(self.pace)
    }
}

/// What is said of zero in the options.
fn pace(given: f64) -> Option<f64> {
    (given > 0.0).then_some(given)
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Create objects by large transactions.
    Fill {
        #[command(flatten)]
        objects: ObjectArgs,
        /// Bytes of a record.
        #[arg(long, default_value_t = 1000)]
        size: usize,
    },
    /// Load random objects, one request at a time.
    Loads {
        #[command(flatten)]
        objects: ObjectArgs,
    },
    /// Load random objects with many requests outstanding.
    Pipeline {
        #[command(flatten)]
        objects: ObjectArgs,
        /// How many requests each client has outstanding.
        #[arg(long, default_value_t = 32)]
        outstanding: usize,
    },
    /// Commit transactions; each client has objects of its own.
    Commits {
        #[command(flatten)]
        shape: ShapeArgs,
        #[command(flatten)]
        pace: PaceArgs,
    },
    /// Load at a fixed pace beside clients that commit at a fixed pace. A pace of 0 is as fast as
    /// it goes.
    Mixed {
        #[command(flatten)]
        objects: ObjectArgs,
        #[command(flatten)]
        shape: ShapeArgs,
        /// How many loads a second each client makes.
        #[arg(long, default_value_t = 250.0)]
        pace: f64,
        /// How many clients commit.
        #[arg(long, default_value_t = 2)]
        writers: usize,
        /// How many commits a second each of them makes.
        #[arg(long, default_value_t = 150.0)]
        writer_pace: f64,
        /// Pack meanwhile, and end when that has ended.
        #[arg(long)]
        pack: bool,
    },
    /// Commit beside idle clients and measure when each is told.
    Listeners {
        /// Bytes of the record that is committed.
        #[arg(long, default_value_t = 1000)]
        size: usize,
        /// The server of the idle clients, if it is another one on the same data.
        #[arg(long)]
        at: Option<Address>,
    },
    /// Commit blobs.
    Uploads {
        /// Bytes of a blob.
        #[arg(long, default_value_t = 8 << 20)]
        size: usize,
    },
    /// Receive a blob again and again.
    Downloads {
        /// Bytes of the blob.
        #[arg(long, default_value_t = 8 << 20)]
        size: usize,
    },
    /// Connect, register and close.
    Connects,
    /// Hold idle clients open until standard input ends.
    Idle,
    /// Check the order of invalidations, finishes and loads.
    Check {
        /// How many objects are loaded and committed.
        #[arg(long, default_value_t = 40)]
        objects: usize,
        /// Bytes of a record.
        #[arg(long, default_value_t = 200)]
        size: usize,
    },
    /// The floor of loads: an echo by blocking threads.
    Echo {
        #[command(flatten)]
        sizes: SizeArgs,
        /// How many requests each client has outstanding.
        #[arg(long, default_value_t = 1)]
        outstanding: usize,
    },
    /// The server of the echo: prints its address; ends with standard input.
    EchoServer {
        #[command(flatten)]
        sizes: SizeArgs,
    },
    /// What stands between a client and a database, at least: prints its address, and passes connections
    /// on to a Unix socket; ends with standard input.
    Relay {
        /// The path of the socket.
        #[arg(long)]
        path: PathBuf,
    },
    /// The floor of commits: append and fdatasync.
    Sync {
        #[command(flatten)]
        shape: ShapeArgs,
        #[command(flatten)]
        pace: PaceArgs,
        /// Write over zeros that were written and synced before, instead of making the file longer.
        #[arg(long)]
        over_zeros: bool,
        /// A file to write, which is removed at the end.
        #[arg(long)]
        path: PathBuf,
    },
    /// The floor of commits of blobs: a new file with a sync, a second name, append and fdatasync.
    SyncBlobs {
        /// Bytes of a blob.
        #[arg(long)]
        size: usize,
        /// A directory to make, which is removed at the end.
        #[arg(long)]
        path: PathBuf,
    },
    /// The floor of `listeners`: append, fdatasync, and send, by one thread.
    FanOut {
        /// Bytes of the record that is committed.
        #[arg(long, default_value_t = 1000)]
        size: usize,
        /// A file to write, which is removed.
        #[arg(long)]
        path: PathBuf,
    },
    /// The server of that: prints its address; ends with standard input.
    FanOutServer {
        /// Bytes of the record that is committed.
        #[arg(long, default_value_t = 1000)]
        size: usize,
        /// A file to write, which is removed.
        #[arg(long)]
        path: PathBuf,
    },
    /// Write a FileStorage with many objects, without a server.
    MakeFs {
        /// The file.
        path: PathBuf,
        /// How many objects, from oid 0 on.
        #[arg(long, default_value_t = 10_000)]
        objects: u64,
        /// Bytes of a record.
        #[arg(long, default_value_t = 1000)]
        size: usize,
        /// What the objects refer to.
        #[arg(long, value_enum, default_value_t = Links::None)]
        links: Links,
    },
    /// Do to a client cache what lines of JSON say, for tests.
    Cache,
    /// Read and commit through client storages with a cache on disk, and hold what they read to the
    /// truth, until standard input ends.
    Storm {
        /// The server.
        server: zeo_client::Address,
        /// The cache file.
        cache: PathBuf,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let shown = work(&options).and_then(|report| {
        let text = shown(&report, options.common.json);
        let written = std::io::stdout().write_all(text.as_bytes());
        written.map_err(Error::io("standard output"))
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Whoever reads only the first line is not to turn this into a panic.
            let _ = writeln!(std::io::stderr(), "zeo-load: {why}");
            ExitCode::from(if matches!(why, Error::Violation(_)) {
                1
            } else {
                2
            })
        }
    }
}

fn work(options: &Options) -> Result<Value> {
    let common = &options.common;
    let mut address = common.address.clone();
    if common.tls.is_given() {
        address = address.secured(&common.tls)?;
    }
    let (clients, target) = (
        common.clients,
        Target {
            address: &address,
            storage: &common.storage,
        },
    );
    let time = Duration::try_from_secs_f64(common.seconds);
    let time = time.map_err(|why| Error::Usage(format!("--seconds: {why}")))?;
    let run = &Run {
        time,
        count: common.count,
        pid: common.pid,
    };
    match options.work {
        Work::Fill { objects, size } => workloads::fill(target, objects.into(), size),
        Work::Loads { objects } => workloads::loads(target, run, clients, objects.into(), 1),
        Work::Pipeline {
            objects,
            outstanding,
        } => workloads::loads(target, run, clients, objects.into(), outstanding),
        Work::Commits { shape, pace } => {
            let writers = Paced {
                clients,
                pace: pace.get(),
            };
            workloads::commits(target, run, writers, &shape.try_into()?)
        }
        Work::Mixed {
            objects,
            shape,
            pace: reader_pace,
            writers,
            writer_pace,
            pack,
        } => {
            let readers = Paced {
                clients,
                pace: pace(reader_pace),
            };
            let writers = Paced {
                clients: writers,
                pace: pace(writer_pace),
            };
            let (objects, shape) = (objects.into(), &shape.try_into()?);
            workloads::mixed(target, run, readers, writers, objects, shape, pack)
        }
        Work::Listeners { size, ref at } => {
            listeners::listeners(target, run, clients, size, at.as_ref())
        }
        Work::Uploads { size } => blobs::uploads(target, run, clients, size),
        Work::Downloads { size } => blobs::downloads(target, run, clients, size),
        Work::Connects => workloads::connects(target, run, clients),
        Work::Idle => workloads::idle(target, clients),
        Work::Check { objects, size } => check::check(target, time, clients, objects, size),
        Work::Echo { sizes, outstanding } => {
            floor::echo(run, clients, outstanding, sizes.try_into()?)
        }
        Work::EchoServer { sizes } => floor::echo_server(sizes.try_into()?).map(|()| Value::Null),
        Work::Relay { ref path } => floor::relay(path.clone()).map(|()| Value::Null),
        Work::Sync {
            ref path,
            shape,
            pace,
            over_zeros,
        } => floor::sync(run, path, &shape.try_into()?, pace.get(), over_zeros),
        Work::SyncBlobs { size, ref path } => floor::sync_blobs(run, clients, size, path),
        Work::FanOut { size, ref path } => fan_out::fan_out(run, clients, size, path),
        Work::FanOutServer { size, ref path } => {
            fan_out::fan_out_server(size, path).map(|()| Value::Null)
        }
        Work::MakeFs {
            ref path,
            objects,
            size,
            links,
        } => make_fs::make_fs(path, objects, size, links),
        Work::Cache => cache::cache(),
        Work::Storm {
            ref server,
            ref cache,
        } => storm::storm(server, cache),
    }
}

/// One line of JSON, or a line for each figure.
fn shown(report: &Value, json: bool) -> String {
    match report {
        Value::Null => String::new(),
        Value::Object(items) if !json => items.iter().map(shown_figure).collect(),
        report => format!("{report}\n"),
    }
}

fn shown_figure((name, value): (&String, &Value)) -> String {
    match value {
        Value::Object(figures) => {
            let figures = figures.iter();
            let lines = figures.map(|(name, value)| format!("  {name} {}\n", short(value)));
            format!("{name}:\n{}", lines.collect::<String>())
        }
        value => format!("{name} {}\n", short(value)),
    }
}

fn short(value: &Value) -> String {
    match value.as_f64().filter(|_| value.is_f64()) {
        Some(number) => format!("{number:.1}"),
        None => value.to_string(),
    }
}

impl From<ObjectArgs> for Objects {
    fn from(args: ObjectArgs) -> Self {
        Objects {
            first: args.first,
            count: args.objects,
            step: args.step,
        }
    }
}

impl TryFrom<ShapeArgs> for Shape {
    type Error = Error;

    fn try_from(args: ShapeArgs) -> Result<Self> {
        if args.min_objects < 1 || args.max_objects < args.min_objects {
            return Err(Error::Usage("a transaction needs 1 object or more".into()));
        }
        Ok(Shape {
            objects: args.min_objects..=args.max_objects,
            size: args.size,
        })
    }
}

impl TryFrom<SizeArgs> for Sizes {
    type Error = Error;

    fn try_from(args: SizeArgs) -> Result<Self> {
        if args.request_size < 1 || args.reply_size < 1 {
            return Err(Error::Usage("an echo has 1 byte or more".into()));
        }
        Ok(Sizes {
            request: args.request_size,
            reply: args.reply_size,
        })
    }
}
