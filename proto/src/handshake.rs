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

/// The frame that the server sends first, and that the client answers with.
pub fn greeting(encoding: Encoding) -> &'static [u8] {
    match encoding {
        Encoding::Pickle => b"Z5",
        Encoding::Msgpack => b"M5",
    }
}

/// The encoding that a server announces, if it speaks version 5: as Python's
/// client does it, the client answers with version 5 to any that is not lower.
pub fn announced(frame: &[u8]) -> Option<Encoding> {
    let (letter, version) = frame.split_first()?;
    match letter {
        b'Z' if version >= b"5" => Some(Encoding::Pickle),
        b'M' if version >= b"5" => Some(Encoding::Msgpack),
        _ => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_version_5_are_understood() {
        for (frame, encoding) in [
            (&b"Z5"[..], Some(Encoding::Pickle)),
            (b"M5", Some(Encoding::Msgpack)),
            (b"Z6", Some(Encoding::Pickle)),
            (b"Z4", None),
            (b"Z310", None),
            (b"X5", None),
            (b"Z", None),
            (b"", None),
        ] {
            assert_eq!(announced(frame), encoding, "{frame:?}");
        }
        for encoding in [Encoding::Pickle, Encoding::Msgpack] {
            assert_eq!(announced(greeting(encoding)), Some(encoding));
            assert_eq!(answer(greeting(encoding)), Some(Hello::Speak(encoding)));
        }
    }
}
