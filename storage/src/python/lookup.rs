//! Finding equal values among the keys of a dict or the items of a set,
//! whose order says nothing.

use std::collections::HashMap;

use zeo_proto::Value;

use super::error::Error;

/// How values are compared.
pub(super) trait Equality {
    /// `a == b`; an error where Python raises.
    fn equal(&self, a: &Value<'_>, b: &Value<'_>) -> Result<bool, Error>;
    /// A number that equal values share; `None` for those that may be equal
    /// to what has another one.
    fn digest(&self, value: &Value<'_>) -> Result<Option<u64>, Error>;
}

/// The keys that are searched, which can be hashed.
pub(super) struct Lookup<'c, 'v, E> {
    equality: &'c E,
    keys: Vec<&'v Value<'v>>,
    /// Where the keys of each digest stand, once one was not where it was
    /// expected.
    places: HashMap<Option<u64>, Vec<usize>>,
}

impl<'c, 'v, E: Equality> Lookup<'c, 'v, E> {
    pub(super) fn new(equality: &'c E, keys: impl IntoIterator<Item = &'v Value<'v>>) -> Self {
        Lookup {
            equality,
            keys: keys.into_iter().collect(),
            places: HashMap::new(),
        }
    }

    /// Where the key stands that is equal to this one: as a rule at
    /// `usually`.
    pub(super) fn find(&mut self, key: &Value<'_>, usually: usize) -> Result<Option<usize>, Error> {
        if let Some(usual) = self.keys.get(usually)
            && self.equality.equal(key, usual)?
        {
            return Ok(Some(usually));
        }
        if self.places.is_empty() {
            for (place, key) in self.keys.iter().enumerate() {
                let places = self.places.entry(self.equality.digest(key)?).or_default();
                places.push(place);
            }
        }
        match self.equality.digest(key)? {
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
    ) -> Result<Option<usize>, Error> {
        places
            .find_map(
                |place| match self.equality.equal(key, self.keys.get(place)?) {
                    Ok(true) => Some(Ok(place)),
                    Ok(false) => None,
                    Err(error) => Some(Err(error)),
                },
            )
            .transpose()
    }
}
