//! The floor of invalidations: a server that speaks just enough of the
//! protocol for the clients of `listeners`, keeps no objects, and at a finish
//! does nothing but append, sync, and send the same few bytes to all others,
//! by one thread.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value as Report, json};
use zeo_proto::framing::{FrameBuffer, write_frame};
use zeo_proto::marshal::{Encode, Encoding, Flag, decode_message};
use zeo_proto::message::{Call, Notification, encode_reply};
use zeo_proto::{Oid, Tid, Value, handshake};

use crate::connection::Address;
use crate::drive::Run;
use crate::error::{Error, Result};
use crate::floor::{Server, serve_all, transaction_size};
use crate::listeners::listeners;
use crate::workloads::Target;

const ENCODING: Encoding = Encoding::Msgpack;

/// Runs [`fan_out_server`], whose file is at `path`, and measures it as a ZEO
/// server.
pub fn fan_out(run: &Run, clients: usize, size: usize, path: &Path) -> Result<Report> {
    let size_given = size.to_string();
    let server = Server::start(&[
        "fan-out-server".as_ref(),
        "--size".as_ref(),
        size_given.as_ref(),
        "--path".as_ref(),
        path.as_os_str(),
    ])?;
    let address = Address::Tcp(server.address);
    let target = Target {
        address: &address,
        storage: "1",
    };
    let report = listeners(target, &server.run(run), clients, size, None)?;
    Ok(json!({
        "fan-out": report["listeners"],
        "cpu_us_per_operation": report["cpu_us_per_operation"],
    }))
}

/// Serves until standard input ends; its transactions, of one record of `size`
/// bytes, go to a file at `path` that is removed.
pub fn fan_out_server(size: usize, path: &Path) -> Result<()> {
    let failed = || Error::io(format!("can't write {}", path.display()));
    let state = State {
        file: File::create_new(path).map_err(failed())?,
        end: 0,
        transaction: vec![3; transaction_size(1, size)],
        clients: Vec::new(),
    };
    // The file lives as long as it is open.
    std::fs::remove_file(path).map_err(failed())?;
    let state = Arc::new(Mutex::new(state));
    serve_all(move |stream| serve(stream, &state))
}

struct State {
    file: File,
    end: u64,
    transaction: Vec<u8>,
    clients: Vec<TcpStream>,
}

impl State {
    /// Commits a transaction of one object and tells everybody.
    fn finish(&mut self, stream: &mut TcpStream, id: &Value<'_>) -> io::Result<()> {
        self.file.write_all_at(&self.transaction, self.end)?;
        self.file.sync_data()?;
        self.end += self.transaction.len() as u64;
        let tid = Tid::new(self.end);
        reply(stream, id, &tid)?;
        let committer = stream.peer_addr()?;
        let notification = Notification::InvalidateTransaction {
            tid,
            oids: vec![Oid::new(1)].into(),
        };
        let mut notice = Vec::new();
        notification
            .encode(&mut notice, ENCODING)
            .map_err(io::Error::other)?;
        for client in &mut self.clients {
            if client.peer_addr()? != committer {
                client.write_all(&notice)?;
            }
        }
        Ok(())
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut greeting = Vec::new();
    write_frame(&mut greeting, handshake::greeting(ENCODING));
    stream.write_all(&greeting)?;
    let (mut input, mut greeted) = (FrameBuffer::new(1 << 20), false);
    while input.fill(|space| stream.read(space))? > 0 {
        while let Some(frame) = input.frame().map_err(io::Error::other)? {
            let length = frame.len();
            if std::mem::replace(&mut greeted, true) {
                answer(&mut stream, frame, state)?;
            }
            input.consume(length);
        }
    }
    Ok(())
}

fn answer(stream: &mut TcpStream, frame: &[u8], state: &Mutex<State>) -> io::Result<()> {
    let message = decode_message(frame, ENCODING).map_err(io::Error::other)?;
    let args = message.args.into_items().unwrap_or_default();
    let call = Call::parse(&message.name, args).map_err(io::Error::other)?;
    let id = message.id;
    let state = || state.lock().unwrap_or_else(PoisonError::into_inner);
    match call {
        Call::Register { .. } => {
            state().clients.push(stream.try_clone()?);
            reply(stream, &id, &Tid::ZERO)
        }
        Call::TpcFinish { .. } => state().finish(stream, &id),
        Call::NewOids { .. } => reply(stream, &id, &vec![Oid::new(1)]),
        Call::Vote { .. } => reply(stream, &id, &Vec::<Oid>::new()),
        _ if message.flag == Flag::Async => Ok(()),
        _ => reply(stream, &id, &()),
    }
}

fn reply(stream: &mut TcpStream, id: &Value<'_>, result: &dyn Encode) -> io::Result<()> {
    let mut out = Vec::new();
    encode_reply(&mut out, ENCODING, id, result).map_err(io::Error::other)?;
    stream.write_all(&out)
}
