//! A storage that stands on another one, and is like it but for a few calls.

use std::path::PathBuf;

use zeo_proto::{Oid, Tid};

use super::{
    Appended, Bulk, Capabilities, Commit, CurrentRecord, Data, HistoryEntry, Invalidation,
    OnConflict, Op, OpenData, Outside, PackProgress, Revision, Storage, TransactionIter,
    TransactionMeta, UndoEntry, Vote,
};
use crate::Result;
use crate::blob::BlobDirectory;

/// Every call of a storage, once: declares [`Layer`], and what makes a
/// [`Storage`] of each.
macro_rules! layer {
    ($(fn $call:ident(&self $(, $argument:ident: $kind:ty)*) $(-> $result:ty)?;)*) => {
        /// A [`Storage`] that hands every call that it does not have itself to
        /// the storage [`below`](Self::below). Whatever has these methods is a
        /// storage.
        ///
        /// The methods are those of [`Storage`], and so are their errors. What
        /// `prepare` has made must come to the `append` and `publish` of the
        /// storage that made it.
        ///
        /// Its methods and those of [`Storage`] have the same names: where a
        /// layer is used, import only [`Storage`], or keep it as a `dyn
        /// Storage`.
        #[expect(clippy::missing_errors_doc, reason = "they stand at Storage")]
        pub trait Layer: Send + Sync {
            /// The storage that this one stands on.
            fn below(&self) -> &dyn Storage;
            $(
                #[doc = concat!("See [`Storage::", stringify!($call), "`].")]
                fn $call(&self $(, $argument: $kind)*) $(-> $result)? {
                    self.below().$call($($argument),*)
                }
            )*
            /// See [`Storage::open_before`]. The default is made of [`Self::load_before`], since the
            /// storage below may have other records.
            fn open_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision<OpenData>>> {
                Ok(Layer::load_before(self, oid, before)?.map(Revision::from))
            }
            /// See [`Storage::open_serial`]. The default is made of [`Self::load_serial`].
            fn open_serial(&self, oid: Oid, serial: Tid) -> Result<OpenData> {
                Layer::load_serial(self, oid, serial).map(OpenData::Read)
            }
            /// See [`Storage::bulk`]. The default has none, since the storage below may have other records.
            fn bulk(&self) -> Result<Option<Box<dyn Bulk + '_>>> {
                Ok(None)
            }
        }

        impl<L: Layer> Storage for L {
            fn open_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision<OpenData>>> {
                Layer::open_before(self, oid, before)
            }
            fn open_serial(&self, oid: Oid, serial: Tid) -> Result<OpenData> {
                Layer::open_serial(self, oid, serial)
            }
            fn bulk(&self) -> Result<Option<Box<dyn Bulk + '_>>> {
                Layer::bulk(self)
            }
            $(
                fn $call(&self $(, $argument: $kind)*) $(-> $result)? {
                    Layer::$call(self $(, $argument)*)
                }
            )*
        }
    };
}

layer! {
    fn name(&self) -> String;
    fn len(&self) -> u64;
    fn is_empty(&self) -> bool;
    fn size(&self) -> u64;
    fn index_memory(&self) -> Option<u64>;
    fn last_tid(&self) -> Tid;
    fn is_read_only(&self) -> bool;
    fn latched(&self) -> Option<String>;
    fn capabilities(&self) -> Capabilities;
    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>>;
    fn load_serial(&self, oid: Oid, serial: Tid) -> Result<Data>;
    fn get_tid(&self, oid: Oid) -> Result<Tid>;
    fn history(&self, oid: Oid, size: usize) -> Result<Vec<HistoryEntry>>;
    fn undo_log(
        &self,
        first: usize,
        last: usize,
        filter: &mut dyn FnMut(&UndoEntry) -> Result<bool>
    ) -> Result<Vec<UndoEntry>>;
    fn record_iternext(&self, from: Option<Oid>) -> Result<CurrentRecord>;
    fn iterator(&self, start: Option<Tid>, stop: Option<Tid>) -> Result<TransactionIter>;
    fn last_invalidations(&self, count: usize) -> Result<Option<Vec<Invalidation>>>;
    fn lacks(&self, tid: Tid) -> Result<bool>;
    fn new_oid(&self) -> Result<Oid>;
    fn prepare(
        &self,
        meta: &TransactionMeta,
        ops: &mut dyn Iterator<Item = Result<Op>>,
        on_conflict: OnConflict
    ) -> Result<Vote>;
    fn append(&self, batch: &mut [Commit]) -> Result<Appended>;
    fn publish(&self, commit: &Commit);
    fn outside(&self) -> Option<&dyn Outside>;
    fn blobs(&self) -> Option<&BlobDirectory>;
    fn load_blob(&self, oid: Oid, serial: Tid) -> Result<PathBuf>;
    fn pack(&self, time: f64, gc: Option<bool>) -> Result<()>;
    fn packing(&self) -> Option<PackProgress>;
    fn cancel_pack(&self) -> bool;
    fn save_index(&self) -> Result<()>;
    fn close(&self) -> Result<()>;
}
