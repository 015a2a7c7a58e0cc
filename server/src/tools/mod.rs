//! What the programs `zeo`, `zeopack` and `zeo-nagios` share.

pub mod connect;
pub mod output;

pub use connect::ConnectArguments;
