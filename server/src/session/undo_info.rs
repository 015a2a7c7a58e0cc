//! The specification by which `undoInfo` filters the undo log: a dict of fields and the values that
//! they must have (ZODB `UndoLogCompatible`). A value may be a `ZopeUndo.Prefix.Prefix`, which
//! equals every path that begins with its elements.

use std::borrow::Cow;

use zeo_proto::Value;
use zeo_proto::exception::Exception;
use zeo_storage::Error;
use zeo_storage::storage::UndoEntry;

/// How long an answer may become, in bytes of the file: a million usual
/// transactions. It takes several times that in memory.
const MAX_ANSWER_BYTES: usize = 1 << 28;
/// How many bytes an entry takes besides its texts.
const ENTRY_BYTES: usize = 100;

/// What is left of an answer that may not take all memory.
pub(super) struct Room {
    skip: usize,
    left: usize,
}

impl Room {
    /// Room for one answer, which leaves out the first `skip` entries.
    pub(super) fn behind(skip: usize) -> Self {
        let left = MAX_ANSWER_BYTES;
        Self { skip, left }
    }

    /// Takes the room of the next entry.
    pub(super) fn take(&mut self, entry: &UndoEntry) -> zeo_storage::Result<()> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        let meta = &entry.meta;
        let texts = [&meta.user, &meta.description, &meta.extension];
        let length = texts.iter().fold(ENTRY_BYTES, |sum, text| sum + text.len());
        let left = self.left.checked_sub(length);
        self.left = left.ok_or_else(|| {
            let why =
                "the answer would take more than 256 MB: ask for fewer transactions at a time";
            Error::Value(why.to_owned())
        })?;
        Ok(())
    }
}

/// The fields that a transaction must have.
pub(super) struct Specification {
    wanted: Vec<(Value<'static>, Value<'static>)>,
}

impl Specification {
    /// The filter of a call; `None` when everything is let through.
    pub(super) fn new(value: Value<'_>) -> Result<Option<Self>, Exception> {
        match value.into_owned() {
            Value::None => Ok(None),
            Value::Dict(wanted) if wanted.is_empty() => Ok(None),
            Value::Dict(wanted) => Ok(Some(Self { wanted })),
            _ => Err(Exception::type_error(
                "undoInfo: the specification must be a dict",
            )),
        }
    }

    /// Whether an entry of the undo log is wanted.
    pub(super) fn admits(&self, fields: &[(Value<'static>, Value<'static>)]) -> bool {
        self.wanted.iter().all(|(name, wanted)| {
            let found = fields.iter().find(|(other, _)| other == name);
            matches(wanted, found.map_or(&Value::None, |(_, value)| value))
        })
    }
}

fn matches(wanted: &Value<'_>, found: &Value<'_>) -> bool {
    match (prefix_elements(wanted), text(found)) {
        (Some(prefix), Some(path)) => starts_with(&path, &prefix),
        (Some(_), None) => false,
        (None, _) => wanted == found,
    }
}

/// The path elements of a `Prefix` instance, from its state
/// `{length, path: [...]}`.
fn prefix_elements(value: &Value<'_>) -> Option<Vec<String>> {
    let Value::Object(object) = value else {
        return None;
    };
    let state = object
        .state
        .as_ref()
        .or_else(|| object.args.as_items()?.last())?;
    let Value::Dict(state) = state else {
        return None;
    };
    let (_, path) = state
        .iter()
        .find(|(name, _)| name.as_str() == Some("path"))?;
    let elements = path.as_items()?.iter();
    elements
        .map(|element| text(element).map(Cow::into_owned))
        .collect()
}

fn text<'v>(value: &'v Value<'_>) -> Option<Cow<'v, str>> {
    match value {
        Value::Str(text) => Some(Cow::Borrowed(text)),
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes)),
        _ => None,
    }
}

/// True when the path begins with these elements. The user's name behind a
/// blank in the last element is not part of the path.
fn starts_with(path: &str, prefix: &[String]) -> bool {
    let mut elements: Vec<&str> = path.split('/').collect();
    if let Some(last) = elements.last_mut() {
        *last = last.rsplit_once(' ').map_or(*last, |(path, _)| path);
    }
    elements.len() >= prefix.len() && elements.iter().zip(prefix).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use zeo_proto::value::Object;
    use zeo_storage::storage::TransactionMeta;

    use super::*;

    fn prefix(path: &str) -> Value<'static> {
        let elements: Vec<_> = path
            .split('/')
            .map(|e| Value::Str(e.to_owned().into()))
            .collect();
        Value::Object(Box::new(Object {
            callable: Value::Global {
                module: "ZopeUndo.Prefix".into(),
                name: "Prefix".into(),
            },
            args: Value::Tuple(vec![]),
            new: true,
            state: Some(Value::Dict(vec![
                (Value::str("length"), Value::Int(elements.len() as i128)),
                (Value::str("path"), Value::List(elements)),
            ])),
            items: vec![],
            pairs: vec![],
        }))
    }

    fn admits(wanted: Value<'static>, user: &'static str) -> bool {
        let specification = Value::Dict(vec![(Value::str("user_name"), wanted)]);
        let specification = Specification::new(specification).unwrap().unwrap();
        specification.admits(&[(Value::str("user_name"), Value::bytes(user.as_bytes()))])
    }

    #[test]
    fn prefixes_match_whole_elements_without_the_user() {
        assert!(admits(prefix("/a/b"), "/a/b"));
        assert!(admits(prefix("/a/b"), "/a/b/c jim"));
        assert!(admits(prefix("/a/b"), "/a/b jim"));
        assert!(!admits(prefix("/a/b"), "/a/bc"));
        assert!(!admits(prefix("/a/b"), "/a"));
    }

    #[test]
    fn an_answer_has_an_end() {
        let mut entry = UndoEntry {
            tid: zeo_proto::Tid::ZERO,
            size: 0,
            meta: TransactionMeta::default(),
        };
        entry.meta.user = vec![b'u'; 65_535];
        let fit = MAX_ANSWER_BYTES / (ENTRY_BYTES + 65_535);
        let mut room = Room::behind(3);
        assert!((0..3 + fit).all(|_| room.take(&entry).is_ok()));
        let why = room.take(&entry).unwrap_err().to_string();
        assert!(why.contains("ask for fewer"), "{why}");
    }

    #[test]
    fn other_values_must_be_equal() {
        assert!(admits(Value::bytes(b"jim"), "jim"));
        assert!(!admits(Value::bytes(b"jim"), "jimmy"));
        assert!(Specification::new(Value::None).unwrap().is_none());
        assert!(Specification::new(Value::Int(1)).is_err());
    }
}
