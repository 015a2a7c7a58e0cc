//! What a format consists of.

use super::field::Field;
use super::spec::Spec;

/// The longest that a field may be padded or cut to, in characters.
const MAX_WIDTH_CHARS: usize = 1000;

/// A piece of a format.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Text that stands between fields.
    Text(String),
    /// A field, and how it is shown.
    Field(Field, Spec),
    /// A field that no record has, as it was written. It is left so.
    Unknown(String),
}

impl Piece {
    /// The field called `name`, or the unknown one that is `written` so.
    pub fn field(name: &str, spec: Spec, written: &str) -> Piece {
        match Field::named(name) {
            Some(field) => Piece::Field(field, spec),
            None => Piece::Unknown(written.to_owned()),
        }
    }
}

/// Adds `text` to `pieces`, to the last one if that is text.
pub fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ if text.is_empty() => {}
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// Reads a width or a precision, up to [`MAX_WIDTH_CHARS`]; `None` if `text` does not begin with a
/// digit.
///
/// # Errors
/// A larger number.
pub fn number(text: &str) -> Result<(Option<usize>, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    if digits.is_empty() {
        return Ok((None, rest));
    }
    match digits.parse() {
        Ok(number) if number <= MAX_WIDTH_CHARS => Ok((Some(number), rest)),
        _ => Err(format!(
            "{digits} is too wide for a field; at most {MAX_WIDTH_CHARS}"
        )),
    }
}
