//! Sizes, times and texts for people.

use indicatif::{HumanBytes, HumanCount};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use zeo_proto::repr;

/// A number of bytes: `70.10 GiB`.
pub fn bytes(of: u64) -> String {
    HumanBytes(of).to_string()
}

/// A number: `1,234,567`.
pub fn count(of: u64) -> String {
    HumanCount(of).to_string()
}

/// A moment in local time; its argument counts seconds since 1970.
pub fn moment(seconds: f64) -> String {
    let time = Timestamp::from_second(seconds as i64).unwrap_or(Timestamp::MIN);
    let local = time.to_zoned_datetime(TimeZone::system());
    local.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// A length of time: `0.25 s`, `12 s`, `5 min`, `3.1 h`, `2.5 d`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86400.0),
    }
}

/// What others have written, without what would move the cursor of a terminal.
pub fn text(of: &Value) -> String {
    match of {
        Value::Null => String::new(),
        Value::String(text) => repr::printable(text),
        other => repr::printable(&other.to_string()),
    }
}

/// A number out of a status; 0 where there is none.
pub fn number(of: &Value) -> f64 {
    of.as_f64().unwrap_or_default()
}

/// The objects of a list; nothing where there is none.
pub fn list(of: &Value) -> &[Value] {
    of.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_people() {
        let shown = [0.123, 11.6, 300.0, 7300.0, 200_000.0].map(duration);
        assert_eq!(shown, ["0.12 s", "12 s", "5 min", "2.0 h", "2.3 d"]);
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(text(&"a\u{1b}[2Jb".into()), "a\\u{1b}[2Jb");
        assert!(moment(0.0).starts_with("19"));
    }
}
