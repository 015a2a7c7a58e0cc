//! What the threads say to each other, and the queues that carry it.

pub mod channel;
pub mod client_id;
pub mod event;
pub mod mailbox;
pub mod notice;
mod outlet;
pub mod report;
pub mod request;
pub mod requests;
pub(crate) mod rules;
mod token;
