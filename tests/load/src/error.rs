//! What can go wrong while a server is driven.

use std::io;

use zeo_proto::Exception;

use crate::witness::Evidence;

/// Why a run has ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The server answered a call with an exception.
    #[error("the server answers {call} with {exception}")]
    Refused {
        /// The method.
        call: String,
        /// What it raised.
        exception: Box<Exception>,
    },
    /// The server sent what the protocol does not allow.
    #[error("the server does not keep to the protocol: {0}")]
    Protocol(String),
    /// A wrong option.
    #[error("{0}")]
    Usage(String),
    /// A rule of order or consistency is broken.
    #[error("{0}")]
    Violation(Box<Evidence>),
}

/// The result of whatever talks to a server.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of the system while doing `what`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    /// Whether this is a conflict, after which a client tries again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Refused { exception, .. } if exception.class().ends_with("ConflictError"))
    }
}
