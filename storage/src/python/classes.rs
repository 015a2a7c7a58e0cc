//! The classes besides Python's own whose names values may hold.

/// What is known of classes of packages: tells which can be imported.
pub(crate) trait Classes: Sync {
    /// Whether there is such a class.
    fn knows(&self, module: &str, name: &str) -> bool;
    /// Whether two names, each of module and name, are of one known class.
    fn are_same(&self, a: (&str, &str), b: (&str, &str)) -> bool;
}
