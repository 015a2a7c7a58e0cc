//! The command line of runzeo, and what it makes of the configuration file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};
use environment::{blamed, in_full, with_variables};
use resolver::ResolverArgs;
use zeo_storage::config::{FileStorageConfig, StorageConfig, StorageKind};
use zeo_storage::zconfig::datatypes::{self, Address};
use zeo_storage::zconfig::overrides::{self, Override};
use zeo_storage::zconfig::{self, ConfigError, Env, Section};

use crate::config::{Config, ZeoConfig, listen_address, seconds};
use crate::eventlog::{LogFormat, LogTarget};
use crate::process::manual::{manual, with_manual};
use crate::settings::DEFAULT_MAX_MESSAGE_SIZE;

mod environment;
mod handshake;
mod limits;
mod listen;
mod log;
mod monitor;
mod print;
mod resolver;
mod room;
mod tls;

pub use limits::LimitOptions;
pub use listen::ListenOptions;
pub use monitor::Monitoring;
pub use resolver::ResolverOptions;

/// Serve ZODB storages to ZEO clients.
///
/// Options given here override the configuration file. Unless -C is given, -a and -f are
/// required. Options that Python's runzeo does not know can also be set by a variable in the
/// environment: --max-message-size by RZEO_MAX_MESSAGE_SIZE, and so on.
#[derive(Debug, Parser)]
#[command(name = "runzeo", version, infer_long_args = true)]
struct CommandLine {
    /// Configuration file
    #[arg(short = 'C', long, value_name = "FILE")]
    configure: Vec<PathBuf>,
    /// Override a value of the configuration file; SECTION is its type or its name
    #[arg(short = 'X', value_name = "SECTION/KEY=VALUE")]
    overrides: Vec<String>,
    /// Server address: PORT, HOST:PORT, or a PATH with at least one "/"
    #[arg(short, long, value_parser = listen_address)]
    address: Vec<Address>,
    /// Data file of a FileStorage; if repeated, the storages are named 1, 2 and so on
    #[arg(short, long)]
    filename: Vec<PathBuf>,
    /// Transaction timeout in seconds (default 30)
    #[arg(short, long, value_parser = seconds, allow_negative_numbers = true)]
    timeout: Vec<std::time::Duration>,
    /// File to write the process id to; default $INSTANCE_HOME/var/ZEO.pid, if INSTANCE_HOME is
    /// set
    #[arg(long, value_name = "PATH")]
    pid_file: Vec<PathBuf>,
    /// Longest message accepted from a client, such as 100mb (default 4 GiB)
    #[arg(long, value_name = "SIZE", value_parser = message_size)]
    max_message_size: Option<u32>,
    /// Check the configuration and the files, without changing anything, and exit
    #[arg(long, visible_alias = "test")]
    check: bool,
    /// Show what is in force and where it comes from, and exit
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    handshake: handshake::HandshakeOptions,
    #[command(flatten)]
    tls: tls::TlsOptions,
    #[command(flatten)]
    limits: limits::LimitArgs,
    #[command(flatten)]
    listen: listen::ListenArgs,
    #[command(flatten)]
    resolver: ResolverArgs,
    #[command(flatten)]
    room: room::RoomArgs,
    #[command(flatten)]
    log: log::LogOptions,
    #[command(flatten)]
    monitor: monitor::MonitorOptions,
}

/// All that a server is told: by the command line, the configuration file and the environment,
/// in this order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// The configuration, with what the command line overrides.
    pub config: Config,
    /// Whether to speak msgpack.
    pub msgpack: bool,
    /// The file to write the process's id to, if any.
    pub pid_file: Option<PathBuf>,
    /// The longest message to take from a client, in bytes.
    pub max_message_size: u32,
    /// How much clients may take.
    pub limits: LimitOptions,
    /// How to listen.
    pub listen: ListenOptions,
    /// Only check them.
    pub check: bool,
    /// What merges conflicts of the application's classes, if anything.
    pub conflict_resolver: Option<ResolverOptions>,
    /// How log files are written.
    pub log_format: LogFormat,
    /// Who watches the server.
    pub monitoring: Monitoring,
    /// How long a TLS handshake may take as a whole.
    pub handshake_timeout: std::time::Duration,
}

