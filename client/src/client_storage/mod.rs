//! A storage on a ZEO server. `client/CLIENT.md` tells who does what, and in which order.

mod blobs;
mod builder;
mod conflicts;
mod connect;
mod current;
mod dispatch;
mod driver;
mod error;
mod history;
mod in_flight;
mod input;
mod iterate;
mod known;
mod link;
mod listeners;
mod load;
mod outcome;
mod output;
#[cfg(test)]
mod races;
mod reader;
mod settings;
mod shared;
mod slot;
mod storage;
mod transaction;
mod turn;
mod unfinished;
mod verify;

pub use builder::Builder;
pub use current::CurrentRecords;
pub use error::{Attempt, Conflict, Disconnected, Error, Refusal};
pub use iterate::{IteratedTransaction, Records, Transactions};
pub use listeners::{Listener, Subscription};
pub use settings::Settings;
pub use storage::ClientStorage;
pub use transaction::Tpc;
pub use unfinished::Unfinished;
