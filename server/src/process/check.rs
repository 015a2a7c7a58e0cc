//! `--check`: what a start would find, without changing or making anything.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Access, access};
use slog::{Discard, Logger, o};
use zeo_storage::blob::{MARK, TEMPORARY};
use zeo_storage::config::{FileStorageConfig, StorageConfig, StorageKind, open};
use zeo_storage::file_storage::is_in_use;
use zeo_storage::log::Log;
use zeo_storage::paths::resolve;
use zeo_storage::zconfig::datatypes::Address;
use zeo_storage::{Error, Result};

use crate::config::open::OpenError;
use crate::eventlog::LogTarget;
use crate::monitor::{self, MonitorError};
use crate::net::socket_rights::SocketRights;
use crate::net::sockets::{self, Sockets};
use crate::process::listen::ListenError;
use crate::process::options::Options;
use crate::process::resolver;
use crate::process::run::{self, RunError};

/// Checks all that a start of the server needs: certificates, directories, storages, the conflict
/// resolver. What is found, one line each; the last says that all is well.
///
/// # Errors
/// [`RunError`]: why a start would fail.
pub fn check(options: &Options) -> std::result::Result<String, RunError> {
    let mut found = Vec::new();
    if let Some((_, loaded)) = run::check(options)? {
        found.push(format!("TLS: {}", loaded.summary));
        found.extend(
            loaded
                .warnings
                .iter()
                .map(|warning| format!("Warning: {warning}")),
        );
    }
    addresses(options, &mut found)?;
    if let Some(eventlog) = &options.config.eventlog {
        for handler in &eventlog.handlers {
            if let LogTarget::File { path, .. } = &handler.target {
                log_file(path).map_err(|why| RunError::Format(why.to_string()))?;
            }
        }
    }
    if let Some(path) = &options.pid_file
        && let Err(why) = writable(path)
    {
        found.push(format!("Warning: there will be no pid file: {why}"));
    }
    for config in &options.config.storages {
        let name = &config.name;
        let failed = |source| {
            let name = name.clone();
            RunError::Open(OpenError { name, source })
        };
        let lines = storage(config).map_err(failed)?;
        found.extend(lines.iter().map(|line| format!("storage '{name}': {line}")));
    }
    let silent = Logger::root(Discard, o!());
    if let Some(resolver) = resolver::configured(options, &silent) {
        resolver.start()?;
        found.push("the conflict resolver works".to_owned());
        resolver.stop();
    }
    found.push("the configuration is good".to_owned());
    Ok(found.join("\n") + "\n")
}

/// Looks at all addresses, the monitor's too. One that somebody listens at is only mentioned.
fn addresses(options: &Options, found: &mut Vec<String>) -> std::result::Result<(), RunError> {
    let in_use =
        |address: &Address| format!("Warning: somebody listens at {address}, perhaps this server");
    let address = &options.config.zeo.address;
    if sockets::is_in_use(address) {
        found.push(in_use(address));
    } else {
        let address = address.clone();
        can_be_had(&address).map_err(|source| ListenError::Address { address, source })?;
    }
    for address in &options.monitoring.addresses {
        let address = monitor::with_host(address);
        if sockets::is_in_use(&address) {
            found.push(in_use(&address));
        } else {
            can_be_had(&address).map_err(|source| MonitorError { address, source })?;
        }
    }
    Ok(())
}

fn can_be_had(address: &Address) -> io::Result<()> {
    let Address::Unix(path) = address else {
        // Bound for a moment; nobody can connect.
        return Sockets::bind(address, &SocketRights::default()).map(drop);
    };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(io::ErrorKind::AddrInUse.into()),
        _ => Ok(access(directory(path), Access::WRITE_OK)?),
    }
}

fn storage(config: &StorageConfig) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in config.kind.files() {
        data_file(file, &mut found)?;
    }
    for directory in config.kind.blob_dirs() {
        blob_directory(directory)?;
    }
    for other in config.kind.others() {
        let (log, messages) = kept();
        found.extend(other.look(&log)?);
        found.append(&mut messages.lock().unwrap_or_else(PoisonError::into_inner));
    }
    Ok(found)
}

/// Looks at a directory of blobs. What root has made there is a trap for the server's own user.
fn blob_directory(directory: &Path) -> Result<()> {
    if !directory.is_dir() {
        return writable(directory);
    }
    may_write(directory)?;
    let (mark, temporary) = (directory.join(MARK), directory.join(TEMPORARY));
    if mark.exists() {
        let allowed = access(&mark, Access::READ_OK);
        allowed.map_err(|why| failed("reading", &mark)(why.into()))?;
    }
    if temporary.exists() {
        may_write(&temporary)?;
    }
    Ok(())
}

/// Looks at a `Data.fs`, as far as it is there and nobody uses it.
fn data_file(file: &FileStorageConfig, found: &mut Vec<String>) -> Result<()> {
    let path = &file.path;
    let shown = path.display();
    if !file.read_only {
        writable(path)?;
        // The lock, and the index.
        may_write(directory(path))?;
        for lock in locks(path).map_err(failed("following", path))? {
            if lock.exists() {
                may_write(&lock)?;
            }
        }
    }
    if !path.exists() && !file.read_only {
        found.push(format!("{shown} does not exist, and will be created"));
    } else if file.create {
        found.push(format!("Warning: {shown} will be emptied (create)"));
    } else if is_in_use(path) {
        found.push(format!(
            "Warning: {shown} is in use by another process; it was not read"
        ));
    } else {
        let mut file = file.clone();
        file.read_only = true;
        file.blob_dir = None;
        read(file, found)?;
    }
    Ok(())
}

/// The lock files of a `Data.fs`: beside its name, and where a link leads.
fn locks(path: &Path) -> io::Result<[PathBuf; 2]> {
    let target = resolve(&std::path::absolute(path)?)?;
    Ok([path, &*target].map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        name.into()
    }))
}

fn read(file: FileStorageConfig, found: &mut Vec<String>) -> Result<()> {
    let path = file.path.clone();
    let (log, messages) = kept();
    let mut index = path.clone().into_os_string();
    index.push(".index");
    let index = PathBuf::from(index);
    if !index.exists() {
        found.push(format!(
            "there is no {}: a start reads the whole file",
            index.display()
        ));
    }
    let storage = open(&StorageKind::FileStorage(file), None, &log)?;
    let (objects, size, last) = (storage.len(), storage.size(), storage.last_tid());
    storage.close()?;
    let shown = path.display();
    found.push(format!(
        "{shown} has {objects} objects in {size} bytes; last transaction {last}"
    ));
    found.append(&mut messages.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(())
}

/// A log whose messages are kept.
fn kept() -> (Log, Arc<Mutex<Vec<String>>>) {
    let messages = Arc::<Mutex<Vec<String>>>::default();
    let all = Arc::clone(&messages);
    let log: Log = Arc::new(move |_, message| {
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(message.to_owned());
    });
    (log, messages)
}

fn log_file(path: &Path) -> Result<()> {
    writable(path)
}

/// That a file can be written, or made.
fn writable(path: &Path) -> Result<()> {
    let target = resolve(&absolute(path)?);
    let target = target.map_err(failed("following", path))?;
    if target.exists() {
        may_write(&target)
    } else {
        may_write(directory(&target))
    }
}

fn may_write(path: &Path) -> Result<()> {
    let allowed = access(path, Access::WRITE_OK);
    allowed.map_err(|why| failed("writing", path)(why.into()))
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(failed("following", path))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let file = path.to_owned();
    move |source| Error::Io {
        doing,
        file,
        source,
    }
}
