//! The conflict resolver.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::seconds;

/// How long the conflict resolver may take by default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct ResolverArgs {
    /// Program that runs Python scripts and finds ZODB and the application's packages, such as a
    /// virtual environment's bin/python or Plone's bin/zopepy: conflicts of the application's
    /// classes are resolved with it
    #[arg(long, value_name = "PROGRAM")]
    conflict_resolver: Option<PathBuf>,
    /// How long one transaction may wait for the conflict resolver, in seconds (default 30)
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    conflict_resolver_timeout: Option<Duration>,
}

/// What merges conflicts of the application's classes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolverOptions {
    /// The program that runs Python scripts.
    pub program: PathBuf,
    /// How long one vote may wait for it.
    pub timeout: Duration,
}

impl ResolverArgs {
    /// `None` without a program; an empty name is none.
    pub fn resolved(self) -> Option<ResolverOptions> {
        let program = self.conflict_resolver?;
        let timeout = self.conflict_resolver_timeout.unwrap_or(DEFAULT_TIMEOUT);
        (!program.as_os_str().is_empty()).then_some(ResolverOptions { program, timeout })
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("expected more than 0 seconds".to_owned()),
        time => Ok(time),
    }
}
