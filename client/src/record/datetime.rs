//! `datetime.datetime`, as it stands in records.

use std::fmt;
use std::str::FromStr;

use super::names::Class;
use super::value::{Instance, Value};

/// A `datetime.datetime`, without a zone or with a fixed distance from UTC
/// (`datetime.timezone`).
///
/// ```
/// use zeo_client::record::{DateTime, Value};
///
/// let moment: DateTime = "2020-02-03T04:05:06.000789+01:00".parse().unwrap();
/// let value = Value::from(moment);
/// assert_eq!(DateTime::of(&value), Some(moment));
/// assert_eq!(moment.to_string(), "2020-02-03T04:05:06.000789+01:00");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    /// 1 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999,999.
    pub microsecond: u32,
    /// How far it is from UTC, to the east, in seconds; `None` without a zone.
    pub offset: Option<i32>,
}

impl DateTime {
    /// The moment that a value is; `None` for other values, for zones of other classes and with
    /// names, and for the second occurrence of an hour (`fold`).
    pub fn of(value: &Value) -> Option<Self> {
        let value = value.look();
        let instance = called(&value, "datetime")?;
        let (bytes, offset) = match instance.args() {
            [Value::Bytes(bytes)] => (bytes, None),
            [Value::Bytes(bytes), zone] => (bytes, Some(offset(&zone.look())?)),
            _ => return None,
        };
        let &[high, low, month, day, hour, minute, second, ref micro @ ..] = &**bytes else {
            return None;
        };
        let &[a, b, c] = micro else {
            return None;
        };
        let moment = Self {
            year: u16::from_be_bytes([high, low]),
            month,
            day,
            hour,
            minute,
            second,
            microsecond: u32::from_be_bytes([0, a, b, c]),
            offset,
        };
        moment.is_valid().then_some(moment)
    }

    fn is_leap(&self) -> bool {
        let by = |years| self.year.is_multiple_of(years);
        by(4) && (!by(100) || by(400))
    }

    fn is_valid(&self) -> bool {
        let days = match self.month {
            2 if self.is_leap() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        (1..=9999).contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=days).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
            && self.microsecond < 1_000_000
            && self.offset.is_none_or(|offset| offset.abs() < 86_400)
    }
}

/// The call of a class of the module `datetime` that a value is.
fn called<'v>(value: &'v Value, name: &str) -> Option<&'v Instance> {
    let instance = value.as_instance()?;
    let is_plain = !instance.new && instance.state.is_none() && instance.items.is_empty();
    (is_plain && instance.class()?.is("datetime", name)).then_some(instance)
}

/// The seconds of `timezone(timedelta(days, seconds, 0))`.
fn offset(zone: &Value) -> Option<i32> {
    let [delta] = called(zone, "timezone")?.args() else {
        return None;
    };
    match called(&delta.look(), "timedelta")?.args() {
        [Value::Int(days), Value::Int(seconds), Value::Int(0)] => {
            let seconds = days.checked_mul(86_400)?.checked_add(*seconds)?;
            i32::try_from(seconds).ok()
        }
        _ => None,
    }
}

impl From<DateTime> for Value {
    fn from(moment: DateTime) -> Self {
        let class = |name| Class::from_static("datetime", name);
        let [high, low] = moment.year.to_be_bytes();
        let [_, a, b, c] = moment.microsecond.to_be_bytes();
        let DateTime {
            month,
            day,
            hour,
            minute,
            second,
            ..
        } = moment;
        let bytes = vec![high, low, month, day, hour, minute, second, a, b, c];
        let mut args = vec![Value::from(bytes)];
        if let Some(offset) = moment.offset {
            let (days, seconds) = (offset.div_euclid(86_400), offset.rem_euclid(86_400));
            let delta = vec![days.into(), seconds.into(), Value::Int(0)];
            let delta = Instance::called(class("timedelta"), delta);
            let zone = Instance::called(class("timezone"), vec![delta.into()]);
            args.push(zone.into());
        }
        Instance::called(class("datetime"), args).into()
    }
}

/// As Python's `isoformat`, microseconds always.
impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            microsecond,
            ..
        } = self;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{microsecond:06}"
        )?;
        if let Some(offset) = self.offset {
            let (sign, distance) = if offset < 0 {
                ('-', -offset)
            } else {
                ('+', offset)
            };
            write!(f, "{sign}{:02}:{:02}", distance / 3600, distance / 60 % 60)?;
            if distance % 60 != 0 {
                write!(f, ":{:02}", distance % 60)?;
            }
        }
        Ok(())
    }
}

/// A text that is no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no moment: write it as 2020-02-03T04:05:06.000789 or 2020-02-03T04:05:06+01:00")]
pub struct NoDateTime(String);

impl FromStr for DateTime {
    type Err = NoDateTime;

    fn from_str(text: &str) -> Result<Self, NoDateTime> {
        parse(text)
            .filter(Self::is_valid)
            .ok_or_else(|| NoDateTime(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-');
    let (time, offset) = match time.find(['+', '-', 'Z']) {
        Some(at) => {
            let (time, offset) = time.split_at_checked(at)?;
            (time, Some(parse_offset(offset)?))
        }
        None => (time, None),
    };
    let (time, micro) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':');
    let digits = micro.len();
    (digits <= 6).then_some(())?;
    Some(DateTime {
        year: number(date.next()?)?,
        month: number(date.next()?)?,
        day: number(date.next()?)?,
        hour: number(time.next()?)?,
        minute: number(time.next()?)?,
        second: number(time.next()?)?,
        microsecond: number::<u32>(micro)? * 10_u32.pow(6 - digits as u32),
        offset,
    })
}

fn parse_offset(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let mut parts = rest.splitn(3, ':');
    let hours: i32 = number::<u8>(parts.next()?)?.into();
    let minutes: i32 = number::<u8>(parts.next()?)?.into();
    let seconds: i32 = parts.next().map_or(Some(0), number::<u8>)?.into();
    let distance = hours * 3600 + minutes * 60 + seconds;
    Some(if sign == "-" { -distance } else { distance })
}

/// Digits only: no sign.
fn number<N: FromStr>(digits: &str) -> Option<N> {
    let is_digits = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_digits.then(|| digits.parse().ok()).flatten()
}
