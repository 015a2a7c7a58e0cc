//! The life of the server process: start, signals, stop.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rustix::process::{Resource, getrlimit, setrlimit};
use slog::{Drain, Logger, crit, error, info, o, warn};
use zeo_proto::marshal::Encoding;
use zeo_storage::zconfig::datatypes::Address;

use crate::config::open::{
    DataInTheWay, NamedStorage, OpenError, SharedFile, check_files, check_written, open_all,
};
use crate::conflict_resolver::{ConflictResolver, ResolverError};
use crate::eventlog::{EventLog, EventLogConfig, EventLogError, LogFormat, LogTarget};
use crate::monitor::{Monitor, MonitorError};
use crate::net::sockets::Sockets;
use crate::net::tls::{Loaded, ServerTls, TlsError, Watch};
use crate::process::listen::{self, ListenError, Listening};
use crate::process::manager;
use crate::process::options::Options;
use crate::process::pid_file::PidFile;
use crate::process::resolver;
use crate::process::signals::{self, Signal};
use crate::server::{Server, StartError};
use crate::settings::Settings;
use crate::usage::half_of_memory;

/// How often the server looks whether an index should be saved.
const INDEX_CHECK_INTERVAL: Duration = Duration::from_secs(20);

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Two storages are on one file, or on one blob directory.
    #[error(transparent)]
    SharedFile(#[from] SharedFile),
    /// A log or pid file would be written over the data.
    #[error(transparent)]
    DataInTheWay(#[from] DataInTheWay),
    /// Certificates or keys that can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The log can't be written.
    #[error("eventlog: {0}")]
    Log(#[from] EventLogError),
    /// The log's format makes no sense.
    #[error("eventlog: {0}")]
    Format(String),
    /// A storage can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The server's threads can't be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The server can't listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The monitor can't listen.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// The conflict resolver does not work.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    /// Signals can't be caught.
    #[error("can't catch signals: {0}")]
    Signals(io::Error),
}

impl RunError {
    /// The status to exit with: 2 for what is a matter of usage, else 1.
    pub fn exit_code(&self) -> i32 {
        match self {
            RunError::SharedFile(_)
            | RunError::DataInTheWay(_)
            | RunError::Tls(_)
            | RunError::Resolver(_) => 2,
            RunError::Listen(why) if why.is_usage() => 2,
            RunError::Monitor(why) if why.is_usage() => 2,
            _ => 1,
        }
    }
}

/// Runs the server until a signal stops it; returns the status to exit with. An error is in the
/// log, unless that is on standard error: whoever called tells it there.
///
/// # Errors
/// [`RunError`]: the server could not be started.
pub fn run(options: Options) -> Result<i32, RunError> {
    let tls = check(&options)?;
    let is_configured = options.config.eventlog.is_some();
    let mut config = match options.config.eventlog.clone() {
        Some(config) => config,
        None => EventLogConfig::standard().map_err(RunError::Format)?,
    };
    config.set_format(options.log_format);
    let is_told = config
        .handlers
        .iter()
        .any(|to| to.target == LogTarget::Stderr);
    signals::block_reopen().map_err(RunError::Signals)?;
    let events = EventLog::start(config)?;
    let name = o!("logger" => "ZEO.runzeo");
    let is_text = options.log_format == LogFormat::Text;
    let log = if !is_configured && is_text && io::stderr().is_terminal() {
        Logger::root(terminal().ignore_res(), name)
    } else {
        Logger::root(events.drain().fuse(), name)
    };
    let result = serve(&options, &log, &events, is_configured, tls);
    if let Err(why) = &result
        && !is_told
    {
        crit!(log, "{why}");
    }
    result
}

/// Finds mistakes before any file is made. Returns the certificates, if there is TLS.
pub(super) fn check(options: &Options) -> Result<Option<(ServerTls, Loaded)>, RunError> {
    listen::check(options)?;
    check_files(&options.config.storages)?;
    check_written(&options.config.storages, options.written_files())?;
    let ssl = options.config.zeo.ssl.as_ref();
    Ok(ssl.map(ServerTls::load).transpose()?)
}

/// The log for whoever starts the server by hand, in colours.
fn terminal() -> slog::LevelFilter<slog_async::Async> {
    let decorator = slog_term::TermDecorator::new().stderr().build();
    let drain = slog_term::FullFormat::new(decorator).build().fuse();
    // Through a thread of its own: a terminal may be held by its user.
    slog_async::Async::new(drain)
        .build()
        .filter_level(slog::Level::Info)
}

fn serve(
    options: &Options,
    log: &Logger,
    events: &EventLog,
    is_configured: bool,
    tls: Option<(ServerTls, Loaded)>,
) -> Result<i32, RunError> {
    let address = &options.config.zeo.address;
    let tls = tls.map(|(tls, loaded)| {
        tell_tls(&loaded, address, log);
        Arc::new(tls)
    });
    let sockets = listen::sockets(options, log)?;
    let signals = signals::catch(events.reopen_flag()).map_err(RunError::Signals)?;
    raise_descriptor_limit(log);
    let pid_file = write_pid_file(options, log);
    let certificates = tls
        .as_ref()
        .map(|tls| Watch::start(Arc::clone(tls), log.clone()))
        .transpose()
        .map_err(StartError::Thread)?;
    let reopen = || {
        if let Some(certificates) = &certificates {
            certificates.reload();
        }
        if is_configured || certificates.is_none() {
            reopen(events, is_configured, log);
        }
    };
    let monitor = Monitor::start(&options.monitoring.addresses, log)?;
    let opening = manager::Opening::start(log);
    let resolver = resolver::configured(options, log);
    let open = {
        let (options, log) = (options.clone(), log.clone());
        let (tls, resolver) = (tls.clone(), resolver.clone());
        move || open_and_listen(&options, sockets, &log, tls, resolver)
    };
    let opened = open_watchfully(open, &signals, reopen);
    drop(opening);
    let code = match opened {
        Ok(Ok(listening)) => {
            if let Some(monitor) = &monitor {
                monitor.show(&listening.server);
            }
            manager::ready(&listening.server);
            let code = wait(&signals, &listening.server, reopen);
            manager::stopping(log);
            stop(&listening.close(), &signals, reopen);
            Ok(code)
        }
        Ok(Err(why)) => Err(why),
        Err(signal) => {
            drop(monitor);
            if let Some(resolver) = &resolver {
                resolver.stop();
            }
            if let Some(pid_file) = pid_file {
                remove_pid_file(pid_file, log);
            }
            info!(
                log,
                "stopped by {} while opening the storages",
                signal.name()
            );
            // Nobody is owed anything yet, and a stuck log can't be helped.
            let _ = events.flush();
            std::process::exit(signal.exit_code().unwrap_or(1));
        }
    };
    if let Some(pid_file) = pid_file {
        remove_pid_file(pid_file, log);
    }
    code
}

/// Logs what is used of `<ssl>`, and what is wrong with it.
fn tell_tls(loaded: &Loaded, address: &Address, log: &Logger) {
    info!(log, "TLS: {}", loaded.summary);
    for warning in &loaded.warnings {
        warn!(log, "{warning}");
    }
    if let Address::Unix(path) = address {
        warn!(
            log,
            "<ssl> with a Unix socket ({}): Python's clients can't connect there with TLS",
            path.display()
        );
    }
}

/// A client takes three descriptors, so that the customary limit of 1024 would
/// not do; up to the hard limit, a process may help itself.
fn raise_descriptor_limit(log: &Logger) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(why) = setrlimit(Resource::Nofile, limit) {
        warn!(log, "can't raise the limit of open files: {why}");
    }
}

type Opened = Result<Listening, RunError>;

/// Opens everything on a thread of its own, since a file without an index
/// may take long to scan; a signal that asks for the end meanwhile is the
/// error. (Opening can be broken off at any moment, as by a crash.)
fn open_watchfully(
    open: impl FnOnce() -> Opened + Send + 'static,
    signals: &Receiver<Signal>,
    reopen: impl Fn(),
) -> Result<Opened, Signal> {
    let (done, opened) = crossbeam_channel::bounded(1);
    let run = move || drop(done.send(open()));
    if let Err(why) = thread::Builder::new().name("opening".into()).spawn(run) {
        return Ok(Err(RunError::Start(StartError::Thread(why))));
    }
    loop {
        crossbeam_channel::select! {
            recv(opened) -> result => match result {
                Ok(result) => return Ok(result),
                // It has panicked, and said so.
                Err(_) => std::process::abort(),
            },
            recv(signals) -> signal => match signal {
                Ok(signal) if signal.exit_code().is_some() => return Err(signal),
                Ok(_) => reopen(),
                Err(_) => return opened.recv().map_err(|_| Signal::Terminate),
            },
        }
    }
}

fn open_and_listen(
    options: &Options,
    sockets: Sockets,
    log: &Logger,
    tls: Option<Arc<ServerTls>>,
    resolver: Option<Arc<ConflictResolver>>,
) -> Opened {
    if let Some(resolver) = &resolver {
        resolver.start()?;
    }
    let storages = open_all(&options.config.storages, log)?;
    let server_log = log.new(o!("logger" => "ZEO.StorageServer"));
    info!(
        server_log,
        "StorageServer created {} with storages: {}",
        access(options.config.zeo.read_only),
        shown(&storages)
    );
    let settings = Settings {
        conflict_resolver: resolver,
        ..settings(options)
    };
    let server = Server::start(settings, storages, server_log)?;
    let listening = Listening::start(options, sockets, &server, tls);
    if listening.is_err() {
        server.stop();
    }
    Ok(listening?)
}

/// The storages as Python shows them: `1:RW:/path/Data.fs,2:RO:/path/Other.fs`.
fn shown(storages: &[NamedStorage]) -> String {
    let shown = storages.iter().map(|(name, storage)| {
        let access = access(storage.is_read_only());
        format!("{name}:{access}:{}", storage.name())
    });
    shown.collect::<Vec<_>>().join(",")
}

fn access(read_only: bool) -> &'static str {
    if read_only { "RO" } else { "RW" }
}

