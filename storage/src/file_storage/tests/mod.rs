//! Tests of the storage as a whole.

mod commits;
mod crashes;
mod faults;
mod seals;
mod support;
mod votes;
