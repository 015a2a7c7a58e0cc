//! Settings that Python's runzeo does not know are options with a variable of the same name:
//! `--max-message-size` is `RZEO_MAX_MESSAGE_SIZE` in the environment. The command line overrides
//! the variable; an empty variable is as good as none.
//!
//! Python's own options may be abbreviated as far as they are unique among themselves.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};
use zeo_storage::zconfig::Env;

/// The options of Python's runzeo. They have no variable.
const PYTHONS: &[&str] = &[
    "configure",
    "address",
    "filename",
    "timeout",
    "pid-file",
    "test",
    "help",
    "version",
];

/// What is asked for once and is no setting. They have no variable either.
const ONCE: &[&str] = &["check", "print-config", "man-page", "completions"];

/// `arg` with an abbreviated option of Python's in full.
pub(super) fn in_full(arg: OsString) -> OsString {
    let Some(text) = arg.to_str().and_then(|text| text.strip_prefix("--")) else {
        return arg;
    };
    let (name, value) = match text.split_once('=') {
        Some((name, _)) => (name, &text[name.len()..]),
        None => (text, ""),
    };
    let mut meant = PYTHONS.iter().filter(|long| long.starts_with(name));
    match (meant.next(), meant.next()) {
        (Some(long), None) if !name.is_empty() => format!("--{long}{value}").into(),
        _ => arg,
    }
}

/// The name of the option's variable, if it has one.
pub(super) fn variable(arg: &Arg) -> Option<String> {
    let long = arg.get_long()?;
    let named = !PYTHONS.contains(&long) && !ONCE.contains(&long);
    named.then(|| format!("RZEO_{}", long.replace('-', "_").to_uppercase()))
}

/// The command with the values of variables in place of defaults.
pub(super) fn with_variables(command: Command, env: Env) -> Command {
    command.mut_args(|arg| {
        let value = variable(&arg).and_then(|name| env(&name));
        match value.filter(|value| !value.is_empty()) {
            Some(value) => arg.default_value(value),
            None => arg,
        }
    })
}

/// The variable that `error` is about: that of an option whose value is wrong and comes from there.
pub(super) fn blamed(error: &clap::Error, command: &Command, env: Env) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (shown, value) = (
        text(ContextKind::InvalidArg)?,
        text(ContextKind::InvalidValue)?,
    );
    let long = shown.strip_prefix("--")?.split([' ', '=']).next()?;
    let arg = command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(long))?;
    variable(arg).filter(|name| env(name).as_deref() == Some(value))
}
