//! The conflict resolver that the options ask for.

use std::sync::Arc;

use slog::{Logger, warn};

use crate::conflict_resolver::ConflictResolver;
use crate::process::options::{Options, ResolverOptions};

/// It has no process yet; `None` if it is not asked for, or not needed.
pub(super) fn configured(options: &Options, log: &Logger) -> Option<Arc<ConflictResolver>> {
    let ResolverOptions { program, timeout } = options.conflict_resolver.as_ref()?;
    if options.config.zeo.client_conflict_resolution {
        warn!(
            log,
            "client-conflict-resolution leaves all conflicts to the clients: the conflict \
             resolver {} is not used",
            program.display()
        );
        return None;
    }
    Some(Arc::new(ConflictResolver::new(program, *timeout, log)))
}
