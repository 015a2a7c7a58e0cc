//! Who waits for what another machine is asked: a helper, or the session itself, which takes less.

/// How many loads are left to helpers after one that the session has waited for, while the client
/// asked for something else.
const HELPED_LOADS: u32 = 100;

/// Whose turn it is to wait.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// How many loads are left to helpers before the session waits again.
    helped: u32,
    /// The session has waited for the answer that it has written last.
    waited: bool,
}

impl Waits {
    /// Whether the next load is left to a helper; it counts as one.
    pub(super) fn is_left_to_helper(&mut self) -> bool {
        let is_left = self.helped > 0;
        self.helped = self.helped.saturating_sub(1);
        is_left
    }

    /// The session waits now.
    pub(super) fn wait(&mut self) {
        self.waited = true;
    }

    /// Whether it has waited since this was asked before.
    pub(super) fn has_waited(&mut self) -> bool {
        std::mem::take(&mut self.waited)
    }

    /// The client has asked for something meanwhile.
    pub(super) fn leave_to_helpers(&mut self) {
        self.helped = HELPED_LOADS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_meanwhile_gets_helpers_for_a_while() {
        let mut waits = Waits::default();
        assert!(!waits.is_left_to_helper() && !waits.has_waited());
        waits.wait();
        assert!(waits.has_waited() && !waits.has_waited());
        waits.leave_to_helpers();
        for _ in 0..HELPED_LOADS {
            assert!(waits.is_left_to_helper());
        }
        assert!(!waits.is_left_to_helper());
    }
}
