//! The `classic` style: Python's `%` formats with names, such as `%(levelname)-8s`.

use super::piece::{Piece, number, push_text};
use super::spec::{Align, Conversion, Spec};

/// Takes the format `text` apart.
///
/// # Errors
/// A `%` that is not followed by another one or by a name, flags, width, precision and
/// conversion.
pub fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        push_text(&mut pieces, before);
        if let Some(after) = after.strip_prefix('%') {
            push_text(&mut pieces, "%");
            rest = after;
            continue;
        }
        let (name, tail) = after
            .strip_prefix('(')
            .and_then(|after| after.split_once(')'))
            .ok_or_else(|| format!("'%' not followed by '%' or (name) in {text:?}"))?;
        let (spec, tail) = spec(tail)?;
        let written = rest.get(before.len()..rest.len() - tail.len());
        pieces.push(Piece::field(name, spec, written.unwrap_or_default()));
        rest = tail;
    }
    push_text(&mut pieces, rest);
    Ok(pieces)
}

/// Reads what follows a name: the spec and the text behind it.
fn spec(text: &str) -> Result<(Spec, &str), String> {
    let mut spec = Spec::default();
    let rest = text.trim_start_matches(['-', '+', ' ', '0', '#']);
    let flags = text.strip_suffix(rest).unwrap_or_default();
    if flags.contains('+') {
        spec.sign = "+";
    } else if flags.contains(' ') {
        spec.sign = " ";
    }
    spec.prefix = flags.contains('#');
    let (width, rest) = number(rest)?;
    spec.width = width.unwrap_or(0);
    let rest = match rest.strip_prefix('.') {
        None => rest,
        Some(rest) => {
            let (precision, rest) = number(rest)?;
            spec.precision = Some(precision.unwrap_or(0));
            rest
        }
    };
    let letter = rest.chars().next().ok_or("incomplete format at its end")?;
    spec.conversion = Conversion::named(letter)?;
    if flags.contains('-') {
        spec.align = Align::Left;
    } else if flags.contains('0')
        && !matches!(spec.conversion, Conversion::Text | Conversion::Quoted)
    {
        spec.align = Align::AfterSign;
        spec.fill = '0';
    }
    Ok((spec, rest.get(letter.len_utf8()..).unwrap_or_default()))
}
