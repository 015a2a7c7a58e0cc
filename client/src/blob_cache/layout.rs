//! How blobs lie in a cache directory (`ZEO.ClientStorage.BlobCacheLayout`):
//!
//! ```text
//! .layout                  "zeocache"
//! check_size.lock          held by who removes what is too much
//! check_size.attempt       somebody else wanted to
//! tmp/                     uncommitted blobs, and what is on its way
//! N/                       N = oid % 997
//! N/.lock                  held by who puts a file there, or removes one
//! N/M.TID.blob             M = oid / 997, TID in 16 hexadecimal digits
//! ```

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use zeo_proto::{Oid, Tid};
use zeo_storage::blob::{MARK, SUFFIX};
use zeo_storage::paths::failed;
use zeo_storage::{LockFile, Result};

/// What stands in the mark.
const NAME: &str = "zeocache";
/// How many directories the files are spread over.
const DIRECTORIES: u64 = 997;
/// How much of a mark is read, in bytes.
const MARK_MAX: u64 = 64;
const ADVICE: &str = "name another directory, or set shared-blob-dir if it is the server's";
/// The pause before the next try for a lock.
const PAUSE: Duration = Duration::from_millis(10);

/// Makes the directory and its mark, if need be.
///
/// # Errors
/// `Io` that names the directory: it can't be made, or has another layout.
pub(super) fn prepare(directory: &Path) -> Result<()> {
    let prepared = make(directory);
    prepared.map_err(failed("opening the blob cache", directory))
}

fn make(directory: &Path) -> io::Result<()> {
    let mark = directory.join(MARK);
    match check_mark(&mark) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            refuse_storage(directory)?;
            fs::create_dir_all(temporary(directory))?;
            write_mark(directory, &mark)
        }
        checked => checked.and_then(|()| fs::create_dir_all(temporary(directory))),
    }
}

/// Makes sure that the directory is that of a cache.
///
/// # Errors
/// `Io` that names the directory.
pub(super) fn check(directory: &Path) -> Result<()> {
    let checked = check_mark(&directory.join(MARK));
    checked.map_err(failed("reading the layout of the blob cache", directory))
}

fn check_mark(mark: &Path) -> io::Result<()> {
    let mut found = Vec::new();
    let file = File::open(mark)?;
    file.take(MARK_MAX).read_to_end(&mut found)?;
    let found = found.trim_ascii();
    // Nothing: Python is about to write it.
    if found.is_empty() || found == NAME.as_bytes() {
        return Ok(());
    }
    let what = format!(
        "its layout is {:.40}, and that of a cache is {NAME}; {ADVICE}",
        found.escape_ascii()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// A directory that has blobs and no mark is one of a storage, from before there were marks.
fn refuse_storage(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if name.as_encoded_bytes().starts_with(b"0x") {
            let what = format!(
                "it has no {MARK}, but blobs of a storage ({}); {ADVICE}",
                name.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
    }
    Ok(())
}

fn write_mark(directory: &Path, mark: &Path) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(temporary(directory))?;
    file.write_all(NAME.as_bytes())?;
    // Who may read the directory may read it.
    let mode = fs::metadata(directory)?.permissions().mode() & 0o666;
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    file.persist(mark)?;
    Ok(())
}

/// Makes a directory of files.
///
/// # Errors
/// `Io` that names it.
pub(super) fn create(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(failed("making the directory", directory))
}

/// Where files are that are not in the cache yet.
pub(super) fn temporary(directory: &Path) -> PathBuf {
    directory.join("tmp")
}

/// The directory of an object's files.
pub(super) fn directory_of(directory: &Path, oid: Oid) -> PathBuf {
    directory.join((oid.as_u64() % DIRECTORIES).to_string())
}

/// The file of a revision.
pub(super) fn path_of(directory: &Path, oid: Oid, serial: Tid) -> PathBuf {
    let number = oid.as_u64() / DIRECTORIES;
    let name = format!("{number}.{:016x}{SUFFIX}", serial.as_u64());
    directory_of(directory, oid).join(name)
}

/// True for the name of a directory of files.
pub(super) fn is_directory_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|digit| digit.is_ascii_digit())
}

/// The lock of a directory of files, if nobody else has it.
///
/// # Errors
/// `Io` that names the lock file.
pub(super) fn try_lock(directory: &Path) -> Result<Option<LockFile>> {
    LockFile::try_acquire(&directory.join(".lock"))
}

/// Waits for the lock of a directory of files.
///
/// # Errors
/// `Io` that names the lock file; of the kind `TimedOut` if somebody else has it until then.
pub(super) fn lock(directory: &Path, until: Instant) -> Result<LockFile> {
    loop {
        if let Some(lock) = try_lock(directory)? {
            return Ok(lock);
        }
        if Instant::now() >= until {
            let why = io::Error::new(io::ErrorKind::TimedOut, "another one has it for too long");
            return Err(failed("locking", &directory.join(".lock"))(why));
        }
        sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `BlobCacheLayout().getBlobFilePath`.
    #[test]
    fn paths_are_those_of_python() {
        for (oid, tid, expected) in [
            (0, 0, "0/0.0000000000000000.blob"),
            (996, 1, "996/0.0000000000000001.blob"),
            (997, 0x03f0_c2a4_b1d5_e6f7, "0/1.03f0c2a4b1d5e6f7.blob"),
            (
                u64::MAX,
                u64::MAX,
                "960/18502250826188115.ffffffffffffffff.blob",
            ),
        ] {
            let path = path_of(Path::new(""), Oid::new(oid), Tid::new(tid));
            assert_eq!(path, Path::new(expected));
        }
    }

    #[test]
    fn only_caches_are_opened() {
        let base = tempfile::tempdir().unwrap();
        let at = base.path().join("made/with/parents");
        prepare(&at).unwrap();
        assert_eq!(fs::read(at.join(MARK)).unwrap(), b"zeocache");
        assert!(at.join("tmp").is_dir());
        prepare(&at).unwrap();
        for (mark, expected) in [("zeocache\n", None), ("", None), ("bushy", Some("bushy"))] {
            fs::write(at.join(MARK), mark).unwrap();
            let why = prepare(&at).err().map(|why| why.to_string());
            let has = |part| why.as_ref().is_some_and(|why| why.contains(part));
            assert_eq!(expected.is_some(), why.is_some(), "{mark}");
            assert!(expected.is_none_or(has), "{why:?}");
        }
        fs::remove_file(at.join(MARK)).unwrap();
        fs::create_dir(at.join("0x01")).unwrap();
        let why = prepare(&at).unwrap_err().to_string();
        assert!(
            why.contains("0x01") && why.contains("shared-blob-dir"),
            "{why}"
        );
        assert!(!at.join(MARK).exists());
    }
}
