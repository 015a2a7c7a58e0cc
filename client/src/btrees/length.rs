//! `BTrees.Length.Length`: a number beside a tree.

use zeo_proto::Oid;

use super::error::{Error, Result};
use super::store::Nodes;
use crate::record::{Class, Record, Reference, Value};

const CLASS: Class = Class::from_static("BTrees.Length", "Length");

/// A number that many may change at once: changes are added up where they conflict.
pub struct Length<'t> {
    nodes: &'t dyn Nodes,
    oid: Oid,
}

impl<'t> Length<'t> {
    /// The length of this oid, in a transaction.
    ///
    /// # Errors
    /// As for [`Length::get`].
    pub fn open(nodes: &'t dyn Nodes, oid: Oid) -> Result<Self> {
        let length = Length { nodes, oid };
        length.get()?;
        Ok(length)
    }

    /// The record of a new one.
    pub fn record(number: i64) -> Record {
        Record::new(CLASS, number)
    }

    /// The object.
    pub fn oid(&self) -> Oid {
        self.oid
    }

    /// A reference to it, as other objects hold it.
    pub fn reference(&self) -> Reference {
        Reference::new(self.oid, Some(CLASS))
    }

    /// The number.
    ///
    /// # Errors
    /// The record could not be read, or holds no integer of 64 bits.
    pub fn get(&self) -> Result<i64> {
        let damaged = |what: String| Error::Damaged {
            oid: self.oid,
            what,
        };
        let record = Record::decode(self.nodes.read(self.oid)?);
        let record = record.map_err(|error| damaged(error.to_string()))?;
        if record.class() != Some(&CLASS) {
            return Err(damaged(format!(
                "it is no Length, but of class {}",
                record.class_name()
            )));
        }
        match record.state {
            Value::Int(number) => Ok(number),
            other => Err(damaged(format!("its number is {}", other.kind()))),
        }
    }

    /// Sets the number.
    ///
    /// # Errors
    /// The record could not be written.
    pub fn set(&self, number: i64) -> Result<()> {
        Ok(self.nodes.write(self.oid, Self::record(number))?)
    }

    /// Adds to the number, and gives the new one.
    ///
    /// # Errors
    /// As for [`Length::get`]; or the sum has more than 64 bits.
    pub fn change(&self, by: i64) -> Result<i64> {
        let sum = self.get()?.checked_add(by).ok_or_else(|| Error::Damaged {
            oid: self.oid,
            what: "its number would have more than 64 bits".to_owned(),
        })?;
        self.set(sum)?;
        Ok(sum)
    }
}
