//! Writes pickles of protocol 3, byte for byte as zodbpickle's C pickler.

use std::collections::HashMap;

use super::opcodes as op;
use crate::value::{Object, Value};

/// Whether each value is followed by the opcode that memoizes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memo {
    /// As `Pickler(f, 3)` with `fast = 1`: messages between ZEO's peers.
    Fast,
    /// As `dumps(value, 3)`: what ZODB puts into files. Values are held to
    /// be distinct objects in Python, but for those of which Python has only
    /// one: globals, and `bytes` and `str` of at most one (Latin-1) character.
    Memoizing,
}

/// A value that pickles of protocol 3 can't hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Bytes or text of 4 GiB or more.
    #[error("{0} bytes are too many for a pickle of protocol 3")]
    TooLong(usize),
    /// A newline in a global's name.
    #[error("the global {module:?}.{name:?} has a newline in its name")]
    GlobalName {
        /// Module.
        module: String,
        /// Name in the module.
        name: String,
    },
}

/// Appends the pickle of a value to `out`; on an error nothing is appended.
///
/// The value is walked by recursion: like dropping it, this needs a nesting
/// that the decoders would let pass.
///
/// # Errors
/// [`EncodeError`]: pickles have nothing for the value.
pub fn encode(value: &Value<'_>, out: &mut Vec<u8>, memo: Memo) -> Result<(), EncodeError> {
    encode_parts(out, memo, |pickler| pickler.save(value))
}

/// Appends a pickle of each value; they share one memo, as those that one
/// Python `Pickler` dumps, and as one [`Unpickler`](super::Unpickler) reads
/// them. On an error nothing is appended.
///
/// # Errors
/// [`EncodeError`]: pickles have nothing for one of the values.
pub fn encode_all(values: &[&Value<'_>], out: &mut Vec<u8>, memo: Memo) -> Result<(), EncodeError> {
    encode_parts(out, memo, |pickler| {
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                pickler.out.extend([op::STOP, op::PROTO, 3]);
            }
            pickler.save(value)?;
        }
        Ok(())
    })
}

/// Appends a pickle whose value is written by `save`; on an error nothing is
/// appended.
pub(crate) fn encode_parts<'v, E>(
    out: &mut Vec<u8>,
    memo: Memo,
    save: impl FnOnce(&mut Pickler<'_, 'v>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend([op::PROTO, 3]);
    let mut pickler = Pickler {
        out,
        memo: (memo == Memo::Memoizing).then(Puts::default),
    };
    let saved = save(&mut pickler);
    match saved {
        Ok(()) => out.push(op::STOP),
        Err(_) => out.truncate(start),
    }
    saved
}

/// Python writes long lists and dicts in pieces of this many items.
const BATCH_ITEMS: usize = 1000;

/// A pickle being written.
pub(crate) struct Pickler<'o, 'v> {
    pub(crate) out: &'o mut Vec<u8>,
    memo: Option<Puts<'v>>,
}

/// What was memoized: how many, and where what can occur again.
#[derive(Default)]
struct Puts<'v> {
    count: u32,
    seen: HashMap<Single<'v>, u32>,
}

/// A value of which Python has only one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Single<'v> {
    Bytes(Option<u8>),
    Str(Option<char>),
    Global(&'v str, &'v str),
}

impl<'o, 'v> Pickler<'o, 'v> {
    /// Writes parts of a pickle without memo.
    pub(crate) fn fast(out: &'o mut Vec<u8>) -> Self {
        Self { out, memo: None }
    }

    /// Writes a value.
    pub(crate) fn save(&mut self, value: &'v Value<'_>) -> Result<(), EncodeError> {
        match value {
            Value::None => self.out.push(op::NONE),
            Value::Bool(true) => self.out.push(op::NEWTRUE),
            Value::Bool(false) => self.out.push(op::NEWFALSE),
            Value::Int(int) => self.save_int(*int),
            Value::Long(bytes) => self.save_long(bytes)?,
            Value::Float(float) => {
                self.out.push(op::BINFLOAT);
                self.out.extend(float.to_be_bytes());
            }
            Value::Bytes(bytes) => self.save_bytes(bytes)?,
            Value::Str(text) => self.save_str(text)?,
            Value::Surrogates(text) => self.save_text(text, None)?,
            Value::Tuple(items) => self.save_tuple(items)?,
            Value::List(items) => self.list(items, Self::save)?,
            Value::Dict(pairs) => self.dict(pairs, Self::save_pair)?,
            Value::Global { module, name } => self.save_global(module, name)?,
            Value::Extension(code) => self.save_extension(*code),
            Value::Object(object) => self.save_object(object)?,
            Value::Persistent(id) => {
                self.save(id)?;
                self.out.push(op::BINPERSID);
            }
        }
        Ok(())
    }

