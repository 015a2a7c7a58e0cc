//! Object records: a pickle of the class and a pickle of the state
//! (ZODB `serialize`). Nothing of them is ever run.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use zeo_proto::Value;
use zeo_proto::pickle::{Policy, Unpickler};

/// What a record begins with that `zc.zlibstorage` compressed: no pickle
/// does, for a dot ends it.
const ZIPPED: &[u8] = b".z";

/// How large a compressed record may become, in bytes.
pub const PLAIN_MAX: u64 = 1 << 30;

/// Whether a record is compressed.
pub fn is_compressed(record: &[u8]) -> bool {
    record.starts_with(ZIPPED)
}

/// The record out of its compression, if it has one.
///
/// # Errors
///
/// `InvalidData` for what is no zlib stream, or holds more than `limit`
/// bytes; `UnexpectedEof` for what is cut off.
pub fn decompress(record: &[u8], limit: u64) -> io::Result<Cow<'_, [u8]>> {
    let Some(zipped) = record.strip_prefix(ZIPPED) else {
        return Ok(Cow::Borrowed(record));
    };
    let mut plain = Vec::new();
    let read = ZlibDecoder::new(zipped)
        .take(limit.saturating_add(1))
        .read_to_end(&mut plain)?;
    if read as u64 > limit {
        let what = format!("it holds more than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(Cow::Owned(plain))
}

/// The record compressed as by `zc.zlibstorage`: only if that is shorter,
/// and never those of at most 20 bytes; nor those that nobody would
/// decompress, since they are longer than [`PLAIN_MAX`].
pub fn compress(record: Vec<u8>) -> Vec<u8> {
    compress_up_to(record, PLAIN_MAX)
}

fn compress_up_to(record: Vec<u8>, limit: u64) -> Vec<u8> {
    if record.len() as u64 > limit {
        return record;
    }
    let mut encoder = ZlibEncoder::new(ZIPPED.to_vec(), Compression::default());
    let zipped = encoder.write_all(&record).and_then(|()| encoder.finish());
    match zipped {
        Ok(zipped) if record.len() > 20 && zipped.len() < record.len() => zipped,
        _ => record,
    }
}

/// How much of a record is decompressed to see its class, in bytes.
const DECOMPRESSED_FOR_CLASS_MAX_BYTES: u64 = 1 << 26;

/// The dotted name of the record's class (or `extension code N`, see
/// [`Value::Extension`]); `None` when it can't be told.
///
/// The class pickle is a class, or a tuple of one and the arguments for its
/// `__new__`; a class stands as a global or as a pair (module, name).
pub fn class_name(record: &[u8]) -> Option<String> {
    let record = decompress(record, DECOMPRESSED_FOR_CLASS_MAX_BYTES).ok()?;
    let class = Unpickler::new(&record, &Policy::FILE).value().ok()?;
    name_of(&class)
}

/// The dotted name of a class as it stands in a record.
pub(crate) fn name_of(class: &Value<'_>) -> Option<String> {
    nested_name(class, 2)
}

fn nested_name(class: &Value<'_>, depth: u32) -> Option<String> {
    match class {
        Value::Global { module, name } => Some(format!("{module}.{name}")),
        Value::Extension(code) => Some(format!("extension code {code}")),
        Value::Tuple(items) => match items.as_slice() {
            [Value::Str(module), Value::Str(name)] => Some(format!("{module}.{name}")),
            [class, _] if depth > 0 => nested_name(class, depth - 1),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_every_form() {
        let cases: &[(&[u8], Option<&str>)] = &[
            (
                b"\x80\x03cBTrees.Length\nLength\nq\x00.",
                Some("BTrees.Length.Length"),
            ),
            (b"\x80\x03ca.b\nC\nq\x00)\x86q\x01.", Some("a.b.C")),
            (
                b"\x80\x03X\x01\x00\x00\x00aX\x01\x00\x00\x00B\x86.",
                Some("a.B"),
            ),
            (
                b"\x80\x03X\x01\x00\x00\x00aX\x01\x00\x00\x00B\x86N\x86.",
                Some("a.B"),
            ),
            (b"\x80\x03K\x01.", None),
            (b"no pickle", None),
            (b"", None),
        ];
        for (record, expected) in cases {
            assert_eq!(
                class_name(record).as_deref(),
                *expected,
                "{}",
                record.escape_ascii()
            );
        }
    }

    #[test]
    fn compressed_records() {
        let record = [b"\x80\x03ca.b\nC\nq\x00.", &[b'N'; 100][..]].concat();
        let zipped = compress(record.clone());
        assert!(is_compressed(&zipped) && zipped.len() < record.len());
        let length = record.len() as u64;
        assert_eq!(decompress(&zipped, length).unwrap(), record);
        assert_eq!(decompress(&record, 0).unwrap(), record);
        assert_eq!(class_name(&zipped).as_deref(), Some("a.b.C"));
        assert_eq!(compress(b"short".to_vec()), b"short");
        // What is too long to be read again stays plain.
        assert_eq!(compress_up_to(record.clone(), length), zipped);
        assert_eq!(compress_up_to(record.clone(), length - 1), record);

        let refused = |record: &[u8], limit| decompress(record, limit).unwrap_err().kind();
        assert_eq!(refused(&zipped, length - 1), io::ErrorKind::InvalidData);
        assert_eq!(refused(b".zgarbage", length), io::ErrorKind::InvalidInput);
        let cut = &zipped[..zipped.len() - 10];
        assert_eq!(refused(cut, length), io::ErrorKind::UnexpectedEof);
        assert_eq!(class_name(cut), None);
    }
}
