//! Why a record can't be read or written.

use std::io;

use zeo_proto::pickle;

use super::MAX_DEPTH;

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// One of its two pickles is broken, missing, or has what can't be kept as it is.
    #[error("the record can't be read: {0}")]
    Pickle(#[from] pickle::Error),
    /// It begins as a record that `zc.zlibstorage` compressed, and is none.
    #[error("the record can't be decompressed: {0}")]
    Compressed(#[from] io::Error),
    /// Values are nested too deep.
    #[error("the record can't be read: values are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// More values than a record may have.
    #[error("the record can't be read: it has more than {0} values")]
    TooLarge(usize),
}

/// Why a record can't be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Pickles have nothing for one of the values.
    #[error("the record can't be written: {0}")]
    Pickle(#[from] pickle::EncodeError),
    /// Values are nested too deep, or contain themselves by other ways than [`super::Shared`].
    #[error("the record can't be written: values are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A place within a value ([`super::Shared`]) that is gone: it was moved out of it, and the
    /// value dropped.
    #[error("the record can't be written: a part refers to a value around it that is gone")]
    Gone,
    /// An extension code or the arguments of a call are of a wrong kind.
    #[error("the record can't be written: {0}")]
    Wrong(&'static str),
}

/// Why a state is not one of a type of Rust, or the other way round.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TypeError(String);

impl serde::de::Error for TypeError {
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

impl serde::ser::Error for TypeError {
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }
}
