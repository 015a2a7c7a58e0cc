//! Encodings of log files, by the names that Python has for them.

use std::borrow::Cow;

use encoding_rs::{Encoder, EncoderResult, Encoding};

/// How the text of a log file is encoded. What an encoding has no bytes for is written as an
/// escape, such as `\u20ac`: Python loses the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogEncoding {
    /// UTF-8.
    #[default]
    Utf8,
    /// The first 128 characters of Unicode.
    Ascii,
    /// The first 256 characters of Unicode. The web takes that name for cp1252, Python does not.
    Latin1,
    /// One that is the same in Python and on the web.
    Other(&'static Encoding),
}

/// Names as in Python's `encodings.aliases`, in lower case and with `-` for `_`.
const UTF_8: [&str; 5] = ["utf-8", "utf8", "u8", "utf", "cp65001"];
const ASCII: [&str; 6] = [
    "ascii",
    "us-ascii",
    "646",
    "us",
    "iso646-us",
    "ansi-x3.4-1968",
];
const LATIN_1: [&str; 9] = [
    "latin-1",
    "latin1",
    "latin",
    "l1",
    "iso-8859-1",
    "iso8859-1",
    "8859",
    "iso8859",
    "cp819",
];

/// Encodings that have the same bytes for the same characters in Python, but for control characters
/// that some have bytes for here only. (Not those that the web takes another one for, as cp1254 for
/// iso8859-9, nor those of China, Taiwan and Japan, which differ.)
static OTHERS: [(&[&str], &Encoding); 26] = [
    (
        &["cp1250", "windows-1250", "1250"],
        encoding_rs::WINDOWS_1250,
    ),
    (
        &["cp1251", "windows-1251", "1251"],
        encoding_rs::WINDOWS_1251,
    ),
    (
        &["cp1252", "windows-1252", "1252"],
        encoding_rs::WINDOWS_1252,
    ),
    (
        &["cp1253", "windows-1253", "1253"],
        encoding_rs::WINDOWS_1253,
    ),
    (
        &["cp1254", "windows-1254", "1254"],
        encoding_rs::WINDOWS_1254,
    ),
    (
        &["cp1255", "windows-1255", "1255"],
        encoding_rs::WINDOWS_1255,
    ),
    (
        &["cp1256", "windows-1256", "1256"],
        encoding_rs::WINDOWS_1256,
    ),
    (
        &["cp1257", "windows-1257", "1257"],
        encoding_rs::WINDOWS_1257,
    ),
    (
        &["cp1258", "windows-1258", "1258"],
        encoding_rs::WINDOWS_1258,
    ),
    (
        &["iso8859-2", "iso-8859-2", "latin2", "l2"],
        encoding_rs::ISO_8859_2,
    ),
    (
        &["iso8859-3", "iso-8859-3", "latin3", "l3"],
        encoding_rs::ISO_8859_3,
    ),
    (
        &["iso8859-4", "iso-8859-4", "latin4", "l4"],
        encoding_rs::ISO_8859_4,
    ),
    (
        &["iso8859-5", "iso-8859-5", "cyrillic"],
        encoding_rs::ISO_8859_5,
    ),
    (
        &["iso8859-6", "iso-8859-6", "arabic"],
        encoding_rs::ISO_8859_6,
    ),
    (
        &["iso8859-7", "iso-8859-7", "greek"],
        encoding_rs::ISO_8859_7,
    ),
    (
        &["iso8859-8", "iso-8859-8", "hebrew"],
        encoding_rs::ISO_8859_8,
    ),
    (
        &["iso8859-10", "iso-8859-10", "latin6", "l6"],
        encoding_rs::ISO_8859_10,
    ),
    (
        &["iso8859-13", "iso-8859-13", "latin7", "l7"],
        encoding_rs::ISO_8859_13,
    ),
    (
        &["iso8859-14", "iso-8859-14", "latin8", "l8"],
        encoding_rs::ISO_8859_14,
    ),
    (
        &["iso8859-15", "iso-8859-15", "latin9", "l9"],
        encoding_rs::ISO_8859_15,
    ),
    (&["koi8-r"], encoding_rs::KOI8_R),
    (&["cp866", "ibm866", "866"], encoding_rs::IBM866),
    (&["cp874"], encoding_rs::WINDOWS_874),
    (
        &["mac-roman", "macroman", "macintosh"],
        encoding_rs::MACINTOSH,
    ),
    (
        &["mac-cyrillic", "maccyrillic"],
        encoding_rs::X_MAC_CYRILLIC,
    ),
    (&["cp949", "uhc", "949"], encoding_rs::EUC_KR),
];

