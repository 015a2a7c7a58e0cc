//! The `template` and `safe-template` styles: Python's `string.Template`, such as `${message}`.

use super::piece::{Piece, push_text};
use super::spec::Spec;

/// Takes the format `text` apart. With `safe`, a `$` that begins no field is text.
///
/// # Errors
/// A `$` that is not followed by another one or by a name, unless `safe`.
pub fn pieces(text: &str, safe: bool) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        push_text(&mut pieces, before);
        if let Some(after) = after.strip_prefix('$') {
            push_text(&mut pieces, "$");
            rest = after;
            continue;
        }
        match name(after) {
            Some((name, tail)) => {
                let written = rest.get(before.len()..rest.len() - tail.len());
                pieces.push(Piece::field(
                    name,
                    Spec::default(),
                    written.unwrap_or_default(),
                ));
                rest = tail;
            }
            None if safe => {
                push_text(&mut pieces, "$");
                rest = after;
            }
            None => return Err(format!("'$' not followed by '$' or a name in {text:?}")),
        }
    }
    push_text(&mut pieces, rest);
    Ok(pieces)
}

/// Reads `name` or `{name}`: the name and the text behind it.
fn name(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{');
    let body = inner.unwrap_or(text);
    if body.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let end = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let (name, rest) = body.split_at(end.unwrap_or(body.len()));
    let rest = match inner {
        Some(_) => rest.strip_prefix('}')?,
        None => rest,
    };
    (!name.is_empty()).then_some((name, rest))
}
