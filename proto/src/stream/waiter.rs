//! Waiting for a stream and for a wake descriptor at once.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// What has become ready since the last wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// There may be something to read: bytes, the end, or an error.
    pub read: bool,
    /// There is room to write.
    pub write: bool,
    /// The wake descriptor was written to.
    pub woken: bool,
    /// The peer sends no more. It may still read.
    pub ended: bool,
    /// Nothing can be sent any more either.
    pub gone: bool,
}

/// Waits for a stream and for a wake descriptor at once.
///
/// Both are entered once, edge-triggered: a wait costs one system call that
/// names neither of them, and the wake descriptor is never read. So whoever
/// waits has to remember what it was told ([`super::Stream::note`]): the stream is
/// ready until a read (or a write) has found that it is not.
#[derive(Debug)]
pub struct Waiter(OwnedFd);

const STREAM: u64 = 0;
const WAKE: u64 = 1;

impl Waiter {
    /// A waiter for these two, which must not be closed before it.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new(stream: &impl AsFd, wake: BorrowedFd<'_>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let edge = EventFlags::ET;
        let any = EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT;
        epoll::add(&epoll, stream, EventData::new_u64(STREAM), any | edge)?;
        let wake_events = EventFlags::IN | edge;
        epoll::add(&epoll, wake, EventData::new_u64(WAKE), wake_events)?;
        Ok(Self(epoll))
    }

    /// Waits until something has become ready, or so long; for ever without
    /// a timeout. With one of zero this is only a look.
    ///
    /// # Errors
    /// The system can't wait.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Ready> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 2];
        // One that is too long to be told to the system is as good as none.
        let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
        let mut ready = Ready::default();
        let found = match epoll::wait(&self.0, &mut events, timeout.as_ref()) {
            Ok((found, _)) => found,
            Err(rustix::io::Errno::INTR) => return Ok(ready),
            Err(error) => return Err(error.into()),
        };
        for event in found {
            if event.data.u64() == WAKE {
                ready.woken = true;
                continue;
            }
            let flags = event.flags;
            ready.gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            ready.ended = ready.gone || flags.contains(EventFlags::RDHUP);
            ready.read = ready.ended || flags.contains(EventFlags::IN);
            ready.write = flags.contains(EventFlags::OUT);
        }
        Ok(ready)
    }
}
