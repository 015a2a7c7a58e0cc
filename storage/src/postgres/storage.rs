//! The storage: its parts, and its calls, which stand in the files beside this one.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use zeo_proto::{Oid, Tid};

use super::backend::Backend;
use super::blob_cache::BlobCache;
use super::connect::{Connector, PATIENCE};
use super::groups::Group;
use super::ids::tid_of;
use super::iterate::{self, Source};
use super::lockers::{Held, Lockers};
use super::news::News;
use super::oids::{BLOCK, BLOCKS, FAR_OID, LAST_OIDS, NEW_OIDS, Oids};
use super::packing::Packing;
use super::peers::Peers;
use super::readers::Readers;
use super::recent::Recent;
use super::schema;
use super::servers::Servers;
use super::session::value;
use super::settings::Settings;
use super::sql::{IS_KNOWN, Sql};
use super::writer::Writer;
use crate::blob::BlobDirectory;
use crate::log::{Level, Log};
use crate::storage::{
    Appended, Bulk, Capabilities, Commit, CurrentRecord, Data, HistoryEntry, Invalidation,
    OnConflict, Op, OpenData, Outside, PackProgress, Revision, Storage, TransactionIter,
    TransactionMeta, UndoEntry, Vote, Wake,
};
use crate::{Error, Result};

/// How long a pack may take to end by itself.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// How often the sizes are asked for, at most.
const SIZES_INTERVAL: Duration = Duration::from_secs(60);

/// A last transaction that is further in the future than this is worth a line in the log.
const FUTURE_SECONDS: f64 = 60.0;

/// A storage in a PostgreSQL database; see the module.
pub struct PostgresStorage {
    pub(super) settings: Settings,
    pub(super) sql: &'static Sql,
    pub(super) connector: Arc<Connector>,
    pub(super) readers: Arc<Readers>,
    pub(super) lockers: Arc<Lockers>,
    pub(super) peers: Peers,
    pub(super) writer: Mutex<Option<Writer>>,
    /// `None` without `blob-dir`.
    pub(super) blobs: Option<BlobCache>,
    /// Connections for uploads that are not used.
    pub(super) uploaders: Mutex<Vec<Writer>>,
    pub(super) recent: Recent,
    pub(super) oids: Oids,
    /// The last transaction that is published, and told in a report.
    published: Arc<AtomicU64>,
    pub(super) reported: AtomicU64,
    /// Locks of transactions that may be committed still, and the processes that do so.
    pub(super) kept: Mutex<Vec<(Backend, Vec<Held>)>>,
    /// That of the database's log; another one behind a promotion of a standby.
    pub(super) timeline: Mutex<Option<String>>,
    /// For those who wait for a publication.
    publication: (Mutex<()>, Condvar),
    /// Others were committing when something of ours was to be committed last.
    pub(super) contended: AtomicBool,
    pub(super) wake: OnceLock<Wake>,
    pub(super) news: Arc<News>,
    pub(super) packing: Packing,
    /// What others have committed and is not published yet, by the tids of groups.
    pub(super) unpublished: Mutex<HashMap<Tid, Group>>,
    sizes: Mutex<Sizes>,
}

/// About how large the storage is.
#[derive(Clone, Copy, Default)]
struct Sizes {
    objects: u64,
    bytes: u64,
    asked: Option<Instant>,
}

impl PostgresStorage {
    /// Opens it, and makes the tables if the database is empty.
    ///
    /// # Errors
    /// `Unavailable`: the database can't be reached. `Unsupported`: it is of another kind. `Value`: a
    /// file for TLS can't be read. `Io`: the blob directory can't be used.
    pub fn open(settings: Settings, log: Log) -> Result<Self> {
        let connector = Arc::new(Connector::new(&settings, log)?);
        let mut session = connector.connect("start")?;
        session.set_limit(connector.answer_time * PATIENCE);
        let sql = schema::ensure(&mut session, &connector, &settings)?;
        let blob_dir = settings.blob_dir.as_deref();
        let open = if settings.snapshot {
            BlobCache::temporary
        } else {
            BlobCache::open
        };
        let blobs = blob_dir.map(|path| open(path, settings.blob_cache_size));
        let published = Arc::<AtomicU64>::default();
        let servers = Servers::new(sql, Arc::clone(&published), settings.poll_interval);
        let peers = Peers::new(Arc::clone(&connector), servers);
        let after_commit = Arc::clone(&peers.after_commit);
        let storage = Self {
            blobs: blobs.transpose()?,
            uploaders: Mutex::default(),
            lockers: Arc::new(Lockers::new(Arc::clone(&connector), sql, after_commit)),
            peers,
            recent: Recent::new(settings.cache_size),
            settings,
            sql,
            connector,
            readers: Arc::new(Readers::new()),
            writer: Mutex::default(),
            oids: Oids::default(),
            published,
            reported: AtomicU64::new(0),
            kept: Mutex::default(),
            timeline: Mutex::default(),
            publication: Default::default(),
            contended: AtomicBool::new(false),
            wake: OnceLock::new(),
            news: Arc::default(),
            packing: Packing::default(),
            unpublished: Mutex::default(),
            sizes: Mutex::default(),
        };
        let (lockers, readers) = (Arc::clone(&storage.lockers), Arc::clone(&storage.readers));
        storage.peers.start(lockers, readers)?;
        let last = storage.last_committed()?;
        storage.recent.begin(last);
        storage.reported_up_to(last);
        storage.publish_up_to(last);
        storage.refresh_sizes();
        storage.look_at_rows(last)?;
        Ok(storage)
    }

