//! A `ClientStorage` on our server, and on servers that misbehave.

#![allow(clippy::unwrap_used, clippy::panic)]

mod basics;
mod calls;
mod hostile;
mod life;
mod outcome;
mod reconnect;
mod script;
mod support;
