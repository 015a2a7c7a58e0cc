//! The pack time.

use std::time::{Duration, UNIX_EPOCH};

use zeo_proto::Tid;

use crate::{Error, Result};

/// The last tid that belongs to a pack to `time`, in seconds since 1970: as
/// in Python, the minutes from the calendar, the rest as a float.
pub(crate) fn stop(time: f64) -> Result<Tid> {
    /// Seconds in one unit of the lower half of a tid.
    const UNIT: f64 = 60.0 / 4_294_967_296.0;
    /// As far as a tid reaches.
    const LAST: f64 = 2e11;
    if !time.is_finite() || time > LAST {
        return Err(Error::Value(format!("{time} is not a valid pack time")));
    }
    let time = time.max(0.0);
    let whole = Duration::from_secs_f64(time.floor());
    let minutes = Tid::from_time(UNIX_EPOCH + whole).as_u64() >> 32 << 32;
    let units = (time % 60.0 / UNIT) as u64;
    Ok(Tid::new(minutes | units.min(u64::from(u32::MAX))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by Python: `TimeStamp(*time.gmtime(t)[:5] + (t % 60,)).raw()`.
    #[test]
    fn agrees_with_python() {
        for (time, expected) in STAMPS {
            assert_eq!(stop(time).unwrap(), Tid::new(expected), "{time}");
        }
        for time in [f64::NAN, f64::INFINITY, 1e300] {
            assert!(stop(time).is_err());
        }
        assert_eq!(stop(-1e9).unwrap(), stop(0.0).unwrap());
        assert!(stop(1e11).unwrap() > stop(1e10).unwrap());
    }

    const STAMPS: [(f64, u64); 12] = [
        (577461862.5, 0x02d1bfac60000000),
        (1050170554.5, 0x034c34ba93333333),
        (116020913.13445894, 0x025a3911e2b4ff94),
        (2595898212.5476966, 0x04dc8e4a35896e44),
        (3729944832.0, 0x06024c5333333333),
        (2175043436.943722, 0x046f8ca3f2f5baaa),
        (2924734867.117697, 0x0531b8ad1e5e6c44),
        (3665381487.2342076, 0x05f186fb74330466),
        (223500567.0, 0x02760a3173333333),
        (2469810081.8644667, 0x04bbe58d5d49d400),
        (3889349158.7461452, 0x062b9575faa674cc),
        (3840508400.8699985, 0x061eebd9590b9a88),
    ];
}
