//! The bytes of `Data.fs`: transaction and data record headers
//! (ZODB `FileStorage/format.py`; told in full in `FORMAT.md`).
//!
//! ```text
//! file         "FS30" transaction*
//! transaction  header user description extension record* length(8)
//! header (23)  tid(8) length(8) status(1) ulen(2) dlen(2) elen(2)
//!              length: of the transaction without its last 8 bytes
//! record       oid(8) tid(8) prev(8) tloc(8) 0(2) plen(8)   = 42 bytes
//!              then plen bytes of data, or for plen 0 a back-pointer(8):
//!              the record that holds the data, 0 when the object is gone
//! ```

pub(crate) mod back_pointers;
mod header;
mod reader;
pub(crate) mod room;
pub(crate) mod seal;
pub mod verify;
pub mod walk;
pub mod window;

pub use self::header::{DataHeader, Fault, TxnHeader};
pub use self::reader::{Head, Reader};

/// The first four bytes of the file, as ZODB writes them under Python 3.
pub const MAGIC: &[u8; 4] = b"FS30";
/// The same under Python 2. The records differ in what their strings mean,
/// so ZODB does not open one for the other.
pub const MAGIC_PYTHON_2: &[u8; 4] = b"FS21";
/// Where the first transaction begins.
pub const FIRST: u64 = 4;
/// The longest that a file may be, in bytes: indexes keep positions in 6 bytes.
pub const END_MAX: u64 = 1 << 48;
/// Length of a transaction header without its three texts.
pub const TXN_HEADER_LEN: u64 = 23;
/// Where in it the status stands.
pub const STATUS_OFFSET: u64 = 16;
/// Length of the copy of the length at the end of a transaction.
pub const TRAILER_LEN: u64 = 8;
/// Length of a data record's header.
pub const DATA_HEADER_LEN: u64 = 42;
/// The longest user name, description or extension.
pub const META_MAX: usize = 65_535;
