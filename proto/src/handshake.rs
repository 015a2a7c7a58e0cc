//! The greeting: the server says which encoding and version it speaks, the
//! client says the same, and messages follow (ZEO `asyncio.base`,
//! `asyncio.server`).

use crate::marshal::Encoding;

/// What a client may answer to the greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    /// It goes on in this encoding. (Python's server takes either letter,
    /// whichever it has offered, and so do we.)
    Speak(Encoding),
    /// It is no client but asks for the state of the server: `ruok`.
    Probe,
}

/// The frame that the server sends first.
pub fn greeting(encoding: Encoding) -> &'static [u8] {
    match encoding {
        Encoding::Pickle => b"Z5",
        Encoding::Msgpack => b"M5",
    }
}

/// What the client's first frame says; `None` for anything unknown.
pub fn answer(frame: &[u8]) -> Option<Hello> {
    match frame {
        b"Z5" => Some(Hello::Speak(Encoding::Pickle)),
        b"M5" => Some(Hello::Speak(Encoding::Msgpack)),
        b"ruok" => Some(Hello::Probe),
        _ => None,
    }
}
