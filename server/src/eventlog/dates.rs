//! How the log writes dates.

use jiff::Timestamp;
use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};
use jiff::tz::TimeZone;

/// A date format of `strftime`, for local time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateFormat(String);

impl DateFormat {
    /// The format `text`. An empty one is Python's own, `2026-01-31 23:59:59,123`. Directives
    /// that `strftime` does not know are left as they stand.
    pub fn new(text: &str) -> DateFormat {
        DateFormat(text.to_owned())
    }

    /// `time` in the system's time zone.
    pub fn format(&self, time: Timestamp) -> String {
        self.format_in(time, TimeZone::system())
    }

    fn format_in(&self, time: Timestamp, zone: TimeZone) -> String {
        let zoned = time.to_zoned_datetime(zone);
        if self.0.is_empty() {
            let date = strftime("%Y-%m-%d %H:%M:%S", &zoned);
            return format!("{date},{:03}", zoned.millisecond());
        }
        strftime(&self.0, &zoned)
    }
}

impl Default for DateFormat {
    /// The one that ZConfig's log handlers and runzeo have.
    fn default() -> DateFormat {
        DateFormat::new("%Y-%m-%dT%H:%M:%S")
    }
}

/// `time` by `format`; what can't be formatted is left as it stands.
pub fn strftime(format: &str, time: &jiff::ZonedDateTime) -> String {
    let mut text = String::new();
    let config = Config::new().custom(PosixCustom::new()).lenient(true);
    match BrokenDownTime::from(time).format_with_config(&config, format, &mut text) {
        Ok(()) => text,
        Err(_) => format.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_strftimes() {
        let time: Timestamp = "2026-02-03T04:05:06.0789Z".parse().unwrap();
        for (format, expected) in [
            ("%Y-%m-%dT%H:%M:%S", "2026-02-03T04:05:06"),
            ("%d.%m.%y %H:%M", "03.02.26 04:05"),
            ("%a %b %e %j", "Tue Feb  3 034"),
            ("%z", "+0000"),
            ("%c", "Tue Feb  3 04:05:06 2026"),
            ("%x", "02/03/26"),
            ("100%%", "100%"),
            ("%", "%"),
            ("%!x", "%!x"),
            ("", "2026-02-03 04:05:06,078"),
        ] {
            let dates = DateFormat::new(format);
            assert_eq!(dates.format_in(time, TimeZone::UTC), expected, "{format}");
        }
    }
}
