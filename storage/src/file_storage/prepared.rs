//! A transaction whose vote has succeeded, laid out for the file.

use zeo_proto::Oid;

/// A transaction that is ready to be appended. Dropping it aborts it and
/// gives its reserved space back.
#[derive(Debug)]
pub struct Prepared {
    /// The objects that the transaction changes, for invalidations.
    pub oids: Vec<Oid>,
    /// Objects whose conflicts were resolved, or that were undone: what
    /// `vote` answers.
    pub resolved: Vec<Oid>,
}
