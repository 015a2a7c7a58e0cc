//! Whether a session sleeps, and who may write to its socket: one word, so that the two never
//! contradict each other. Its states, and who changes them, are in `THREADS.md`.

use std::sync::atomic::{AtomicU8, Ordering};

/// Something was posted that only the session can deal with, since it looked last.
const NEWS: u8 = 1;
/// Notices were posted, which others may send as well.
const NOTICES: u8 = 2;
/// The session waits for its descriptors, or is about to.
const ASLEEP: u8 = 4;
/// It has nothing to write meanwhile: who has posted may write to its socket.
const LENT: u8 = 8;
/// Somebody does that.
const WRITING: u8 = 16;
/// What was sent in part is left to the session.
const LEFT: u8 = 32;

/// The word.
#[derive(Debug, Default)]
pub(super) struct Token(AtomicU8);

/// What is to be done after something was posted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nothing: the session is awake, or whoever writes for it looks again.
    None,
    /// The session is to be woken.
    Wake,
    /// The caller has the token: he sends the notices, and gives it back.
    Write,
}

/// What is to be done when the token was given back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// Nothing.
    Done,
    /// The caller has it again: more notices were posted.
    Again,
    /// The session is to be woken.
    Wake,
}

impl Token {
    /// Something was posted.
    pub(super) fn announce(&self, is_notice: bool) {
        let news = if is_notice { NOTICES } else { NEWS };
        self.0.fetch_or(news, Ordering::AcqRel);
    }

    /// For the session: whether something was posted since [`Self::take_note`].
    pub(super) fn has_news(&self) -> bool {
        self.0.load(Ordering::Acquire) & (NEWS | NOTICES) != 0
    }

    /// For the session: it looks now at what was posted.
    pub(super) fn take_note(&self) {
        self.0.fetch_and(!(NEWS | NOTICES), Ordering::AcqRel);
    }

    /// For the session, which waits from now on, and lends its socket if it has nothing to write;
    /// false when there are news: then it is not to wait.
    pub(super) fn fall_asleep(&self, lends: bool) -> bool {
        let asleep = if lends { ASLEEP | LENT } else { ASLEEP };
        let (before, after) = (Ordering::AcqRel, Ordering::Relaxed);
        self.0.compare_exchange(0, asleep, before, after).is_ok()
    }

    /// For the session, which lends nothing any more; true when somebody is still writing: it has to
    /// wait for him.
    pub(super) fn wake_up(&self) -> bool {
        self.0.fetch_and(!(ASLEEP | LENT), Ordering::AcqRel) & WRITING != 0
    }

    /// For the session: whether something was left to it, which it takes now.
    pub(super) fn take_left(&self) -> bool {
        let is_left = self.0.load(Ordering::Acquire) & LEFT != 0;
        if is_left {
            self.0.fetch_and(!LEFT, Ordering::AcqRel);
        }
        is_left
    }

    /// Whether [`Self::claim`] may give the token.
    pub(super) fn is_lent(&self) -> bool {
        self.0.load(Ordering::Acquire) == NOTICES | ASLEEP | LENT
    }

    /// For who has posted; he gets the token only if he wants it.
    pub(super) fn claim(&self, wants: bool) -> Claim {
        self.change(|now| {
            if now & ASLEEP == 0 || now & (NEWS | NOTICES) == 0 || now & WRITING != 0 {
                return (now, Claim::None);
            }
            if wants && now == NOTICES | ASLEEP | LENT {
                return (ASLEEP | LENT | WRITING, Claim::Write);
            }
            (now & !(ASLEEP | LENT), Claim::Wake)
        })
    }

    /// For who has the token; `leaves` if the session has to go on.
    pub(super) fn give_back(&self, leaves: bool) -> Returned {
        let left = if leaves { LEFT | NOTICES } else { 0 };
        self.change(|now| {
            if now & ASLEEP == 0 {
                // It is waiting for this.
                return (now & !WRITING | left, Returned::Done);
            }
            match now & !(ASLEEP | LENT | WRITING) {
                0 if !leaves => (ASLEEP | LENT, Returned::Done),
                NOTICES if !leaves => (ASLEEP | LENT | WRITING, Returned::Again),
                news => (news | left, Returned::Wake),
            }
        })
    }

    fn change<T>(&self, next: impl Fn(u8) -> (u8, T)) -> T {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let (after, result) = next(now);
            if after == now {
                return result;
            }
            let (ok, failed) = (Ordering::AcqRel, Ordering::Acquire);
            match self.0.compare_exchange_weak(now, after, ok, failed) {
                Ok(_) => return result,
                Err(changed) => now = changed,
            }
        }
    }

    /// Whether somebody writes for the session.
    #[cfg(test)]
    pub(super) fn is_writing(&self) -> bool {
        self.0.load(Ordering::Acquire) & WRITING != 0
    }

    /// The session sleeps no more, and there are news.
    #[cfg(test)]
    pub(super) fn as_if_woken(&self) {
        self.0.store(NEWS, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sleeps_with_nothing_to_write_lends_its_socket_for_notices() {
        let token = Token::default();
        assert!(token.fall_asleep(true));
        assert_eq!(token.claim(true), Claim::None);
        token.announce(true);
        assert!(token.is_lent());
        assert_eq!(token.claim(true), Claim::Write);
        assert_eq!(token.claim(true), Claim::None, "one at a time");
        assert_eq!(token.give_back(false), Returned::Done);
        assert!(!token.has_news() && !token.wake_up());
    }

    #[test]
    fn everything_else_wakes_the_session() {
        for (lends, is_notice, wants) in [
            (false, true, true),
            (true, false, true),
            (true, true, false),
        ] {
            let token = Token::default();
            assert!(token.fall_asleep(lends));
            token.announce(is_notice);
            assert_eq!(token.claim(wants), Claim::Wake);
            assert_eq!(token.claim(wants), Claim::None, "once is enough");
            assert!(token.has_news() && !token.fall_asleep(true));
        }
    }

    #[test]
    fn what_is_posted_while_somebody_writes_is_his_or_the_sessions() {
        let written = || {
            let token = Token::default();
            assert!(token.fall_asleep(true));
            token.announce(true);
            assert_eq!(token.claim(true), Claim::Write);
            token
        };
        let token = written();
        token.announce(true);
        assert_eq!(token.give_back(false), Returned::Again);
        token.announce(false);
        assert_eq!(token.claim(true), Claim::None);
        assert_eq!(token.give_back(false), Returned::Wake);
        assert!(token.has_news() && !token.wake_up());

        let token = written();
        assert_eq!(token.give_back(true), Returned::Wake);
        assert!(token.has_news() && token.take_left() && !token.take_left());

        let token = written();
        assert!(token.wake_up(), "it waits");
        token.announce(true);
        assert_eq!(token.give_back(false), Returned::Done);
        assert!(token.has_news() && !token.take_left() && !token.wake_up());
    }
}
