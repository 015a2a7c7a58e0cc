//! Options for those who watch the server: the monitor, and the log of what takes long.

use std::time::Duration;

use zeo_storage::zconfig::datatypes::Address;

use crate::config::listen_address;
use crate::settings::{DEFAULT_SLOW_COMMIT, DEFAULT_SLOW_LOAD, DEFAULT_SLOW_LOCK_WAIT};

#[derive(Debug, clap::Args)]
pub(super) struct MonitorOptions {
    /// Show what the server does, by HTTP: at PORT (loopback only), HOST:PORT or a socket's PATH;
    /// may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = addresses)]
    monitor: Vec<Addresses>,
    /// Log loads that take as long, such as 250ms; 0 for none (default 1s)
    #[arg(long, value_name = "TIME", value_parser = threshold)]
    slow_load: Option<Threshold>,
    /// Log commits that take as long, from the vote on; 0 for none (default 2s)
    #[arg(long, value_name = "TIME", value_parser = threshold)]
    slow_commit: Option<Threshold>,
    /// Log votes that wait as long for their locks; 0 for none (default 2s)
    #[arg(long, value_name = "TIME", value_parser = threshold)]
    slow_lock_wait: Option<Threshold>,
}

/// Who watches the server, and what is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Monitoring {
    /// Where the monitor listens; nowhere if there is none. A TCP address without a host is one
    /// of this machine's loopback.
    pub addresses: Vec<Address>,
    /// See [`Settings::slow_load`](crate::Settings::slow_load).
    pub slow_load: Option<Duration>,
    /// See [`Settings::slow_commit`](crate::Settings::slow_commit).
    pub slow_commit: Option<Duration>,
    /// See [`Settings::slow_lock_wait`](crate::Settings::slow_lock_wait).
    pub slow_lock_wait: Option<Duration>,
}

impl MonitorOptions {
    pub(super) fn resolved(self) -> Monitoring {
        let or = |given: Option<Threshold>, default| given.map_or(Some(default), |given| given.0);
        let addresses = self.monitor.into_iter().flat_map(|all| all.0);
        Monitoring {
            addresses: addresses.collect(),
            slow_load: or(self.slow_load, DEFAULT_SLOW_LOAD),
            slow_commit: or(self.slow_commit, DEFAULT_SLOW_COMMIT),
            slow_lock_wait: or(self.slow_lock_wait, DEFAULT_SLOW_LOCK_WAIT),
        }
    }
}

/// As a variable holds them: with spaces between them.
#[derive(Clone, Debug)]
struct Addresses(Vec<Address>);

fn addresses(text: &str) -> Result<Addresses, String> {
    let all = text.split_whitespace().map(listen_address);
    let all = Addresses(all.collect::<Result<_, _>>()?);
    if all.0.is_empty() {
        return Err("an address is missing".to_owned());
    }
    Ok(all)
}

/// `None`: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Threshold(Option<Duration>);

/// A time as `2`, `0.5` (seconds), `1.5s` or `250ms`.
fn threshold(text: &str) -> Result<Threshold, String> {
    let wrong = || format!("{text:?} is not a time; expected one such as 2, 1.5s or 250ms");
    let time = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => (text.parse::<jiff::SignedDuration>().ok()).and_then(|time| time.try_into().ok()),
    };
    let time = time.ok_or_else(wrong)?;
    Ok(Threshold(Some(time).filter(|time| !time.is_zero())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_have_units() {
        let of = |text| threshold(text).unwrap().0;
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!(of("2"), millis(2000));
        assert_eq!(of("0.5"), millis(500));
        assert_eq!(of("250ms"), millis(250));
        assert_eq!(of("1.5s"), millis(1500));
        assert_eq!(of("2 min"), millis(120_000));
        assert_eq!([of("0"), of("0s")], [None, None]);
        for wrong in ["", "soon", "-1", "-1s", "nan", "inf", "1e300"] {
            assert!(threshold(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn several_addresses_may_stand_in_one_variable() {
        let all = addresses("9100 [::1]:9101 ./monitor.sock").unwrap().0;
        let shown: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [":9100", "[::1]:9101", "./monitor.sock"]);
        for wrong in ["", " ", "localhost", "9100 monitor", "1:2:x"] {
            assert!(addresses(wrong).is_err(), "{wrong}");
        }
    }
}
