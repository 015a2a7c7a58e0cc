//! The storage: opening, closing, and what is known of it.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use zeo_proto::message::{Call, StorageInfo};
use zeo_proto::{Oid, Tid};
use zeo_storage::log::Level;

use super::error::Error;
use super::known::Known;
use super::link::Link;
use super::listeners::{Listener, Subscription};
use super::reader;
use super::settings::Settings;
use super::shared::Shared;
use crate::address::Address;
use crate::blob_cache::BlobCache;
use crate::cache::Cache;
use crate::lock::locked;

/// A storage on a ZEO server, used by any number of threads at once. Each call waits for its own
/// answer only. Dropping it closes it.
///
/// ```
/// use zeo_client::ClientStorage;
/// use zeo_proto::{Oid, Tid};
/// use zeo_storage::storage::TransactionMeta;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = zeo_server::serve(zeo_server::AdHoc::in_memory())?;
/// # let text = server.address();
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
/// # Ok(())
/// # }
/// ```
pub struct ClientStorage {
    pub(super) shared: Arc<Shared>,
    pub(super) blobs: Option<BlobCache>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

impl ClientStorage {
    /// Opens a storage, and waits for a connection as long as the settings say.
    ///
    /// # Errors
    ///
    /// `Disconnected`: none of the servers takes this client in time; the error tells why. `Cache`,
    /// `Blob`: the cache's file or the blob directory can't be used. `Io`: the system has no
    /// descriptor or thread left. `Unsupported`: the settings name no server.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        if settings.addresses.is_empty() {
            return Err(Error::Unsupported(
                "no address of a server is given".to_owned(),
            ));
        }
        let wait = settings.wait;
        let system = |why| Error::Io {
            what: "opening a storage",
            why: Arc::new(why),
        };
        let (path, size) = (settings.cache.as_deref(), settings.cache_size);
        let cache = Cache::open(path, size, Arc::clone(&settings.log))?;
        let blobs = blobs(&settings)?;
        let known = Known::new(cache, Arc::clone(&settings.log));
        let shared = Arc::new(Shared::new(settings, known).map_err(system)?);
        let reading = Arc::clone(&shared);
        let thread = thread::Builder::new().name("zeo-client".to_owned());
        let reader = thread
            .spawn(move || reader::run(&reading))
            .map_err(system)?;
        let storage = Self {
            shared,
            blobs,
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
            self.shared.join_threads();
        }
        if let Some(blobs) = &self.blobs {
            blobs.close();
        }
        Ok(self.shared.known.close()?)
    }

    /// Uses these servers from now on: at once if there is no connection, otherwise after its loss.
    ///
    /// # Errors
    ///
    /// `Unsupported`: there is none among them.
    pub fn new_addresses(&self, addresses: Vec<Address>) -> Result<(), Error> {
        if addresses.is_empty() {
            return Err(Error::Unsupported(
                "no address of a server is given".to_owned(),
            ));
        }
        self.shared.set_addresses(addresses);
        Ok(())
    }

    /// The last transaction that this storage has seen; zero before the first one. All listeners
    /// have been told of it.
    pub fn last_tid(&self) -> Tid {
        self.shared.known.listeners.last_tid()
    }

    /// Tells a listener of all changes from now on, until the subscription is dropped.
    pub fn subscribe(&self, listener: Arc<dyn Listener>) -> Subscription {
        self.shared.known.listeners.subscribe(listener)
    }

    /// What the server has told of the storage when the connection was made; sizes as of the last
    /// commit of this client. While there is no connection, as it was.
    pub fn info(&self) -> StorageInfo<'static> {
        locked(&self.shared.info).clone()
    }

    pub(crate) fn log(&self, level: Level, text: &str) {
        self.shared.log(level, text);
    }

    /// Asks the server for a sign of life: what was committed before it is seen afterwards.
    ///
    /// # Errors
    ///
    /// `Disconnected`, `Closed`.
    pub fn ping(&self) -> Result<(), Error> {
        self.shared.link("ping")?.call(&Call::Ping)
    }

    /// Makes sure that what was committed before is seen afterwards, if the settings have
    /// `server_sync`; otherwise does nothing.
    ///
    /// # Errors
    ///
    /// As of [`ping`](Self::ping).
    pub fn sync(&self) -> Result<(), Error> {
        if self.shared.settings.server_sync {
            self.ping()
        } else {
            Ok(())
        }
    }

    /// Whether this client makes no changes by its settings.
    pub(super) fn check_writable(&self) -> Result<(), Error> {
        let settings = &self.shared.settings;
        if settings.read_only && !settings.read_only_fallback {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// The connection, for other parts of this crate; waits for one, up to `wait_timeout`.
    pub(crate) fn link(&self, what: &'static str) -> Result<Arc<Link>, Error> {
        self.shared.link(what)
    }

    /// The connection, if there is one now.
    pub(crate) fn link_now(&self, what: &'static str) -> Result<Arc<Link>, Error> {
        self.shared.link_now(what)
    }

    /// Whether a load of this revision finds it in the cache.
    pub(crate) fn is_cached(&self, oid: Oid, before: Tid) -> bool {
        self.shared.known.contains(oid, before)
    }

    /// What is cached as the current revision of an object may not be it.
    pub(crate) fn forget(&self, oid: Oid) {
        self.shared.known.forget(oid);
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

fn blobs(settings: &Settings) -> Result<Option<BlobCache>, Error> {
    let Some(directory) = &settings.blob_dir else {
        return Ok(None);
    };
    if settings.shared_blob_dir {
        return Ok(Some(BlobCache::open_shared(directory)?));
    }
    let (size, percent) = (settings.blob_cache_size, settings.blob_cache_size_check);
    let log = Arc::clone(&settings.log);
    Ok(Some(BlobCache::open(directory, size, percent, log)?))
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
