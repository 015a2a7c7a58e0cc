//! x
pub mod zconfig;