    fn save_int(&mut self, int: i128) {
        if let Ok(byte) = u8::try_from(int) {
            self.out.extend([op::BININT1, byte]);
        } else if let Ok(short) = u16::try_from(int) {
            self.out.push(op::BININT2);
            self.out.extend(short.to_le_bytes());
        } else if let Ok(int) = i32::try_from(int) {
            self.out.push(op::BININT);
            self.out.extend(int.to_le_bytes());
        } else {
            let sign_bits = if int < 0 {
                int.leading_ones()
            } else {
                int.leading_zeros()
            };
            // The bytes that the value bits and one sign bit fill: 1 to 16.
            let length = ((128 - sign_bits) / 8 + 1) as u8;
            self.out.extend([op::LONG1, length]);
            self.out
                .extend(int.to_le_bytes().iter().take(length.into()));
        }
    }

    fn save_long(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.sized(op::LONG1, op::LONG4, bytes)
    }

    /// Bytes behind their length: of one byte if it fits, or of four.
    fn sized(&mut self, short: u8, long: u8, bytes: &[u8]) -> Result<(), EncodeError> {
        match u8::try_from(bytes.len()) {
            Ok(length) => self.out.extend([short, length]),
            Err(_) => {
                let length = length(bytes)?;
                self.out.push(long);
                self.out.extend(length);
            }
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn save_bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let single = (bytes.len() <= 1).then(|| Single::Bytes(bytes.first().copied()));
        if single.is_some_and(|single| self.get(single)) {
            return Ok(());
        }
        self.sized(op::SHORT_BINBYTES, op::BINBYTES, bytes)?;
        self.put(single);
        Ok(())
    }

    fn save_str(&mut self, text: &str) -> Result<(), EncodeError> {
        let mut chars = text.chars();
        let first = chars.next();
        let one_latin = chars.next().is_none() && first.is_none_or(|char| char <= '\u{ff}');
        let single = one_latin.then_some(Single::Str(first));
        if single.is_some_and(|single| self.get(single)) {
            return Ok(());
        }
        self.save_text(text.as_bytes(), single)
    }

    fn save_text(&mut self, text: &[u8], single: Option<Single<'v>>) -> Result<(), EncodeError> {
        let length = length(text)?;
        self.out.push(op::BINUNICODE);
        self.out.extend(length);
        self.out.extend_from_slice(text);
        self.put(single);
        Ok(())
    }

    fn save_tuple(&mut self, items: &'v [Value<'_>]) -> Result<(), EncodeError> {
        self.begin_tuple(items.len());
        for item in items {
            self.save(item)?;
        }
        self.end_tuple(items.len());
        Ok(())
    }

    /// Begins a tuple of so many items, whose end is [`Self::end_tuple`].
    pub(crate) fn begin_tuple(&mut self, length: usize) {
        if length > 3 {
            self.out.push(op::MARK);
        }
    }

    /// Ends what [`Self::begin_tuple`] began.
    pub(crate) fn end_tuple(&mut self, length: usize) {
        self.out.push(match length {
            0 => op::EMPTY_TUPLE,
            1 => op::TUPLE1,
            2 => op::TUPLE2,
            3 => op::TUPLE3,
            _ => op::TUPLE,
        });
        if length > 0 {
            self.put(None);
        }
    }

