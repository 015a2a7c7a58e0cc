//! Progress and cancelling of work that takes long: backups, copies, checks.

use crate::Error;
use crate::log::Level;

/// Whoever watches work at its progress, and may cancel it.
///
/// All calls come from the thread that called the work, one at a time, also
/// when the work uses several threads: so an observer need be neither `Send`
/// nor `Sync`. [`Observer::set`] is called for each record or transaction, or
/// each piece of 256 KiB that was copied, which can be some hundred thousand
/// times a second: it must be cheap. Between two calls may lie the copy of a
/// blob, or a sync of all that was written.
///
/// `()` is the observer that does nothing.
pub trait Observer {
    /// A phase begins, and the one before has ended: `doing` is as "reading",
    /// `total` is the number of bytes that it goes over, if that is known.
    fn begin(&mut self, doing: &'static str, total: Option<u64>);

    /// So many bytes of the phase are done.
    ///
    /// # Errors
    ///
    /// When the work is to stop. It fails then with [`Error::Cancelled`], and
    /// leaves behind what its documentation says.
    fn set(&mut self, done: u64) -> Result<(), Cancelled>;

    /// Tells a line for people: at [`Level::Info`] a step that was taken, at
    /// [`Level::Warning`] something that could not be done, while the rest
    /// goes on.
    fn say(&mut self, level: Level, line: &str);
}

/// An [`Observer`] wants the work to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Error::Cancelled
    }
}

impl Observer for () {
    fn begin(&mut self, _doing: &'static str, _total: Option<u64>) {}

    fn set(&mut self, _done: u64) -> Result<(), Cancelled> {
        Ok(())
    }

    fn say(&mut self, _level: Level, _line: &str) {}
}
