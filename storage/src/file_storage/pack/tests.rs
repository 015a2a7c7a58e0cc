//! Tests of packing.

mod between;
mod crashes;
mod hard;
mod online;
mod python;
mod support;
