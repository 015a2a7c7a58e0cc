//! Every decoder, as a function of bytes.

mod cache;
mod care;
mod client;
mod files;
mod messages;
mod server;
mod wire;

/// Takes an input; a rule of the target's own that it broke is an error.
pub type Subject = Box<dyn FnMut(&[u8]) -> Result<(), String>>;

/// One decoder.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// What inputs are made of.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Makes the decoder, with what it needs around it.
    pub prepare: fn() -> Subject,
    /// Memory that an input may take besides what its length allows.
    pub slack: usize,
}

const MIB: usize = 1 << 20;
/// Values of a tree take about 64 bytes each, and a pickle may share 1000 of
/// them for nothing; a memo may be empty for the most part.
const SLACK: usize = 16 * MIB;

/// All of them.
pub const TARGETS: &[Target] = &[
    wire::FRAMES,
    wire::HANDSHAKE,
    wire::PICKLE,
    wire::MSGPACK,
    messages::PICKLED_CALL,
    messages::MSGPACK_CALL,
    messages::PICKLED_REPLY,
    messages::MSGPACK_REPLY,
    files::CLASS_NAME,
    files::EXTENSION,
    files::RESOLVE,
    files::FILE,
    files::WRITABLE_FILE,
    files::INDEX,
    care::CARE,
    cache::CACHE,
    files::CONFIGURATION,
    server::SESSION,
    client::CLIENT,
];
