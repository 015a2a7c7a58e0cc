//! The five rules of order on one connection (`THREADS.md`), by name, so
//! that tests can break each on purpose and see that it is noticed.

/// A rule of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    PublishThenAnnounce,
    AnswerThenDrain,
    MailboxInTidOrder,
    SubscribeThenRead,
    FullMailboxCloses,
}

/// Whether the code is to break the rule: never, but in a test that asks for
/// it.
#[cfg(not(test))]
pub(crate) const fn is_broken(_rule: Rule) -> bool {
    false
}

#[cfg(test)]
pub(crate) use self::sabotage::{break_rule, is_broken};

#[cfg(test)]
mod sabotage {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    pub(crate) fn is_broken(rule: Rule) -> bool {
        BROKEN.get() == Some(rule)
    }

    /// Breaks a rule, or none, in this thread from now on.
    pub(crate) fn break_rule(rule: Option<Rule>) {
        BROKEN.set(rule);
    }
}
