//! Object ids, transaction ids, and the time stamps that tids are.
//!
//! Both are 8 bytes, big-endian on the wire and on disk, so that byte order
//! is numeric order. (ZODB `utils.p64`/`u64`, persistent `TimeStamp`.)

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The id of an object: a 64-bit number, shown as ZODB shows it (`0x2a`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Oid(u64);

/// The id of a transaction, which is also the serial of every object
/// revision that it wrote: a ZODB time stamp, strictly increasing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tid(u64);

macro_rules! eight_bytes {
    ($id:ident) => {
        impl $id {
            /// All zeros: the root object, or "before every transaction".
            pub const ZERO: $id = $id(0);
            /// All ones: later than everything.
            pub const MAX: $id = $id(u64::MAX);

            /// The id with this number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The id as a number.
            pub const fn as_u64(self) -> u64 {
                self.0
            }

            /// The id as it stands on the wire and on disk.
            pub const fn to_bytes(self) -> [u8; 8] {
                self.0.to_be_bytes()
            }

            /// The id that stands in these 8 bytes.
            pub const fn from_bytes(bytes: [u8; 8]) -> Self {
                Self(u64::from_be_bytes(bytes))
            }

            /// The id in a byte string, if that has 8 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_bytes)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($id), "({:#x})"), self.0)
            }
        }
    };
}

eight_bytes!(Oid);
eight_bytes!(Tid);

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // ZODB's oid_repr: whole bytes, so an even number of digits.
        let digits = format!("{:x}", self.0);
        let zero = if digits.len() % 2 == 1 { "0" } else { "" };
        write!(f, "0x{zero}{digits}")
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Units of the lower half of a tid in one minute: the seconds of the
/// minute are scaled to the full range of 32 bits.
const UNITS_PER_MINUTE: f64 = 4_294_967_296.0;
const SECONDS_PER_DAY: i64 = 86_400;
const DAYS_FROM_1901_TO_1970: i64 = 69 * 365 + 17;

