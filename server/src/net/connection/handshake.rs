//! Connection: the TLS handshake, in the session's own thread.

use std::io;
use std::time::{Duration, Instant};

use slog::info;
use zeo_proto::stream::HandshakeError;

use super::{Connection, REGISTER_TIMEOUT};
use crate::messages::mailbox::Inbox;
use crate::net::gate::{CROWDED_OUT, Newcomer};
use crate::net::refusals::Refusals;
use crate::session::Session;
use crate::status::outcomes::TlsRefusal;

/// How long a client whose certificate is refused waits for its alert. With TLS 1.3 its own side
/// of the handshake is over, so that it would otherwise be back at once, dozens of times a second.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Why a connection is not served: shown at level DEBUG, since the cause is told elsewhere.
const FAILED: &str = "the TLS handshake has failed";

impl Connection {
    /// Shakes hands; returns why the connection ends if nothing comes of it.
    ///
    /// # Errors
    /// The system can't wait.
    pub(super) fn shake_hands(
        &mut self,
        newcomer: Newcomer,
        session: &Session,
        inbox: &Inbox,
        refusals: &Refusals,
    ) -> io::Result<Option<&'static str>> {
        let limit = newcomer.gate().time_limit;
        let until = Instant::now() + limit;
        loop {
            match self.stream.handshake() {
                Ok(true) => break,
                Ok(false) => {}
                Err(HandshakeError::Closed) if self.stream.is_silent() => {
                    return Ok(Some("it closed the connection without a word"));
                }
                Err(why) => {
                    let refusal = kind(&why);
                    note(refusals, session, refusal, &why);
                    if refusal == TlsRefusal::Certificate {
                        self.hold(inbox)?;
                    }
                    return Ok(Some(FAILED));
                }
            }
            if let Some(reason) = inbox.closed() {
                if reason == CROWDED_OUT {
                    note(refusals, session, TlsRefusal::Other, &reason);
                }
                return Ok(Some(reason));
            }
            if Instant::now() >= until {
                let what = if self.stream.is_silent() {
                    "nothing has come; clients without <ssl> wait for the server to begin"
                } else {
                    "it is not complete"
                };
                let why = format!("{what}, after {} seconds", limit.as_secs_f64());
                note(refusals, session, TlsRefusal::Timeout, &why);
                return Ok(Some(FAILED));
            }
            self.pause(inbox, until)?;
        }
        drop(newcomer);
        if let Some(identity) = self.stream.identity() {
            info!(session.log(), "{identity}");
        }
        if !self.ended {
            self.until = Some(Instant::now() + REGISTER_TIMEOUT);
        }
        Ok(None)
    }

    /// Lets a client wait that is to hear later that it is refused.
    fn hold(&mut self, inbox: &Inbox) -> io::Result<()> {
        let until = Instant::now() + REFUSED_PAUSE;
        while Instant::now() < until && inbox.closed().is_none() && !self.ended {
            self.pause(inbox, until)?;
        }
        Ok(())
    }

    /// Waits for the socket, for whoever closes, and until then.
    fn pause(&mut self, inbox: &Inbox, until: Instant) -> io::Result<()> {
        let timeout = if inbox.fall_asleep(false) {
            until.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        };
        let ready = self.waiter.wait(Some(timeout));
        inbox.wake_up();
        self.note(ready?);
        Ok(())
    }
}

fn kind(why: &HandshakeError) -> TlsRefusal {
    match why {
        HandshakeError::Certificate { .. } | HandshakeError::NoCertificate => {
            TlsRefusal::Certificate
        }
        HandshakeError::NotTls => TlsRefusal::Plaintext,
        _ => TlsRefusal::Other,
    }
}

fn note(refusals: &Refusals, session: &Session, refusal: TlsRefusal, why: &dyn std::fmt::Display) {
    refusals.note(session.log(), &session.status().address, refusal, why);
}
