//! What Python's `datetime` has, in the forms in which it is pickled. Its
//! time zones are of fixed offsets: those of `zoneinfo` can't be written by
//! ZODB, and others are no part of Python.

use std::cmp::Ordering;

use zeo_proto::Value;
use zeo_proto::value::Object;

/// An instance of a class of `datetime`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Moment<'v> {
    /// Year (in two bytes), month, day.
    Date(&'v [u8]),
    /// Hour, minute, second, microsecond (in three bytes), and the offset of
    /// the time zone, if it has one.
    Time(Vec<u8>, Option<Delta>),
    /// Bytes as of both, and the offset.
    DateTime(Vec<u8>, Option<Delta>),
    Delta(Delta),
    /// `timezone`. Has no order.
    Zone(Delta),
}

/// Days, seconds of the day, microseconds of the second.
pub(crate) type Delta = [i128; 3];

impl<'v> Moment<'v> {
    /// What the class of this name makes of these arguments.
    pub(crate) fn of(class: &str, args: &'v [Value<'_>]) -> Option<Self> {
        match (class, args) {
            ("date", [date]) => match bytes(date)? {
                date @ [_, _, 1..=12, _] => Some(Moment::Date(date)),
                _ => None,
            },
            ("time", [time, zone @ ..]) => {
                let time = without_fold(bytes(time)?, 0, 6)?;
                let sane = time.first().is_some_and(|&hour| hour < 24);
                sane.then_some(Moment::Time(time, offset(zone)?))
            }
            ("datetime", [time, zone @ ..]) => {
                let time = without_fold(bytes(time)?, 2, 10)?;
                let sane = matches!(time.get(2), Some(1..=12));
                sane.then_some(Moment::DateTime(time, offset(zone)?))
            }
            ("timedelta", args) => delta(args).map(Moment::Delta),
            ("timezone", [Value::Object(offset)] | [Value::Object(offset), Value::Str(_)]) => {
                match instance(offset)? {
                    Moment::Delta(offset @ [0, ..]) => Some(Moment::Zone(offset)),
                    Moment::Delta(offset @ [-1, seconds, micros]) if seconds + micros > 0 => {
                        Some(Moment::Zone(offset))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The order; `None` where `<` raises.
    pub(crate) fn order(&self, other: &Moment<'_>) -> Option<Ordering> {
        match (self, other) {
            (Moment::Date(a), Moment::Date(b)) => Some(a.cmp(b)),
            (Moment::Delta(a), Moment::Delta(b)) => Some(a.cmp(b)),
            (Moment::Time(a, zone), Moment::Time(b, other))
            | (Moment::DateTime(a, zone), Moment::DateTime(b, other))
                if zone == other =>
            {
                Some(a.cmp(b))
            }
            // Of the offsets, Python leaves the microseconds out.
            (
                Moment::Time(a, Some([days, seconds, _])),
                Moment::Time(b, Some([other_days, other_seconds, _])),
            ) => Some(
                utc(a, &[*days, *seconds, 0])?.cmp(&utc(b, &[*other_days, *other_seconds, 0])?),
            ),
            (Moment::DateTime(a, Some(zone)), Moment::DateTime(b, Some(other))) => {
                Some(utc(a, zone)?.cmp(&utc(b, other)?))
            }
            _ => None,
        }
    }

    /// `==`, which never raises.
    pub(crate) fn equals(&self, other: &Moment<'_>) -> bool {
        match (self, other) {
            (Moment::Zone(a), Moment::Zone(b)) => a == b,
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }
}

fn instance<'v>(object: &'v Object<'_>) -> Option<Moment<'v>> {
    let plain = object.state.is_none() && object.items.is_empty() && object.pairs.is_empty();
    match (&object.callable, &object.args) {
        (Value::Global { module, name }, Value::Tuple(args))
            if module == "datetime" && plain && !object.new =>
        {
            Moment::of(name, args)
        }
        _ => None,
    }
}

/// The bytes of a moment; from Python 2, they may have become text.
fn bytes<'v>(value: &'v Value<'_>) -> Option<&'v [u8]> {
    match value {
        Value::Bytes(bytes) => Some(bytes),
        Value::Str(text) if text.is_ascii() => Some(text.as_bytes()),
        _ => None,
    }
}

/// The bytes without the bit that tells the second of two equal hours of a
/// day, which comparisons leave out.
fn without_fold(bytes: &[u8], at: usize, length: usize) -> Option<Vec<u8>> {
    let mut bytes = (bytes.len() == length).then(|| bytes.to_vec())?;
    *bytes.get_mut(at)? &= 0x7f;
    Some(bytes)
}

/// The offset that the remaining arguments tell, if any.
fn offset(args: &[Value<'_>]) -> Option<Option<Delta>> {
    match args {
        [] => Some(None),
        [Value::Object(zone)] => match instance(zone)? {
            Moment::Zone(offset) => Some(Some(offset)),
            _ => None,
        },
        _ => None,
    }
}

fn delta(args: &[Value<'_>]) -> Option<Delta> {
    match *args {
        [Value::Int(days), Value::Int(seconds), Value::Int(micros)]
            if days.unsigned_abs() < 1_000_000_000
                && (0..86_400).contains(&seconds)
                && (0..1_000_000).contains(&micros) =>
        {
            Some([days, seconds, micros])
        }
        _ => None,
    }
}

/// Microseconds, from any fixed day on, of what a time of this offset is in
/// UTC.
fn utc(bytes: &[u8], &[days, seconds, micros]: &Delta) -> Option<i128> {
    let (day, time) = match *bytes {
        [high, low, month, day, ref time @ ..] if bytes.len() == 10 => {
            let year = i128::from(u16::from_be_bytes([high, low]));
            (day_number(year, month.into(), day.into()), time)
        }
        _ => (0, bytes),
    };
    let [hour, minute, second, time_micros @ ..] = time else {
        return None;
    };
    let time_micros = time_micros
        .iter()
        .fold(0, |micros, &byte| micros << 8 | i128::from(byte));
    let [hour, minute, second] = [*hour, *minute, *second].map(i128::from);
    let seconds = (day - days) * 86_400 + hour * 3600 + minute * 60 + second - seconds;
    Some(seconds * 1_000_000 + time_micros - micros)
}

/// The number of a day, counted by years that begin with March, so that a
/// leap day is the last one.
fn day_number(year: i128, month: i128, day: i128) -> i128 {
    let (year, month) = match month {
        ..3 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bytes: [u8; 10], minutes: Option<i128>) -> Moment<'static> {
        let offset = |minutes: i128| [minutes.div_euclid(1440), minutes.rem_euclid(1440) * 60, 0];
        Moment::DateTime(bytes.to_vec(), minutes.map(offset))
    }

    #[test]
    fn times_of_several_zones() {
        // Midnight of 1 March 2024, and of 29 February.
        let march = [0x07, 0xe8, 3, 1, 0, 0, 0, 0, 0, 0];
        let leap = [0x07, 0xe8, 2, 29, 0, 0, 0, 0, 0, 0];
        let noon = [0x07, 0xe8, 2, 29, 12, 0, 0, 0, 0, 0];
        let order = |a: &Moment<'_>, b: &Moment<'_>| a.order(b);
        assert_eq!(
            order(&at(march, Some(0)), &at(leap, Some(-1439))),
            Some(Ordering::Greater)
        );
        assert!(at(march, Some(720)).equals(&at(noon, Some(0))));
        assert!(at(march, Some(0)).equals(&at(noon, Some(-720))));
        assert_eq!(order(&at(march, Some(0)), &at(march, None)), None);
        assert!(!at(march, Some(0)).equals(&at(march, None)));
        assert_eq!(day_number(2000, 3, 1) - day_number(1900, 3, 1), 36525);
        assert_eq!(day_number(1, 1, 1) - day_number(0, 12, 31), 1);
    }
}
