//! From values to the bytes of a record, in the form of ZODB 6.4: two pickles of protocol 3 that
//! share one memo, as by zodbpickle's C pickler.
//!
//! Python's memo knows values by their identity. Here that is the address of what can stand in
//! several places (text, bytes, tuples, [`Shared`]); what Python has only once (classes, text and
//! bytes of one character, the oid of an object) is known by its content.

use std::collections::HashMap;
use std::sync::Arc;

use zeo_proto::Oid;
use zeo_proto::pickle::write;

use super::error::EncodeError;
use super::names::{Class, Reference};
use super::value::{Dict, Instance, Shared, Value};
use super::{MAX_DEPTH, Record};

type Result<T = (), E = EncodeError> = std::result::Result<T, E>;

impl Record {
    /// The bytes of the record.
    ///
    /// # Errors
    /// [`EncodeError`]: what no pickle can hold, or is nested too deep.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.encode_with(&mut |oid| oid)
    }

    /// The bytes of the record, in which other oids stand for those of the references.
    ///
    /// # Errors
    /// As of [`Self::encode`].
    pub(crate) fn encode_with(&self, oids: &mut dyn FnMut(Oid) -> Oid) -> Result<Vec<u8>> {
        let mut pickler = Pickler {
            out: Vec::new(),
            count: 0,
            memo: HashMap::new(),
            kept: Vec::new(),
            depth: 0,
            oids,
        };
        write::begin(&mut pickler.out);
        match &self.args {
            None => pickler.save(&self.class)?,
            Some(args) => {
                pickler.save(&self.class)?;
                pickler.save(args)?;
                pickler.end_tuple(2);
            }
        }
        write::stop(&mut pickler.out);
        write::begin(&mut pickler.out);
        pickler.save(&self.state)?;
        write::stop(&mut pickler.out);
        Ok(pickler.out)
    }
}

struct Pickler<'o> {
    out: Vec<u8>,
    /// How many values were memoized.
    count: u32,
    memo: HashMap<Identity, u32>,
    /// Values out of places whose parts' addresses are in the memo.
    kept: Vec<Arc<Value>>,
    depth: usize,
    /// What is written for the oid of a reference.
    oids: &'o mut dyn FnMut(Oid) -> Oid,
}

/// By what a value is found in the memo.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    Text(usize, usize),
    Bytes(usize, usize),
    /// Of a tuple, or of what is in several places.
    Address(usize),
    Char(Option<char>),
    Byte(Option<u8>),
    Global(Class),
    Oid(Oid),
}

