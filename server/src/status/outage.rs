//! What fails again and again, with a success in between now and then: when the log tells of it.

use std::time::{Duration, Instant};

/// It is over when something has succeeded, and nothing has failed for so long. At a limit, a
/// descriptor that comes free is taken at once, and the next attempt fails again.
const CALM: Duration = Duration::from_secs(5);
/// From one line about failures to the next.
const REMINDER_INTERVAL: Duration = Duration::from_secs(600);

/// A time in which something fails, from the first failure until it has recovered.
#[derive(Debug, Default)]
pub struct Outage {
    failures: u64,
    last_failure: Option<Instant>,
    last_line: Option<Instant>,
    /// Whether something has succeeded since the last failure.
    has_succeeded: bool,
}

impl Outage {
    /// Notes a failure. If it is to be logged, answers how many there were before in this outage.
    pub fn failed(&mut self, now: Instant) -> Option<u64> {
        let before = self.failures;
        self.failures += 1;
        self.last_failure = Some(now);
        self.has_succeeded = false;
        let is_recent = |line| now.saturating_duration_since(line) < REMINDER_INTERVAL;
        if self.last_line.is_some_and(is_recent) {
            return None;
        }
        self.last_line = Some(now);
        Some(before)
    }

    /// Notes a success.
    pub fn succeeded(&mut self) {
        self.has_succeeded = true;
    }

    /// How long until the outage is over if nothing more fails. `None` if there is no outage, or
    /// nothing has succeeded since the last failure.
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        let last_failure = self.last_failure.filter(|_| self.has_succeeded)?;
        Some((last_failure + CALM).saturating_duration_since(now))
    }

    /// Whether an outage is over now: then how many failures it had. Told once.
    pub fn recovered(&mut self, now: Instant) -> Option<u64> {
        self.time_left(now).filter(Duration::is_zero)?;
        Some(std::mem::take(self).failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_reached_again_and_again_is_one_outage() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let at = |millis: u64| start + Duration::from_millis(millis);
        outage.succeeded();
        assert_eq!(
            (outage.time_left(at(0)), outage.recovered(at(0))),
            (None, None)
        );
        assert_eq!(outage.failed(at(0)), Some(0));
        for n in 1..=100 {
            outage.succeeded();
            assert_eq!(outage.recovered(at(n * 1000 - 1)), None);
            assert_eq!(outage.failed(at(n * 1000)), None);
        }
        assert_eq!(outage.recovered(at(999_000)), None, "nothing has succeeded");
        outage.succeeded();
        assert_eq!(outage.time_left(at(103_000)), Some(Duration::from_secs(2)));
        assert_eq!(outage.recovered(at(104_999)), None);
        assert_eq!(outage.recovered(at(105_000)), Some(101));
        assert_eq!(outage.recovered(at(106_000)), None, "told once");
        assert_eq!(outage.failed(at(106_000)), Some(0), "a new one is told");
    }

    #[test]
    fn a_long_one_is_told_again() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let told: Vec<_> = (0..13)
            .filter_map(|n| outage.failed(start + REMINDER_INTERVAL / 6 * n))
            .collect();
        assert_eq!(told, [0, 6, 12]);
    }
}
