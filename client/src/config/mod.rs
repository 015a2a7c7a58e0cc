//! The configuration that the Python application uses: ZConfig files and texts, and URIs.
//!
//! ```
//! use zeo_client::config::Config;
//!
//! let text = "
//!     <zodb main>
//!         cache-size 20000
//!         <zeoclient>
//!             server db.example.org:8100
//!             storage main
//!             cache-size 256MB
//!         </zeoclient>
//!     </zodb>
//! ";
//! let database = Config::text(text).read()?;
//! assert_eq!(database.cache_size, 20_000, "objects");
//! assert_eq!(database.storage.storage, "main");
//!
//! let database = Config::uri("zeo://db.example.org:8100?storage=main").read()?;
//! assert_eq!(database.storage.addresses[0].to_string(), "db.example.org:8100");
//! # Ok::<(), zeo_client::config::ConfigError>(())
//! ```
//!
//! # Which section is read
//!
//! A file may describe several databases, and much else: Zope's `zope.conf`, for instance. Of all
//! that, one database is read: the one whose name was given by [`Config::database`], or else the
//! one called `main`, or else the first. Databases are the sections `<zodb>` of ZODB and
//! `<zodb_db>` of Zope. In a file without them, `<zeoclient>` and `<clientstorage>` are read as if
//! each stood in a `<zodb>` of its name. What else stands in the file must be ZConfig's syntax, and
//! is not looked at; `%define`, `%include` and `$(ENVIRONMENT)` work as in ZConfig, and `%import`
//! of whatever package does nothing.
//!
//! The name of a database is its key `database-name`, or else that of its section. Case does not
//! matter.
//!
//! # Keys
//!
//! All keys of ZODB 6.4, ZEO 6.2 and Zope 5 are taken, with their defaults. These differ:
//!
//! | key | here |
//! |---|---|
//! | `server` without a port | refused; Python's client never connects |
//! | `min-disconnect-poll`, `max-disconnect-poll` | obeyed, if given; Python's client has fixed pauses |
//! | `name`, `username`, `password`, `realm`, `drop-cache-rather-verify` | taken and ignored; so by Python's client, but for `name` |
//! | `pool-timeout`, `historical-*`, `allow-implicit-cross-references`, `class-factory`, `mount-point`, `connection-class`, `container-class` | taken and ignored: about objects of Python |
//! | `password-function` | refused, as it is Python code: see [`Config::key_password`] |
//! | `<relstorage>`, `<filestorage>`, `<zlibstorage>` and others in the database | refused: it is no client of a ZEO server |

mod database;
mod ssl;
mod storage;
#[cfg(test)]
mod tests;
mod uri;

use std::path::PathBuf;

use zeo_storage::zconfig::{load_foreign, parse_foreign};

pub use database::DatabaseConfig;
pub use storage::from_section as storage_section;
pub use zeo_storage::zconfig::ConfigError;

/// A configuration that is to be read.
#[derive(Clone)]
#[must_use]
pub struct Config {
    source: Source,
    database: Option<String>,
    password: Option<Vec<u8>>,
}

#[derive(Clone)]
enum Source {
    File(PathBuf),
    Text(String),
    Uri(String),
}

impl Config {
    fn new(source: Source) -> Self {
        Self {
            source,
            database: None,
            password: None,
        }
    }

    /// A file in ZConfig's syntax.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::File(path.into()))
    }

    /// A text in ZConfig's syntax.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Source::Text(text.into()))
    }

    /// A URI, as zodburi (3.0) has them: `zeo://HOST[:PORT]?KEY=VALUE&...`, by default with port
    /// 9991; `zeo:///PATH?...` for a Unix socket; and `zconfig:///PATH#DATABASE` for a file.
    pub fn uri(uri: impl Into<String>) -> Self {
        Self::new(Source::Uri(uri.into()))
    }

    /// The name of the database, if it is not `main` or the first.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = Some(name.into());
        self
    }

    /// The password of the client's key, if that is encrypted. Default: none.
    pub fn key_password(mut self, password: impl Into<Vec<u8>>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Reads it, with the files that it names: other configurations and certificates. Nothing is
    /// connected to.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the first thing that is unknown, missing, doubled or bad: it names file
    /// and line.
    pub fn read(&self) -> Result<DatabaseConfig, ConfigError> {
        let env = |name: &str| std::env::var(name).ok();
        let root = match &self.source {
            Source::File(path) => load_foreign(path, &env)?,
            Source::Text(text) => parse_foreign(text, "the text", &env)?,
            Source::Uri(uri) => match uri::parse(uri)? {
                uri::Meant::Server(config) => return Ok(*config),
                uri::Meant::File { path, database } => {
                    let mut config = self.clone();
                    config.source = Source::File(path);
                    config.database = config.database.or(database);
                    return config.read();
                }
            },
        };
        let password = self.password.as_deref();
        database::from_tree(&root, self.database.as_deref(), password)
    }
}
