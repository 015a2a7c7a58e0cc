//! The codecs against what Python wrote: `golden/codecs.txt`, made by
//! `golden/generate.py`, which tells the format.

use zeo_proto::marshal::{self, Encoding, Flag, Message};
use zeo_proto::msgpack;
use zeo_proto::pickle::{self, Memo, Policy};
use zeo_proto::value::Value;

const CASES: &str = include_str!("golden/codecs.txt");

/// The cases of a kind: line number, bytes, and the shown value.
#[expect(clippy::expect_used, reason = "a test may panic")]
fn cases(kind: &str) -> Vec<(usize, Vec<u8>, &'static str)> {
    let cases: Vec<_> = CASES
        .lines()
        .enumerate()
        .filter_map(|(at, line)| {
            let mut fields = line.split('\t');
            (fields.next() == Some(kind)).then(|| {
                let hex = fields.next().expect("hex");
                (at + 1, from_hex(hex), fields.next().expect("value"))
            })
        })
        .collect();
    assert!(cases.len() > 5, "cases of {kind}");
    cases
}

#[expect(clippy::expect_used, reason = "a test may panic")]
fn from_hex(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn pickles_without_memo() {
    pickles_agree("fast", Memo::Fast);
}

#[test]
fn pickles_with_memo() {
    pickles_agree("memo", Memo::Memoizing);
}

#[expect(clippy::expect_used, clippy::panic, reason = "a test may panic")]
fn pickles_agree(kind: &str, memo: Memo) {
    for (line, bytes, shown) in cases(kind) {
        let value = pickle::decode(&bytes, &Policy::FILE).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(show(&value), shown, "line {line}");
        let mut out = b"before".to_vec();
        pickle::encode(&value, &mut out, memo).expect("encodes");
        assert_eq!(out.strip_prefix(b"before"), Some(&*bytes), "line {line}");
    }
}

#[test]
fn pickles_of_all_protocols() {
    for (line, bytes, shown) in cases("read") {
        let value = pickle::decode(&bytes, &Policy::FILE).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(show(&value), shown, "line {line}");
    }
}

#[test]
fn msgpack_values() {
    for (line, bytes, shown) in cases("msgpack") {
        let value = msgpack::decode(&bytes, &Policy::FILE);
        let value = value.unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(show(&value), shown, "line {line}");
        let mut out = b"before".to_vec();
        msgpack::encode(&value, &mut out).expect("encodes");
        assert_eq!(out.strip_prefix(b"before"), Some(&*bytes), "line {line}");
    }
}

#[test]
fn frames_of_a_server() {
    for (kind, encoding) in [
        ("frame-Z", Encoding::Pickle),
        ("frame-M", Encoding::Msgpack),
    ] {
        for (line, bytes, shown) in cases(kind) {
            let message = marshal::decode_message(&bytes[4..], encoding);
            let message = message.unwrap_or_else(|e| panic!("{line}: {e}"));
            let (id, args) = (show(&message.id), show(&message.args));
            let flag = match message.flag {
                Flag::Call => "False",
                Flag::Async => "True",
                Flag::Reply => "0",
                Flag::Error => "2",
            };
            let again = format!("({id}, {flag}, '{}', {args})", message.name);
            assert_eq!(again, shown, "line {line}");
            let mut out = Vec::new();
            let Message {
                id,
                flag,
                name,
                args,
            } = &message;
            marshal::encode_message(&mut out, encoding, id, *flag, name, args).expect("encodes");
            assert_eq!(out, bytes, "line {line}");
        }
    }
}

/// A value as `generate.py` shows it.
fn show(value: &Value<'_>) -> String {
    match value {
        Value::None => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Int(int) => int.to_string(),
        Value::Long(bytes) => format!("{bytes:?}"),
        Value::Float(float) => format!("{float:?}"),
        Value::Bytes(bytes) => format!("b{}", quote(bytes.iter().map(|&b| (char::from(b), true)))),
        Value::Surrogates(text) => format!("str({text:?})"),
        Value::Str(text) => quote(text.chars().map(|c| (c, false))),
        Value::Tuple(items) => match &**items {
            [only] => format!("({},)", show(only)),
            items => format!("({})", show_all(items)),
        },
        Value::List(items) => format!("[{}]", show_all(items)),
        Value::Dict(pairs) => show_pairs(pairs),
        Value::Global { module, name } => format!("{module}.{name}"),
        Value::Extension(code) => format!("extension {code}"),
        Value::Persistent(id) => format!("@{}", show(id)),
        Value::Object(object) => {
            let new = if object.new { ".__new__" } else { "" };
            let mut shown = format!("{}{new}{}", show(&object.callable), show(&object.args));
            if !object.items.is_empty() {
                shown += &format!("+[{}]", show_all(&object.items));
            }
            if !object.pairs.is_empty() {
                shown += &format!("+{}", show_pairs(&object.pairs));
            }
            if let Some(state) = &object.state {
                shown += &format!("/{}", show(state));
            }
            shown
        }
    }
}

fn show_all(items: &[Value<'_>]) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(", ")
}

fn show_pairs(pairs: &[(Value<'_>, Value<'_>)]) -> String {
    let pair = |(key, value): &(Value<'_>, Value<'_>)| format!("{}: {}", show(key), show(value));
    format!(
        "{{{}}}",
        pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
    )
}

/// Python's repr of text, or of bytes given as characters.
fn quote(chars: impl Iterator<Item = (char, bool)> + Clone) -> String {
    let has = |wanted| chars.clone().any(|(char, _)| char == wanted);
    let quote = if has('\'') && !has('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for (char, byte) in chars {
        match char {
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            '\\' => out += "\\\\",
            _ if char == quote => out.extend(['\\', char]),
            ' '..='~' => out.push(char),
            _ if byte || char < ' ' => out += &format!("\\x{:02x}", u32::from(char)),
            _ => out.push(char),
        }
    }
    out.push(quote);
    out
}
