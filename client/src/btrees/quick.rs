//! The records of most leaves, read in one go.
//!
//! A leaf of numbers, text, bytes and references is a flat tuple: what is read here is what
//! `Record::decode` makes of it, without a machine and a tree of values between. All else, also what
//! is malformed, is left to that.

use bytes::Bytes;
use bytestring::ByteString;
use zeo_proto::Oid;

use crate::record::{Class, Reference, Value};

/// What reading a leaf takes of memory; from one leaf to the next, if it is given back.
#[derive(Debug, Default)]
pub(super) struct Space {
    pub keys: Vec<Value>,
    pub values: Vec<Value>,
    memo: Vec<Memo>,
}

/// The items of a leaf, and the reference to the next one.
pub(super) struct Items {
    pub keys: Vec<Value>,
    /// As many as there are keys; none in a set.
    pub values: Vec<Value>,
    pub next: Option<Value>,
}

/// The items of a leaf, whose memory is taken from `space`; `None` if the record is of another form
/// than `header` (the pickle of this class, and the beginning of the state's) and such a tuple.
pub(super) fn leaf(
    record: &Bytes,
    header: &[u8],
    class: &Class,
    is_set: bool,
    space: &mut Space,
) -> Option<Items> {
    if !record.starts_with(header) {
        return None;
    }
    let mut memo = std::mem::take(&mut space.memo);
    memo.clear();
    // The record's class is memoized first.
    memo.push(Memo::Class(0));
    let mut reader = Reader {
        record,
        at: header.len(),
        keys: std::mem::take(&mut space.keys),
        values: std::mem::take(&mut space.values),
        read: 0,
        is_set,
        memo,
        classes: vec![class.clone()],
    };
    reader.keys.clear();
    reader.values.clear();
    let next = reader.state();
    space.memo = reader.memo;
    Some(Items {
        keys: reader.keys,
        values: reader.values,
        next: next?,
    })
}

struct Reader<'r> {
    record: &'r Bytes,
    at: usize,
    keys: Vec<Value>,
    values: Vec<Value>,
    /// How many values were read, all of them keys in a set, else keys and values in turn.
    read: usize,
    is_set: bool,
    memo: Vec<Memo>,
    classes: Vec<Class>,
}

/// What may be asked for again.
#[derive(Clone, Copy, Debug)]
enum Memo {
    /// An item, by its number.
    Item(usize),
    Class(usize),
    Oid(Oid),
    Other,
}

