//! What has come of a client's requests and is not answered yet, and the memory that it takes.

use std::io;
use std::time::{Duration, Instant};

use zeo_proto::framing::FrameBuffer;

use crate::usage::Share;

/// A buffer up to this size is not counted, so that whoever takes the memory for messages does not
/// keep others from sending usual ones.
const UNCOUNTED_BYTES: usize = 1 << 20;
/// A message that takes memory from others comes at least so fast: so many bytes in so long.
const PROGRESS_BYTES: usize = 64 * 1024;
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Input {
    pub buffer: FrameBuffer,
    /// What the buffer takes, of what there is for all clients.
    memory: Share,
    /// Until when so much of a large message must be there.
    progress: Option<(Instant, usize)>,
}

impl Input {
    pub fn new(limit: usize, memory: Share) -> Self {
        Self {
            buffer: FrameBuffer::new(limit),
            memory,
            progress: None,
        }
    }

    /// Drops the first frame.
    pub fn consume(&mut self, length: usize) {
        self.buffer.consume(length);
        self.progress = None;
    }

    /// Takes the memory for what is there.
    ///
    /// # Errors
    /// There is not enough of it.
    pub fn take_memory(&mut self) -> io::Result<()> {
        self.take(self.buffer.allocated())
    }

    /// Takes the memory for what is there after the next read.
    ///
    /// # Errors
    /// There is not enough of it.
    pub fn take_memory_to_read(&mut self) -> io::Result<()> {
        self.take(self.buffer.allocated_next())
    }

    fn take(&mut self, size: usize) -> io::Result<()> {
        let counted = if size > UNCOUNTED_BYTES { size } else { 0 };
        if self.memory.resize(counted as u64) {
            return Ok(());
        }
        let what = format!(
            "its message does not fit into the {} bytes for messages and uncommitted data of all \
             clients (--max-buffer-memory)",
            self.memory.limit()
        );
        Err(io::Error::new(io::ErrorKind::OutOfMemory, what))
    }

    /// Until when there must be more of a message that is waited for and takes memory from others;
    /// `None` if there is no such message.
    pub fn deadline(&mut self) -> Option<Instant> {
        let buffered = self.buffer.buffered();
        let is_half = buffered > 0 && matches!(self.buffer.frame(), Ok(None));
        if !is_half || self.buffer.allocated() <= UNCOUNTED_BYTES {
            self.progress = None;
            return None;
        }
        let begun = self.progress.filter(|(_, least)| buffered < *least);
        let next = || (Instant::now() + PROGRESS_TIMEOUT, buffered + PROGRESS_BYTES);
        let (deadline, least) = begun.unwrap_or_else(next);
        self.progress = Some((deadline, least));
        Some(deadline)
    }
}

/// Why a client is closed whose message has missed its deadline.
pub(super) fn too_slow() -> io::Error {
    let seconds = PROGRESS_TIMEOUT.as_secs();
    let what = format!(
        "its message comes too slowly: less than {PROGRESS_BYTES} bytes in {seconds} seconds"
    );
    io::Error::new(io::ErrorKind::TimedOut, what)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::usage::{Resource, Usage};

    fn fill(input: &mut Input, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut read = |space: &mut [u8]| {
                let count = space.len().min(rest.len());
                space[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                Ok(count)
            };
            input.take_memory_to_read().unwrap();
            input.buffer.fill(&mut read).unwrap();
        }
    }

    #[test]
    fn only_large_messages_must_come_quickly() {
        let usage = Arc::new(Usage::default());
        let mut input = Input::new(1 << 24, usage.share(Resource::Memory, 1 << 30));
        assert_eq!(input.deadline(), None);
        fill(&mut input, &(1_u32 << 22).to_be_bytes());
        fill(&mut input, &vec![0; 1000]);
        assert_eq!(input.deadline(), None, "it is small so far");
        fill(&mut input, &vec![0; (1 << 21) - 1000]);
        let first = input.deadline();
        assert!(first.is_some_and(|deadline| deadline > Instant::now()));
        fill(&mut input, &vec![0; PROGRESS_BYTES - 1]);
        assert_eq!(input.deadline(), first, "that is too little");
        fill(&mut input, &[0]);
        assert!(input.deadline() > first);
        fill(&mut input, &vec![0; (1 << 21) - PROGRESS_BYTES]);
        assert_eq!(
            input.deadline(),
            None,
            "it is complete: it waits for others"
        );
        input.consume(1 << 22);
        input.take_memory().unwrap();
        assert_eq!((input.deadline(), usage.used(Resource::Memory)), (None, 0));
    }
}
