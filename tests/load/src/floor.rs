//! What the machine gives at best: an echo of messages of the same sizes by
//! blocking threads, and appends with a sync after each, alone or behind a file.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::drive::{Group, Run, Step, drive};
use crate::error::{Error, Result};
use crate::workloads::Shape;

/// The sizes of a request and its reply, with their lengths.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of a request.
    pub request: usize,
    /// Bytes of a reply.
    pub reply: usize,
}

/// A server of this program, in a process of its own until it is dropped.
pub struct Server {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts this program with these arguments; it prints its address.
    pub fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Self> {
        let own = std::env::current_exe().map_err(Error::io("can't find this program"))?;
        let mut process = Command::new(own)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::io("can't start the server of the floor"))?;
        match first_line(&mut process) {
            Ok(address) => Ok(Self { process, address }),
            Err(why) => {
                let _ = process.kill().and_then(|()| process.wait());
                Err(why)
            }
        }
    }

    /// The same run, with the processor time of this server.
    pub fn run(&self, run: &Run) -> Run {
        Run {
            pid: Some(self.process.id()),
            ..*run
        }
    }
}

impl Drop for Server {
    /// It would end with its standard input, too, but not before its clients.
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// The address that the child prints.
fn first_line(child: &mut Child) -> Result<SocketAddr> {
    let mut line = String::new();
    if let Some(out) = child.stdout.as_mut() {
        let read = BufReader::new(out).read_line(&mut line);
        read.map_err(Error::io("can't hear the server of the floor"))?;
    }
    let address = line.trim().parse();
    address.map_err(|_| Error::Usage(format!("the server of the floor said {line:?}")))
}

/// Listens, prints its address, and serves every connection by a thread of
/// its own, until standard input ends.
pub fn serve_all<T>(serve: impl Fn(TcpStream) -> T + Send + Clone + 'static) -> Result<()> {
    let failed = || Error::io("can't listen");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed())?;
    let address = listener.local_addr().map_err(failed())?;
    writeln!(io::stdout(), "{address}").map_err(Error::io("standard output"))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || drop(serve(stream)));
        }
    });
    let waited = io::copy(&mut io::stdin().lock(), &mut io::sink());
    waited.map_err(Error::io("standard input")).map(|_| ())
}

/// Runs [`echo_server`] and drives it with so many clients, each with so
/// many requests outstanding.
pub fn echo(run: &Run, clients: usize, outstanding: usize, sizes: Sizes) -> Result<Value> {
    let (request, reply) = (sizes.request.to_string(), sizes.reply.to_string());
    let sizes_given = ["--request-size", &request, "--reply-size", &reply];
    let server = Server::start(&[&["echo-server"], &sizes_given[..]].concat())?;
    let make = |_| echo_client(server.address, outstanding, sizes);
    let name = "echo";
    drive(
        &server.run(run),
        &[Group {
            name,
            clients,
            pace: None,
            make: &make,
            ends_run: false,
        }],
    )
}

fn echo_client(address: SocketAddr, outstanding: usize, sizes: Sizes) -> Result<Step> {
    let mut stream = TcpStream::connect(address).map_err(Error::io("can't connect"))?;
    stream
        .set_nodelay(true)
        .map_err(Error::io("can't connect"))?;
    let request = vec![1; sizes.request * outstanding];
    let mut replies = vec![0; sizes.reply * outstanding];
    Ok(Box::new(move || {
        let sent = stream.write_all(&request);
        let answered = sent.and_then(|()| stream.read_exact(&mut replies));
        answered.map_err(Error::io("the echo server is gone"))?;
        Ok(outstanding as u64)
    }))
}

/// Answers requests until standard input ends.
pub fn echo_server(sizes: Sizes) -> Result<()> {
    serve_all(move |stream| serve(stream, sizes))
}

/// Answers as many requests at once as have come.
fn serve(mut stream: TcpStream, sizes: Sizes) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = vec![0; 1 << 16];
    let mut rest = 0;
    let mut replies = Vec::new();
    loop {
        let count = stream.read(&mut received)?;
        if count == 0 {
            return Ok(());
        }
        rest += count;
        replies.resize(rest / sizes.request.max(1) * sizes.reply, 2);
        rest %= sizes.request.max(1);
        stream.write_all(&replies)?;
    }
}