impl LogEncoding {
    /// The encoding that Python calls `name`.
    ///
    /// # Errors
    /// There is none, or it is not one that is the same in Python and here.
    pub fn named(name: &str) -> Result<LogEncoding, String> {
        let label = name.to_lowercase().replace(['_', ' '], "-");
        let label = label.as_str();
        if UTF_8.contains(&label) {
            return Ok(LogEncoding::Utf8);
        } else if ASCII.contains(&label) {
            return Ok(LogEncoding::Ascii);
        } else if LATIN_1.contains(&label) {
            return Ok(LogEncoding::Latin1);
        }
        match OTHERS.iter().find(|(names, _)| names.contains(&label)) {
            Some((_, encoding)) => Ok(LogEncoding::Other(encoding)),
            None => Err(format!(
                "{name:?} is not an encoding that log files can have here; expected utf-8, \
                 ascii, latin-1 or one such as iso8859-15, cp1252 or koi8-r"
            )),
        }
    }

    /// The bytes of `line`.
    pub fn encode<'a>(self, line: &'a str) -> Cow<'a, [u8]> {
        match self {
            _ if line.is_ascii() => Cow::Borrowed(line.as_bytes()),
            LogEncoding::Utf8 => Cow::Borrowed(line.as_bytes()),
            LogEncoding::Ascii => Cow::Owned(by_number(line, 0x80)),
            LogEncoding::Latin1 => Cow::Owned(by_number(line, 0x100)),
            LogEncoding::Other(encoding) => Cow::Owned(encoded(line, encoding.new_encoder())),
        }
    }
}

/// The characters below `end` by their numbers, the others as escapes.
fn by_number(line: &str, end: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(line.len());
    for c in line.chars() {
        match u8::try_from(u32::from(c)) {
            Ok(byte) if u32::from(c) < end => bytes.push(byte),
            _ => escape(&mut bytes, c),
        }
    }
    bytes
}

fn encoded(mut line: &str, mut encoder: Encoder) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(line.len());
    loop {
        let needed = encoder.max_buffer_length_from_utf8_without_replacement(line.len());
        bytes.reserve(needed.unwrap_or(line.len()).max(16));
        let (result, read) =
            encoder.encode_from_utf8_to_vec_without_replacement(line, &mut bytes, true);
        line = line.get(read..).unwrap_or_default();
        match result {
            EncoderResult::InputEmpty => return bytes,
            EncoderResult::OutputFull => {}
            EncoderResult::Unmappable(c) => escape(&mut bytes, c),
        }
    }
}

/// Writes a character as Python's `backslashreplace` does.
fn escape(bytes: &mut Vec<u8>, c: char) {
    let text = match u32::from(c) {
        number @ ..0x100 => format!("\\x{number:02x}"),
        number @ ..0x1_0000 => format!("\\u{number:04x}"),
        number => format!("\\U{number:08x}"),
    };
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_have_pythons_names() {
        for (name, line, expected) in [
            ("utf-8", "é€", &b"\xc3\xa9\xe2\x82\xac"[..]),
            ("U8", "é", b"\xc3\xa9"),
            ("ascii", "é€\u{1f600}", b"\\xe9\\u20ac\\U0001f600"),
            ("Latin_1", "é€\u{80}", b"\xe9\\u20ac\x80"),
            ("ISO-8859-1", "é", b"\xe9"),
            ("cp1252", "é€Ж", b"\xe9\x80\\u0416"),
            ("iso8859_15", "é€", b"\xe9\xa4"),
            ("KOI8-R", "Ж", b"\xf6"),
            ("mac_roman", "é", b"\x8e"),
        ] {
            let encoding = LogEncoding::named(name).unwrap();
            assert_eq!(&*encoding.encode(line), expected, "{name}");
        }
    }

    #[test]
    fn others_are_refused() {
        for name in [
            "",
            "nosuch",
            "utf-16",
            "utf-8-sig",
            "rot13",
            "hex",
            "replacement",
            "idna",
        ] {
            assert!(LogEncoding::named(name).is_err(), "{name}");
        }
    }
}