/// Why there are no options.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// Help or the version was asked for: the text to print, and no error.
    #[error("{0}")]
    Information(String),
    /// Wrong usage.
    #[error("{0}")]
    Usage(String),
    /// Wrong configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl OptionsError {
    /// What to tell: a line that begins with `Error: `, or the help that was asked for.
    pub fn report(&self) -> String {
        match self {
            OptionsError::Information(text) => text.clone(),
            OptionsError::Usage(_) => format!("Error: {self}\nFor help, use runzeo -h\n"),
            OptionsError::Config(_) => format!("Error: {self}\n"),
        }
    }

    /// The status to exit with: 2, or 0 for help.
    pub fn exit_code(&self) -> i32 {
        match self {
            OptionsError::Information(_) => 0,
            OptionsError::Usage(_) | OptionsError::Config(_) => 2,
        }
    }
}

impl Options {
    /// Reads the command line `args`, which begins with the program's name, and the
    /// configuration file that it names.
    ///
    /// # Errors
    /// [`OptionsError`], of which [`OptionsError::report`] is to be printed.
    pub fn parse<I>(args: I, env: Env) -> Result<Options, OptionsError>
    where
        I: IntoIterator,
        I::Item: Into<std::ffi::OsString> + Clone,
    {
        let args: Vec<OsString> = args.into_iter().map(|arg| in_full(arg.into())).collect();
        if let Some(text) = manual(&CommandLine::command(), &args) {
            let text = text.map_err(OptionsError::Usage)?;
            let text = String::from_utf8_lossy(&text).into_owned();
            return Err(OptionsError::Information(text));
        }
        let command = with_variables(with_manual(CommandLine::command()), env);
        let matches = command.clone().try_get_matches_from(args);
        let parsed = matches.and_then(|matches| {
            let line = CommandLine::from_arg_matches(&matches)?;
            Ok((matches, line))
        });
        let (matches, mut line) =
            parsed.map_err(|error| usage(&error, blamed(&error, &command, env)))?;
        let file = agreed("-C", std::mem::take(&mut line.configure))?;
        let timeout = agreed("-t", std::mem::take(&mut line.timeout))?;
        let pid_file = agreed("--pid-file", std::mem::take(&mut line.pid_file))?;
        let root = tree(file.as_deref(), &line.overrides, env)?;
        let mut config = config(root.as_ref(), line.address.pop(), line.filename)?;
        if let Some(timeout) = timeout {
            config.zeo.transaction_timeout = timeout;
        }
        line.room.apply(&mut config.storages);
        let password = line.tls.password(env)?;
        if let Some(ssl) = &mut config.zeo.ssl {
            ssl.password = password;
        }
        let msgpack = config.zeo.msgpack;
        let msgpack = msgpack.unwrap_or_else(|| non_empty("ZEO_MSGPACK", env).is_some());
        let pid_file = resolved_pid_file(pid_file, &config.zeo, env);
        if line.print_config {
            let now = (pid_file.as_deref(), msgpack);
            let text = print::text(root, (&command, &matches), now, env);
            return Err(OptionsError::Information(text));
        }
        Ok(Options {
            msgpack,
            pid_file,
            monitoring: line.monitor.resolved(),
            handshake_timeout: line.handshake.timeout(),
            max_message_size: line.max_message_size.unwrap_or(DEFAULT_MAX_MESSAGE_SIZE),
            limits: line.limits.resolve(),
            listen: line.listen.resolve(),
            check: line.check,
            conflict_resolver: line.resolver.resolved(),
            log_format: line.log.format(),
            config,
        })
    }
}

impl Options {
    /// The files that the server writes besides those of its storages, each with what it is.
    pub(super) fn written_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let handlers = self.config.eventlog.iter().flat_map(|log| &log.handlers);
        let logs = handlers.filter_map(|handler| match &handler.target {
            LogTarget::File { path, .. } => Some(("log file", path.as_path())),
            _ => None,
        });
        let pid = self
            .pid_file
            .iter()
            .map(|path| ("pid file", path.as_path()));
        let address = self.listen.address_file.iter();
        logs.chain(pid)
            .chain(address.map(|path| ("address file", path.as_path())))
    }
}

