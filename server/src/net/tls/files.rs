//! The files that a configuration of TLS names, and whether they have changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::config::{Authorities, SslConfig};
use super::context::is_hashed;
use super::password::PasswordSource;

/// The files of a configuration as they are at some moment; `None`: not there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Files(BTreeMap<PathBuf, Option<Version>>);

/// Differs when a file was written or replaced: device, inode, size, and the time of the change
/// in seconds and nanoseconds.
type Version = (u64, u64, u64, i64, i64);

impl Files {
    /// Looks at them.
    pub(super) fn of(config: &SslConfig) -> Files {
        let mut files = Files(BTreeMap::new());
        files.add(&config.certificate);
        if let Some(path) = &config.key {
            files.add(path);
        }
        if let PasswordSource::File(path) = &config.password {
            files.add(path);
        }
        match &config.authenticate {
            Authorities::File(path) => files.add(path),
            Authorities::Directory(path) => files.add_certificates(path),
            Authorities::System => {
                for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
                    let paths = std::env::var_os(name).unwrap_or_default();
                    std::env::split_paths(&paths).for_each(|path| files.add(&path));
                }
            }
        }
        files
    }

    fn add(&mut self, path: &Path) {
        let version = fs::metadata(path).ok().map(|found| {
            let (seconds, nanoseconds) = (found.ctime(), found.ctime_nsec());
            (found.dev(), found.ino(), found.size(), seconds, nanoseconds)
        });
        self.0.insert(path.to_owned(), version);
    }

    /// The files in a directory that OpenSSL looks for. It keeps those that it has found, so that
    /// one that was replaced or removed counts only in a new context.
    fn add_certificates(&mut self, directory: &Path) {
        self.add(directory);
        for entry in directory.read_dir().into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(is_hashed) {
                self.add(&entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_all_files_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("clients")).unwrap();
        let mut config = SslConfig::new(path("own"), Authorities::Directory(path("clients")));
        config.key = Some(path("key"));
        config.password = PasswordSource::File(path("password"));
        let mut before = Files::of(&config);
        for name in ["own", "key", "password", "clients/0a1b2c3d.0"] {
            for text in [Some("a"), Some("b"), None] {
                match text {
                    // In place, or as a new file: the length stays.
                    Some("a") => fs::write(path(name), "a").unwrap(),
                    Some(text) => {
                        fs::write(path("new"), text).unwrap();
                        fs::rename(path("new"), path(name)).unwrap();
                    }
                    None => fs::remove_file(path(name)).unwrap(),
                }
                let now = Files::of(&config);
                assert_ne!(now, before, "{name} {text:?}");
                assert_eq!(now, Files::of(&config));
                before = now;
            }
        }
        config.authenticate = Authorities::File(path("trusted"));
        let before = Files::of(&config);
        fs::write(path("trusted"), "").unwrap();
        assert_ne!(Files::of(&config), before);
    }
}
