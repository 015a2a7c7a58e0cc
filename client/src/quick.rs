//! The quick start.

use crate::address::ToAddress;
use crate::client_storage::{ClientStorage, Error};
use crate::db::Db;

/// Opens the database of a server, with the default settings: `connect(8100)` for a port of this
/// machine, `connect("db.example.org:8100")`, or `connect(Path::new("/run/zeo.sock"))`.
///
/// For other settings, begin with [`ClientStorage::builder`], or with the configuration of a Python
/// application, [`config`](crate::config).
///
/// ```no_run
/// let db = zeo_client::connect(8100)?;
/// db.transact(|t| t.root()?.mapping()?.insert("greeting", "hello from Rust"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// `Address`: the text is none. As of [`ClientStorage::open`]: nobody answers within 30 seconds.
pub fn connect(server: impl ToAddress) -> Result<Db, Error> {
    let address = server.to_address().map_err(Error::Address)?;
    Ok(Db::new(ClientStorage::builder(address).open()?))
}