/// What stands in `file`, with the values given by `-X`.
fn tree(
    file: Option<&Path>,
    overrides: &[String],
    env: Env,
) -> Result<Option<Section>, OptionsError> {
    let overrides = overrides.iter().map(|spec| Override::parse(spec, "-X"));
    let overrides = overrides.collect::<Result<Vec<_>, _>>()?;
    let Some(file) = file else {
        return if overrides.is_empty() {
            Ok(None)
        } else {
            Err(OptionsError::Usage(
                "configuration overrides (-X) cannot be used without a configuration file"
                    .to_owned(),
            ))
        };
    };
    let mut root = zconfig::load(file, env)?;
    overrides::apply(&mut root, &overrides)?;
    Ok(Some(root))
}

/// The configuration `root`, overridden by the command line's address and filenames.
fn config(
    root: Option<&Section>,
    address: Option<Address>,
    filenames: Vec<PathBuf>,
) -> Result<Config, OptionsError> {
    let missing = |what: &str| OptionsError::Usage(what.to_owned());
    let storages: Vec<StorageConfig> = (1..)
        .zip(filenames)
        .map(|(number, path)| {
            let file = FileStorageConfig::new(path);
            StorageConfig::new(number.to_string(), StorageKind::FileStorage(file))
        })
        .collect();
    let mut config = match root {
        Some(root) => Config::from_tree(root)?,
        None => Config {
            zeo: ZeoConfig::new(
                address
                    .clone()
                    .ok_or_else(|| missing("no server address specified; use -a or -C"))?,
            ),
            storages: Vec::new(),
            eventlog: None,
        },
    };
    if let Some(address) = address {
        config.zeo.address = address;
    }
    if !storages.is_empty() {
        config.storages = storages;
    }
    if config.storages.is_empty() {
        return Err(missing("no storages specified; use -f or -C"));
    }
    Ok(config)
}

/// The one value among those given for `option`, which may be repeated only as it is.
fn agreed<T: PartialEq>(option: &str, values: Vec<T>) -> Result<Option<T>, OptionsError> {
    let mut values = values.into_iter();
    let first = values.next();
    if values.any(|value| Some(&value) != first.as_ref()) {
        let problem = format!("conflicting command line option {option:?}");
        return Err(OptionsError::Usage(problem));
    }
    Ok(first)
}

/// A read-only server writes no pid file. An empty name is none.
fn resolved_pid_file(option: Option<PathBuf>, zeo: &ZeoConfig, env: Env) -> Option<PathBuf> {
    if zeo.read_only {
        return None;
    }
    let given = option.or_else(|| zeo.pid_filename.clone());
    given
        .filter(|path| !path.as_os_str().is_empty())
        .or_else(|| Some(Path::new(&non_empty("INSTANCE_HOME", env)?).join("var/ZEO.pid")))
}

/// A size of at least 1 kB. A length beyond what a message can have is as good as the longest.
fn message_size(text: &str) -> Result<u32, String> {
    let size = datatypes::byte_size(text)?;
    if size < 1024 {
        return Err(format!("{text:?} is too small; expected at least 1kb"));
    }
    Ok(size.try_into().unwrap_or(u32::MAX))
}

fn non_empty(name: &str, env: Env) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

/// One line out of clap's several, or the whole of what is not an error. A wrong value may come
/// from a `variable`.
fn usage(error: &clap::Error, variable: Option<String>) -> OptionsError {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            OptionsError::Information(error.to_string())
        }
        _ if is_positional(error) => {
            OptionsError::Usage("positional arguments are not supported".to_owned())
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            let problem = line.trim_start_matches("error: ");
            let problem = format!("{problem}{}", choices(error));
            OptionsError::Usage(match variable {
                Some(name) => format!("bad value in ${name}: {problem}"),
                None => problem,
            })
        }
    }
}

/// What an option with few values could have had.
fn choices(error: &clap::Error) -> String {
    use clap::error::{ContextKind, ContextValue};
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if error.kind() == ErrorKind::InvalidValue => {
            format!("; expected {}", values.join(" or "))
        }
        _ => String::new(),
    }
}

fn is_positional(error: &clap::Error) -> bool {
    use clap::error::{ContextKind, ContextValue};
    error.kind() == ErrorKind::UnknownArgument
        && matches!(
            error.get(ContextKind::InvalidArg),
            Some(ContextValue::String(argument)) if !argument.starts_with('-')
        )
}

#[cfg(test)]
mod tests;
