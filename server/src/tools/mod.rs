//! What the programs `zeo`, `zeopack` and `zeo-nagios` share.

pub mod connect;
pub mod monitor;
pub mod output;
pub mod table;

pub use connect::ConnectArguments;
