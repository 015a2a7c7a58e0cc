//! Writes pickles of protocol 3, byte for byte as zodbpickle's C pickler.

use std::collections::HashMap;

use super::error::EncodeError;
use super::write::{self, BATCH_ITEMS};
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
                write::stop(pickler.out);
                write::begin(pickler.out);
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
    write::begin(out);
    let mut pickler = Pickler {
        out,
        memo: (memo == Memo::Memoizing).then(Puts::default),
    };
    let saved = save(&mut pickler);
    match saved {
        Ok(()) => write::stop(out),
        Err(_) => out.truncate(start),
    }
    saved
}

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
            Value::None => write::none(self.out),
            Value::Bool(bool) => write::bool(self.out, *bool),
            Value::Int(int) => write::int(self.out, *int),
            Value::Long(bytes) => write::long(self.out, bytes)?,
            Value::Float(float) => write::float(self.out, *float),
            Value::Bytes(bytes) => self.save_bytes(bytes)?,
            Value::Str(text) => self.save_str(text)?,
            Value::Surrogates(text) => self.save_text(text, None)?,
            Value::Tuple(items) => self.save_tuple(items)?,
            Value::List(items) => self.list(items, Self::save)?,
            Value::Dict(pairs) => self.dict(pairs, Self::save_pair)?,
            Value::Global { module, name } => self.save_global(module, name)?,
            Value::Extension(code) => write::extension(self.out, *code),
            Value::Object(object) => self.save_object(object)?,
            Value::Persistent(id) => {
                self.save(id)?;
                write::persistent(self.out);
            }
        }
        Ok(())
    }

    /// Writes what stands before `length` bytes.
    pub(crate) fn begin_bytes(&mut self, length: usize) -> Result<(), EncodeError> {
        write::begin_bytes(self.out, length)
    }

    fn save_bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let single = (bytes.len() <= 1).then(|| Single::Bytes(bytes.first().copied()));
        if single.is_some_and(|single| self.get(single)) {
            return Ok(());
        }
        write::bytes(self.out, bytes)?;
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
        write::text(self.out, text)?;
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
        write::begin_tuple(self.out, length);
    }

    /// Ends what [`Self::begin_tuple`] began.
    pub(crate) fn end_tuple(&mut self, length: usize) {
        write::end_tuple(self.out, length);
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
        write::empty_list(self.out);
        self.put(None);
        if let [only] = items {
            save(self, only)?;
            write::append(self.out);
            return Ok(());
        }
        items
            .chunks(BATCH_ITEMS)
            .try_for_each(|batch| self.batch(batch, &mut save, write::appends))
    }

    /// A dict whose pairs are written by `save`.
    pub(crate) fn dict<T, E>(
        &mut self,
        pairs: &'v [T],
        mut save: impl FnMut(&mut Self, &'v T) -> Result<(), E>,
    ) -> Result<(), E> {
        write::empty_dict(self.out);
        self.put(None);
        if let [only] = pairs {
            save(self, only)?;
            write::set_item(self.out);
            return Ok(());
        }
        for batch in pairs.chunks(BATCH_ITEMS) {
            self.batch(batch, &mut save, write::set_items)?;
        }
        // The C pickler looks for more after every full batch.
        if !pairs.is_empty() && pairs.len().is_multiple_of(BATCH_ITEMS) {
            self.batch(&[], &mut save, write::set_items)?;
        }
        Ok(())
    }

    /// Items or pairs behind a mark.
    fn batch<T, E>(
        &mut self,
        batch: &'v [T],
        save: &mut impl FnMut(&mut Self, &'v T) -> Result<(), E>,
        end: fn(&mut Vec<u8>),
    ) -> Result<(), E> {
        write::mark(self.out);
        for part in batch {
            save(self, part)?;
        }
        end(self.out);
        Ok(())
    }

    fn save_global(&mut self, module: &'v str, name: &'v str) -> Result<(), EncodeError> {
        let single = Single::Global(module, name);
        if self.get(single) {
            return Ok(());
        }
        write::global(self.out, module, name)?;
        self.put(Some(single));
        Ok(())
    }

    fn save_object(&mut self, object: &'v Object<'_>) -> Result<(), EncodeError> {
        self.save(&object.callable)?;
        self.save(&object.args)?;
        write::call(self.out, object.new);
        self.put(None);
        for batch in object.items.chunks(BATCH_ITEMS) {
            if let [only] = batch {
                self.save(only)?;
                write::append(self.out);
            } else {
                self.batch(batch, &mut Self::save, write::appends)?;
            }
        }
        for batch in object.pairs.chunks(BATCH_ITEMS) {
            if let [only] = batch {
                self.save_pair(only)?;
                write::set_item(self.out);
            } else {
                self.batch(batch, &mut Self::save_pair, write::set_items)?;
            }
        }
        if let Some(state) = &object.state {
            self.save(state)?;
            write::build(self.out);
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
        write::get(self.out, index);
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
        write::put(self.out, index);
    }
}
