//! Tests of packing.

mod crashes;
mod online;
mod python;
mod support;
