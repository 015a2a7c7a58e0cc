//! How a client is named among threads.

/// A client, by the number of its connection. It has one claim at a time.
pub type ClientId = u64;
