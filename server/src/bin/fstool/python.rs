//! Bytes and texts as Python's `repr` shows them, which ZODB's scripts print.

use std::fmt::Write;

/// `repr(bytes)`: `b'abc'`.
pub fn bytes(bytes: &[u8]) -> String {
    let quote = quote_for(|wanted| bytes.contains(&wanted));
    let mut shown = format!("b{quote}");
    for &byte in bytes {
        match byte {
            b'\t' => shown.push_str("\\t"),
            b'\n' => shown.push_str("\\n"),
            b'\r' => shown.push_str("\\r"),
            b'\\' => shown.push_str("\\\\"),
            b' '..=b'~' => push_plain(&mut shown, char::from(byte), quote),
            // Writing to a String can't fail.
            _ => drop(write!(shown, "\\x{byte:02x}")),
        }
    }
    shown.push(quote);
    shown
}

/// Python takes double quotes for what holds single ones, and no double ones.
fn quote_for(contains: impl Fn(u8) -> bool) -> char {
    match contains(b'\'') && !contains(b'"') {
        true => '"',
        false => '\'',
    }
}

fn push_plain(shown: &mut String, plain: char, quote: char) {
    if plain == quote {
        shown.push('\\');
    }
    shown.push(plain);
}

#[cfg(test)]
mod tests {
    #[test]
    fn as_in_python() {
        for (value, expected) in [
            (&b""[..], "b''"),
            (b"max", "b'max'"),
            (b"it's", "b\"it's\""),
            (b"'\"", "b'\\'\"'"),
            (b"\"", "b'\"'"),
            (b"\t\n\r\\\0\x7f\xff", r"b'\t\n\r\\\x00\x7f\xff'"),
        ] {
            assert_eq!(super::bytes(value), expected);
        }
    }
}
