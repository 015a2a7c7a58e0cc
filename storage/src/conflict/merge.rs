//! The three-way merge of sorted keys and their values.
//!
//! The rules: an item that one side left alone is taken from the other. A
//! key may be inserted or deleted by one side only, and a value changed by
//! one side only, unless both changed it to the same. No side may be
//! emptied or lose its first item, since that concerns the bucket's parent.

use std::cmp::Ordering;

use zeo_proto::Value;

use super::unresolved::{Reason, Unresolved};
use crate::btrees::bucket::{Bucket, take};
use crate::btrees::{Kind, Tree, order_by};
use crate::python::{self, Answer, Comparer};

/// How a class compares its keys and values.
pub(super) struct Rules<'r> {
    pub class: &'r Tree,
    pub comparer: &'r Comparer,
}

/// The merged items, without the next bucket. The keys are taken to be
/// sorted, as by Python; where they are not, so will be the result.
pub(super) fn merge<'a>(
    rules: &Rules<'_>,
    old: &Bucket<'a>,
    committed: &Bucket<'a>,
    new: &Bucket<'a>,
) -> Result<Bucket<'a>, Unresolved> {
    let mut merge = Merge {
        rules,
        old: Cursor { bucket: old, at: 0 },
        committed: Cursor {
            bucket: committed,
            at: 0,
        },
        new: Cursor { bucket: new, at: 0 },
        merged: Bucket::default(),
        raised: None,
    };
    while merge.step()? {}
    if merge.merged.keys.is_empty() {
        return merge.fail(Reason::NothingLeft);
    }
    match merge.raised {
        Some(what) => Err(Unresolved::Incomparable(what)),
        None => Ok(merge.merged),
    }
}

/// One of the three, and the item that it is at.
struct Cursor<'m, 'a> {
    bucket: &'m Bucket<'a>,
    at: usize,
}

impl<'m, 'a> Cursor<'m, 'a> {
    fn key(&self) -> Option<&'m Value<'a>> {
        self.bucket.keys.get(self.at)
    }

    fn value(&self) -> Option<&'m Value<'a>> {
        self.bucket.values.get(self.at)
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    /// As Python's errors tell it: from 1 on, or -1 at the end.
    fn position(&self) -> i32 {
        match self.key() {
            Some(_) => i32::try_from(self.at + 1).unwrap_or(i32::MAX),
            None => -1,
        }
    }
}

struct Merge<'m, 'a> {
    rules: &'m Rules<'m>,
    old: Cursor<'m, 'a>,
    committed: Cursor<'m, 'a>,
    new: Cursor<'m, 'a>,
    merged: Bucket<'a>,
    /// Why a comparison of values raised. In C the values then count as
    /// changed, and the error comes up with the next comparison of keys that
    /// are objects, or at the end; unless another one replaces it. (Or unless
    /// code in Python that compares swallows it, as that of IP addresses may:
    /// C then merges what could not be compared. That is not done here.)
    raised: Option<&'static str>,
}

/// The side that an item is taken from.
#[derive(Clone, Copy)]
enum Side {
    Committed,
    New,
}

impl<'m, 'a> Merge<'m, 'a> {
    /// Deals with the least key of all sides; false when there is none.
    fn step(&mut self) -> Result<bool, Unresolved> {
        match (self.old.key(), self.committed.key(), self.new.key()) {
            (Some(old), Some(committed), Some(new)) => self.among_three(old, committed, new)?,
            (None, Some(committed), Some(new)) => match self.order(committed, new)? {
                Ordering::Less => self.insert(Side::Committed),
                Ordering::Equal => return self.fail(Reason::SameAppended),
                Ordering::Greater => self.insert(Side::New),
            },
            (Some(old), Some(committed), None) => match self.order(old, committed)? {
                Ordering::Greater => self.insert(Side::Committed),
                Ordering::Equal if self.unchanged(Side::Committed)? => {
                    self.old.advance();
                    self.committed.advance();
                }
                _ => return self.fail(Reason::EndDeletedByNew),
            },
            (Some(old), None, Some(new)) => match self.order(old, new)? {
                Ordering::Greater => self.insert(Side::New),
                Ordering::Equal if self.unchanged(Side::New)? => {
                    self.old.advance();
                    self.new.advance();
                }
                _ => return self.fail(Reason::EndDeletedByCommitted),
            },
            (Some(_), None, None) => return self.fail(Reason::EndDeletedByBoth),
            (None, Some(_), None) => self.insert(Side::Committed),
            (None, None, Some(_)) => self.insert(Side::New),
            (None, None, None) => return Ok(false),
        }
        Ok(true)
    }

    fn among_three(
        &mut self,
        old: &Value<'a>,
        committed: &Value<'a>,
        new: &Value<'a>,
    ) -> Result<(), Unresolved> {
        use Ordering::{Equal, Greater, Less};
        let to_committed = self.order(old, committed)?;
        let to_new = self.order(old, new)?;
        match (to_committed, to_new) {
            (Equal, Equal) => self.keep()?,
            (Equal, Greater) => self.insert(Side::New),
            (Greater, Equal) => self.insert(Side::Committed),
            (Equal, Less) => {
                if !self.unchanged(Side::Committed)? {
                    return self.fail(Reason::NewDeletedChanged);
                }
                if self.new.at == 0 {
                    return self.fail(Reason::FirstDeleted);
                }
                self.old.advance();
                self.committed.advance();
            }
            (Less, Equal) => {
                if !self.unchanged(Side::New)? {
                    return self.fail(Reason::CommittedDeletedChanged);
                }
                if self.committed.at == 0 {
                    return self.fail(Reason::FirstDeleted);
                }
                self.old.advance();
                self.new.advance();
            }
            _ => {
                let between = self.order(committed, new)?;
                match (to_committed, to_new, between) {
                    (_, _, Equal) => return self.fail(Reason::SameInserted),
                    (Greater, _, Less) => self.insert(Side::Committed),
                    (Greater, _, Greater) | (_, Greater, _) => self.insert(Side::New),
                    _ => return self.fail(Reason::SameDeleted),
                }
            }
        }
        Ok(())
    }

