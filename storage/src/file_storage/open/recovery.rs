//! What a crash may leave: at the end of the file, a transaction that was not
//! written to its end, which is set aside, then cut off; after a pack, a file
//! that has lost its name.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Result;
use crate::disk::backend::Backend;
use crate::disk::paths::{beside, failed, is_there};
use crate::disk::{FileSystem, sync_directory};
use crate::file_storage::files::old_of;
use crate::log::{Level, Log};

/// How much is copied at a time.
const COPY_CHUNK_BYTES: usize = 1 << 20;

/// Saves what stands behind `end` as `.tr0`, `.tr1`, ... and cuts it off.
/// When it can't be saved, the file stays as it is.
pub(crate) fn cut_off(
    path: &Path,
    backend: &dyn Backend,
    end: u64,
    why: &str,
    log: &Log,
) -> Result<()> {
    let (copy, mut file) = create_copy(path)?;
    let saved = save(backend, end, &mut file).and_then(|()| sync_directory(&copy));
    saved.map_err(failed("saving the torn end of the file as", &copy))?;
    let what = format!(
        "{}: {why} at {end}; the rest of the file was saved as {} and cut off",
        path.display(),
        copy.display()
    );
    log(Level::Warning, &what);
    truncate(backend, end)
}

/// Cuts off what stands behind `end`.
pub(crate) fn truncate(backend: &dyn Backend, end: u64) -> Result<()> {
    let cut = backend.truncate(end).and_then(|()| backend.sync());
    cut.map_err(failed("cutting off the torn end of", backend.path()))
}

/// Gives the old file its name again after a pack that was killed when it had
/// none, ours or one of Python's: there are `.old` and `.pack`, and no file.
/// (A pack removes the `.old` of the one before when it begins.) Python would
/// begin an empty file. True when it was so.
pub(crate) fn take_back(disk: &dyn FileSystem, path: &Path) -> Result<bool> {
    let old = old_of(path)?;
    if is_there(path) || !is_there(&old) || !is_there(&beside(path, ".pack")) {
        return Ok(false);
    }
    let renamed = disk.rename(&old, path).and_then(|()| disk.sync(path));
    renamed.map_err(failed(
        "restoring the file that a pack had renamed to",
        &old,
    ))?;
    Ok(true)
}

fn create_copy(path: &Path) -> Result<(PathBuf, File)> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut number = 0_u64;
    loop {
        let copy = beside(path, &format!(".tr{number}"));
        match options.open(&copy) {
            Ok(file) => return Ok((copy, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(failed("creating", &copy)(error)),
        }
    }
}

fn save(backend: &dyn Backend, mut position: u64, file: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; COPY_CHUNK_BYTES];
    loop {
        let got = backend.read_at(&mut buffer, position)?;
        file.write_all(buffer.get(..got).unwrap_or_default())?;
        if got < COPY_CHUNK_BYTES {
            return file.sync_all();
        }
        position = position.saturating_add(got as u64);
    }
}
