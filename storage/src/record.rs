//! Object records: a pickle of the class and a pickle of the state
//! (ZODB `serialize`). Nothing of them is ever run.

use zeo_proto::Value;
use zeo_proto::pickle::{Policy, Unpickler};

/// The dotted name of the record's class; `None` when it can't be told.
///
/// The class pickle is a class, or a tuple of one and the arguments for its
/// `__new__`; a class stands as a global or as a pair (module, name).
pub fn class_name(record: &[u8]) -> Option<String> {
    let class = Unpickler::new(record, &Policy::FILE).value().ok()?;
    name_of(&class, 2)
}

fn name_of(class: &Value<'_>, depth: u32) -> Option<String> {
    match class {
        Value::Global { module, name } => Some(format!("{module}.{name}")),
        Value::Tuple(items) => match items.as_slice() {
            [Value::Str(module), Value::Str(name)] => Some(format!("{module}.{name}")),
            [class, _] if depth > 0 => name_of(class, depth - 1),
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
}