    /// Takes the item that all three have from the side that changed it.
    fn keep(&mut self) -> Result<(), Unresolved> {
        let class = self.rules.class;
        let from = if self.unchanged(Side::Committed)? {
            Side::New
        } else if self.unchanged(Side::New)? {
            Side::Committed
        } else {
            return self.fail(Reason::ValueChangedByBoth);
        };
        match (class.python, self.old.key()) {
            (true, Some(key)) => self.keep_as_python(key.clone(), from)?,
            _ => self.insert(from),
        }
        self.old.advance();
        match from {
            Side::Committed => self.new.advance(),
            Side::New => self.committed.advance(),
        }
        Ok(())
    }

    /// Equal keys may differ in type: the classes in Python keep the old one.
    /// Their buckets set this item by its key, rather than to append it: only
    /// now they check its types, and it goes where a search leads it.
    fn keep_as_python(&mut self, mut key: Value<'a>, from: Side) -> Result<(), Unresolved> {
        let cursor = self.cursor(from);
        let value = cursor.value().cloned();
        cursor.advance();
        let Some(mut value) = value else {
            self.merged.keys.push(key);
            return Ok(());
        };
        let class = self.rules.class;
        let taken = take(class.key, true, &mut key).and(take(class.value, true, &mut value));
        taken.ok_or(Unresolved::Incomparable(
            "a key or value is of the wrong type",
        ))?;
        let Bucket { keys, values, .. } = &mut self.merged;
        let (mut low, mut high) = (0, keys.len());
        while low < high {
            let at = (low + high) / 2;
            let Some(middle) = keys.get(at) else { break };
            if self.rules.comparer.equal(middle, &key)? {
                if let Some(there) = values.get_mut(at) {
                    *there = value;
                }
                return Ok(());
            }
            match self.rules.order(middle, &key)? {
                Ordering::Less => low = at + 1,
                _ => high = at,
            }
        }
        keys.insert(low, key);
        values.insert(low, value);
        Ok(())
    }

    fn cursor(&mut self, side: Side) -> &mut Cursor<'m, 'a> {
        match side {
            Side::Committed => &mut self.committed,
            Side::New => &mut self.new,
        }
    }

    /// Takes an item from one side.
    fn insert(&mut self, from: Side) {
        let cursor = self.cursor(from);
        let (key, value) = (cursor.key(), cursor.value());
        cursor.advance();
        self.merged.keys.extend(key.cloned());
        self.merged.values.extend(value.cloned());
    }

    /// Whether this side has the old value at its key.
    fn unchanged(&mut self, side: Side) -> Answer {
        let (Some(old), Some(value)) = (self.old.value(), self.cursor(side).value()) else {
            // A set's.
            return Ok(true);
        };
        match self.rules.same(old, value) {
            Err(python::Error::Incomparable(what)) if !self.rules.class.python => {
                self.raised.get_or_insert(what);
                Ok(false)
            }
            answer => answer,
        }
    }

    fn order(&self, a: &Value<'a>, b: &Value<'a>) -> Result<Ordering, Unresolved> {
        match self.raised {
            Some(what) if self.rules.class.key == Kind::Object => {
                Err(Unresolved::Incomparable(what))
            }
            _ => Ok(self.rules.order(a, b)?),
        }
    }

    fn fail<T>(&self, reason: Reason) -> Result<T, Unresolved> {
        Err(Unresolved::Merge {
            reason,
            raised: self.raised,
            positions: [
                self.old.position(),
                self.committed.position(),
                self.new.position(),
            ],
        })
    }
}

impl Rules<'_> {
    /// The order of two keys; None comes first. What has no order, as NaN,
    /// falls out as it does in C and in Python.
    fn order(&self, a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, python::Error> {
        let comparer = self.comparer;
        match (a, b) {
            (Value::None, _) | (_, Value::None) => order_by(comparer, a, b),
            _ if self.class.python => {
                let greater = comparer.less(b, a)?;
                Ok(greater.cmp(&comparer.less(a, b)?))
            }
            _ => order_by(comparer, a, b),
        }
    }

    /// Whether two values count as equal. Those in C ask for the order too,
    /// so values without one (as dicts) can't be compared.
    fn same(&self, a: &Value<'_>, b: &Value<'_>) -> Answer {
        match (self.class.value, a, b) {
            _ if self.class.python => self.comparer.equal(a, b),
            // NaN counts as equal to everything.
            (Kind::Float, Value::Float(a), Value::Float(b)) => {
                Ok(matches!(a.partial_cmp(b), None | Some(Ordering::Equal)))
            }
            _ => Ok(self.order(a, b)? == Ordering::Equal),
        }
    }
}
