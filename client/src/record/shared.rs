//! Values that stand in several places of a record.

use crate::lock::locked;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

/// A list, dict, set or instance that stands in several places: where it is changed in one, it is
/// changed in all, as in Python.
///
/// A clone is one more place, not a copy. Within a value that contains itself, the places inside
/// of it are weak: they don't keep it. Two of these are equal if they are one value.
pub struct Shared<T>(Place<T>);

enum Place<T> {
    Keeping(Arc<Cell<T>>),
    Within(Weak<Cell<T>>),
}

/// Who reads takes the value out of the lock: so none is held while other code runs.
type Cell<T> = Mutex<Arc<T>>;

impl<T: Clone + Default> Shared<T> {
    /// A value that can stand in several places.
    pub fn new(value: T) -> Self {
        Self(Place::Keeping(Arc::new(Mutex::new(Arc::new(value)))))
    }

    /// The value as it is now. Of a place within a value that is gone, `None`.
    pub fn get(&self) -> T {
        match self.snapshot() {
            Some(value) => T::clone(&value),
            None => T::default(),
        }
    }

    /// The value as it is now; `None` of a place within a value that is gone.
    pub fn snapshot(&self) -> Option<Arc<T>> {
        let cell = self.cell()?;
        let value = locked(&cell);
        Some(Arc::clone(&value))
    }

    /// Puts another value there.
    pub fn set(&self, value: T) {
        if let Some(cell) = self.cell() {
            let value = Arc::new(value);
            *locked(&cell) = value;
        }
    }

    /// Changes the value in all its places.
    ///
    /// What others change meanwhile is lost, as when two threads change an object of Python.
    pub fn edit<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut taken = Taken::from(self);
        change(&mut taken.value)
    }

    /// The place within the value itself.
    pub(super) fn within(&self) -> Self {
        match &self.0 {
            Place::Keeping(cell) => Self(Place::Within(Arc::downgrade(cell))),
            Place::Within(cell) => Self(Place::Within(Weak::clone(cell))),
        }
    }

    /// What tells it from all others while it is there.
    pub(super) fn address(&self) -> usize {
        match &self.0 {
            Place::Keeping(cell) => Arc::as_ptr(cell).addr(),
            Place::Within(cell) => cell.as_ptr().addr(),
        }
    }

    fn cell(&self) -> Option<Arc<Cell<T>>> {
        match &self.0 {
            Place::Keeping(cell) => Some(Arc::clone(cell)),
            Place::Within(cell) => cell.upgrade(),
        }
    }
}

/// A value that is out of its places to be changed: so it need not be copied, if nobody reads it.
/// It goes back also when the change panics.
struct Taken<'s, T: Clone + Default> {
    from: &'s Shared<T>,
    value: T,
}

impl<'s, T: Clone + Default> Taken<'s, T> {
    fn from(from: &'s Shared<T>) -> Self {
        let taken = from.cell().map(|cell| {
            let mut value = locked(&cell);
            std::mem::take(&mut *value)
        });
        let value = match taken {
            Some(value) => Arc::try_unwrap(value).unwrap_or_else(|kept| T::clone(&kept)),
            None => T::default(),
        };
        Self { from, value }
    }
}

impl<T: Clone + Default> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        self.from.set(std::mem::take(&mut self.value));
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Place::Keeping(cell) => Place::Keeping(Arc::clone(cell)),
            Place::Within(cell) => Place::Within(Weak::clone(cell)),
        })
    }
}

impl<T: Clone + Default> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

/// Without the value, which may contain it.
impl<T: Clone + Default> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared(at {:#x})", self.address())
    }
}