    /// A list whose items are written by `save`.
    pub(crate) fn list<T, E>(
        &mut self,
        items: &'v [T],
        mut save: impl FnMut(&mut Self, &'v T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.out.push(op::EMPTY_LIST);
        self.put(None);
        if let [only] = items {
            save(self, only)?;
            self.out.push(op::APPEND);
            return Ok(());
        }
        items
            .chunks(BATCH_ITEMS)
            .try_for_each(|batch| self.batch(batch, &mut save, op::APPENDS))
    }

    /// A dict whose pairs are written by `save`.
    pub(crate) fn dict<T, E>(
        &mut self,
        pairs: &'v [T],
        mut save: impl FnMut(&mut Self, &'v T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.out.push(op::EMPTY_DICT);
        self.put(None);
        if let [only] = pairs {
            save(self, only)?;
            self.out.push(op::SETITEM);
            return Ok(());
        }
        for batch in pairs.chunks(BATCH_ITEMS) {
            self.batch(batch, &mut save, op::SETITEMS)?;
        }
        // The C pickler looks for more after every full batch.
        if !pairs.is_empty() && pairs.len().is_multiple_of(BATCH_ITEMS) {
            self.batch(&[], &mut save, op::SETITEMS)?;
        }
        Ok(())
    }

    /// Items or pairs behind a mark.
    fn batch<T, E>(
        &mut self,
        batch: &'v [T],
        save: &mut impl FnMut(&mut Self, &'v T) -> Result<(), E>,
        end: u8,
    ) -> Result<(), E> {
        self.out.push(op::MARK);
        for part in batch {
            save(self, part)?;
        }
        self.out.push(end);
        Ok(())
    }

    fn save_global(&mut self, module: &'v str, name: &'v str) -> Result<(), EncodeError> {
        let single = Single::Global(module, name);
        if self.get(single) {
            return Ok(());
        }
        if module.contains('\n') || name.contains('\n') {
            return Err(EncodeError::GlobalName {
                module: module.to_owned(),
                name: name.to_owned(),
            });
        }
        self.out.push(op::GLOBAL);
        for part in [module, name] {
            self.out.extend_from_slice(part.as_bytes());
            self.out.push(b'\n');
        }
        self.put(Some(single));
        Ok(())
    }

    /// Not memoized, as by Python.
    fn save_extension(&mut self, code: u32) {
        if let Ok(code) = u8::try_from(code) {
            self.out.extend([op::EXT1, code]);
        } else if let Ok(code) = u16::try_from(code) {
            self.out.push(op::EXT2);
            self.out.extend(code.to_le_bytes());
        } else {
            self.out.push(op::EXT4);
            self.out.extend(code.to_le_bytes());
        }
    }

    fn save_object(&mut self, object: &'v Object<'_>) -> Result<(), EncodeError> {
        self.save(&object.callable)?;
        self.save(&object.args)?;
        let opcode = if object.new { op::NEWOBJ } else { op::REDUCE };
        self.out.push(opcode);
        self.put(None);
        for batch in object.items.chunks(BATCH_ITEMS) {
            if let [only] = batch {
                self.save(only)?;
                self.out.push(op::APPEND);
            } else {
                self.batch(batch, &mut Self::save, op::APPENDS)?;
            }
        }
        for batch in object.pairs.chunks(BATCH_ITEMS) {
            if let [only] = batch {
                self.save_pair(only)?;
                self.out.push(op::SETITEM);
            } else {
                self.batch(batch, &mut Self::save_pair, op::SETITEMS)?;
            }
        }
        if let Some(state) = &object.state {
            self.save(state)?;
            self.out.push(op::BUILD);
        }
        Ok(())
    }

    /// Writes a key and its value.
    pub(crate) fn save_pair(
        &mut self,
        (key, value): &'v (Value<'_>, Value<'_>),
    ) -> Result<(), EncodeError> {
        self.save(key)?;
        self.save(value)
    }

    /// Writes the reference to a value that was memoized, if it was.
    #[inline]
    fn get(&mut self, single: Single<'v>) -> bool {
        let Some(puts) = &self.memo else {
            return false;
        };
        let Some(&index) = puts.seen.get(&single) else {
            return false;
        };
        self.indexed(op::BINGET, op::LONG_BINGET, index);
        true
    }

    /// Memoizes the value on top of the stack.
    #[inline]
    fn put(&mut self, single: Option<Single<'v>>) {
        let Some(puts) = &mut self.memo else {
            return;
        };
        let index = puts.count;
        puts.count = puts.count.wrapping_add(1);
        if let Some(single) = single {
            puts.seen.insert(single, index);
        }
        self.indexed(op::BINPUT, op::LONG_BINPUT, index);
    }

    fn indexed(&mut self, short: u8, long: u8, index: u32) {
        match u8::try_from(index) {
            Ok(index) => self.out.extend([short, index]),
            Err(_) => {
                self.out.push(long);
                self.out.extend(index.to_le_bytes());
            }
        }
    }
}

/// The 4 bytes of a length.
fn length(bytes: &[u8]) -> Result<[u8; 4], EncodeError> {
    match u32::try_from(bytes.len()) {
        Ok(length) => Ok(length.to_le_bytes()),
        Err(_) => Err(EncodeError::TooLong(bytes.len())),
    }
}
