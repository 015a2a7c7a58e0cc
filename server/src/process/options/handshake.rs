//! The option for the TLS handshake.

use std::time::Duration;

use crate::config::seconds;
use crate::settings::DEFAULT_HANDSHAKE_TIMEOUT;

/// Longer than anybody waits.
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug, clap::Args)]
pub(super) struct HandshakeOptions {
    /// Seconds that a client's TLS handshake may take as a whole (default 10)
    #[arg(long, value_name = "SECONDS", value_parser = limit, allow_negative_numbers = true)]
    handshake_timeout: Option<Duration>,
}

impl HandshakeOptions {
    pub(super) fn timeout(&self) -> Duration {
        self.handshake_timeout.unwrap_or(DEFAULT_HANDSHAKE_TIMEOUT)
    }
}

fn limit(text: &str) -> Result<Duration, String> {
    let limit = seconds(text)?;
    if limit.is_zero() || limit > LONGEST {
        return Err(format!("{text:?} is not between 0 and 3600 seconds"));
    }
    Ok(limit)
}
