//! The `format` style: Python's `str.format`, such as `{levelname:8}`.

use super::field::Field;
use super::piece::{Piece, number, push_text};
use super::spec::{Align, Conversion, Spec};

/// Takes the format `text` apart.
///
/// # Errors
/// A single brace, a field without a name, or a field with an attribute, an index or a
/// specification that log fields don't take.
pub fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        push_text(&mut pieces, before);
        let double = |braces| after.strip_prefix(braces);
        if let Some(tail) = double("{{").or_else(|| double("}}")) {
            push_text(&mut pieces, if after.starts_with('{') { "{" } else { "}" });
            rest = tail;
            continue;
        }
        let (field, tail) = after
            .strip_prefix('{')
            .and_then(|field| field.split_once('}'))
            .ok_or_else(|| format!("single brace in {text:?}; write '{{{{' or '}}}}'"))?;
        pieces.push(piece(field)?);
        rest = tail;
    }
    push_text(&mut pieces, rest);
    Ok(pieces)
}

/// Reads what stands between braces: `name!conversion:specification`.
fn piece(text: &str) -> Result<Piece, String> {
    let (head, format) = text.split_once(':').unwrap_or((text, ""));
    let (name, conversion) = match head.split_once('!') {
        None => (head, None),
        Some((name, "s")) => (name, Some(Conversion::Text)),
        Some((name, "r" | "a")) => (name, Some(Conversion::Quoted)),
        Some((_, other)) => return Err(format!("unknown conversion \"!{other}\"")),
    };
    if name.is_empty() || name.bytes().all(|c| c.is_ascii_digit()) {
        return Err("formats cannot use positional placeholders; name the field".to_owned());
    }
    if !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return Err(format!("{name:?} is not a field name"));
    }
    let is_text = conversion.is_some() || Field::named(name).is_some_and(Field::is_text);
    let mut spec = specification(format, is_text)?;
    if let Some(conversion) = conversion {
        if spec.conversion != Conversion::Text {
            return Err(format!("{text:?} formats text as a number"));
        }
        spec.conversion = conversion;
    }
    Ok(Piece::field(name, spec, &format!("{{{text}}}")))
}

/// Reads `[[fill]align][sign][#][0][width][.precision][type]`.
fn specification(text: &str, is_text: bool) -> Result<Spec, String> {
    let mut spec = Spec {
        align: if is_text { Align::Left } else { Align::Right },
        ..Spec::default()
    };
    let mut characters = text.chars();
    let first = characters.next();
    let second = characters.next();
    let mut rest = text;
    if let (Some(fill), Some(align)) = (first, second.and_then(alignment)) {
        (spec.fill, spec.align) = (fill, align);
        rest = characters.as_str();
    } else if let Some(align) = first.and_then(alignment) {
        spec.align = align;
        rest = text.get(1..).unwrap_or_default();
    }
    for (sign, shown) in [('+', "+"), (' ', " "), ('-', "")] {
        if let Some(tail) = rest.strip_prefix(sign) {
            (spec.sign, rest) = (shown, tail);
            break;
        }
    }
    if let Some(tail) = rest.strip_prefix('#') {
        (spec.prefix, rest) = (true, tail);
    }
    if rest.starts_with('0') && !is_text {
        (spec.fill, spec.align) = ('0', Align::AfterSign);
    }
    let (width, tail) = number(rest)?;
    (spec.width, rest) = (width.unwrap_or(0), tail);
    if let Some(tail) = rest.strip_prefix('.') {
        let (precision, tail) = number(tail)?;
        let precision = precision.ok_or("format specifier missing precision")?;
        (spec.precision, rest) = (Some(precision), tail);
    }
    let mut letters = rest.chars();
    match (letters.next(), letters.next()) {
        (None, _) => {}
        (Some(letter), None) => spec.conversion = Conversion::named(letter)?,
        _ => return Err(format!("invalid format specification {text:?}")),
    }
    Ok(spec)
}

fn alignment(c: char) -> Option<Align> {
    match c {
        '<' => Some(Align::Left),
        '>' => Some(Align::Right),
        '^' => Some(Align::Center),
        '=' => Some(Align::AfterSign),
        _ => None,
    }
}
