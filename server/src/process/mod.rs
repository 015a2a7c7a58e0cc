//! The process around a server: its options, its signals, its pid file, its start and its end.

pub mod address_file;
pub mod check;
pub mod listen;
pub mod manager;
pub mod manual;
pub mod options;
pub mod pid_file;
mod resolver;
pub mod run;
pub mod signals;
