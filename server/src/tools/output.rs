//! Writing to standard output and standard error.

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
