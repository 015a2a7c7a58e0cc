//! Every decoder, as a function of bytes.

mod care;
mod files;
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

/// All of them.
pub const TARGETS: &[Target] = &[
    wire::FRAMES,
    wire::HANDSHAKE,
    wire::PICKLE,
    wire::MSGPACK,
    wire::PICKLED_CALL,
    wire::MSGPACK_CALL,
    files::CLASS_NAME,
    files::EXTENSION,
    files::RESOLVE,
    files::FILE,
    files::WRITABLE_FILE,
    files::INDEX,
    care::CARE,
    files::CONFIGURATION,
    server::SESSION,
];
