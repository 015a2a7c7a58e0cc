//! What a server counts, and tells those who ask.

pub mod conflict_counts;
pub(crate) mod json;
pub mod stats;
