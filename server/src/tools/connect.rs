//! The options that say how a server is reached.

use std::time::Duration;

use clap::Args;
use zeo_client::Options;

/// How a server is reached, besides its address.
#[derive(Args, Clone, Debug, Default)]
pub struct ConnectArguments {}

impl ConnectArguments {
    /// What the client is told, with a time limit for connecting and for each call.
    ///
    /// # Errors
    /// A certificate or key can't be read, in a sentence that names it.
    pub fn options(&self, limit: Duration) -> Result<Options, String> {
        Ok(Options::within(limit))
    }
}

/// A number of seconds above zero, such as `5` or `0.5`.
///
/// # Errors
/// Anything else.
pub fn time_limit(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| *seconds > 0.0);
    let limit = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    limit.ok_or_else(|| format!("{text:?} is not a number of seconds above zero"))
}
