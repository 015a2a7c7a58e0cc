//! The arguments of the opcodes that are text (protocol 0), and integers of
//! any length.

use std::borrow::Cow;

use crate::value::Value;

/// A little-endian two's complement integer of any length.
pub(super) fn int_from_le(mut bytes: &[u8]) -> Value<'_> {
    if let Some(int) = short_from_le(bytes) {
        return Value::Int(int);
    }
    // Without bytes that only repeat the sign.
    while let [head @ .., before, last @ (0 | 0xff)] = bytes
        && (before ^ last) & 0x80 == 0
    {
        bytes = bytes.get(..=head.len()).unwrap_or_default();
    }
    Value::Long(Cow::Borrowed(bytes))
}

/// Python takes no more from text, unless told so.
const MAX_DIGITS: usize = 4300;

/// The integer of these decimal digits, which has more than 128 bits; `None`
/// if they are too many.
pub(super) fn long_from_decimal(digits: &str) -> Option<Value<'static>> {
    let magnitude = digits.trim_start_matches(['-', '+']);
    if magnitude.len() > MAX_DIGITS {
        return None;
    }
    // From the least on.
    let mut limbs: Vec<u32> = Vec::new();
    for chunk in magnitude.as_bytes().chunks(9) {
        let (mut carry, mut factor) = (0, 1);
        for digit in chunk {
            carry = carry * 10 + u64::from(digit - b'0');
            factor *= 10;
        }
        for limb in &mut limbs {
            let sum = u64::from(*limb) * factor + carry;
            *limb = sum as u32;
            carry = sum >> 32;
        }
        if carry > 0 {
            limbs.push(carry as u32);
        }
    }
    limbs.push(0);
    if digits.starts_with('-') {
        let mut carry = true;
        for limb in &mut limbs {
            (*limb, carry) = (!*limb).overflowing_add(carry.into());
        }
    }
    let bytes: Vec<u8> = limbs.into_iter().flat_map(u32::to_le_bytes).collect();
    Some(int_from_le(&bytes).into_owned())
}

fn short_from_le(bytes: &[u8]) -> Option<i128> {
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
        assert_eq!(int_from_le(&[]), Value::Int(0));
        assert_eq!(int_from_le(&[0xff]), Value::Int(-1));
        assert_eq!(int_from_le(&[0xff, 0]), Value::Int(255));
        assert_eq!(int_from_le(&[0xff; 40]), Value::Int(-1));
        let mut bytes = i128::MAX.to_le_bytes().to_vec();
        assert_eq!(int_from_le(&bytes), Value::Int(i128::MAX));
        bytes.push(0);
        assert_eq!(int_from_le(&bytes), Value::Int(i128::MAX));
        bytes.push(1);
        assert_eq!(int_from_le(&bytes), Value::Long(bytes.clone().into()));
        let mut bytes = u128::MAX.to_le_bytes().to_vec();
        bytes.push(0);
        let long = Value::Long(bytes.clone().into());
        bytes.push(0);
        assert_eq!(int_from_le(&bytes), long, "2**128 - 1");
        let below = [&[0xff; 15][..], &[0x7f, 0xff]].concat();
        let padded = [&below[..], &[0xff; 9]].concat();
        assert_eq!(int_from_le(&padded), Value::Long(below.into()));
    }

    #[test]
    fn integers_of_many_digits() {
        let long = |bytes: &[&[u8]]| Some(Value::Long(bytes.concat().into()));
        let power = "340282366920938463463374607431768211456";
        assert_eq!(long_from_decimal(power), long(&[&[0; 16], &[1]]));
        let negative = format!("-{power}");
        assert_eq!(long_from_decimal(&negative), long(&[&[0; 16], &[0xff]]));
        let most = "9".repeat(MAX_DIGITS);
        assert!(long_from_decimal(&most).is_some());
        assert_eq!(long_from_decimal(&format!("{most}9")), None);
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