/// Passes connections on to a Unix socket, by a blocking thread for each direction, until standard
/// input ends.
pub fn relay(path: PathBuf) -> Result<()> {
    serve_all(move |client| {
        client.set_nodelay(true)?;
        let database = UnixStream::connect(&path)?;
        let (from, to) = (client.try_clone()?, database.try_clone()?);
        thread::spawn(move || pass_on(from, to));
        pass_on(database, client)
    })
}

fn pass_on(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut received = vec![0; 1 << 16];
    loop {
        let count = from.read(&mut received)?;
        let Some(part) = received.get(..count).filter(|part| !part.is_empty()) else {
            return Ok(());
        };
        to.write_all(part)?;
    }
}

/// What is written over with `over_zeros`, in turns.
const ZEROS: u64 = 64 << 20;

/// Appends transactions of this shape to a new file and syncs each; or writes them over zeros that
/// are on the disk already.
pub fn sync(
    run: &Run,
    path: &Path,
    shape: &Shape,
    pace: Option<f64>,
    over_zeros: bool,
) -> Result<Value> {
    let failed = || Error::io(format!("can't write {}", path.display()));
    let mut file = File::create_new(path).map_err(failed())?;
    if over_zeros {
        let written = io::copy(&mut io::repeat(0).take(ZEROS), &mut file);
        written.and_then(|_| file.sync_all()).map_err(failed())?;
    }
    let make = |_| {
        let file = file.try_clone().map_err(failed())?;
        let shape = shape.clone();
        let data = vec![3; transaction_size(*shape.objects.end(), shape.size)];
        let mut end = 0;
        Ok(Box::new(move || {
            let size = transaction_size(fastrand::usize(shape.objects.clone()), shape.size);
            let part = data.get(..size).unwrap_or_default();
            if over_zeros && end + size as u64 > ZEROS {
                end = 0;
            }
            let done = file.write_all_at(part, end).and_then(|()| file.sync_data());
            end += size as u64;
            done.map_err(Error::io("can't append")).map(|()| 1_u64)
        }) as Step)
    };
    let name = "sync";
    let run = Run {
        pid: Some(std::process::id()),
        ..*run
    };
    let report = drive(
        &run,
        &[Group {
            name,
            clients: 1,
            pace,
            ends_run: false,
            make: &make,
        }],
    );
    let removed = fs::remove_file(path).map_err(failed());
    report.and_then(|report| removed.map(|()| report))
}

/// Each client writes files of this size in a new directory, one after the
/// other: syncs it, gives it a second name, and appends a transaction to the
/// client's log, which it syncs, too.
pub fn sync_blobs(run: &Run, clients: usize, size: usize, path: &Path) -> Result<Value> {
    let failed = || Error::io(format!("can't write in {}", path.display()));
    fs::create_dir(path).map_err(failed())?;
    let make = |client| {
        let path = path.to_owned();
        let mut log = File::create_new(path.join(format!("log-{client}"))).map_err(failed())?;
        let (content, record) = (vec![4; size], vec![3; transaction_size(1, 25)]);
        let mut number = 0;
        Ok(Box::new(move || {
            number += 1;
            let name = path.join(format!("{client}-{number}"));
            let written = File::create_new(&name)
                .and_then(|mut file| file.write_all(&content).and_then(|()| file.sync_all()))
                .and_then(|()| fs::hard_link(&name, name.with_extension("blob")))
                .and_then(|()| log.write_all(&record))
                .and_then(|()| log.sync_data());
            written.map_err(Error::io("can't write")).map(|()| 1_u64)
        }) as Step)
    };
    let run = Run {
        pid: Some(std::process::id()),
        ..*run
    };
    let group = Group {
        name: "sync",
        clients,
        pace: None,
        ends_run: false,
        make: &make,
    };
    let report = drive(&run, &[group]);
    let removed = fs::remove_dir_all(path).map_err(failed());
    report.and_then(|report| removed.map(|()| report))
}

/// The size of a transaction in a FileStorage: its header, without texts,
/// records with theirs, and the length again.
pub fn transaction_size(objects: usize, size: usize) -> usize {
    23 + objects * (42 + size) + 8
}
