//! From a state to a type of Rust, by serde.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    self, DeserializeOwned, Deserializer, EnumAccess, IntoDeserializer, VariantAccess,
};
use serde::forward_to_deserialize_any;

use super::passing;
use super::value::{Dict, Value};
use super::{Record, TypeError};

type Result<T, E = TypeError> = std::result::Result<T, E>;

/// How deep values may be nested: as in serde_json, since serde takes much of the stack.
const MAX_TYPE_DEPTH: usize = 128;

impl Record {
    /// The state as a type of your own: a struct has the attributes as its fields; those that it
    /// does not have are passed over.
    ///
    /// Instances become structs or maps of their attributes, sets become sequences. A field may also
    /// be a [`Value`], a [`Reference`](super::Reference) or a [`DateTime`](super::DateTime).
    ///
    /// ```
    /// use serde::Deserialize;
    /// use zeo_client::record::{Class, Dict, Record, Value};
    ///
    /// #[derive(Deserialize)]
    /// struct Page {
    ///     title: String,
    ///     tags: Option<Vec<String>>,
    /// }
    ///
    /// let state = Dict::from([("title", Value::from("Home")), ("visits", 1.into())]);
    /// let page: Page = Record::new(Class::new("app", "Page"), state).to_type()?;
    /// assert_eq!((page.title.as_str(), page.tags), ("Home", None));
    /// # Ok::<(), zeo_client::record::TypeError>(())
    /// ```
    ///
    /// # Errors
    /// [`TypeError`]: the type takes something else than what is there.
    pub fn to_type<T: DeserializeOwned>(&self) -> Result<T> {
        self.state.to_type()
    }
}

impl Value {
    /// The value as a type of your own: see [`Record::to_type`].
    ///
    /// # Errors
    /// [`TypeError`]: the type takes something else than what is there.
    pub fn to_type<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(Source {
            value: self.clone(),
            depth: 0,
        })
    }
}

/// A value that is read. Those in several places are read in each.
struct Source {
    value: Value,
    depth: usize,
}

impl Source {
    /// The value itself, and what is to be made of its parts.
    fn open(self) -> Result<(Value, usize)> {
        if self.depth >= MAX_TYPE_DEPTH {
            let what = format!("values are nested deeper than {MAX_TYPE_DEPTH}");
            return Err(de::Error::custom(what));
        }
        let value = match self.value {
            Value::Shared(shared) => shared.get(),
            value => value,
        };
        Ok((value, self.depth + 1))
    }
}

impl<'de> Deserializer<'de> for Source {
    type Error = TypeError;

    fn deserialize_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let (value, depth) = self.open()?;
        match value {
            Value::None => visitor.visit_unit(),
            Value::Bool(bool) => visitor.visit_bool(bool),
            Value::Int(int) => visitor.visit_i64(int),
            Value::BigInt(int) => match (u64::try_from(&*int), i128::try_from(&*int)) {
                (Ok(int), _) => visitor.visit_u64(int),
                (_, Ok(int)) => visitor.visit_i128(int),
                _ => Err(de::Error::custom("an int of more than 128 bits")),
            },
            Value::Float(float) => visitor.visit_f64(float),
            Value::Str(text) => visitor.visit_str(&text),
            Value::Bytes(bytes) => visitor.visit_bytes(&bytes),
            Value::Tuple(items) => sequence(items.into_vec(), depth, visitor),
            Value::List(items) | Value::Set(items) | Value::FrozenSet(items) => {
                sequence(items, depth, visitor)
            }
            Value::Dict(dict) => map(dict, depth, visitor),
            Value::Instance(mut instance) => match instance.state.take() {
                Some(state) => Source {
                    value: state,
                    depth,
                }
                .deserialize_any(visitor),
                None if !instance.items.is_empty() => sequence(instance.items, depth, visitor),
                None if !instance.pairs.is_empty() => map(instance.pairs, depth, visitor),
                None => Err(unexpected(&Value::Instance(instance))),
            },
            other => Err(unexpected(&other)),
        }
    }

    fn deserialize_option<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            Value::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: de::Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        if name == passing::NAME {
            passing::pass(self.value);
            return visitor.visit_unit();
        }
        visitor.visit_newtype_struct(self)
    }

    /// A variant is its name, or a dict of its name and its content.
    fn deserialize_enum<V: de::Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let (value, depth) = self.open()?;
        match value {
            Value::Str(name) => visitor.visit_enum(Variant {
                name: Value::Str(name),
                content: None,
                depth,
            }),
            Value::Dict(dict) if dict.len() == 1 => {
                let Some((name, content)) = dict.into_iter().next() else {
                    return Err(de::Error::custom("an empty dict"));
                };
                let content = Some(content);
                visitor.visit_enum(Variant {
                    name,
                    content,
                    depth,
                })
            }
            other => Err(unexpected(&other)),
        }
    }

    fn deserialize_ignored_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier
    }
}

impl<'de> IntoDeserializer<'de, TypeError> for Source {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

struct Variant {
    name: Value,
    content: Option<Value>,
    depth: usize,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = TypeError;
    type Variant = Self;

    fn variant_seed<V: de::DeserializeSeed<'de>>(mut self, seed: V) -> Result<(V::Value, Self)> {
        let value = std::mem::take(&mut self.name);
        let name = seed.deserialize(Source {
            value,
            depth: self.depth,
        })?;
        Ok((name, self))
    }
}

impl Variant {
    fn content(self) -> Result<Source> {
        let content = self
            .content
            .ok_or_else(|| de::Error::custom("a variant without content"));
        Ok(Source {
            value: content?,
            depth: self.depth,
        })
    }
}

impl<'de> VariantAccess<'de> for Variant {
    type Error = TypeError;

    fn unit_variant(self) -> Result<()> {
        match self.content {
            None | Some(Value::None) => Ok(()),
            Some(_) => Err(de::Error::custom("a variant with content")),
        }
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: de::Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value> {
        self.content()?.deserialize_any(visitor)
    }

    fn struct_variant<V: de::Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.content()?.deserialize_any(visitor)
    }
}

fn sequence<'de, V: de::Visitor<'de>>(
    items: Vec<Value>,
    depth: usize,
    visitor: V,
) -> Result<V::Value> {
    let items = items.into_iter().map(|value| Source { value, depth });
    visitor.visit_seq(SeqDeserializer::new(items))
}

fn map<'de, V: de::Visitor<'de>>(dict: Dict, depth: usize, visitor: V) -> Result<V::Value> {
    let source = |value| Source { value, depth };
    let pairs = dict
        .into_iter()
        .map(|(key, value)| (source(key), source(value)));
    visitor.visit_map(MapDeserializer::new(pairs))
}

fn unexpected(value: &Value) -> TypeError {
    de::Error::custom(format!("{} has no counterpart in Rust", value.kind()))
}
