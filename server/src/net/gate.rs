//! An address with TLS: what its connections have in common until their handshakes are done.
//!
//! Each handshake has a thread and three descriptors, for nothing that anybody has shown. So there
//! are only so many at a time: who comes when there are too many takes the place of the one that
//! has been at it longest, so that those who only hold connections open keep nobody out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openssl::ssl::Ssl;
use rustix::process::{Resource, getrlimit};
use zeo_proto::stream::Stream;

use crate::messages::mailbox::Mailbox;
use crate::messages::request::ClientId;
use crate::net::tls::ServerTls;

/// The most handshakes at a time, where there are descriptors for them.
const MAX_HANDSHAKES: u64 = 1000;
/// At least so many, however few descriptors there are.
const MIN_HANDSHAKES: u64 = 50;
/// Of so many descriptors there is one handshake: half of all are left to clients.
const DESCRIPTORS_PER_HANDSHAKE: u64 = 6;

/// No handshake may take longer, whatever the settings say.
const LONGEST_LIMIT: Duration = Duration::from_secs(3600);

/// What the connections to an address with TLS have in common.
#[derive(Debug)]
pub struct Gate {
    tls: Arc<ServerTls>,
    /// How long a handshake may take as a whole.
    pub time_limit: Duration,
    /// Those whose handshake is not done, in the order in which they came.
    newcomers: Mutex<VecDeque<(ClientId, Mailbox)>>,
}

/// A handshake that is counted until this is dropped.
#[derive(Debug)]
pub struct Newcomer {
    gate: Arc<Gate>,
    id: ClientId,
}

impl Gate {
    /// The gate of an address.
    pub fn new(tls: Arc<ServerTls>, time_limit: Duration) -> Self {
        Self {
            tls,
            time_limit: time_limit.min(LONGEST_LIMIT),
            newcomers: Mutex::default(),
        }
    }

    /// TLS over a connection that was accepted.
    ///
    /// # Errors
    /// OpenSSL has no memory left.
    pub fn secure(&self, stream: Stream) -> std::io::Result<Stream> {
        let mut ssl = Ssl::new(&self.tls.context())?;
        ssl.set_accept_state();
        stream.secured(ssl)
    }

    /// Counts one that begins its handshake. If there are too many, the oldest has to go.
    pub fn enter(self: &Arc<Self>, id: ClientId, mailbox: Mailbox) -> Newcomer {
        let mut newcomers = self.newcomers();
        newcomers.push_back((id, mailbox));
        if newcomers.len() > max_handshakes()
            && let Some((_, oldest)) = newcomers.pop_front()
        {
            oldest.close(CROWDED_OUT);
        }
        Newcomer {
            gate: Arc::clone(self),
            id,
        }
    }

    fn newcomers(&self) -> std::sync::MutexGuard<'_, VecDeque<(ClientId, Mailbox)>> {
        self.newcomers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most at a time, by the descriptors that there are now.
fn max_handshakes() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = descriptors / DESCRIPTORS_PER_HANDSHAKE;
    most.clamp(MIN_HANDSHAKES, MAX_HANDSHAKES) as usize
}

/// Why the oldest has to go.
pub const CROWDED_OUT: &str = "too many handshakes at once: the oldest is dropped";

impl Newcomer {
    /// The gate that it stands at.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.gate.newcomers().retain(|(id, _)| *id != self.id);
    }
}
