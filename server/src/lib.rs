//! The ZEO server: configuration, threads, and the calls of its clients.
//! `THREADS.md` tells who does what, and in which order.

pub mod acceptor;
pub mod channel;
pub mod clock;
pub mod commit_log;
pub mod conflicts;
pub mod connection;
pub mod coordinator;
pub mod errors;
pub mod eventlog;
pub mod invalidations;
pub mod lock_table;
pub mod log_writer;
pub mod mailbox;
#[cfg(test)]
mod model;
pub mod notice;
pub mod options;
mod order;
pub mod pidfile;
pub mod request;
pub mod run;
pub mod schema;
pub mod server;
pub mod session;
pub mod signals;
pub mod stats;
pub mod storages;
pub mod zconfig;