impl Tid {
    /// The time stamp of a moment, rounded down to 2^-32 minutes (14 ns).
    ///
    /// The upper 4 bytes count minutes in a calendar of twelve months of 31
    /// days from 1900; the lower 4 the part of the minute. Moments before
    /// 1970 are taken as 1970.
    pub fn from_time(time: SystemTime) -> Tid {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX / 2);
        let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        let minutes = ((year - 1900) * 12 + month - 1) * 31 + day - 1;
        let minutes = minutes * 1440 + second_of_day / 60;
        let within = (second_of_day % 60) as f64 + f64::from(since.subsec_nanos()) / 1e9;
        let units = (within * (UNITS_PER_MINUTE / 60.0)) as u64;
        let minutes = u64::try_from(minutes).unwrap_or(0).min(u64::from(u32::MAX));
        Tid(minutes << 32 | units.min(u64::from(u32::MAX)))
    }

    /// The moment of this time stamp in UTC as `str(TimeStamp(tid))` shows it
    /// in Python: `2020-01-02 03:04:05.000000`.
    pub fn time_stamp(self) -> String {
        let (minutes, units) = (self.0 >> 32, self.0 & 0xffff_ffff);
        let (days, minute) = (minutes / 1440, minutes % 1440);
        let (months, day) = (days / 31, days % 31 + 1);
        let (year, month) = (months / 12 + 1900, months % 12 + 1);
        let (hour, minute) = (minute / 60, minute % 60);
        let second = units as f64 * (60.0 / UNITS_PER_MINUTE);
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:09.6}")
    }

    /// The moment of this time stamp in seconds since 1970, to the last bit what
    /// Python's `TimeStamp(tid).timeTime()` gives: that counts from 1901, adds
    /// the part of the minute and takes 1970 off then, so the sum is rounded to
    /// 2^-21 seconds in our time.
    pub fn unix_time(self) -> f64 {
        let minutes = (self.0 >> 32) as i64;
        let within = (self.0 & 0xffff_ffff) as f64 * (60.0 / UNITS_PER_MINUTE);
        let (minute_of_day, days) = (minutes % 1440, minutes / 1440);
        let (day, months) = (days % 31 + 1, days / 31);
        let (month, year) = (months % 12 + 1, months / 12 + 1900);
        let days = days_from_civil(year, month, day) + DAYS_FROM_1901_TO_1970;
        let seconds = days * SECONDS_PER_DAY + minute_of_day * 60;
        (seconds as f64 + within) - (DAYS_FROM_1901_TO_1970 * SECONDS_PER_DAY) as f64
    }

    /// The least tid after both `self` and `last`, or `self` if it already
    /// is later: how tids grow when the clock does not.
    /// `None` when there is no later tid.
    pub fn later_than(self, last: Tid) -> Option<Tid> {
        if self > last {
            Some(self)
        } else {
            last.0.checked_add(1).map(Tid)
        }
    }
}

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01
/// (proleptic Gregorian; the well-known era-based method).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil_from_days`]; a day past the end of its month runs
/// over into the next.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by Python: `TimeStamp(*time.gmtime(t)[:5] + (t % 60,)).raw()`.
    const STAMPS: &[(u64, u32, u64)] = &[
        (0, 0, 0x023c_2b00_0000_0000),
        (951_782_399, 500_000_000, 0x0332_addf_fddd_dddd),
        (1_700_000_000, 250_000_000, 0x03f4_7f95_5666_6666),
        (4_102_444_799, 0, 0x0662_c3ff_fbbb_bbbb),
    ];

    #[test]
    fn stamps_agree_with_python() {
        for &(seconds, nanos, expected) in STAMPS {
            let tid = Tid::from_time(UNIX_EPOCH + Duration::new(seconds, nanos));
            assert_eq!(tid, Tid::new(expected), "{seconds}: {tid}");
            let back = tid.unix_time();
            assert!(
                (back - (seconds as f64 + f64::from(nanos) / 1e9)).abs() < 1e-6,
                "{back}"
            );
        }
    }

    /// Made by Python: `TimeStamp(p64(tid)).timeTime()`. Clients compare it with
    /// `_p_mtime`, so it must be the same to the last bit.
    #[test]
    fn seconds_are_those_of_python_to_the_last_bit() {
        for (tid, expected) in [
            (0, -2208988800.0),
            (0xffff_ffff, -2208988740.0),
            (0x0080_0000_1234_5678, -1714917115.7333333),
            (0x0200_0000_dead_beef, -232356427.80968094),
            (0x023c_2b00_0000_0000, 0.0),
            (0x03cf_28d5_a1de_ee77, 1555769617.9384747),
            (0x03cf_28d5_b1de_eeee, 1555769621.6884766),
            (0x040d_4d84_ae72_1566, 1795807000.8856964),
            (0x0662_c3ff_fbbb_bbbb, 4102444799.0),
            (0xf7e1_2345_1234_5678, 242781913264.26666),
            (u64::MAX, 250807810560.0),
        ] {
            let found = Tid::new(tid).unix_time();
            assert_eq!(found.to_bits(), f64::to_bits(expected), "{tid:#x}: {found}");
        }
    }

    /// Made by Python: `str(TimeStamp(p64(tid)))`.
    #[test]
    fn stamps_are_shown_as_by_python() {
        for (tid, expected) in [
            (0x03d4_e258_1555_5555, "2020-01-02 03:04:05.000000"),
            (0x03f4_7f95_5666_6666, "2023-11-14 22:13:20.250000"),
            (0, "1900-01-01 00:00:00.000000"),
            (0xffff_ffff, "1900-01-01 00:00:60.000000"),
            (u64::MAX, "9917-10-14 04:15:60.000000"),
        ] {
            assert_eq!(Tid::new(tid).time_stamp(), expected);
        }
    }

    #[test]
    fn oids_look_as_in_zodb() {
        let shown = [0, 0x2a, 0x123, u64::MAX].map(|number| Oid::new(number).to_string());
        assert_eq!(shown, ["0x00", "0x2a", "0x0123", "0xffffffffffffffff"]);
    }

    #[test]
    fn later_tids_grow_by_one_unit() {
        let last = Tid::new(7);
        assert_eq!(Tid::new(9).later_than(last), Some(Tid::new(9)));
        assert_eq!(Tid::new(7).later_than(last), Some(Tid::new(8)));
        assert_eq!(Tid::ZERO.later_than(Tid::MAX), None);
    }
}
