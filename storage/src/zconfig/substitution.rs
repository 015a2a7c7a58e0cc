//! `$name`, `${name}`, `$(VARIABLE)` and `$$` in values.

use std::collections::HashMap;

use super::Env;

/// The longest text that a substitution may give, in bytes. Definitions that double each other
/// would otherwise fill the memory.
const MAX_LENGTH_BYTES: usize = 1 << 20;

/// Replaces the references in `text`: `$name` and `${name}` by definitions, whose names have no
/// case, `$(VARIABLE)` by the environment's, `$$` by a dollar sign. What is put in is not looked
/// at again.
///
/// # Errors
/// A sentence that says which reference is malformed or has nothing to stand for it.
pub fn substitute(
    text: &str,
    defines: &HashMap<String, String>,
    env: Env,
) -> Result<String, String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        let (value, remainder) = reference(after, defines, env)?;
        result.push_str(&value);
        if result.len() > MAX_LENGTH_BYTES {
            return Err("the value is too long after substitution".to_owned());
        }
        rest = remainder;
    }
    result.push_str(rest);
    Ok(result)
}

/// Whether `text` can be the name of a definition: letters, digits and underscores of ASCII, not
/// beginning with a digit.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && name_length(text) == text.len()
}

/// Reads one reference from behind its `$`: its value and the text that follows.
fn reference<'a>(
    text: &'a str,
    defines: &HashMap<String, String>,
    env: Env,
) -> Result<(String, &'a str), String> {
    let missing = |name: &str| format!("no replacement for {name:?}");
    if text.is_empty() {
        return Err("illegal lone '$' at end of value; write '$$' for a dollar sign".to_owned());
    }
    if let Some(rest) = text.strip_prefix('$') {
        return Ok(("$".to_owned(), rest));
    }
    if let Some(text) = text.strip_prefix('(') {
        let (name, rest) = bracketed(text, '(', ')')?;
        return Ok((env(name).ok_or_else(|| missing(name))?, rest));
    }
    let (name, rest) = match text.strip_prefix('{') {
        Some(text) => bracketed(text, '{', '}')?,
        None => text.split_at(name_length(text)),
    };
    if name.is_empty() {
        return Err("'$' not followed by '$' or name".to_owned());
    }
    let value = defines.get(&name.to_ascii_lowercase());
    Ok((value.ok_or_else(|| missing(name))?.clone(), rest))
}

/// Reads `name` and the closing bracket.
fn bracketed(text: &str, open: char, close: char) -> Result<(&str, &str), String> {
    let (name, rest) = text.split_at(name_length(text));
    if name.is_empty() {
        return Err(format!("'${open}' not followed by name"));
    }
    match rest.strip_prefix(close) {
        Some(rest) => Ok((name, rest)),
        None => Err(format!("'${open}{name}' not followed by '{close}'")),
    }
}

/// The length of the name that `text` begins with, 0 if it begins with none.
fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/me".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn run(text: &str) -> Result<String, String> {
        let pairs = [("a", "1"), ("long_name2", "$a"), ("_x", "")];
        let defines = pairs.map(|(k, v)| (k.to_owned(), v.to_owned()));
        substitute(text, &HashMap::from(defines), &env)
    }

    #[test]
    fn references_are_replaced() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$a", "1"),
            ("$A/x", "1/x"),
            ("${a}b", "1b"),
            ("$a$a", "11"),
            ("${Long_Name2}", "$a"),
            ("[$_x]", "[]"),
            ("$$a", "$a"),
            ("$$$a", "$1"),
            ("$(HOME)/db", "/home/me/db"),
            ("$(EMPTY)", ""),
            ("cost: 5$$", "cost: 5$"),
            ("$a-b", "1-b"),
        ] {
            assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_and_unknown_references_are_refused() {
        for (text, expected) in [
            ("x$", "illegal lone '$' at end of value"),
            ("$ a", "'$' not followed by '$' or name"),
            ("$1", "'$' not followed by '$' or name"),
            ("${}", "'${' not followed by name"),
            ("${a", "'${a' not followed by '}'"),
            ("${a b}", "'${a' not followed by '}'"),
            ("$()", "'$(' not followed by name"),
            ("$(HOME", "'$(HOME' not followed by ')'"),
            ("$(HOME:-x)", "'$(HOME' not followed by ')'"),
            ("$(home)", "no replacement for \"home\""),
            ("$B", "no replacement for \"B\""),
        ] {
            let error = run(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn growth_is_bounded() {
        let defines = HashMap::from([("a".to_owned(), "x".repeat(MAX_LENGTH_BYTES))]);
        assert!(substitute("$a", &defines, &env).is_ok());
        assert!(substitute("$a$a", &defines, &env).is_err());
    }
}
