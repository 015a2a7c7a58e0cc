//! x
pub mod eventlog;
pub mod options;
pub mod pidfile;
pub mod schema;
pub mod signals;
pub mod zconfig;
