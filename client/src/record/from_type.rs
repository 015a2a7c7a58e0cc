//! From a type of Rust to a state, by serde.

use bytes::Bytes;
use num_bigint::BigInt;
use serde::ser::{self, Serialize, Serializer};

use super::passing;
use super::value::{Dict, Value};
use super::{Record, TypeError};

type Result<T, E = TypeError> = std::result::Result<T, E>;

impl Record {
    /// Sets the attributes that a type of your own has as its fields; all others stay.
    ///
    /// ```
    /// use serde::Serialize;
    /// use zeo_client::record::{Class, Dict, Record, Value};
    ///
    /// #[derive(Serialize)]
    /// struct Visits {
    ///     visits: u32,
    /// }
    ///
    /// let mut page = Record::new(Class::new("app", "Page"), Dict::from([("title", "Home")]));
    /// page.update_from(&Visits { visits: 3 })?;
    /// assert_eq!(page.get("visits"), Some(&Value::Int(3)));
    /// assert_eq!(page.get("title"), Some(&Value::from("Home")));
    /// # Ok::<(), zeo_client::record::TypeError>(())
    /// ```
    ///
    /// # Errors
    /// [`TypeError`]: the type is no struct or map, or has what records have not; or the record's
    /// state has no attributes.
    pub fn update_from<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let Value::Dict(attributes) = Value::from_type(value)? else {
            return Err(ser::Error::custom("a struct or a map is needed"));
        };
        let set = self.state.edit(|state| {
            if state.is_none() {
                *state = Value::Dict(Dict::new());
            }
            match state {
                Value::Dict(all) => {
                    all.extend(attributes);
                    true
                }
                _ => false,
            }
        });
        if set {
            Ok(())
        } else {
            Err(ser::Error::custom("the object has no attributes"))
        }
    }
}

impl Value {
    /// The value that stands for one of a type of your own: structs and maps become dicts,
    /// sequences lists, tuples tuples, bytes (`serde_bytes`) bytes; variants of enums are their name,
    /// or a dict of their name and their content.
    ///
    /// # Errors
    /// [`TypeError`]: the type has what records have not.
    pub fn from_type<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        value.serialize(Target)
    }
}

struct Target;

/// What is collected: of a variant, with its name.
struct Items(Vec<Value>, bool, Option<&'static str>);
struct Pairs(Dict, Option<Value>, Option<&'static str>);

impl Items {
    fn end(self) -> Result<Value> {
        let Self(items, is_tuple, variant) = self;
        let items = if is_tuple {
            Value::Tuple(items.into())
        } else {
            Value::List(items)
        };
        Ok(named(variant, items))
    }

    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.0.push(value.serialize(Target)?);
        Ok(())
    }
}

impl Pairs {
    fn end(self) -> Result<Value> {
        Ok(named(self.2, Value::Dict(self.0)))
    }

    fn add<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        self.0.insert(
            bytestring::ByteString::from_static(name),
            value.serialize(Target)?,
        );
        Ok(())
    }
}

fn named(variant: Option<&'static str>, content: Value) -> Value {
    match variant {
        Some(name) => Value::Dict(Dict::from([(name, content)])),
        None => content,
    }
}

macro_rules! numbers {
    ($($method:ident $type:ty),*) => {$(
        fn $method(self, value: $type) -> Result<Value> {
            Ok(BigInt::from(value).into())
        }
    )*};
}

impl Serializer for Target {
    type Ok = Value;
    type Error = TypeError;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Pairs;
    type SerializeStruct = Pairs;
    type SerializeStructVariant = Pairs;

    numbers! {
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
        serialize_i128 i128, serialize_u8 u8, serialize_u16 u16, serialize_u32 u32,
        serialize_u64 u64, serialize_u128 u128
    }

    fn serialize_bool(self, value: bool) -> Result<Value> {
        Ok(Value::Bool(value))
    }

    fn serialize_f32(self, value: f32) -> Result<Value> {
        Ok(Value::Float(value.into()))
    }

    fn serialize_f64(self, value: f64) -> Result<Value> {
        Ok(Value::Float(value))
    }

    fn serialize_char(self, value: char) -> Result<Value> {
        Ok(value.to_string().into())
    }

    fn serialize_str(self, value: &str) -> Result<Value> {
        Ok(value.into())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value> {
        Ok(Value::Bytes(Bytes::copy_from_slice(value)))
    }

    fn serialize_none(self) -> Result<Value> {
        Ok(Value::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value> {
        Ok(Value::None)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Value> {
        Ok(Value::None)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _at: u32,
        variant: &'static str,
    ) -> Result<Value> {
        Ok(variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Value> {
        if name == passing::NAME {
            return Ok(passing::take().unwrap_or_default());
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _at: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value> {
        Ok(named(Some(variant), value.serialize(self)?))
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Items> {
        Ok(Items(Vec::new(), false, None))
    }

    fn serialize_tuple(self, _length: usize) -> Result<Items> {
        Ok(Items(Vec::new(), true, None))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Items> {
        Ok(Items(Vec::new(), true, None))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _at: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Items> {
        Ok(Items(Vec::new(), true, Some(variant)))
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Pairs> {
        Ok(Pairs(Dict::new(), None, None))
    }

    fn serialize_struct(self, _name: &'static str, _length: usize) -> Result<Pairs> {
        Ok(Pairs(Dict::new(), None, None))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _at: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Pairs> {
        Ok(Pairs(Dict::new(), None, Some(variant)))
    }
}

macro_rules! items {
    ($($trait:ident $add:ident),*) => {$(
        impl ser::$trait for Items {
            type Ok = Value;
            type Error = TypeError;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.add(value)
            }

            fn end(self) -> Result<Value> {
                self.end()
            }
        }
    )*};
}

items! {
    SerializeSeq serialize_element, SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field
}

macro_rules! fields {
    ($($trait:ident),*) => {$(
        impl ser::$trait for Pairs {
            type Ok = Value;
            type Error = TypeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<()> {
                self.add(name, value)
            }

            fn end(self) -> Result<Value> {
                self.end()
            }
        }
    )*};
}

fields! { SerializeStruct, SerializeStructVariant }

impl ser::SerializeMap for Pairs {
    type Ok = Value;
    type Error = TypeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.1 = Some(key.serialize(Target)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let value = value.serialize(Target)?;
        match self.1.take() {
            Some(key) => self.0.insert(key, value),
            None => return Err(ser::Error::custom("a value without a key")),
        };
        Ok(())
    }

    fn end(self) -> Result<Value> {
        self.end()
    }
}
