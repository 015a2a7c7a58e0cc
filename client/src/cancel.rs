//! Waits that another thread can end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// Ends waits: those that are under way, and all later ones, until it is reset.
#[derive(Clone, Debug)]
pub(crate) struct Cancel(Arc<OwnedFd>);

/// Whatever may end a wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancels(Vec<Cancel>);

/// How a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Ready,
    TimeOver,
    Cancelled,
}

impl Cancel {
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(Arc::new(eventfd(0, flags)?)))
    }

    pub fn cancel(&self) {
        // It fails only if it was done 2^64 times.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }

    pub fn is_cancelled(&self) -> bool {
        let waited = Cancels::new(vec![self.clone()]).pause(Instant::now());
        matches!(waited, Ok(Waited::Cancelled))
    }

    /// Waits are waits again.
    pub fn reset(&self) {
        // Nothing to read: then it is reset already.
        let _ = rustix::io::read(&*self.0, &mut [0; 8]);
    }
}

impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Cancels {
    pub fn new(all: Vec<Cancel>) -> Self {
        Self(all)
    }

    /// Waits until this can be written to, or has failed.
    pub fn wait_for_room(&self, socket: &impl AsFd, until: Instant) -> io::Result<Waited> {
        self.wait(Some((socket.as_fd(), PollFlags::OUT)), Some(until))
    }

    /// Waits for nothing.
    pub fn pause(&self, until: Instant) -> io::Result<Waited> {
        self.wait(None, Some(until))
    }

    /// Waits for `socket`; for ever if there is no `until`.
    pub fn wait(
        &self,
        socket: Option<(BorrowedFd<'_>, PollFlags)>,
        until: Option<Instant>,
    ) -> io::Result<Waited> {
        Ok(self.wait_for(socket, until)?.0)
    }

    /// The same; also what was found.
    pub fn wait_for(
        &self,
        socket: Option<(BorrowedFd<'_>, PollFlags)>,
        until: Option<Instant>,
    ) -> io::Result<(Waited, PollFlags)> {
        let mut watched: Vec<PollFd<'_>> = { self.0.iter() }
            .map(|cancel| PollFd::new(cancel, PollFlags::IN))
            .collect();
        if let Some((socket, flags)) = socket {
            watched.push(PollFd::from_borrowed_fd(socket, flags));
        }
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            // One that is too long to be told to the system is as good as none.
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut watched, timeout.as_ref()) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(why) => return Err(why.into()),
            }
            let (cancels, sockets) = watched.split_at(self.0.len());
            if cancels.iter().any(|cancel| !cancel.revents().is_empty()) {
                return Ok((Waited::Cancelled, PollFlags::empty()));
            }
            if let Some(socket) = sockets.first()
                && !socket.revents().is_empty()
            {
                return Ok((Waited::Ready, socket.revents()));
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Ok((Waited::TimeOver, PollFlags::empty()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wait_ends_when_it_is_cancelled() {
        let (one, _other) = UnixStream::pair().unwrap();
        let cancel = Cancel::new().unwrap();
        let cancels = Cancels::new(vec![cancel.clone()]);
        let far = Some(Instant::now() + Duration::from_secs(600));
        let (reading, writing) = (PollFlags::IN, PollFlags::OUT);
        let wait = |flags| cancels.wait(Some((one.as_fd(), flags)), far).unwrap();
        assert_eq!(wait(writing), Waited::Ready);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(reading));
            cancel.cancel();
            assert_eq!(waiting.join().unwrap(), Waited::Cancelled);
        });
        assert_eq!(wait(writing), Waited::Cancelled);
        cancel.reset();
        assert_eq!(wait(writing), Waited::Ready);
        assert_eq!(cancels.pause(Instant::now()).unwrap(), Waited::TimeOver);
    }
}
