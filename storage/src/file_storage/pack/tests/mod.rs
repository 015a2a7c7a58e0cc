//! Tests of packing.

mod between;
mod crashes;
mod hard;
mod odd;
mod online;
mod python;
mod support;
