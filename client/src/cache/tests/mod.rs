//! Tests of the cache as a whole.

mod disk;
mod failures;
mod files;
mod golden;
mod hostile;
mod model;
mod sizes;
