//! Where a storage's messages go: this crate depends on no logger.

use std::sync::Arc;

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Progress, and decisions that need no action.
    Info,
    /// Something is not as it should be, and was dealt with.
    Warning,
    /// Someone should look at it.
    Error,
}

/// Takes the messages of a storage. May be called from any thread.
pub type Log = Arc<dyn Fn(Level, &str) + Send + Sync>;

/// A log that keeps nothing.
pub fn silent() -> Log {
    Arc::new(|_, _| {})
}
