//! The arguments of the opcodes that are text (protocol 0), and integers of
//! any length.

use std::borrow::Cow;

/// A little-endian two's complement integer of any length, if it fits.
pub(super) fn int_from_le(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.last().is_some_and(|&byte| byte & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    let mut wide = [fill; 16];
    let kept = bytes.len().min(16);
    let (low, high) = bytes.split_at(kept);
    for (to, &from) in wide.iter_mut().zip(low) {
        *to = from;
    }
    let value = i128::from_le_bytes(wide);
    (high.iter().all(|&byte| byte == fill) && (value < 0) == negative).then_some(value)
}

/// What stands between the quotes of STRING, with Python's escapes of
/// `bytes` undone; `None` if it is not such a literal.
pub(super) fn unquote(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let line = line.trim_ascii_end();
    let inner = match line {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => return None,
    };
    if !inner.contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'\n' => {}
            b'\\' | b'\'' | b'"' => out.push(escape),
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                out.push(u8::try_from(hex(digits)?).ok()?);
                rest = after;
            }
            b'0'..=b'7' => {
                let mut value = u32::from(escape - b'0');
                for _ in 0..2 {
                    if let Some((&digit @ b'0'..=b'7', after)) = rest.split_first() {
                        value = value * 8 + u32::from(digit - b'0');
                        rest = after;
                    }
                }
                // As in Python, what exceeds a byte is cut off.
                out.push((value & 0xff) as u8);
            }
            other => out.extend([b'\\', other]),
        }
    }
    Some(Cow::Owned(out))
}

/// Text in Python's `raw-unicode-escape`: Latin-1, with `\u` before four hex
/// digits and `\U` before eight; `None` if an escape is no character.
pub(super) fn raw_unicode(line: &[u8]) -> Option<Cow<'_, str>> {
    if line.is_ascii() && !line.contains(&b'\\') {
        return std::str::from_utf8(line).ok().map(Cow::Borrowed);
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(char::from(byte));
            continue;
        }
        let digits = match rest.first() {
            Some(b'u') => 4,
            Some(b'U') => 8,
            // The pair is literal, so that `\\u` is no escape.
            Some(&other) => {
                out.push('\\');
                out.push(char::from(other));
                rest = rest.get(1..)?;
                continue;
            }
            None => {
                out.push('\\');
                continue;
            }
        };
        let (number, after) = rest.get(1..)?.split_at_checked(digits)?;
        out.push(char::from_u32(hex(number)?)?);
        rest = after;
    }
    Some(Cow::Owned(out))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        value.checked_mul(16)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_length() {
        assert_eq!(int_from_le(&[]), Some(0));
        assert_eq!(int_from_le(&[0xff]), Some(-1));
        assert_eq!(int_from_le(&[0xff, 0]), Some(255));
        assert_eq!(int_from_le(&[0xff; 40]), Some(-1));
        let mut bytes = i128::MAX.to_le_bytes().to_vec();
        assert_eq!(int_from_le(&bytes), Some(i128::MAX));
        bytes.push(0);
        assert_eq!(int_from_le(&bytes), Some(i128::MAX));
        bytes.push(1);
        assert_eq!(int_from_le(&bytes), None);
        let mut bytes = u128::MAX.to_le_bytes().to_vec();
        bytes.push(0);
        assert_eq!(int_from_le(&bytes), None, "2**128 - 1");
    }

    #[test]
    fn quoted_bytes() {
        let plain = unquote(br"'a\\\'\x41\101\n\q\7' ").expect("literal");
        assert_eq!(&*plain, b"a\\'AA\n\\q\x07");
        for bad in [&b"'a"[..], b"a'", b"'", b"", b"'\\x4'", b"'\\xgg'"] {
            assert_eq!(unquote(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn escaped_unicode() {
        let text = raw_unicode(b"\xe9\\u20ac\\U0001f600\\\\u0041\\").expect("text");
        assert_eq!(text, "\u{e9}\u{20ac}\u{1f600}\\\\u0041\\");
        for bad in [&b"\\ud800"[..], b"\\u12", b"\\U00110000", b"\\uzzzz"] {
            assert_eq!(raw_unicode(bad), None, "{bad:?}");
        }
    }
}
