//! Tests of the storage as a whole.

mod check;
mod commits;
mod crashes;
mod disk;
mod faults;
mod power_cuts;
mod seals;
mod support;
mod votes;
