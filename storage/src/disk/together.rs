//! Several syncs at the same time: side by side, they mostly wait for one write
//! of the file system's journal.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use super::{Failure, FileSystem};

/// Files are divided among so many threads.
const THREADS_MAX: usize = 4;

/// Syncs the names in this directory, if there is one, and then the contents of
/// these files, at the same time. In this order one write of the journal does
/// for both: nobody else changes the files, but somebody may always change the
/// directory.
pub(super) fn sync_files(
    disk: &dyn FileSystem,
    files: &[PathBuf],
    directory: Option<&Path>,
) -> Result<(), Failure> {
    disk.sync_names(directory)?;
    let each = files.len().div_ceil(THREADS_MAX).max(1);
    let sync_each = |files: &[PathBuf]| files.iter().try_for_each(|path| disk.sync_path(path));
    thread::scope(|scope| {
        let mut pieces = files.chunks(each);
        let here = pieces.next().unwrap_or_default();
        let (mut begun, mut result) = (Vec::new(), Ok(()));
        for piece in pieces {
            match thread::Builder::new().spawn_scoped(scope, move || sync_each(piece)) {
                Ok(thread) => begun.push(thread),
                Err(_) => result = result.and_then(|()| sync_each(piece)),
            }
        }
        result = result.and_then(|()| sync_each(here));
        for thread in begun {
            let panicked = |_| Err((PathBuf::new(), io::Error::other("a thread panicked")));
            result = result.and(thread.join().unwrap_or_else(panicked));
        }
        result
    })
}