impl Pickler<'_> {
    /// Writes a value. This and what else calls itself for parts of values is kept apart from what
    /// writes those without parts: it takes less of the stack then.
    fn save(&mut self, value: &Value) -> Result {
        match value {
            Value::Tuple(items) => self.nested(value, Some(items.address())),
            Value::List(_) | Value::Dict(_) | Value::Set(_) | Value::FrozenSet(_) => {
                self.nested(value, None)
            }
            Value::Instance(_) | Value::Persistent(_) => self.nested(value, None),
            Value::Shared(shared) => self.shared(shared),
            leaf => self.leaf(leaf),
        }
    }

    fn leaf(&mut self, value: &Value) -> Result {
        match value {
            Value::Bool(bool) => write::bool(&mut self.out, *bool),
            Value::Int(int) => write::int(&mut self.out, (*int).into()),
            Value::BigInt(int) => match i128::try_from(&**int) {
                Ok(int) => write::int(&mut self.out, int),
                Err(_) => write::long(&mut self.out, &int.to_signed_bytes_le())?,
            },
            Value::Float(float) => write::float(&mut self.out, *float),
            Value::Str(text) => self.text(text)?,
            Value::Surrogates(text) => {
                let identity = Identity::Text(text.as_ptr().addr(), text.len());
                self.once(identity, |out| write::text(out, text))?;
            }
            Value::Bytes(bytes) => self.bytes(bytes)?,
            Value::Global(class) => self.global(class)?,
            Value::Extension(code) if (1..=0x7fff_ffff).contains(code) => {
                write::extension(&mut self.out, *code);
            }
            Value::Extension(_) => {
                return Err(EncodeError::Wrong("extension codes are 1 to 2147483647"));
            }
            Value::Reference(reference) => self.reference(reference)?,
            _ => write::none(&mut self.out),
        }
        Ok(())
    }

    /// Writes what contains values, and can stand in several places if it has an address.
    fn nested(&mut self, value: &Value, address: Option<usize>) -> Result {
        if self.depth >= MAX_DEPTH {
            return Err(EncodeError::TooDeep);
        }
        self.depth += 1;
        let saved = match value {
            Value::Tuple(items) => self.tuple(items, address),
            Value::List(items) => self.list(items, address),
            Value::Dict(dict) => self.dict(dict, address),
            Value::Set(items) => self.set("set", items, address),
            Value::FrozenSet(items) => self.set("frozenset", items, address),
            Value::Instance(instance) => self.instance(instance, address),
            Value::Persistent(id) => self.persistent(id),
            Value::Shared(shared) => self.shared(shared),
            leaf => self.leaf(leaf),
        };
        self.depth -= 1;
        saved
    }

    fn shared(&mut self, shared: &Shared) -> Result {
        let address = shared.address();
        if self.get(&Identity::Address(address)) {
            return Ok(());
        }
        let value = shared.snapshot().ok_or(EncodeError::Gone)?;
        self.kept.push(Arc::clone(&value));
        self.nested(&value, Some(address))
    }

    fn persistent(&mut self, id: &Value) -> Result {
        self.save(id)?;
        write::persistent(&mut self.out);
        Ok(())
    }

    fn tuple(&mut self, items: &[Value], address: Option<usize>) -> Result {
        if items.is_empty() {
            write::end_tuple(&mut self.out, 0);
            return Ok(());
        }
        if self.get_at(address) {
            return Ok(());
        }
        write::begin_tuple(&mut self.out, items.len());
        for item in items {
            self.save(item)?;
        }
        // One that contains itself has been made meanwhile.
        if self.is_known(address) {
            write::drop_tuple(&mut self.out, items.len());
            self.get_at(address);
            return Ok(());
        }
        write::end_tuple(&mut self.out, items.len());
        self.put_at(address);
        Ok(())
    }

    fn list(&mut self, items: &[Value], address: Option<usize>) -> Result {
        write::empty_list(&mut self.out);
        self.put_at(address);
        self.items(items)
    }

    fn dict(&mut self, dict: &Dict, address: Option<usize>) -> Result {
        write::empty_dict(&mut self.out);
        self.put_at(address);
        self.pairs(dict.pairs())?;
        // The C pickler looks for more after every full batch.
        if !dict.is_empty() && dict.len().is_multiple_of(write::BATCH_ITEMS) {
            write::mark(&mut self.out);
            write::set_items(&mut self.out);
        }
        Ok(())
    }

    /// Ends a tuple whose items are written, and that Python makes only to write it.
    fn end_tuple(&mut self, length: usize) {
        write::end_tuple(&mut self.out, length);
        self.put(None);
    }

    fn items(&mut self, items: &[Value]) -> Result {
        if let [only] = items {
            self.save(only)?;
            write::append(&mut self.out);
            return Ok(());
        }
        for batch in items.chunks(write::BATCH_ITEMS) {
            write::mark(&mut self.out);
            for item in batch {
                self.save(item)?;
            }
            write::appends(&mut self.out);
        }
        Ok(())
    }

    fn pairs(&mut self, pairs: &[(Value, Value)]) -> Result {
        if let [only] = pairs {
            self.pair(only)?;
            write::set_item(&mut self.out);
            return Ok(());
        }
        for batch in pairs.chunks(write::BATCH_ITEMS) {
            write::mark(&mut self.out);
            for pair in batch {
                self.pair(pair)?;
            }
            write::set_items(&mut self.out);
        }
        Ok(())
    }

    fn pair(&mut self, (key, value): &(Value, Value)) -> Result {
        self.save(key)?;
        self.save(value)
    }

    fn set(&mut self, name: &'static str, items: &[Value], address: Option<usize>) -> Result {
        self.global(&Class::from_static("builtins", name))?;
        write::empty_list(&mut self.out);
        self.put(None);
        self.items(items)?;
        self.end_tuple(1);
        write::call(&mut self.out, false);
        self.put_at(address);
        Ok(())
    }

    fn instance(&mut self, instance: &Instance, address: Option<usize>) -> Result {
        if !matches!(*instance.args.look(), Value::Tuple(_)) {
            return Err(EncodeError::Wrong(
                "the arguments of a call are not a tuple",
            ));
        }
        self.save(&instance.callable)?;
        self.save(&instance.args)?;
        write::call(&mut self.out, instance.new);
        self.put_at(address);
        // Unlike those of a list or dict, a last item behind full batches stands alone.
        for batch in instance.items.chunks(write::BATCH_ITEMS) {
            self.items(batch)?;
        }
        for batch in instance.pairs.pairs().chunks(write::BATCH_ITEMS) {
            self.pairs(batch)?;
        }
        if let Some(state) = &instance.state {
            self.save(state)?;
            write::build(&mut self.out);
        }
        Ok(())
    }

    fn reference(&mut self, reference: &Reference) -> Result {
        let Reference {
            class,
            weak,
            database,
            ..
        } = reference;
        match (class, weak, database) {
            (None, false, None) => self.oid(reference)?,
            (Some(class), false, None) => {
                self.oid(reference)?;
                self.global(class)?;
                self.end_tuple(2);
            }
            _ => self.tagged_reference(reference)?,
        }
        write::persistent(&mut self.out);
        Ok(())
    }

    /// Those that are lists of a letter and a tuple.
    fn tagged_reference(&mut self, reference: &Reference) -> Result {
        let Reference {
            class,
            weak,
            database,
            ..
        } = reference;
        write::empty_list(&mut self.out);
        self.put(None);
        write::mark(&mut self.out);
        let kind = match (weak, class) {
            (true, _) => 'w',
            (false, Some(_)) => 'm',
            (false, None) => 'n',
        };
        self.once(Identity::Char(Some(kind)), |out| {
            write::text(out, kind.encode_utf8(&mut [0; 4]).as_bytes())
        })?;
        let mut length = 1;
        if let (Some(name), false) = (database, weak) {
            self.text(name)?;
            length += 1;
        }
        self.oid(reference)?;
        if let (Some(name), true) = (database, weak) {
            self.text(name)?;
            length += 1;
        }
        if let (Some(class), false) = (class, weak) {
            self.global(class)?;
            length += 1;
        }
        self.end_tuple(length);
        write::appends(&mut self.out);
        Ok(())
    }

    /// The oid: known by its bytes if it was read, and else by its number.
    fn oid(&mut self, reference: &Reference) -> Result {
        let identity = match &reference.bytes {
            Some(bytes) => Identity::Bytes(bytes.as_ptr().addr(), bytes.len()),
            None => Identity::Oid(reference.oid),
        };
        if self.get(&identity) {
            return Ok(());
        }
        let index = self.count;
        let oid = (self.oids)(reference.oid).to_bytes();
        self.once(identity, |out| write::bytes(out, &oid))?;
        self.memo.insert(Identity::Oid(reference.oid), index);
        Ok(())
    }

    fn text(&mut self, text: &bytestring::ByteString) -> Result {
        let mut chars = text.chars();
        let first = chars.next();
        let is_single = chars.next().is_none() && first.is_none_or(|char| char <= '\u{ff}');
        let identity = if is_single {
            Identity::Char(first)
        } else {
            Identity::Text(text.as_ptr().addr(), text.len())
        };
        self.once(identity, |out| write::text(out, text.as_bytes()))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result {
        let identity = match bytes.len() {
            0 | 1 => Identity::Byte(bytes.first().copied()),
            length => Identity::Bytes(bytes.as_ptr().addr(), length),
        };
        self.once(identity, |out| write::bytes(out, bytes))
    }

    fn global(&mut self, class: &Class) -> Result {
        let identity = Identity::Global(class.clone());
        let write = |out: &mut Vec<u8>| write::global(out, &class.module, &class.name);
        if class.module != "builtins" || !matches!(&*class.name, "Ellipsis" | "NotImplemented") {
            return self.once(identity, write);
        }
        // Python never looks for these in its memo. It counts its entries, which are not more
        // when it puts them there again, so the next value gets the same number.
        write(&mut self.out)?;
        let count = self.count;
        self.put(None);
        if self.memo.insert(identity, count).is_some() {
            self.count = count;
        }
        Ok(())
    }

    /// Writes a value without parts, or that it was written before.
    fn once(
        &mut self,
        identity: Identity,
        save: impl FnOnce(&mut Vec<u8>) -> Result<(), zeo_proto::pickle::EncodeError>,
    ) -> Result {
        if !self.get(&identity) {
            save(&mut self.out)?;
            self.put(Some(identity));
        }
        Ok(())
    }

    /// Writes the reference to a value that was memoized, if it was.
    fn get(&mut self, identity: &Identity) -> bool {
        match self.memo.get(identity) {
            Some(&index) => {
                write::get(&mut self.out, index);
                true
            }
            None => false,
        }
    }

    fn get_at(&mut self, address: Option<usize>) -> bool {
        address.is_some_and(|address| self.get(&Identity::Address(address)))
    }

    fn is_known(&self, address: Option<usize>) -> bool {
        address.is_some_and(|address| self.memo.contains_key(&Identity::Address(address)))
    }

    fn put_at(&mut self, address: Option<usize>) {
        self.put(address.map(Identity::Address));
    }

    /// Memoizes the value that was written last.
    fn put(&mut self, identity: Option<Identity>) {
        let index = self.count;
        self.count = self.count.wrapping_add(1);
        if let Some(identity) = identity {
            self.memo.insert(identity, index);
        }
        write::put(&mut self.out, index);
    }
}