fn settings(options: &Options) -> Settings {
    let (zeo, limits) = (&options.config.zeo, &options.limits);
    Settings {
        encoding: if options.msgpack {
            Encoding::Msgpack
        } else {
            Encoding::Pickle
        },
        read_only: zeo.read_only,
        max_message_size: options.max_message_size as usize,
        client_conflict_resolution: zeo.client_conflict_resolution,
        conflict_resolver: None,
        invalidation_age: zeo.invalidation_age,
        slow_load: options.monitoring.slow_load,
        slow_commit: options.monitoring.slow_commit,
        slow_lock_wait: options.monitoring.slow_lock_wait,
        invalidation_queue_size: zeo.invalidation_queue_size,
        stop_timeout: options.listen.stop_timeout,
        max_clients: limits.max_clients,
        max_buffer_memory: limits.max_buffer_memory.unwrap_or_else(half_of_memory),
        max_transaction_size: limits.max_transaction_size,
        max_uncommitted_size: limits.max_uncommitted_size,
        usage: Arc::default(),
        helpers: Arc::default(),
        // Zero turns the limit off, which has a default here.
        transaction_timeout: Some(zeo.transaction_timeout).filter(|timeout| !timeout.is_zero()),
        handshake_timeout: options.handshake_timeout,
    }
}

