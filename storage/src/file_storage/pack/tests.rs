//! Tests of packing.

mod between;
mod crashes;
mod online;
mod python;
mod support;
