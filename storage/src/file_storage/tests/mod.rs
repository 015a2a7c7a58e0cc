//! Tests of the storage as a whole.

mod check;
mod commits;
mod crashes;
mod damage;
mod disk;
mod faults;
mod foreign;
mod large;
mod power_cuts;
mod room;
mod seals;
mod votes;