impl Reader<'_> {
    /// All of the state; returns the reference to the next leaf.
    fn state(&mut self) -> Option<Option<Value>> {
        self.items()?;
        let next = match self.peek()? {
            b'\x85' => None,
            _ => {
                self.value()?;
                Some(self.pop()?)
            }
        };
        let end = if next.is_some() { b'\x86' } else { b'\x85' };
        self.expect(end)?;
        self.put(Memo::Other)?;
        self.expect(b'.')?;
        let is_whole = self.is_set || self.keys.len() == self.values.len();
        (is_whole && self.at == self.record.len()).then_some(next)
    }

    /// The tuple of items.
    fn items(&mut self) -> Option<()> {
        let is_marked = self.peek()? == b'(';
        if is_marked {
            self.at += 1;
        }
        loop {
            let count = match self.peek()? {
                b'\x85' => 1,
                b'\x86' => 2,
                b'\x87' => 3,
                b't' if is_marked => self.read,
                b')' if !is_marked && self.read == 0 => {
                    self.at += 1;
                    return Some(());
                }
                _ => {
                    self.value()?;
                    continue;
                }
            };
            self.at += 1;
            self.put(Memo::Other)?;
            if count != self.read {
                return None;
            }
            // Those are within the tuple now: no item is asked for behind it.
            self.memo.iter_mut().for_each(|memo| {
                if let Memo::Item(_) = memo {
                    *memo = Memo::Other;
                }
            });
            return Some(());
        }
    }

    #[inline]
    fn push(&mut self, value: Value) {
        if self.is_set || self.read.is_multiple_of(2) {
            self.keys.push(value);
        } else {
            self.values.push(value);
        }
        self.read += 1;
    }

    /// What was read last.
    fn pop(&mut self) -> Option<Value> {
        self.read = self.read.checked_sub(1)?;
        if self.is_set || self.read.is_multiple_of(2) {
            self.keys.pop()
        } else {
            self.values.pop()
        }
    }

    fn item(&self, number: usize) -> Option<&Value> {
        match (self.is_set, number % 2) {
            (true, _) => self.keys.get(number),
            (false, 0) => self.keys.get(number / 2),
            (false, _) => self.values.get(number / 2),
        }
    }

    /// One value: the next key, or the next value.
    fn value(&mut self) -> Option<()> {
        let opcode = self.byte()?;
        // What most leaves consist of.
        if opcode == b'X' {
            let length = u32::from_le_bytes(self.array()?);
            let text = ByteString::try_from(self.slice(length)?).ok()?;
            self.push(Value::Str(text));
            return self.put(Memo::Item(self.read - 1));
        }
        if let Some(int) = self.int(opcode) {
            self.push(Value::Int(int?));
            return Some(());
        }
        let value = match opcode {
            b'N' => Value::None,
            b'\x88' => Value::Bool(true),
            b'\x89' => Value::Bool(false),
            b'G' => Value::Float(f64::from_be_bytes(self.array()?)),
            b'C' => return self.bytes(),
            b'h' => {
                let index = self.byte()?.into();
                return self.again(index);
            }
            b'j' => {
                let index = u32::from_le_bytes(self.array()?);
                return self.again(index.try_into().ok()?);
            }
            _ => return None,
        };
        self.push(value);
        Some(())
    }

    /// The number that this opcode begins, if it begins one: `None` within if it is cut off.
    fn int(&mut self, opcode: u8) -> Option<Option<i64>> {
        Some(match opcode {
            b'K' => self.byte().map(i64::from),
            b'M' => self.array().map(|two| u16::from_le_bytes(two).into()),
            b'J' => self.array().map(|four| i32::from_le_bytes(four).into()),
            b'\x8a' => self.long(),
            _ => return None,
        })
    }

    fn long(&mut self) -> Option<i64> {
        let length = usize::from(self.byte()?);
        let bytes = self.record.get(self.at..)?.get(..length)?;
        let sign = if bytes.last()? & 0x80 == 0 { 0 } else { 0xff };
        let mut int = [sign; 8];
        int.get_mut(..length)?.copy_from_slice(bytes);
        self.at += length;
        Some(i64::from_le_bytes(int))
    }

    /// Bytes, or a reference that begins with an oid.
    fn bytes(&mut self) -> Option<()> {
        let length = self.byte()?;
        let bytes = self.slice(length.into())?;
        let begins_reference = match (Oid::from_slice(&bytes), self.record.get(self.at..)?) {
            (
                Some(oid),
                [b'q', _, b'c' | b'h' | b'j', ..] | [b'r', _, _, _, _, b'c' | b'h' | b'j', ..],
            ) => Some(oid),
            _ => None,
        };
        if let Some(oid) = begins_reference {
            let before = (self.at, self.memo.len(), self.classes.len());
            self.put(Memo::Oid(oid))?;
            if let Some(class) = self.class() {
                return self.reference(oid, class);
            }
            self.at = before.0;
            self.memo.truncate(before.1);
            self.classes.truncate(before.2);
        }
        self.push(Value::Bytes(bytes));
        self.put(Memo::Item(self.read - 1))
    }

    /// What was memoized.
    fn again(&mut self, index: usize) -> Option<()> {
        match *self.memo.get(index)? {
            Memo::Item(number) => {
                let value = self.item(number)?.clone();
                self.push(value);
                Some(())
            }
            Memo::Oid(oid) => {
                let class = self.class()?;
                self.reference(oid, class)
            }
            Memo::Class(_) | Memo::Other => None,
        }
    }

    /// The class behind an oid, by its number.
    fn class(&mut self) -> Option<usize> {
        let index = match self.byte()? {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.classes.push(Class::new(module, name));
                let class = self.classes.len() - 1;
                self.put(Memo::Class(class))?;
                return Some(class);
            }
            b'h' => self.byte()?.into(),
            b'j' => usize::try_from(u32::from_le_bytes(self.array()?)).ok()?,
            _ => return None,
        };
        match self.memo.get(index)? {
            Memo::Class(class) => Some(*class),
            _ => None,
        }
    }

    /// What stands behind oid and class.
    fn reference(&mut self, oid: Oid, class: usize) -> Option<()> {
        self.expect(b'\x86')?;
        self.put(Memo::Other)?;
        self.expect(b'Q')?;
        let class = self.classes.get(class)?.clone();
        let reference = Reference::new(oid, Some(class));
        self.push(Value::Reference(Box::new(reference)));
        Some(())
    }

    /// The opcode that memoizes, with the next number.
    fn put(&mut self, memo: Memo) -> Option<()> {
        let index = match self.byte()? {
            b'q' => usize::from(self.byte()?),
            b'r' => usize::try_from(u32::from_le_bytes(self.array()?)).ok()?,
            _ => return None,
        };
        let is_next = index == self.memo.len();
        self.memo.push(memo);
        is_next.then_some(())
    }

    fn expect(&mut self, opcode: u8) -> Option<()> {
        (self.byte()? == opcode).then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.record.get(self.at).copied()
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.record.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(array)
    }

    /// A part of the record, which is not copied.
    fn slice(&mut self, length: u32) -> Option<Bytes> {
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        if end > self.record.len() {
            return None;
        }
        let slice = self.record.slice(self.at..end);
        self.at = end;
        Some(slice)
    }

    fn line(&mut self) -> Option<ByteString> {
        let rest = self.record.get(self.at..)?;
        let length = rest.iter().position(|&byte| byte == b'\n')?;
        let line = self.slice(length.try_into().ok()?)?;
        self.at += 1;
        ByteString::try_from(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    const HEADER: &[u8] = b"\x80\x03cm\nLeaf\nq\x00.\x80\x03";

    /// Reads the record of this state both ways: as that of a set, and of a bucket.
    fn read(state: Value) -> bool {
        let is_read = read_as(state.clone(), true);
        let is_even = match &state {
            Value::Tuple(parts) => matches!(&parts[0], Value::Tuple(items) if items.len() % 2 == 0),
            _ => false,
        };
        assert_eq!(read_as(state, false), is_read && is_even);
        is_read
    }

    fn read_as(state: Value, is_set: bool) -> bool {
        let record = Record::new(Class::new("m", "Leaf"), state);
        let bytes = Bytes::from(record.encode().unwrap());
        let class = Class::new("m", "Leaf");
        let mut space = Space::default();
        let mut leaf = |record: &Bytes| super::leaf(record, HEADER, &class, is_set, &mut space);
        let Some(Items { keys, values, next }) = leaf(&bytes) else {
            return false;
        };
        let mut values = values.into_iter();
        let items = keys.into_iter().flat_map(|key| [Some(key), values.next()]);
        let items: Vec<Value> = items.flatten().collect();
        let parts = [Some(Value::tuple(items)), next];
        let again = Value::tuple(parts.into_iter().flatten());
        assert_eq!(Record::decode(bytes.clone()).unwrap().state, again);
        // And written again as the same bytes: what was shared still is.
        let again = Record::new(Class::new("m", "Leaf"), again);
        assert_eq!(again.encode().unwrap(), bytes);
        // Cut off anywhere, or with more behind, it is for the other reader.
        for length in 0..bytes.len().min(1000) {
            assert!(leaf(&bytes.slice(..length)).is_none());
        }
        let longer = Bytes::from([&bytes, &b"."[..]].concat());
        assert!(leaf(&longer).is_none());
        true
    }

    fn refers(oid: u64) -> Value {
        let class = Some(Class::new("m", "Leaf"));
        Value::Reference(Box::new(Reference::new(Oid::new(oid), class)))
    }

    fn items(items: impl IntoIterator<Item = Value>) -> Value {
        Value::tuple([Value::tuple(items)])
    }

    #[test]
    fn all_that_is_flat() {
        let text = Value::from("some text");
        let scalars = [
            Value::None,
            Value::Bool(true),
            Value::Bool(false),
            Value::Int(0),
            Value::Int(300),
            Value::Int(-1),
            Value::Int(1 << 40),
            Value::Int(i64::MIN),
            Value::Float(1.5),
            text.clone(),
            text,
            Value::from("x"),
            Value::from("x"),
            Value::from(""),
            Value::from("\u{20ac}"),
            Value::Bytes("ab".into()),
            Value::Bytes("12345678".into()),
            refers(1),
            refers(2),
            refers(1),
        ];
        for count in 0..=scalars.len() {
            let some = || Value::tuple(scalars.iter().take(count).cloned());
            assert!(read(Value::tuple([some()])));
            assert!(read(Value::tuple([some(), refers(7)])));
        }
        assert!(read(items(
            (0..1000).map(|n| Value::from(format!("text {n}")))
        )));
        assert!(read(items((0..1000).map(refers))));
    }

    #[test]
    fn all_else_is_left() {
        assert!(!read(Value::None));
        assert!(!read(items([Value::tuple([Value::Int(1)]), Value::Int(2)])));
        assert!(!read(items([Value::List(vec![])])));
        assert!(!read(items([Value::from(u64::MAX)])));
        assert!(!read(items([Value::Reference(Box::new(Reference::weak(
            Oid::new(1)
        )))])));
    }
}
