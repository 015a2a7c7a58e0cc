//! The nine rules of order on one connection (`THREADS.md`), each where a test can break it on
//! purpose and see that somebody notices. Outside of tests, every function here does what its
//! rule says and nothing else.

use zeo_proto::Tid;
use zeo_storage::Storage;

use crate::messages::event::Event;

#[cfg(test)]
pub(crate) use self::sabotage::{
    Answering, Rule, after_answer, before_subscribing, break_rule, help_itself, is_broken,
    narrow_sockets,
};

/// Publish, then announce.
pub(crate) fn publish_then_announce<S, T>(
    state: &mut S,
    publish: impl FnOnce(&mut S) -> T,
    announce: impl FnOnce(&mut S),
) -> T {
    #[cfg(test)]
    if is_broken(Rule::PublishThenAnnounce) {
        announce(state);
        return publish(state);
    }
    let published = publish(state);
    announce(state);
    published
}

/// Answer, then drain: `_before` is how long the output was before the answer, which is behind it
/// now; `_next_event` takes from the mailbox.
#[cfg(not(test))]
pub(crate) fn after_answer<S>(
    _session: &mut S,
    _before: usize,
    _next_event: impl FnMut() -> Option<Event>,
) {
}

/// Mailbox order is tid order: the finished transactions in the order in which they are announced.
pub(crate) fn in_tid_order<T>(finished: impl DoubleEndedIterator<Item = T>) -> Vec<T> {
    #[cfg(test)]
    if is_broken(Rule::MailboxInTidOrder) {
        return finished.rev().collect();
    }
    finished.collect()
}

/// Subscribe, then read: who registers has not subscribed yet, and reads nothing.
#[cfg(not(test))]
pub(crate) fn before_subscribing<S>(_session: &mut S, _storage: &dyn Storage) {}

/// Ask, then poll: whether a poll that has begun already counts for who asks now.
pub(crate) fn polled_before_asking() -> bool {
    #[cfg(test)]
    if is_broken(Rule::AskThenPoll) {
        return true;
    }
    false
}

/// Look again: whether what was current when `last` was the last transaction still is.
pub(crate) fn still_the_last(last: Tid, storage: &dyn Storage) -> bool {
    #[cfg(test)]
    if is_broken(Rule::LookAgain) {
        return true;
    }
    storage.last_tid() == last
}

/// Whether a session does the work of its helpers itself, as in a simulation, which has one thread.
pub(crate) fn helps_itself() -> bool {
    #[cfg(test)]
    return sabotage::HELPS_ITSELF.get();
    #[cfg(not(test))]
    false
}

/// A full mailbox closes its session. Whether the event counts as posted.
pub(crate) fn full_mailbox_closes(close: impl FnOnce()) -> bool {
    #[cfg(test)]
    if is_broken(Rule::FullMailboxCloses) {
        return true;
    }
    close();
    false
}

/// Who has the token writes: a session lends its socket only if it has nothing to write.
pub(crate) fn may_lend(has_nothing_to_write: bool) -> bool {
    #[cfg(test)]
    if is_broken(Rule::LendWhenDone) {
        return true;
    }
    has_nothing_to_write
}

/// Who has the token writes: a session that wakes waits for who is writing for it.
pub(crate) fn wait_for_token(wait: impl FnOnce()) {
    #[cfg(test)]
    if is_broken(Rule::WaitForToken) {
        return;
    }
    wait();
}

/// Who has the token writes: what he has left to the session goes out before all that it has to say.
pub(crate) fn left_comes_first<S>(
    session: &mut S,
    take_left: impl FnOnce(&mut S),
    take_all: impl FnOnce(&mut S),
) {
    #[cfg(test)]
    if is_broken(Rule::LeftComesFirst) {
        take_all(session);
        return take_left(session);
    }
    take_left(session);
    take_all(session);
}

/// Inbox order: requests take effect one after the other as they stand in the inbox, whoever takes
/// them out.
pub(crate) fn in_inbox_order<T>(requests: impl Iterator<Item = T>, take: impl FnMut(T)) {
    #[cfg(test)]
    if is_broken(Rule::InboxOrder) {
        let all: Vec<T> = requests.collect();
        return all.into_iter().rev().for_each(take);
    }
    requests.for_each(take);
}

/// How much of so many bytes a socket takes now: in tests, maybe less than all.
#[cfg(test)]
pub(crate) fn room(count: usize) -> usize {
    sabotage::ROOM.get()(count)
}

#[cfg(test)]
mod sabotage {
    use std::cell::Cell;

    use zeo_storage::Storage;

    use super::Event;

    /// A rule of order.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Rule {
        PublishThenAnnounce,
        AnswerThenDrain,
        MailboxInTidOrder,
        SubscribeThenRead,
        FullMailboxCloses,
        AskThenPoll,
        LookAgain,
        LendWhenDone,
        WaitForToken,
        LeftComesFirst,
        InboxOrder,
    }

    thread_local! {
        static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
        pub(super) static HELPS_ITSELF: Cell<bool> = const { Cell::new(false) };
        pub(super) static ROOM: Cell<fn(usize) -> usize> = const { Cell::new(|count| count) };
    }

    pub(crate) fn is_broken(rule: Rule) -> bool {
        BROKEN.get() == Some(rule)
    }

    /// Breaks a rule, or none, in this thread from now on.
    pub(crate) fn break_rule(rule: Option<Rule>) {
        BROKEN.set(rule);
    }

    /// Sessions do the work of their helpers themselves, in this thread from now on.
    pub(crate) fn help_itself() {
        HELPS_ITSELF.set(true);
    }

    /// Sockets take as much as `room` says, in this thread from now on.
    pub(crate) fn narrow_sockets(room: fn(usize) -> usize) {
        ROOM.set(room);
    }

    /// A session, as far as its order can be broken.
    pub(crate) trait Answering {
        fn on_event(&mut self, event: Event);
        /// Puts what stands in the output from `before` on behind what `meanwhile` adds.
        fn put_behind(&mut self, before: usize, meanwhile: impl FnOnce(&mut Self));
    }

    /// Broken, the answer is behind all that has come since it was computed.
    pub(crate) fn after_answer<S: Answering>(
        session: &mut S,
        before: usize,
        next_event: impl FnMut() -> Option<Event>,
    ) {
        if is_broken(Rule::AnswerThenDrain) {
            session.put_behind(before, |session| {
                std::iter::from_fn(next_event).for_each(|event| session.on_event(event));
            });
        }
    }

    /// Broken, the last tid is read while the coordinator does not know the client.
    pub(crate) fn before_subscribing<S: Answering>(session: &mut S, storage: &dyn Storage) {
        if is_broken(Rule::SubscribeThenRead) {
            session.on_event(Event::Registered(storage.last_tid()));
        }
    }
}
