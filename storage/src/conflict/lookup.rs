//! Finding equal values among the keys of a dict or the items of a set,
//! whose order says nothing.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use zeo_proto::Value;

use super::compare::Comparer;
use super::numbers::{Int, Number};
use super::operand::{Operand, Sequence};
use super::unresolved::Unresolved;

/// The keys that are searched, which can be hashed.
pub(super) struct Lookup<'c, 'v> {
    comparer: &'c Comparer,
    keys: Vec<&'v Value<'v>>,
    /// Where the keys of each digest stand, once one was not where it was
    /// expected.
    places: HashMap<Option<u64>, Vec<usize>>,
}

impl<'c, 'v> Lookup<'c, 'v> {
    pub(super) fn new(
        comparer: &'c Comparer,
        keys: impl IntoIterator<Item = &'v Value<'v>>,
    ) -> Self {
        Lookup {
            comparer,
            keys: keys.into_iter().collect(),
            places: HashMap::new(),
        }
    }

    /// Where the key stands that is equal to this one: as a rule at
    /// `usually`.
    pub(super) fn find(
        &mut self,
        key: &Value<'_>,
        usually: usize,
    ) -> Result<Option<usize>, Unresolved> {
        if let Some(usual) = self.keys.get(usually)
            && self.comparer.equal(key, usual)?
        {
            return Ok(Some(usually));
        }
        if self.places.is_empty() {
            for (place, key) in self.keys.iter().enumerate() {
                let places = self.places.entry(self.comparer.digest(key)?).or_default();
                places.push(place);
            }
        }
        match self.comparer.digest(key)? {
            None => self.find_among(key, 0..self.keys.len()),
            digest => {
                let [same, any] = [digest, None].map(|digest| self.places.get(&digest));
                let places = same.into_iter().chain(any).flatten().copied();
                self.find_among(key, places)
            }
        }
    }

    fn find_among(
        &self,
        key: &Value<'_>,
        mut places: impl Iterator<Item = usize>,
    ) -> Result<Option<usize>, Unresolved> {
        places
            .find_map(
                |place| match self.comparer.equal(key, self.keys.get(place)?) {
                    Ok(true) => Some(Ok(place)),
                    Ok(false) => None,
                    Err(error) => Some(Err(error)),
                },
            )
            .transpose()
    }
}

impl Comparer {
    /// A number that equal values share; `None` for those that may be equal
    /// to what has another one.
    fn digest(&self, value: &Value<'_>) -> Result<Option<u64>, Unresolved> {
        let mut hasher = DefaultHasher::new();
        Ok(self.add(value, &mut hasher)?.then(|| hasher.finish()))
    }

    /// Adds a value to a digest, unless it has none.
    fn add(&self, value: &Value<'_>, to: &mut DefaultHasher) -> Result<bool, Unresolved> {
        match self.look(value)? {
            Operand::Str(text) => {
                self.spend(text.len() / 16)?;
                text.hash(to);
            }
            Operand::Bytes { bytes, .. } => {
                self.spend(bytes.len() / 16)?;
                bytes.hash(to);
            }
            // An int that a float is equal to is that float.
            Operand::Number(Number::Int(Int::Short(int))) => (int as f64).to_bits().hash(to),
            Operand::Number(Number::Float(float)) => (float + 0.0).to_bits().hash(to),
            Operand::Number(_) | Operand::Complex(..) | Operand::Set { .. } => return Ok(false),
            Operand::Tagged(_, number) => number.hash(to),
            Operand::Sequence(Sequence::Tuple, items) => {
                for item in items {
                    if !self.add(item, to)? {
                        return Ok(false);
                    }
                }
            }
            _ => {}
        }
        Ok(true)
    }
}
