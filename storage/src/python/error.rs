//! Why an operation on Python's values has no answer.

/// What Python would raise, or work without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Values whose comparison raises in Python.
    #[error("values can't be compared: {0}")]
    Incomparable(&'static str),
    /// More work than the size of the records allows for.
    #[error("the records are too large to compare")]
    TooMuch,
}
