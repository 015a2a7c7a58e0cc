//! The conflict resolver that the options ask for.

use std::sync::Arc;

use slog::{Logger, warn};

use crate::conflict_resolver::{ConflictResolver, ResolverError};
use crate::process::options::{Options, ResolverOptions};

/// Starts its first process, before any storage is touched; `None` if it is not asked for, or not
/// needed.
///
/// # Errors
/// [`ResolverError`]: it does not work.
pub(super) fn start(
    options: &Options,
    log: &Logger,
) -> Result<Option<Arc<ConflictResolver>>, ResolverError> {
    let Some(ResolverOptions { program, timeout }) = &options.conflict_resolver else {
        return Ok(None);
    };
    if options.config.zeo.client_conflict_resolution {
        warn!(
            log,
            "client-conflict-resolution leaves all conflicts to the clients: the conflict \
             resolver {} is not used",
            program.display()
        );
        return Ok(None);
    }
    let resolver = ConflictResolver::start(program, *timeout, log)?;
    Ok(Some(Arc::new(resolver)))
}
