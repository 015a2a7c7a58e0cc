//! The storage: opening, closing, and what is known of it.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use zeo_proto::Tid;
use zeo_proto::message::StorageInfo;

use super::error::Error;
use super::listeners::{Listener, Subscription};
use super::lock::locked;
use super::reader;
use super::settings::Settings;
use super::shared::Shared;

/// A storage on a ZEO server, used by any number of threads at once. Each call waits for its own
/// answer only. Dropping it closes it.
///
/// ```
/// use zeo_client::ClientStorage;
/// use zeo_proto::{Oid, Tid};
/// use zeo_storage::storage::TransactionMeta;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let served = std::sync::Arc::new(zeo_storage::MappingStorage::new("example")?);
/// # let log = slog::Logger::root(slog::Discard, slog::o!());
/// # let settings = zeo_server::Settings::default();
/// # let server = zeo_server::Server::start(settings, vec![("1".into(), served)], log)?;
/// # let any = zeo_server::Address::Tcp { host: Some("127.0.0.1".into()), port: Some(0) };
/// # let acceptors = zeo_server::Acceptors::start(&any, &server, None)?;
/// # let text = acceptors.addresses()[0].to_string();
/// // Such as "localhost:8100" or "/run/zeo.sock".
/// let storage = ClientStorage::builder(text.parse()?).open()?;
///
/// let record = b"\x80\x03capp\nThing\n.\x80\x03N.".to_vec();
/// let oid = storage.new_oid()?;
/// let mut transaction = storage.begin(TransactionMeta::default())?;
/// transaction.store(oid, Tid::ZERO, record.clone())?;
/// transaction.vote()?;
/// let tid = transaction.finish()?;
///
/// let revision = storage.load(oid)?;
/// assert_eq!((&revision.data[..], revision.serial), (&record[..], tid));
/// storage.close()?;
/// # drop(acceptors);
/// # server.stop();
/// # Ok(())
/// # }
/// ```
pub struct ClientStorage {
    pub(super) shared: Arc<Shared>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

impl ClientStorage {
    /// Opens a storage, and waits for a connection as long as the settings say.
    ///
    /// # Errors
    ///
    /// `Disconnected`: none of the servers takes this client in time; the error tells why. `Io`: the
    /// files of the cache can't be used, or the system has no descriptor or thread left.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let wait = settings.wait;
        let system = |why| Error::Io {
            what: "opening a storage".to_owned(),
            why: Arc::new(why),
        };
        let shared = Arc::new(Shared::new(settings).map_err(system)?);
        let reading = Arc::clone(&shared);
        let thread = thread::Builder::new().name("zeo-client".to_owned());
        let reader = thread
            .spawn(move || reader::run(&reading))
            .map_err(system)?;
        let storage = Self {
            shared,
            reader: Mutex::new(Some(reader)),
        };
        if wait {
            storage.shared.link("open")?;
        }
        Ok(storage)
    }

    /// Closes the storage; does nothing if it is closed already. Calls that wait fail with
    /// [`Error::Closed`], as do all later ones. When it returns, nothing of the storage is left: no
    /// thread, no connection, no temporary file.
    ///
    /// # Errors
    ///
    /// The cache can't be written. The storage is closed all the same.
    pub fn close(&self) -> Result<(), Error> {
        self.shared.close();
        if !self.shared.is_reader()
            && let Some(reader) = locked(&self.reader).take()
        {
            // A panic in it has been told by itself.
            let _ = reader.join();
        }
        Ok(())
    }

    /// The last transaction that this storage has seen; zero before the first one. All listeners
    /// have been told of it.
    pub fn last_tid(&self) -> Tid {
        self.shared.listeners.last_tid()
    }

    /// Tells a listener of all changes from now on, until the subscription is dropped.
    pub fn subscribe(&self, listener: Arc<dyn Listener>) -> Subscription {
        self.shared.listeners.subscribe(listener)
    }

    /// What the server has told of the storage when the connection was made; sizes as of the last
    /// commit of this client. While there is no connection, as it was.
    pub fn info(&self) -> StorageInfo<'static> {
        locked(&self.shared.info).clone()
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.shared.link_now("is_connected").is_ok()
    }

    /// Whether changes are refused: the client is read-only, or has fallen back to a read-only
    /// server, or is not connected.
    pub fn is_read_only(&self) -> bool {
        match self.shared.link_now("is_read_only") {
            Ok(link) => link.read_only,
            Err(_) => true,
        }
    }
}

impl Drop for ClientStorage {
    fn drop(&mut self) {
        // Nobody is there to be told.
        let _ = self.close();
    }
}

impl fmt::Debug for ClientStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStorage")
            .field("settings", &self.shared.settings)
            .field("is_connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}
