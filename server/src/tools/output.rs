//! What is written to standard output and standard error.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to standard error. A failure is ignored: nobody may be reading, or the disk is
/// full.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a line to standard output. A failure is ignored, too: the exit code still tells.
pub fn show(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// The text with control characters escaped. Clients, and servers, have a say in many messages: none
/// may begin a line of its own, or command the terminal that shows it.
pub fn on_one_line(text: &str) -> String {
    // Besides ASCII's: what ends a line or turns the direction of text.
    let acts =
        |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}
