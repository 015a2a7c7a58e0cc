//! Up to when to pack.

use jiff::{SignedDuration, Timestamp, ZonedDateTime};

/// The time to pack to, in seconds since 1970: now, or a time of this day, less some days of 24
/// hours.
pub fn pack_time(now: &ZonedDateTime, time_of_day: Option<&str>, days: i64) -> Result<f64, String> {
    let time = match time_of_day {
        Some(text) if !text.is_empty() => at(now, text)
            .ok_or_else(|| format!("Invalid time value: {}", zeo_proto::repr::text(text)))?,
        _ => now.timestamp(),
    };
    Ok(time.as_duration().as_secs_f64() - days as f64 * 86400.0)
}

/// Today at `HH[:MM[:SS]]`. As in Python, 25:00 is one o'clock tomorrow.
fn at(now: &ZonedDateTime, text: &str) -> Option<Timestamp> {
    let parts = text.split(':').map(|part| part.trim().parse::<i64>());
    let parts: Vec<i64> = parts.collect::<Result<_, _>>().ok()?;
    let (hours, minutes, seconds) = match parts[..] {
        [hours] => (hours, 0, 0),
        [hours, minutes] => (hours, minutes, 0),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
    let seconds = minutes.checked_mul(60)?.checked_add(seconds)?;
    let midnight = now.datetime().start_of_day();
    let wanted = { midnight }
        .checked_add(SignedDuration::from_secs(seconds))
        .ok()?;
    now.time_zone().to_timestamp(wanted).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_python_s_mktime_has_them() {
        let now: ZonedDateTime = "2009-03-24T10:55:17+01:00[Europe/Berlin]".parse().unwrap();
        for (time, days, expected) in [
            (None, 0, "2009-03-24T10:55:17+01"),
            (None, 3, "2009-03-21T10:55:17+01"),
            (None, -1, "2009-03-25T10:55:17+01"),
            (Some("1:30"), 3, "2009-03-21T01:30:00+01"),
            (Some("7"), 0, "2009-03-24T07:00:00+01"),
            (Some("23:59:58"), 0, "2009-03-24T23:59:58+01"),
            (Some("25:-1"), 0, "2009-03-25T00:59:00+01"),
            (Some(""), 0, "2009-03-24T10:55:17+01"),
        ] {
            let expected: Timestamp = expected.parse().unwrap();
            let expected = expected.as_duration().as_secs_f64();
            assert_eq!(pack_time(&now, time, days), Ok(expected), "{time:?}");
        }
        for time in ["x", "1:2:3:4", "1.5", ":", "99999999999999999"] {
            let error = pack_time(&now, Some(time), 0).unwrap_err();
            assert_eq!(error, format!("Invalid time value: '{time}'"));
        }
    }
}
