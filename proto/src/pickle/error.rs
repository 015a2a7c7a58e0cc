//! Why a pickle is refused, or a value can't be written.

/// A pickle that is refused: where, and why.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("pickle refused at byte {at}: {problem}")]
pub struct Error {
    /// The offset in the input, that of the opcode where there is one.
    pub at: usize,
    /// What was met there.
    pub problem: Problem,
}

/// What is wrong with a pickle.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// An opcode, its argument or the STOP at the end is missing.
    #[error("{needed} more bytes are needed, and {left} are left")]
    Truncated {
        /// Bytes that the opcode asks for.
        needed: usize,
        /// Bytes that there are.
        left: usize,
    },
    /// Bytes follow the STOP of what should be the only pickle.
    #[error("{0} bytes follow the end of the pickle")]
    Trailing(usize),
    /// No such opcode.
    #[error("opcode {0:#04x} is unknown")]
    UnknownOpcode(u8),
    /// An opcode for what has no place in a database or a message.
    #[error("{0} are not supported")]
    Unsupported(&'static str),
    /// A protocol later than 5.
    #[error("pickle protocol {0} is unknown")]
    Protocol(u8),
    /// An opcode takes more from the stack than there is (above the mark).
    #[error("the stack has too few values")]
    StackUnderflow,
    /// An opcode needs a MARK, and there is none.
    #[error("there is no mark on the stack")]
    NoMark,
    /// At STOP, more than the result is on the stack.
    #[error("{0} values or marks are left on the stack")]
    StackLeft(usize),
    /// An opcode met a value of the wrong kind.
    #[error("{0}")]
    WrongKind(&'static str),
    /// Keys and values of a dict do not come in pairs.
    #[error("a dict has a key without a value")]
    OddItems,
    /// Text that is not UTF-8 or an escape that makes no character.
    #[error("{0} is not valid text")]
    Text(&'static str),
    /// The decimal or escaped argument of a text opcode does not parse.
    #[error("{0} can't be read")]
    Literal(&'static str),
    /// A memo entry that was never put.
    #[error("memo entry {0} does not exist")]
    NoMemo(u64),
    /// A global that the policy does not allow.
    #[error("the global {module}.{name} is not allowed here")]
    Global {
        /// Module.
        module: String,
        /// Name in the module.
        name: String,
    },
    /// A code that `copyreg.add_extension` does not take.
    #[error("extension code {0} is not in the range from 1 to 2147483647")]
    ExtensionCode(u32),
    /// A persistent id where the policy allows none.
    #[error("persistent ids are not allowed here")]
    Persistent,
    /// A container that contains itself.
    #[error("a value contains itself")]
    Recursive,
    /// Nesting beyond the policy's limit.
    #[error("values are nested deeper than {0}")]
    TooDeep(usize),
    /// More memo entries than the policy's limit.
    #[error("there are more than {0} memo entries")]
    MemoFull(usize),
    /// More values than the policy's limits.
    #[error("there are more than {0} values, shared ones counted each time")]
    TooManyValues(usize),
}

/// A value that pickles of protocol 3 can't hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Bytes or text of 4 GiB or more.
    #[error("{0} bytes are too many for a pickle of protocol 3")]
    TooLong(usize),
    /// A newline in a global's name.
    #[error("the global {module:?}.{name:?} has a newline in its name")]
    GlobalName {
        /// Module.
        module: String,
        /// Name in the module.
        name: String,
    },
}
