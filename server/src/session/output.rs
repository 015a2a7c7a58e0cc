//! What is to be sent to a client, in order.

/// A buffer larger than this is given back when it is empty.
const KEPT_BYTES: usize = 64 * 1024;

/// What is to be sent to a client: whole messages in the order in which it must get them. Only the
/// first may be sent in part.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// So many of them are sent.
    sent: usize,
}

impl Output {
    /// How many bytes are to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// True when all is sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// To append messages to.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is to be sent next; nothing when all is sent. It stays, and may become longer, until
    /// [`Self::advance`] takes it.
    pub fn next(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// So many bytes of [`Self::next`] are sent.
    pub fn advance(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.sent = 0;
            if self.bytes.capacity() > KEPT_BYTES {
                self.bytes = Vec::new();
            }
        }
    }

    /// Gives back the room of what is sent, before more comes behind what is not.
    pub fn settle(&mut self) {
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Takes what comes behind the first `length` bytes.
    #[cfg(test)]
    pub(crate) fn split_off(&mut self, length: usize) -> Self {
        let bytes = self.bytes.split_off(self.sent + length);
        Self { bytes, sent: 0 }
    }

    /// Adds what [`Self::split_off`] has taken.
    #[cfg(test)]
    pub(crate) fn append(&mut self, other: Self) {
        self.bytes.extend(other.bytes);
    }
}