/// Waits for the signal that ends the server; returns its exit code.
fn wait(signals: &Receiver<Signal>, server: &Arc<Server>, reopen: impl Fn()) -> i32 {
    loop {
        match signals.recv_timeout(INDEX_CHECK_INTERVAL) {
            Ok(Signal::ReopenLogs) => reopen(),
            Ok(signal) => {
                let (name, code) = (signal.name(), signal.exit_code());
                let verb = if signal == Signal::HangUp {
                    "restarted"
                } else {
                    "terminated"
                };
                info!(server.log(), "{verb} by {name}");
                return code.unwrap_or(1);
            }
            Err(RecvTimeoutError::Timeout) => server.save_indexes(),
            Err(RecvTimeoutError::Disconnected) => return 1,
        }
    }
}

/// Stops the server; a second signal hurries it.
fn stop(server: &Arc<Server>, signals: &Receiver<Signal>, reopen: impl Fn()) {
    let (done, stopped) = crossbeam_channel::bounded::<()>(0);
    let stopping = Arc::clone(server);
    let run = move || {
        stopping.stop();
        drop(done);
    };
    if thread::Builder::new()
        .name("stopping".into())
        .spawn(run)
        .is_err()
    {
        return server.stop();
    }
    loop {
        crossbeam_channel::select! {
            recv(stopped) -> _ => return,
            recv(signals) -> signal => match signal {
                Ok(signal) if signal.exit_code().is_some() => {
                    info!(server.log(), "{} again: waiting for no client", signal.name());
                    server.hurry();
                }
                Ok(_) => reopen(),
                Err(_) => drop(stopped.recv()),
            },
        }
    }
}

fn reopen(events: &EventLog, is_configured: bool, log: &Logger) {
    if !is_configured {
        warn!(log, "received SIGUSR2, but it was not handled!");
        return;
    }
    match events.reopen() {
        Ok(()) => info!(log, "Log files reopened successfully"),
        Err(why) => error!(log, "a log file could not be reopened: {why}"),
    }
}

/// A server that can't write its pid file says so and runs.
fn write_pid_file(options: &Options, log: &Logger) -> Option<PidFile> {
    let path = options.pid_file.as_ref()?;
    match PidFile::write(path) {
        Ok(file) => {
            info!(log, "created PID file '{}'", path.display());
            Some(file)
        }
        Err(why) => {
            error!(log, "PID file '{}' cannot be opened: {why}", path.display());
            None
        }
    }
}

fn remove_pid_file(file: PidFile, log: &Logger) {
    let path = file.path().display().to_string();
    match file.remove() {
        Ok(()) => info!(log, "removed PID file '{path}'"),
        Err(why) => error!(log, "PID file '{path}' could not be removed: {why}"),
    }
}
