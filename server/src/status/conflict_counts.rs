//! Which classes conflict, and how that ended: counters for `server_status`
//! and the `ruok` probe, and a line in the log now and then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use zeo_proto::Value;

/// How many classes are counted one by one. Clients name them, so there may
/// be any number; those that come later are counted together.
const MAX_CLASSES: usize = 50;
/// How much of a class's name is shown, in characters.
const MAX_NAME_CHARS: usize = 120;
/// The name under which the rest is counted. No class has it.
const OTHERS: &str = "(others)";
/// The name for records that don't tell their class, and for deletions.
const UNKNOWN: &str = "(unknown)";

/// How a conflict ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The server merged both changes.
    Resolved,
    /// The conflict resolver did.
    ResolvedByProgram,
    /// The transaction failed, by the rules of the server.
    Unresolved,
    /// The application's class, in the conflict resolver, has not merged the changes.
    RefusedByProgram,
    /// The conflict resolver itself failed.
    ProgramFailed,
    /// The client was told, to resolve it itself
    /// (`client-conflict-resolution`).
    LeftToClient,
}

/// The conflicts of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    resolved: u64,
    unresolved: u64,
    left_to_client: u64,
    by_program: ByProgram,
}

/// Those that the conflict resolver was asked about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ByProgram {
    resolved: u64,
    refused: u64,
    failed: u64,
}

impl Counts {
    fn of(&mut self, ending: Ending) -> &mut u64 {
        match ending {
            Ending::Resolved => &mut self.resolved,
            Ending::Unresolved => &mut self.unresolved,
            Ending::LeftToClient => &mut self.left_to_client,
            Ending::ResolvedByProgram => &mut self.by_program.resolved,
            Ending::RefusedByProgram => &mut self.by_program.refused,
            Ending::ProgramFailed => &mut self.by_program.failed,
        }
    }

    fn total(&self) -> u64 {
        let ByProgram {
            resolved,
            refused,
            failed,
        } = self.by_program;
        self.resolved + self.unresolved + self.left_to_client + resolved + refused + failed
    }

    /// What is not of the conflict resolver always, what is of it if there is any.
    fn fields(&self) -> Vec<(&'static str, u64)> {
        let mut fields = vec![
            ("resolved", self.resolved),
            ("unresolved", self.unresolved),
            ("left-to-client", self.left_to_client),
        ];
        if self.by_program != ByProgram::default() {
            fields.extend([
                ("resolved-by-program", self.by_program.resolved),
                ("refused-by-program", self.by_program.refused),
                ("program-failed", self.by_program.failed),
            ]);
        }
        fields
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} resolved, {} unresolved, {} left to clients",
            self.resolved, self.unresolved, self.left_to_client
        )?;
        match self.by_program {
            none if none == ByProgram::default() => Ok(()),
            ByProgram {
                resolved,
                refused,
                failed,
            } => write!(
                f,
                "; by the conflict resolver: {resolved} resolved, {refused} refused, {failed} failed"
            ),
        }
    }
}

/// Counters by class.
#[derive(Debug, Default)]
pub struct ConflictCounts {
    classes: Mutex<BTreeMap<String, Counts>>,
}

impl ConflictCounts {
    /// Counts a conflict. Whenever a class has had 1, 10, 100, ... of them,
    /// the text for a line in the log is returned.
    pub fn add(&self, class: Option<&str>, ending: Ending) -> Option<String> {
        let mut classes = self.classes();
        let mut name = match class {
            Some(class) => one_line(class, MAX_NAME_CHARS),
            None => UNKNOWN.to_owned(),
        };
        if classes.len() >= MAX_CLASSES && !classes.contains_key(&name) {
            OTHERS.clone_into(&mut name);
        }
        let counts = classes.entry(name.clone()).or_default();
        *counts.of(ending) += 1;
        let counts = *counts;
        drop(classes);
        is_power_of_ten(counts.total())
            .then(|| format!("conflicts of class {name} so far: {counts}"))
    }

