//! The ZEO server: configuration, threads, and the calls of its clients.
//! `THREADS.md` tells who does what, and in which order.

pub mod commit;
pub mod config;
pub mod errors;
pub mod eventlog;
pub mod messages;
pub mod net;
pub mod process;
pub mod server;
pub mod session;
pub mod settings;
#[cfg(test)]
mod simulation;
pub mod status;
pub mod storages;
