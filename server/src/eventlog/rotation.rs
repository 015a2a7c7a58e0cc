//! Old log files: what they are called, when a new one is due, which are deleted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::config::{Unit, When};
use super::dates::strftime;

/// When the file that was last written at `from` is due to be replaced; `None` if its size says.
pub fn due(when: When, from: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let When::Every(unit, _) = when else {
        return None;
    };
    let days = match unit {
        Unit::Midnight => 1,
        Unit::Weekday(day) => {
            let today = from
                .to_zoned_datetime(zone.clone())
                .weekday()
                .to_monday_zero_offset();
            (day - today).rem_euclid(7) + 1
        }
        _ => return from.checked_add(interval(when)).ok(),
    };
    let day = from.to_zoned_datetime(zone.clone()).start_of_day().ok()?;
    let day = day.checked_add(jiff::Span::new().days(days)).ok()?;
    Some(day.timestamp())
}

/// Moves `path` away, to `path.1` or a name with the date of `due` in it, and deletes the oldest
/// so that `old_files` are left. If there is a file of that date, `path` stays, as in Python 3.13
/// (those before would delete the other one).
///
/// # Errors
/// The file system refuses; then `path` may still be there.
pub fn rotate(
    path: &Path,
    when: When,
    old_files: Option<usize>,
    due: Option<Timestamp>,
    zone: &TimeZone,
) -> io::Result<()> {
    match (when, due) {
        (When::Every(unit, _), Some(due)) => {
            let start = due.checked_sub(interval(when)).unwrap_or(due);
            let date = strftime(date_format(unit), &start.to_zoned_datetime(zone.clone()));
            let dated = suffixed(path, &date);
            if dated.symlink_metadata().is_ok() {
                return Ok(());
            }
            rename(path, &dated)?;
            old_files.map_or(Ok(()), |count| delete_old(path, unit, count))
        }
        _ => {
            for number in (1..old_files.unwrap_or(1)).rev() {
                let from = suffixed(path, &number.to_string());
                rename(
                    &from,
                    &suffixed(path, &number.saturating_add(1).to_string()),
                )?;
            }
            rename(path, &suffixed(path, "1"))
        }
    }
}

/// The time between two files.
fn interval(when: When) -> SignedDuration {
    let (seconds, count) = match when {
        When::Size(_) => (0, 0),
        When::Every(Unit::Second, count) => (1, count),
        When::Every(Unit::Minute, count) => (60, count),
        When::Every(Unit::Hour, count) => (3600, count),
        When::Every(Unit::Day | Unit::Midnight, count) => (86400, count),
        When::Every(Unit::Weekday(_), count) => (7 * 86400, count),
    };
    SignedDuration::from_secs(i64::from(count).saturating_mul(seconds))
}

fn date_format(unit: Unit) -> &'static str {
    match unit {
        Unit::Second => "%Y-%m-%d_%H-%M-%S",
        Unit::Minute => "%Y-%m-%d_%H-%M",
        Unit::Hour => "%Y-%m-%d_%H",
        Unit::Day | Unit::Midnight | Unit::Weekday(_) => "%Y-%m-%d",
    }
}

/// Renames, replacing what is there; a file that is missing is no error.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Deletes all but the newest `old_files` of the files that carry a date of `unit`.
fn delete_old(path: &Path, unit: Unit, old_files: usize) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let prefix = format!(
        "{}.",
        path.file_name().unwrap_or_default().to_string_lossy()
    );
    let mut old = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let dated = name
            .to_str()
            .and_then(|name| name.strip_prefix(&prefix))
            .is_some_and(|date| has_form(date, date_format(unit)));
        if dated {
            old.push(name);
        }
    }
    old.sort();
    old.truncate(old.len().saturating_sub(old_files));
    for name in old {
        fs::remove_file(directory.join(name))?;
    }
    Ok(())
}

/// Whether `date` is digits where `format` has directives, and the same text elsewhere.
fn has_form(date: &str, format: &str) -> bool {
    let form = format.replace("%Y", "dddd");
    let form = ["%m", "%d", "%H", "%M", "%S"]
        .iter()
        .fold(form, |form, directive| form.replace(directive, "dd"));
    date.len() == form.len()
        && date.bytes().zip(form.bytes()).all(|(c, f)| {
            if f == b'd' {
                c.is_ascii_digit()
            } else {
                c == f
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_at(unit: Unit, count: u32, from: &str) -> String {
        let from: Timestamp = from.parse().unwrap();
        let due = due(When::Every(unit, count), from, &TimeZone::UTC);
        due.unwrap().to_string()
    }

    #[test]
    fn files_are_due_as_in_python() {
        // 2026-02-03 is a Tuesday.
        for (unit, count, from, expected) in [
            (
                Unit::Second,
                5,
                "2026-02-03T04:05:06Z",
                "2026-02-03T04:05:11Z",
            ),
            (
                Unit::Minute,
                1,
                "2026-02-03T04:05:06Z",
                "2026-02-03T04:06:06Z",
            ),
            (
                Unit::Hour,
                2,
                "2026-02-03T04:05:06Z",
                "2026-02-03T06:05:06Z",
            ),
            (Unit::Day, 1, "2026-02-03T04:05:06Z", "2026-02-04T04:05:06Z"),
            (
                Unit::Midnight,
                3,
                "2026-02-03T04:05:06Z",
                "2026-02-04T00:00:00Z",
            ),
            (
                Unit::Midnight,
                1,
                "2026-02-03T00:00:00Z",
                "2026-02-04T00:00:00Z",
            ),
            (
                Unit::Weekday(1),
                1,
                "2026-02-03T04:05:06Z",
                "2026-02-04T00:00:00Z",
            ),
            (
                Unit::Weekday(6),
                1,
                "2026-02-03T04:05:06Z",
                "2026-02-09T00:00:00Z",
            ),
            (
                Unit::Weekday(0),
                1,
                "2026-02-03T04:05:06Z",
                "2026-02-10T00:00:00Z",
            ),
        ] {
            assert_eq!(due_at(unit, count, from), expected, "{unit:?} from {from}");
        }
        assert_eq!(
            due(When::Size(1), Timestamp::UNIX_EPOCH, &TimeZone::UTC),
            None
        );
        let far = When::Every(Unit::Weekday(0), u32::MAX);
        assert!(due(far, Timestamp::MAX, &TimeZone::UTC).is_none());
    }

    #[test]
    fn dates_have_the_form_of_their_unit() {
        assert!(has_form("2026-02-03", "%Y-%m-%d"));
        assert!(!has_form("2026-02-0x", "%Y-%m-%d"));
        assert!(!has_form("2026-02-03.gz", "%Y-%m-%d"));
        assert!(has_form("2026-02-03_04", "%Y-%m-%d_%H"));
    }
}
