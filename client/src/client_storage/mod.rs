//! A storage on a ZEO server. `client/CLIENT.md` tells who does what, and in which order.

mod builder;
mod connect;
mod dispatch;
mod error;
mod in_flight;
mod input;
mod link;
mod listeners;
mod load;
mod lock;
mod reader;
mod settings;
mod shared;
mod slot;
mod storage;
mod transaction;
mod unfinished;

pub use builder::Builder;
pub use error::{Attempt, Conflict, Disconnected, Error, Refusal};
pub use listeners::{Listener, Subscription};
pub use settings::Settings;
pub use storage::ClientStorage;
pub use transaction::Tpc;
pub use unfinished::Unfinished;
