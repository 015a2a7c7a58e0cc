//! What packs of all kinds of storages have in common: the pack time, marks of objects, whether a
//! pack runs, how far it is, and what ends it.

pub(crate) mod marks;
pub(crate) mod state;
mod time;
pub(crate) mod watch;

pub(crate) use self::time::stop as pack_stop;
