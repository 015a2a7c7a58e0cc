//! What is to be sent to a client, in order.

use std::collections::VecDeque;

use zeo_storage::storage::OpenData;

/// A buffer larger than this is given back when it is empty.
const KEPT_BYTES: usize = 64 * 1024;
/// So much of a record that is not read yet is read at a time: what Python's asyncio takes from a socket at
/// once. ZEO's client copies all that it has for each part that comes, so smaller ones take it longer.
const PIECE_BYTES: usize = 256 * 1024;

/// What is to be sent to a client: whole messages in the order in which it must get them. Only the
/// first may be sent in part. A large record stands in it as what it was read into, or is read from
/// its file in pieces, each when all before is sent; so it is never here twice, and most often never
/// whole.
#[derive(Debug, Default)]
pub struct Output {
    /// What is sent next.
    bytes: Vec<u8>,
    /// So many of them are sent.
    sent: usize,
    /// What comes behind them.
    behind: VecDeque<Record>,
}

/// A large record.
#[derive(Debug)]
struct Record {
    /// As far as it does not stand in [`Output::bytes`] yet.
    data: Option<OpenData>,
    /// What comes behind it.
    after: Vec<u8>,
}

impl Record {
    fn len(&self) -> usize {
        self.data.as_ref().map_or(0, OpenData::len) + self.after.len()
    }
}

impl Output {
    /// How many bytes are to be sent.
    pub fn len(&self) -> usize {
        let behind = self.behind.iter().map(Record::len);
        behind.fold(self.bytes.len() - self.sent, usize::saturating_add)
    }

    /// True when all is sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// To append messages to.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        match self.behind.back_mut() {
            Some(last) => &mut last.after,
            None => &mut self.bytes,
        }
    }

    /// Puts a record where it belongs in what was appended to [`Self::buffer`]: before the byte at
    /// `place` there.
    pub fn insert(&mut self, place: usize, data: OpenData) {
        let buffer = self.buffer();
        let after = buffer.split_off(place.min(buffer.len()));
        let data = Some(data);
        self.behind.push_back(Record { data, after });
    }

    /// What is to be sent next; nothing when all is sent. It stays, and may become longer, until
    /// [`Self::advance`] takes it.
    ///
    /// # Errors
    /// The next piece of a record can't be read. A part of its message is sent: only the end of the
    /// connection can tell the client.
    pub fn next(&mut self) -> zeo_storage::Result<&[u8]> {
        while self.sent == self.bytes.len()
            && let Some(record) = self.behind.front_mut()
        {
            match record.data.take() {
                Some(OpenData::Read(data)) => (self.bytes, self.sent) = data.into_buffer(),
                Some(OpenData::Unread(mut unread)) => {
                    self.bytes.clear();
                    self.sent = 0;
                    let read = unread.read(&mut self.bytes, PIECE_BYTES);
                    record.data = (!unread.is_empty()).then_some(OpenData::Unread(unread));
                    read?;
                }
                None => {
                    self.bytes = std::mem::take(&mut record.after);
                    self.sent = 0;
                    self.behind.pop_front();
                }
            }
        }
        Ok(self.bytes.get(self.sent..).unwrap_or_default())
    }

    /// So many bytes of [`Self::next`] are sent.
    pub fn advance(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.sent = 0;
            self.behind = VecDeque::new();
            if self.bytes.capacity() > KEPT_BYTES {
                self.bytes = Vec::new();
            }
        }
    }

    /// The memory that it takes when all is sent, in bytes.
    pub fn room(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives back all memory, if all is sent.
    pub fn trim(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Gives back the room of what is sent, where more may come behind what is not.
    pub fn settle(&mut self) {
        if self.behind.is_empty() && self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
impl Output {
    /// Takes what comes behind the first `length` bytes.
    pub(crate) fn split_off(&mut self, length: usize) -> Self {
        let mut all = Vec::new();
        while !self.is_empty() {
            let next = self.next().unwrap();
            all.extend_from_slice(next);
            let count = next.len();
            self.advance(count);
        }
        let bytes = all.split_off(length);
        self.bytes = all;
        Self {
            bytes,
            ..Self::default()
        }
    }

    /// Adds what [`Self::split_off`] has taken.
    pub(crate) fn append(&mut self, other: Self) {
        self.buffer().extend(other.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zeo_proto::Oid;
    use zeo_storage::Error;
    use zeo_storage::backend::{Backend, MemoryBackend};
    use zeo_storage::storage::{Data, Unread};

    use super::*;

    /// `length` bytes of a file of `size`.
    fn unread(size: usize, length: usize) -> (Vec<u8>, OpenData) {
        let contents: Vec<u8> = (0..size).map(|at| (at / 3) as u8).collect();
        let file = Arc::new(MemoryBackend::default());
        file.write_all_at(&contents, 3).unwrap();
        let unread = Unread::new(file, Oid::ZERO, 3, length);
        (contents, OpenData::Unread(unread))
    }

    #[test]
    fn records_stand_between_what_comes_before_and_behind() {
        for step in [1000, PIECE_BYTES, usize::MAX] {
            let (contents, record) = unread(3 * PIECE_BYTES + 7, 3 * PIECE_BYTES + 7);
            let mut output = Output::default();
            output.buffer().extend(b"one<>two[]");
            output.insert(4, record);
            output.insert(5, OpenData::Read(Data::new(b"header, data".to_vec(), 8)));
            output.buffer().extend(b"end");
            let expected = [b"one<", &*contents, b">two[data]end"].concat();
            assert_eq!(output.len(), expected.len());
            let mut sent = Vec::new();
            while !output.is_empty() {
                let next = output.next().unwrap();
                let count = next.len().min(step);
                sent.extend_from_slice(&next[..count]);
                output.advance(count);
                output.settle();
                assert_eq!(output.len(), expected.len() - sent.len());
                assert!(
                    output.bytes.capacity() <= PIECE_BYTES,
                    "it stands here whole"
                );
            }
            assert!(sent == expected, "in steps of {step}");
        }
    }

    #[test]
    fn a_record_in_memory_is_sent_from_where_it_is() {
        let buffer = vec![7; PIECE_BYTES];
        let place = buffer.as_ptr();
        let mut output = Output::default();
        output.insert(0, OpenData::Read(Data::new(buffer, 0)));
        assert_eq!(output.next().unwrap().as_ptr(), place);
        output.advance(PIECE_BYTES);
        assert_eq!((output.len(), output.bytes.capacity()), (0, 0));
    }

    #[test]
    fn pieces_are_as_large_as_what_a_python_client_takes_at_once() {
        let (_, record) = unread(1 << 20, 1 << 20);
        let mut output = Output::default();
        output.insert(0, record);
        // `max_size` of asyncio's transports.
        assert!(output.next().unwrap().len() >= 256 * 1024);
    }

    #[test]
    fn a_file_that_has_become_shorter_ends_the_output_with_an_error() {
        let (contents, record) = unread(PIECE_BYTES + 7, PIECE_BYTES + 8);
        let mut output = Output::default();
        output.buffer().extend(b"<>");
        output.insert(1, record);
        output.advance(1);
        assert!(output.next().unwrap() == &contents[..PIECE_BYTES]);
        output.advance(PIECE_BYTES);
        for _ in 0..2 {
            let next = output.next();
            assert!(matches!(next, Err(Error::Corrupt { .. })), "{next:?}");
        }
    }
}
