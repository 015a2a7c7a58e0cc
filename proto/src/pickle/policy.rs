//! What a pickle may name and how much it may claim.

/// Which globals a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Globals {
    /// Those of the modules that Python's ZEO server accepts from a client
    /// (`ZEO.asyncio.marshal`), and `copyreg`, as `copy_reg` is named now.
    Wire,
    /// All: for what a server sends, and for records and extensions in a
    /// file. None is ever imported.
    Any,
}

/// What Python 2's `str` (STRING, BINSTRING, SHORT_BINSTRING) becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strings {
    /// Text if all of it is ASCII, else bytes: ZODB's
    /// `encoding='ASCII', errors='bytes'`.
    Text,
    /// Text, and refused if not all of it is ASCII, as by the unpicklers of
    /// ZODB's records in Python 3.
    Ascii,
    /// Always bytes.
    Bytes,
}

/// The limits of one decoding. Lengths need none: each is held against the
/// bytes that are there before memory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which globals may be named.
    pub globals: Globals,
    /// What Python 2's `str` becomes.
    pub strings: Strings,
    /// Whether persistent ids may occur.
    pub persistent: bool,
    /// How deep containers and instances may be nested.
    pub max_depth: usize,
    /// How many memo entries there may be.
    pub max_memo: usize,
    /// How many values may be made, by opcodes and in the resulting tree;
    /// each takes about 64 bytes.
    pub max_values: usize,
    /// How many values the tree may have for each byte of the pickle, plus
    /// [`Policy::FREE_VALUES`]. Only values that are shared through the memo,
    /// and so copied into the tree, can make it more than one.
    pub max_values_per_byte: usize,
}

impl Policy {
    /// What a pickle may share without being long.
    pub const FREE_VALUES: usize = 1000;

    /// What a client may send to a server: few values, however large.
    pub const REQUEST: Policy = Policy {
        globals: Globals::Wire,
        strings: Strings::Text,
        persistent: false,
        max_depth: 100,
        max_memo: 1 << 16,
        max_values: 1 << 18,
        max_values_per_byte: 16,
    };

    /// What a server may send to a client: the invalidations of a large
    /// transaction have millions of oids; exceptions and the extensions of
    /// transactions are instances of any class.
    pub const REPLY: Policy = Policy {
        globals: Globals::Any,
        max_memo: 1 << 24,
        max_values: 1 << 24,
        ..Policy::REQUEST
    };

    /// What a file may hold: records, extensions, the index.
    pub const FILE: Policy = Policy {
        persistent: true,
        max_depth: 200,
        ..Policy::REPLY
    };

    /// Whether a global of this module may be named.
    pub(super) fn allows(&self, module: &str) -> bool {
        self.globals == Globals::Any
            || matches!(
                module,
                "ZopeUndo.Prefix"
                    | "zodbpickle"
                    | "builtins"
                    | "__builtin__"
                    | "copyreg"
                    | "copy_reg"
            )
    }

    /// How many values the tree of a pickle of this length may have.
    pub(super) fn tree_limit(&self, length: usize) -> usize {
        length
            .saturating_mul(self.max_values_per_byte)
            .saturating_add(Self::FREE_VALUES)
            .min(self.max_values)
    }
}
