//! Connections that never became clients because of TLS: counted by reason, and told in the log
//! without flooding it, since such clients come back again and again.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use slog::{Logger, debug, warn};

use crate::status::outcomes::{Outcome, Outcomes, TlsRefusal};

/// From one line about an address and a reason to the next.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// Of so many addresses and reasons it is known when they were told; all others are told as one.
const MAX_KNOWN: usize = 1000;

/// Counts refusals, and logs them.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: Outcomes<TlsRefusal>,
    /// By host and [`Outcome::number`].
    known: Mutex<HashMap<(String, usize), Told>>,
}

/// When the last line was written, and how many came since.
#[derive(Debug)]
struct Told {
    at: Instant,
    more: u64,
}

impl Refusals {
    /// Counts a refusal of `peer`, which `log` names, too. It is logged unless there was a line
    /// of its host and this reason a short while ago; the next line says how many had none.
    pub fn note(&self, log: &Logger, peer: &str, refusal: TlsRefusal, why: &dyn Display) {
        self.counts.count(refusal);
        let now = Instant::now();
        match self.is_to_be_told(host(peer), refusal, now) {
            None => debug!(log, "TLS handshake failed: {why}"),
            Some((_, 0)) => warn!(log, "TLS handshake failed: {why}"),
            Some((host, more)) => warn!(
                log,
                "TLS handshake failed: {why}; {more} more from {host} since the last such line"
            ),
        }
    }

    /// How many connections were refused, by reason.
    pub fn counts(&self) -> &Outcomes<TlsRefusal> {
        &self.counts
    }

    /// Whom a line is about, and how many refusals had none since the last one; `None` when this
    /// one has none either.
    fn is_to_be_told(
        &self,
        host: String,
        refusal: TlsRefusal,
        now: Instant,
    ) -> Option<(String, u64)> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (host, refusal.number());
        if known.len() >= MAX_KNOWN && !known.contains_key(&key) {
            known.retain(|_, told| now.duration_since(told.at) < TELL_INTERVAL);
            if known.len() >= MAX_KNOWN {
                key.0 = "other addresses".to_owned();
            }
        }
        let more = match known.get_mut(&key) {
            Some(told) if now.duration_since(told.at) < TELL_INTERVAL => {
                told.more += 1;
                return None;
            }
            Some(told) => told.more,
            None => 0,
        };
        known.insert(key.clone(), Told { at: now, more: 0 });
        Some((key.0, more))
    }
}

/// The peer without its port, which is another one each time.
fn host(peer: &str) -> String {
    let address = peer.parse::<SocketAddr>();
    address.map_or_else(|_| peer.to_owned(), |address| address.ip().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_again_is_told_once_a_minute_with_a_count() {
        let refusals = Refusals::default();
        let tell = |peer: &str, refusal, at| refusals.is_to_be_told(host(peer), refusal, at);
        let start = Instant::now();
        let one = Some(("10.0.0.1".to_owned(), 0));
        assert_eq!(tell("10.0.0.1:5000", TlsRefusal::Certificate, start), one);
        assert_eq!(tell("10.0.0.1:5001", TlsRefusal::Certificate, start), None);
        assert_eq!(tell("10.0.0.1:5002", TlsRefusal::Plaintext, start), one);
        assert!(
            tell("[::1]:5003", TlsRefusal::Certificate, start).is_some_and(|(h, _)| h == "::1")
        );
        let later = start + TELL_INTERVAL;
        assert_eq!(
            tell("10.0.0.1:5004", TlsRefusal::Certificate, later),
            Some(("10.0.0.1".to_owned(), 1))
        );
    }

    #[test]
    fn many_strangers_take_bounded_memory_and_few_lines() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let told = |at: Instant| {
            let peers = (0..5000_u32).map(|n| std::net::Ipv4Addr::from(n).to_string());
            peers
                .filter_map(|peer| refusals.is_to_be_told(peer, TlsRefusal::Other, at))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(start).len(), MAX_KNOWN + 1);
        assert!(refusals.known.lock().unwrap().len() <= MAX_KNOWN + 1);
        let last = told(start + TELL_INTERVAL * 2).pop();
        assert_eq!(
            last.map(|(host, _)| host).as_deref(),
            Some("other addresses")
        );
        assert!(refusals.known.lock().unwrap().len() <= MAX_KNOWN + 1);
    }

    #[test]
    fn all_are_counted() {
        let (refusals, log) = (Refusals::default(), Logger::root(slog::Discard, slog::o!()));
        for _ in 0..3 {
            refusals.note(&log, "10.0.0.1:1", TlsRefusal::Timeout, &"slow");
        }
        refusals.note(&log, "10.0.0.1:1", TlsRefusal::Other, &"other");
        let counts = refusals.counts().all();
        let seen = counts.iter().filter(|(_, count)| *count > 0);
        assert_eq!(seen.collect::<Vec<_>>(), [&("timeout", 3), &("other", 1)]);
    }
}
