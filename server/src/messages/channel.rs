//! How others reach a thread that does nothing else than wait for them:
//! crossbeam's channel, with another way of waiting.
//!
//! crossbeam's receivers spin and yield before they sleep. Between two steps
//! of a commit lies a sync or a round trip to a client, which no spinning
//! bridges; it only keeps the processor from those who work. Here a receiver
//! that finds nothing sleeps at once.

use std::time::Instant;

pub use crossbeam_channel::{
    Receiver as Queue, RecvTimeoutError, SendError, TryRecvError, TrySendError,
};
use crossbeam_utils::sync::{Parker, Unparker};

/// The end that others send to. Clones send to the same receiver.
#[derive(Debug)]
pub struct Sender<T> {
    // Before the waker: whoever is the last one to go wakes the receiver
    // when that can see it.
    queue: crossbeam_channel::Sender<T>,
    waker: Waker,
}

#[derive(Debug, Clone)]
struct Waker(Unparker);

impl Drop for Waker {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

/// The end of the thread that waits.
#[derive(Debug)]
pub struct Receiver<T> {
    queue: crossbeam_channel::Receiver<T>,
    parker: Parker,
}

/// A channel without a limit.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    over(crossbeam_channel::unbounded())
}

/// A channel for up to `capacity` values; senders wait for room.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    over(crossbeam_channel::bounded(capacity))
}

fn over<T>(
    (sender, receiver): (crossbeam_channel::Sender<T>, crossbeam_channel::Receiver<T>),
) -> (Sender<T>, Receiver<T>) {
    let parker = Parker::new();
    let waker = Waker(parker.unparker().clone());
    let sender = Sender {
        queue: sender,
        waker,
    };
    let receiver = Receiver {
        queue: receiver,
        parker,
    };
    (sender, receiver)
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            waker: self.waker.clone(),
        }
    }
}

impl<T> Sender<T> {
    /// Sends, and wakes the receiver if it sleeps.
    ///
    /// # Errors
    /// The receiver is gone.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.queue.send(value)?;
        self.waker.0.unpark();
        Ok(())
    }

    /// Sends, for who looks after the value himself or calls [`Self::wake`] then.
    ///
    /// # Errors
    /// The receiver is gone.
    pub fn send_quietly(&self, value: T) -> Result<(), SendError<T>> {
        self.queue.send(value)
    }

    /// Wakes the receiver if it sleeps.
    pub fn wake(&self) {
        self.waker.0.unpark();
    }

    /// Sends, unless the channel is full, and wakes the receiver if it sleeps.
    ///
    /// # Errors
    /// The channel is full, or the receiver is gone.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.queue.try_send(value)?;
        self.waker.0.unpark();
        Ok(())
    }

    /// How many values wait for the receiver.
    pub fn len(&self) -> usize {
        self.queue.len()
    }
}

impl<T> Receiver<T> {
    /// Waits for the next value, until `deadline` if there is one.
    ///
    /// # Errors
    /// The deadline has passed, or all senders are gone.
    pub fn recv(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        loop {
            match self.queue.try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            match deadline {
                None => self.parker.park(),
                Some(deadline) if Instant::now() < deadline => self.parker.park_deadline(deadline),
                Some(_) => return Err(RecvTimeoutError::Timeout),
            }
        }
    }

    /// The next value, if it is there.
    pub fn try_recv(&self) -> Option<T> {
        self.queue.try_recv().ok()
    }

    /// The queue, and what its senders wake: for a receiver that is more than one thread.
    pub fn split(self) -> (Queue<T>, Parker) {
        (self.queue, self.parker)
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn everything_arrives_in_order_and_the_end_too() {
        let (sender, receiver) = bounded(3);
        let other = sender.clone();
        let last = thread::scope(|scope| {
            scope.spawn(move || (0..20_000).for_each(|n| sender.send((0, n)).unwrap()));
            scope.spawn(move || (0..20_000).for_each(|n| other.send((1, n)).unwrap()));
            let mut next = [0, 0];
            while let Ok((who, n)) = receiver.recv(None) {
                assert_eq!(n, std::mem::replace(&mut next[who], n + 1));
            }
            next
        });
        assert_eq!(last, [20_000, 20_000]);
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        let (sender, receiver) = unbounded::<()>();
        let soon = Some(Instant::now() + Duration::from_millis(5));
        assert_eq!(receiver.recv(soon), Err(RecvTimeoutError::Timeout));
        assert_eq!(receiver.recv(soon), Err(RecvTimeoutError::Timeout));
        drop(receiver);
        assert!(sender.send(()).is_err());
    }
}
