//! A session's socket, as others write notices to it while they have the session's token.

use std::io::Write;
use std::sync::Arc;

use zeo_proto::marshal::Encoding;

use crate::messages::event::Event;
use crate::messages::notice::Notice;

/// The most bytes that are sent for a session at once; more are its own work. (An invalidation of
/// 5,000 objects takes 55 kB.)
const MAX_BYTES: usize = 64 << 10;

/// A socket that is lent.
pub(super) struct Outlet {
    /// Its writes don't wait.
    socket: Box<dyn Write + Send>,
    encoding: Encoding,
}

/// What whoever writes leaves to the session: first these bytes, then this event.
#[derive(Default)]
pub(super) struct Left {
    pub bytes: Vec<u8>,
    pub event: Option<Event>,
    /// There are more events in the mailbox.
    more: bool,
}

impl Left {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.event.is_none() && !self.more
    }

    /// The next event, if anybody may send it.
    fn notice(&mut self, next: &mut impl FnMut() -> Option<Event>) -> Option<Arc<Notice>> {
        match next()? {
            Event::Notice(notice) if notice.weight() <= MAX_BYTES => Some(notice),
            other => {
                self.event = Some(other);
                None
            }
        }
    }
}

impl Outlet {
    pub fn new(socket: Box<dyn Write + Send>, encoding: Encoding) -> Self {
        Self { socket, encoding }
    }

    /// Sends the notices that come next, with one write.
    pub fn send(&mut self, mut next: impl FnMut() -> Option<Event>) -> Left {
        let mut left = Left::default();
        let Some(first) = left.notice(&mut next) else {
            return left;
        };
        let frame = first.frame(self.encoding);
        let Some(second) = left.notice(&mut next) else {
            self.write(frame, &mut left);
            return left;
        };
        let mut frames = [frame, second.frame(self.encoding)].concat();
        while frames.len() < MAX_BYTES {
            let Some(notice) = left.notice(&mut next) else {
                break;
            };
            frames.extend_from_slice(notice.frame(self.encoding));
        }
        left.more = frames.len() >= MAX_BYTES;
        self.write(&frames, &mut left);
        left
    }

    fn write(&mut self, bytes: &[u8], left: &mut Left) {
        // The session will meet the error as well.
        let sent = self.socket.write(bytes).unwrap_or(0);
        left.bytes
            .extend_from_slice(bytes.get(sent..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use zeo_proto::{Oid, Tid};

    use super::*;

    /// Takes so many bytes, and then no more.
    struct Narrow(Arc<Mutex<Vec<u8>>>, usize);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.1);
            self.1 -= count;
            self.0.lock().unwrap().extend_from_slice(&bytes[..count]);
            match count {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                count => Ok(count),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sent(events: Vec<Event>, room: usize) -> (Vec<u8>, Left) {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let socket = Box::new(Narrow(Arc::clone(&taken), room));
        let mut events = events.into_iter();
        let left = Outlet::new(socket, Encoding::Msgpack).send(|| events.next());
        let taken = taken.lock().unwrap().clone();
        (taken, left)
    }

    fn invalidation(oids: usize) -> (Event, Vec<u8>) {
        let notice = Arc::new(Notice::invalidate(Tid::MAX, &vec![Oid::ZERO; oids]));
        let frame = notice.frame(Encoding::Msgpack).to_vec();
        (Event::Notice(notice), frame)
    }

    #[test]
    fn what_does_not_go_at_once_is_left_in_order() {
        let all: Vec<u8> = [invalidation(1).1, invalidation(2).1, invalidation(3).1].concat();
        for room in [0, 1, 40, all.len() - 1, all.len()] {
            let events = (1..=3).map(|oids| invalidation(oids).0).collect();
            let (taken, left) = sent(events, room);
            assert_eq!([taken, left.bytes.clone()].concat(), all);
            assert_eq!(left.is_empty(), room == all.len());
        }
        assert!(sent(vec![], 0).1.is_empty());
    }

    #[test]
    fn the_sessions_own_events_and_large_ones_are_left_to_it() {
        let (first, frame) = invalidation(1);
        let (taken, left) = sent(vec![first, Event::Finished(Tid::MAX)], usize::MAX);
        assert_eq!(taken, frame);
        assert!(matches!(left.event, Some(Event::Finished(Tid::MAX))) && left.bytes.is_empty());
        let (taken, left) = sent(vec![invalidation(MAX_BYTES).0], usize::MAX);
        assert!(taken.is_empty() && matches!(left.event, Some(Event::Notice(_))));
        let many = (0..100).map(|_| invalidation(1000).0).collect();
        let (taken, left) = sent(many, usize::MAX);
        assert!(taken.len() < 2 * MAX_BYTES && !left.is_empty());
    }
}
