//! Packing one server after the other.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use zeo_client::{Connection, ConnectionError, Options};
use zeo_proto::message::Call;
use zeo_proto::repr;
use zeo_proto::stream::HandshakeError;
use zeo_server::tools::output::tell;

use crate::servers::Server;
use crate::{FAILED, SOME};

/// What to do.
#[derive(Debug)]
pub struct Plan {
    pub servers: Vec<Server>,
    /// Up to when to pack, in seconds since 1970.
    pub time: f64,
    pub options: Options,
    /// How long to wait for a server to take the connection.
    pub wait: Duration,
    /// How long a pack may take.
    pub limit: Option<Duration>,
}

/// How long to wait between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// How packing a storage has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Packed,
    Unreachable,
    Failed,
}

/// Packs all, and tells the exit code.
pub fn all(plan: &Plan) -> ExitCode {
    let outcomes: Vec<Outcome> = { plan.servers.iter() }
        .map(|server| one(plan, server))
        .collect();
    if outcomes
        .iter()
        .all(|outcome| *outcome == Outcome::Unreachable)
    {
        tell("Error:\nCannot connect to any of the configured ZEO servers.");
        return ExitCode::from(FAILED);
    }
    if outcomes.contains(&Outcome::Failed) {
        return ExitCode::from(FAILED);
    }
    if outcomes.contains(&Outcome::Unreachable) {
        return ExitCode::from(SOME);
    }
    ExitCode::SUCCESS
}

fn one(plan: &Plan, server: &Server) -> Outcome {
    let mut connection = match connect(plan, server) {
        Ok(connection) => connection,
        Err(why) => {
            let (address, storage) = (server.python_address(), repr::text(&server.storage));
            tell(format_args!(
                "Couldn't connect to: ({address}, {storage})\n{why}"
            ));
            return Outcome::Unreachable;
        }
    };
    connection.set_call_limit(plan.limit);
    let (time, wait) = (plan.time, true);
    match connection.call(&Call::Pack { time, wait }, &mut |_| {}) {
        Ok(()) => Outcome::Packed,
        Err(why) => {
            let (address, storage) = (server.python_address(), &server.storage);
            tell(format_args!(
                "Error:\nError packing storage {storage} in {address}\n{why}"
            ));
            Outcome::Failed
        }
    }
}

/// Connects and registers; tries again for as long as there is time, since the server may be
/// starting.
fn connect(plan: &Plan, server: &Server) -> Result<Connection, ConnectionError> {
    let until = Instant::now() + plan.wait;
    loop {
        let begin = Instant::now();
        let mut options = plan.options.clone();
        options.connect_limit = until.saturating_duration_since(begin).max(PAUSE);
        options.call_limit = Some(options.connect_limit);
        // As Python's script: whoever may read may pack.
        let read_only = true;
        let registered = Connection::open(&server.address, &options).and_then(|mut connection| {
            connection.register(&server.storage, read_only)?;
            Ok(connection)
        });
        match registered {
            Err(why) if is_worth_waiting(&why) && begin + PAUSE < until => {
                sleep((begin + PAUSE).saturating_duration_since(Instant::now()));
            }
            done => return done,
        }
    }
}

/// Whether the next attempt may do better: the server may be starting.
fn is_worth_waiting(why: &ConnectionError) -> bool {
    match why {
        ConnectionError::Dial { .. }
        | ConnectionError::Disconnected { .. }
        | ConnectionError::TimedOut { .. } => true,
        ConnectionError::Tls { why, .. } => {
            matches!(why, HandshakeError::Closed | HandshakeError::Io(_))
        }
        _ => false,
    }
}