    /// By the names of the classes, how many conflicts ended how.
    pub fn status(&self) -> Value<'static> {
        let classes = self.classes();
        let fields = classes.iter().map(|(name, counts)| {
            let counts = counts.fields().into_iter();
            let counts = counts.map(|(name, n)| (Value::str(name), Value::Int(n.into())));
            let name = Value::Str(name.clone().into());
            (name, Value::Dict(counts.collect()))
        });
        Value::Dict(fields.collect())
    }

    /// By the names of the classes, how many conflicts ended how; for programs.
    pub fn counts(&self) -> Vec<(String, [(&'static str, u64); 6])> {
        let classes = self.classes();
        let counts = classes.iter().map(|(name, counts)| {
            let counts = [
                ("resolved", counts.resolved),
                ("unresolved", counts.unresolved),
                ("left_to_client", counts.left_to_client),
                ("resolved_by_program", counts.by_program.resolved),
                ("refused_by_program", counts.by_program.refused),
                ("program_failed", counts.by_program.failed),
            ];
            (name.clone(), counts)
        });
        counts.collect()
    }

    fn classes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Counts>> {
        self.classes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client may have made up, as one line of ASCII that is not long.
pub fn one_line(text: &str, longest: usize) -> String {
    let mut line = String::new();
    for c in text.chars().take(longest) {
        match c {
            ' '..='~' if c != '\\' => line.push(c),
            _ => line.extend(c.escape_default()),
        }
    }
    line.truncate(longest);
    line
}

fn is_power_of_ten(mut number: u64) -> bool {
    while number > 1 && number.is_multiple_of(10) {
        number /= 10;
    }
    number == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(status: &Value<'_>, class: &str, outcome: &str) -> i128 {
        let get = |value: &Value<'_>, name: &str| match value {
            Value::Dict(fields) => fields
                .iter()
                .find(|(key, _)| *key == Value::Str(name.to_owned().into()))
                .map(|(_, value)| value.clone().into_owned()),
            _ => None,
        };
        match get(status, class).and_then(|counts| get(&counts, outcome)) {
            Some(Value::Int(number)) => number,
            other => panic!("{class} {outcome}: {other:?}"),
        }
    }

    #[test]
    fn what_clients_made_up_is_one_line_of_ascii() {
        let escaped = one_line("it can't be\n\u{20ac}\\", 50);
        assert_eq!(escaped, r"it can't be\n\u{20ac}\\");
        assert_eq!(one_line("\n\n", 3), r"\n\");
    }

    #[test]
    fn each_class_and_outcome_counts_by_itself() {
        let counts = ConflictCounts::default();
        counts.add(Some("a.B"), Ending::Resolved);
        counts.add(Some("a.B"), Ending::Resolved);
        counts.add(Some("a.B"), Ending::LeftToClient);
        counts.add(None, Ending::Unresolved);
        let status = counts.status();
        assert_eq!(count(&status, "a.B", "resolved"), 2);
        assert_eq!(count(&status, "a.B", "unresolved"), 0);
        assert_eq!(count(&status, "a.B", "left-to-client"), 1);
        assert_eq!(count(&status, "(unknown)", "unresolved"), 1);
    }

    #[test]
    fn the_log_hears_of_it_rarely() {
        let counts = ConflictCounts::default();
        let lines: Vec<_> = (0..1000)
            .filter_map(|_| counts.add(Some("a.B"), Ending::Resolved))
            .collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!(
            lines[1],
            "conflicts of class a.B so far: 10 resolved, 0 unresolved, 0 left to clients"
        );
    }

    #[test]
    fn invented_names_take_no_more_than_their_room() {
        let counts = ConflictCounts::default();
        for number in 0..1000 {
            let name = format!("{number}\n\u{e9}") + &"x".repeat(5000);
            counts.add(Some(&name), Ending::Unresolved);
        }
        let Value::Dict(fields) = counts.status() else {
            panic!("no dict");
        };
        assert_eq!(fields.len(), MAX_CLASSES + 1);
        for (name, _) in &fields {
            let Value::Str(name) = name else {
                panic!("{name:?}");
            };
            assert!(name.len() <= MAX_NAME_CHARS && name.chars().all(|c| matches!(c, ' '..='~')));
        }
        let others = count(&counts.status(), OTHERS, "unresolved");
        assert_eq!(others, 1000 - MAX_CLASSES as i128);
    }
}
