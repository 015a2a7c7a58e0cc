//! The input of the machine: every read is checked against what is left.

use super::error::{Error, Problem};

/// The bytes of a pickle and how far they were read.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Where the current opcode stands, for errors.
    pub(super) opcode_at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader {
            bytes,
            position: 0,
            opcode_at: 0,
        }
    }

    /// How many bytes were read.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The error that this problem is at the current opcode.
    #[cold]
    pub(super) fn error(&self, problem: Problem) -> Error {
        Error {
            at: self.opcode_at,
            problem,
        }
    }

    #[cold]
    fn truncated(&self, needed: usize) -> Error {
        self.error(Problem::Truncated {
            needed,
            left: self.left(),
        })
    }

    /// The next opcode.
    #[inline]
    pub(super) fn opcode(&mut self) -> Result<u8, Error> {
        self.opcode_at = self.position;
        self.u8()
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        match self.bytes.get(self.position) {
            Some(&byte) => {
                self.position += 1;
                Ok(byte)
            }
            None => Err(self.truncated(1)),
        }
    }

    /// The next bytes, as many as asked for.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        match rest.get(..length) {
            Some(taken) => {
                self.position += length;
                Ok(taken)
            }
            None => Err(self.truncated(length)),
        }
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        match self
            .bytes
            .get(self.position..)
            .and_then(<[u8]>::first_chunk)
        {
            Some(array) => {
                self.position += N;
                Ok(*array)
            }
            None => Err(self.truncated(N)),
        }
    }

    /// Bytes after their length in 1 byte.
    pub(super) fn counted1(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Bytes after their length in 4 bytes, little-endian and unsigned.
    pub(super) fn counted4(&mut self) -> Result<&'a [u8], Error> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Bytes after their length in 8 bytes, little-endian and unsigned.
    pub(super) fn counted8(&mut self) -> Result<&'a [u8], Error> {
        let length = u64::from_le_bytes(self.array()?);
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The bytes up to the next newline, which is read too.
    pub(super) fn line(&mut self) -> Result<&'a [u8], Error> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(self.truncated(rest.len().saturating_add(1)));
        };
        self.position += length + 1;
        Ok(rest.get(..length).unwrap_or_default())
    }

    /// A line that is UTF-8.
    pub(super) fn text_line(&mut self, what: &'static str) -> Result<&'a str, Error> {
        let line = self.line()?;
        self.utf8(line, what)
    }

    /// These bytes as UTF-8. Lone surrogates, which Python lets pass, are
    /// refused like any other bad text.
    pub(super) fn utf8(&self, bytes: &'a [u8], what: &'static str) -> Result<&'a str, Error> {
        std::str::from_utf8(bytes).map_err(|_| self.error(Problem::Text(what)))
    }
}
