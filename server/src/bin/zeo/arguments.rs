//! Options that several subcommands have.

// Help texts are written for people, not for rustdoc.
#![allow(rustdoc::broken_intra_doc_links)]

use std::time::Duration;

use clap::{Args, Command};
use zeo_client::{Address, Options};
use zeo_server::tools::ConnectArguments;
use zeo_server::tools::connect::{environment, time_limit};
use zeo_server::tools::monitor::Monitor;

use crate::Result;

/// Which server, and how it is reached.
#[derive(Args, Clone, Debug)]
pub struct ServerArguments {
    /// Server: HOST:PORT, [IPv6]:PORT, PORT, or the path of a Unix socket with at least one "/"
    #[arg(value_name = "ADDRESS")]
    pub address: Address,
    /// How long the server may take to answer, in seconds
    #[arg(long, value_parser = time_limit, default_value = "10", value_name = "SECONDS")]
    timeout: Duration,
    #[command(flatten)]
    connect: ConnectArguments,
}

impl ServerArguments {
    pub fn options(&self) -> Result<Options> {
        Ok(self.connect.options(self.timeout, &environment)?)
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// The server's monitor.
#[derive(Args, Clone, Debug)]
pub struct MonitorArguments {
    /// The server's monitor, as its option --monitor has it: PORT, HOST:PORT or a path; also
    /// $RZEO_MONITOR
    #[arg(long, value_name = "ADDRESS")]
    monitor: Vec<Address>,
    /// How long the monitor may take to answer, in seconds
    #[arg(long, value_parser = time_limit, default_value = "10", value_name = "SECONDS")]
    timeout: Duration,
}

impl MonitorArguments {
    /// The one that takes orders if there are several.
    pub fn monitor(&self) -> Result<Monitor> {
        chosen(&self.monitor, self.timeout).ok_or_else(|| {
            "which server? Give its monitor by --monitor or RZEO_MONITOR, as the server has it; a \
             server without one can't be asked this"
                .to_owned()
                .into()
        })
    }
}

/// The monitor to ask: one at a Unix socket, which takes orders, if there is one.
pub fn chosen(addresses: &[Address], timeout: Duration) -> Option<Monitor> {
    let local = addresses
        .iter()
        .find(|address| matches!(address, Address::Unix(_)));
    let address = local.or(addresses.first())?;
    Some(Monitor::new(address.clone(), timeout))
}

/// The variable with the monitor's addresses, with spaces between them.
const VARIABLE: &str = "RZEO_MONITOR";

/// The command with the monitor of the environment where none is given.
pub fn with_variables(command: Command) -> Command {
    let value = std::env::var(VARIABLE).unwrap_or_default();
    let addresses: Vec<String> = value.split_whitespace().map(str::to_owned).collect();
    if addresses.is_empty() {
        return command;
    }
    command.mut_subcommands(|subcommand| {
        subcommand.mut_args(|arg| match arg.get_long() {
            Some("monitor") => arg.default_values(&addresses),
            _ => arg,
        })
    })
}
