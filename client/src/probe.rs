//! The question `ruok`: the state of all storages, without choosing one.

use crate::address::Address;
use crate::connection::{Options, Wire};
use crate::connection_error::ConnectionError;

/// The longest state to take, in bytes.
const STATUS_LIMIT: usize = 16 << 20;

/// What a server has answered to `ruok`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its greeting: `Z5` or `M5`.
    pub greeting: Vec<u8>,
    /// The state of all storages: by their names the counters of `server_status`, as JSON. Not
    /// looked at here.
    pub status: Vec<u8>,
}

/// Asks a server whether it is well, and for the state of all storages, within
/// [`Options::connect_limit`].
///
/// # Errors
///
/// Nothing takes the connection, what does is no ZEO server, or the time is up.
pub fn probe(address: &Address, options: &Options) -> Result<Probe, ConnectionError> {
    let mut wire = Wire::open(address, options)?;
    wire.queue_frame(b"ruok");
    wire.flush("greeting")?;
    let greeting = wire.greeting()?;
    wire.set_message_limit(STATUS_LIMIT);
    let status = wire.take("status", <[u8]>::to_vec)?;
    wire.close();
    Ok(Probe { greeting, status })
}