    /// Looks whether the database can be opened, and makes nothing. For people: what is there.
    ///
    /// # Errors
    /// As those of [`open`](Self::open) that the database is the cause of.
    pub fn examine(settings: &Settings, log: Log) -> Result<String> {
        let connector = Connector::new(settings, log)?;
        let mut session = connector.connect("check")?;
        session.set_limit(connector.answer_time * PATIENCE);
        schema::look(&mut session, &connector, settings)
    }

    pub(super) fn published(&self) -> Tid {
        Tid::new(self.published.load(Ordering::Acquire))
    }

    pub(super) fn publish_up_to(&self, tid: Tid) {
        self.published.fetch_max(tid.as_u64(), Ordering::AcqRel);
        drop(self.publication.0.lock());
        self.publication.1.notify_all();
    }

    /// Waits until `tid` is published, or `until`.
    pub(super) fn wait_for_publication(&self, tid: Tid, until: Instant) {
        if let Some(wake) = self.wake.get() {
            wake.wake();
        }
        let mut guard = self
            .publication
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while self.published() < tid
            && let Some(rest) = until.checked_duration_since(Instant::now())
        {
            let waited = self.publication.1.wait_timeout(guard, rest);
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unpublished(&self) -> MutexGuard<'_, HashMap<Tid, Group>> {
        self.unpublished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a restored database may have: a last transaction in the future, after which tids are no
    /// times for long; oids that the sequence would give a second time.
    fn look_at_rows(&self, last: Tid) -> Result<()> {
        let ahead = last.unix_time() - Tid::from_time(SystemTime::now()).unix_time();
        if ahead > FUTURE_SECONDS {
            self.connector.log(
                Level::Warning,
                &format!(
                    "the last transaction, {last}, is {ahead:.0} seconds in the future: check the clocks"
                ),
            );
        }
        if self.settings.read_only || self.settings.snapshot {
            return Ok(());
        }
        let rows = self.query("looking for oids", LAST_OIDS, &[&FAR_OID])?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let greatest = value::<Option<i64>>(row, 0)?.unwrap_or(0);
        let given = value::<i64>(row, 1)?.saturating_mul(BLOCK);
        if greatest > given {
            self.connector.log(
                Level::Warning,
                &format!(
                    "object {} in table object_state is past the sequence zoid_seq, which has given \
                     oids up to {}: the sequence is raised",
                    Oid::new(greatest.cast_unsigned()),
                    Oid::new(given.cast_unsigned())
                ),
            );
            self.use_oids(greatest)?;
        }
        Ok(())
    }

    /// Asks for the sizes.
    pub(super) fn measure_sizes(&self) {
        self.sizes().asked = None;
        self.refresh_sizes();
    }

    /// Asks for the sizes, if that was long ago.
    pub(super) fn refresh_sizes(&self) {
        let recent = |asked: Instant| asked.elapsed() < SIZES_INTERVAL;
        if self.sizes().asked.is_some_and(recent) {
            return;
        }
        let asked = Some(Instant::now());
        let found = self.query("looking for sizes", self.sql.sizes, &[]);
        let row = found.ok().and_then(|rows| rows.into_iter().next());
        let of = |column| row.as_ref().and_then(|row| value::<i64>(row, column).ok());
        let mut sizes = self.sizes();
        sizes.asked = asked;
        if let (Some(objects), Some(bytes)) = (of(0), of(1)) {
            (sizes.objects, sizes.bytes) = (objects.cast_unsigned(), bytes.cast_unsigned());
        }
    }
}

/// A value of the sequence, if it stands for oids.
fn block(value: i64) -> Result<i64> {
    if !(1..=i64::MAX / BLOCK).contains(&value) {
        return Err(Error::Database(format!(
            "PostgreSQL: the sequence zoid_seq is at {value}, which stands for no oids (from 1 to \
             2^63-1, {BLOCK} for each value)"
        )));
    }
    Ok(value)
}

impl Storage for PostgresStorage {
    fn name(&self) -> String {
        let name = self.settings.name.clone();
        name.unwrap_or_else(|| format!("RelStorage: {}", self.connector.shown()))
    }

    /// As RelStorage's: what PostgreSQL estimates, 0 before the first ANALYZE.
    fn len(&self) -> u64 {
        self.sizes().objects
    }

    /// That of the whole database, at most a minute ago.
    fn size(&self) -> u64 {
        self.sizes().bytes
    }

    fn last_tid(&self) -> Tid {
        self.published()
    }

    fn is_read_only(&self) -> bool {
        self.settings.read_only
    }

    fn latched(&self) -> Option<String> {
        None
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            undo: self.settings.keep_history,
            record_iternext: true,
            restore: true,
            delete: true,
            transforms: false,
        }
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>> {
        self.revision(oid, before)
    }

    fn open_before_soon(&self, oid: Oid, before: Tid) -> Option<Revision<OpenData>> {
        self.revision_soon(oid, before).ok()?.map(Revision::from)
    }

    fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Data> {
        self.state(oid, serial)
    }

    fn get_tid(&self, oid: Oid) -> Result<Tid> {
        let current = self.revision(oid, Tid::MAX)?;
        Ok(current.ok_or(Error::NoObject(oid))?.serial)
    }

    fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>> {
        self.revisions(oid, size)
    }

    fn undo_log(
        &self,
        first: usize,
        last: usize,
        filter: &mut dyn FnMut(&UndoEntry) -> Result<bool>,
    ) -> Result<Vec<UndoEntry>> {
        if !self.settings.keep_history {
            return Ok(Vec::new());
        }
        self.undoable(first, last, filter)
    }

    fn record_iternext(&self, from: Option<Oid>) -> Result<CurrentRecord> {
        self.next_record(from)
    }

    fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIter> {
        let published = tid_of(self.published())?;
        let limit = |tid: Tid| i64::try_from(tid.as_u64()).unwrap_or(i64::MAX);
        let after = start.map_or(0, |start| limit(start).saturating_sub(1).max(0));
        let stop = stop.map_or(published, |stop| limit(stop).min(published));
        let snapshot = self
            .settings
            .snapshot
            .then(|| iterate::snapshot(&self.connector));
        let snapshot = snapshot.transpose()?.map(Mutex::new).map(Arc::new);
        let source = Source {
            connector: Arc::clone(&self.connector),
            readers: Arc::clone(&self.readers),
            sql: self.sql,
            snapshot,
        };
        Ok(iterate::transactions(source, after, stop))
    }

    fn last_invalidations(&self, count: usize) -> Result<Option<Vec<Invalidation>>> {
        self.last_changes(count).map(Some)
    }

    /// Without history, a transaction is gone when all that it has changed was changed again.
    fn lacks(&self, tid: Tid) -> Result<bool> {
        if !self.settings.keep_history {
            return Ok(false);
        }
        let rows = self.query("looking for a transaction", IS_KNOWN, &[&tid_of(tid)?])?;
        let is_known = rows.first().map(|row| value(row, 0)).transpose()?;
        Ok(!is_known.unwrap_or(true))
    }

    fn new_oid(&self) -> Result<Oid> {
        if self.settings.read_only {
            return Err(Error::ReadOnly);
        }
        let blocks = || {
            let rows = self.query("taking oids", NEW_OIDS, &[&BLOCKS])?;
            rows.iter().map(|row| block(value(row, 0)?)).collect()
        };
        let next = self.oids.next(blocks)?;
        next.ok_or_else(|| Error::Database("PostgreSQL gives no oids".to_owned()))
    }

    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict<'_>,
    ) -> Result<Vote> {
        if self.settings.read_only {
            return Err(Error::ReadOnly);
        }
        self.vote(meta, ops, on_conflict)
    }

    fn append(&self, batch: &mut [Commit]) -> Result<Appended> {
        self.finish(batch)
    }

    fn publish(&self, commit: &Commit) {
        self.publish_own(commit);
    }

    fn outside(&self) -> Option<&dyn Outside> {
        Some(self)
    }

    fn blobs(&self) -> Option<&BlobDirectory> {
        self.blobs.as_ref().map(BlobCache::directory)
    }

    fn load_blob(&self, oid: Oid, serial: Tid) -> Result<PathBuf> {
        self.blob_file(oid, serial)
    }

    fn pack(&self, time: f64, gc: Option<bool>) -> Result<()> {
        self.pack_to(time, gc)
    }

    fn packing(&self) -> Option<PackProgress> {
        self.packing.progress()
    }

    fn cancel_pack(&self) -> bool {
        self.packing.cancel()
    }

    fn bulk(&self) -> Result<Option<Box<dyn Bulk + '_>>> {
        self.loader().map(|loader| Some(Box::new(loader) as _))
    }

    fn save_index(&self) -> Result<()> {
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.peers.after_commit.end();
        self.packing.ask_to_end(CLOSE_TIME);
        self.readers.close();
        self.uploaders().clear();
        // Whoever still waits for an answer is not waited for.
        self.connector.end();
        self.packing.close();
        self.lockers.close();
        *self.writer() = None;
        Ok(())
    }
}
