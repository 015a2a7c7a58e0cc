//! Options that limit what clients may take.

use zeo_storage::zconfig::datatypes;

use crate::settings::{DEFAULT_MAX_TRANSACTION_SIZE, DEFAULT_MAX_UNCOMMITTED_SIZE};

/// What the command line says of limits.
#[derive(Debug, clap::Args)]
pub(super) struct LimitArgs {
    /// Number of clients (default: as many as the limit of open files allows)
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    max_clients: Option<u64>,
    /// Memory for messages being received and for uncommitted data, of all clients; more data goes
    /// to temporary files (default: half of the machine's memory)
    #[arg(long, value_name = "SIZE", value_parser = buffer_size)]
    max_buffer_memory: Option<u64>,
    /// Data of one transaction, without blobs (default 16gb)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_transaction_size: Option<u64>,
    /// Data that is not committed yet of all clients, without blobs (default 64gb)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_uncommitted_size: Option<u64>,
}

/// How much clients may take.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LimitOptions {
    /// How many clients; `None`: as many as the limit of open files allows.
    pub max_clients: Option<u64>,
    /// The memory for messages being received and for uncommitted data, in bytes; `None`: half of
    /// the machine's.
    pub max_buffer_memory: Option<u64>,
    /// The data of one transaction, in bytes.
    pub max_transaction_size: u64,
    /// The uncommitted data of all clients, in bytes.
    pub max_uncommitted_size: u64,
}

impl LimitArgs {
    pub(super) fn resolve(self) -> LimitOptions {
        let transaction = self.max_transaction_size;
        let uncommitted = self.max_uncommitted_size;
        LimitOptions {
            max_clients: self.max_clients,
            max_buffer_memory: self.max_buffer_memory,
            max_transaction_size: transaction.unwrap_or(DEFAULT_MAX_TRANSACTION_SIZE),
            max_uncommitted_size: uncommitted.unwrap_or(DEFAULT_MAX_UNCOMMITTED_SIZE),
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    let size = datatypes::byte_size(text)?;
    u64::try_from(size)
        .ok()
        .filter(|size| *size > 0)
        .ok_or_else(|| format!("{text:?} is no size; expected such as 10gb"))
}

/// With less than this, hardly a client could store anything.
fn buffer_size(text: &str) -> Result<u64, String> {
    let size = size(text)?;
    if size < 1 << 20 {
        return Err(format!("{text:?} is too small; expected at least 1mb"));
    }
    Ok(size)
}
