//! What a server counts, and tells those who ask.

pub mod client;
pub mod conflict_counts;
pub(crate) mod database;
pub mod histogram;
pub(crate) mod json;
pub mod outage;
pub mod outcomes;
pub mod stats;
pub mod throttle;
