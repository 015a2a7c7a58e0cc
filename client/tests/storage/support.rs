//! Servers for tests: ours, in this process.

use std::sync::Arc;
use std::time::Duration;

use zeo_client::{Address, Builder, ClientStorage};
use zeo_proto::marshal::Encoding;
use zeo_server::{Acceptors, Server, Settings};
use zeo_storage::Storage;

/// Longer than anything takes that comes at all.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server that serves one storage, `1`.
pub struct Served {
    acceptors: Option<Acceptors>,
    server: Arc<Server>,
    pub address: Address,
}

impl Served {
    /// At this address; port 0 stands for a free one.
    pub fn at(address: &str, encoding: Encoding, storage: Arc<dyn Storage>) -> Self {
        let mut settings = Settings::default();
        settings.encoding = encoding;
        Self::with(address, settings, storage)
    }

    pub fn with(address: &str, settings: Settings, storage: Arc<dyn Storage>) -> Self {
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let server = Server::start(settings, vec![("1".to_owned(), storage)], log).unwrap();
        let wanted = zeo_storage::zconfig::datatypes::socket_binding_address(address).unwrap();
        let acceptors = Acceptors::start(&wanted, &server, None).unwrap();
        let found = acceptors.addresses().first().map(|found| (*found).into());
        let address = found.unwrap_or_else(|| address.parse().unwrap());
        Self {
            acceptors: Some(acceptors),
            server,
            address,
        }
    }

    /// A client with settings for tests.
    pub fn client(&self) -> Builder {
        client(self.address.clone())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.acceptors = None;
        self.server.stop();
    }
}

/// A client that waits as long as it must, and connects again soon.
pub fn client(address: Address) -> Builder {
    let soon = Duration::from_millis(10);
    ClientStorage::builder(address)
        .wait_timeout(PATIENCE)
        .connect_timeout(PATIENCE)
        .disconnect_poll(soon, 10 * soon)
}

/// A record of an application's class with this number as its state.
pub fn record(number: u8) -> Vec<u8> {
    [&b"\x80\x03capp\nThing\n.\x80\x03K"[..], &[number], b"."].concat()
}
