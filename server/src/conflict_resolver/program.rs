//! One process that resolves conflicts: its start, its answers, its end.

use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use slog::Logger;
use tempfile::TempDir;
use zeo_storage::conflict::{Question, Unmerged};

use super::said::{LastWords, listen};
use super::wire::{GREETING_MAX, Timed, asked, receive, send};
use crate::status::conflict_counts::one_line;

/// The program that the process runs.
const SCRIPT: &str = include_str!("script.py");
/// What of the server's environment is not for others: our settings, and how systemd talks to us.
const PRIVATE: [&str; 4] = ["RZEO_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_"];
/// How long the words of a process that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why a process is of no use, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken(pub String);

/// A process that waits for questions. When dropped, it is killed.
pub(super) struct Program {
    child: Child,
    stream: UnixStream,
}

/// A process that is not ready yet. When dropped, it is killed.
pub(super) struct Starting {
    program: Program,
    words: LastWords,
    /// Where its script is, until it has read it.
    _directory: TempDir,
}

impl Starting {
    /// Starts `path`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn new(path: &Path, log: &Logger) -> Result<Self, Broken> {
        let failed = |what: &str, why: &io::Error| Broken(format!("{what}: {why}"));
        let unwritten = |why| failed("its script can't be written", &why);
        // In a directory of its own, since Python imports from there. It is read at once.
        let directory = tempfile::Builder::new().prefix("rzeo-").tempdir();
        let directory = directory.map_err(unwritten)?;
        let script = directory.path().join("conflict_resolver.py");
        std::fs::write(&script, SCRIPT).map_err(unwritten)?;
        let unstarted = |why| failed("it can't be started", &why);
        let (child, stream, output) = spawn(path, &script).map_err(unstarted)?;
        let program = Program { child, stream };
        let words = listen(output, program.child.id(), log).map_err(unstarted)?;
        Ok(Self {
            program,
            words,
            _directory: directory,
        })
    }

    /// The process that is started.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Waits until it is ready; with what it tells of itself.
    ///
    /// # Errors
    /// It is no Python interpreter, or has no ZODB.
    pub fn ready(mut self, deadline: Instant) -> Result<(Program, String), Broken> {
        match self.program.greeting(deadline) {
            Ok(told) => Ok((self.program, told)),
            Err(broken) => Err(with_words(broken, &self.words)),
        }
    }
}

impl Program {
    fn greeting(&mut self, deadline: Instant) -> Result<String, Broken> {
        match self.receive(GREETING_MAX, deadline)? {
            (b'V', text) => Ok(shown(&text)),
            (b'E', text) => Err(Broken(shown(&text))),
            _ => Err(Broken("it speaks another protocol".to_owned())),
        }
    }

    /// The process's answer to a question.
    ///
    /// # Errors
    /// It has given none. Nothing can be asked any more, then.
    pub fn ask(
        &mut self,
        question: &Question<'_>,
        deadline: Instant,
    ) -> Result<Result<Vec<u8>, Unmerged>, Broken> {
        let (message, longest) = match asked(question) {
            Ok(asked) => asked,
            Err(why) => return Ok(Err(Unmerged::Failed(why.to_string()))),
        };
        let stream = &self.stream;
        let sent = send(&mut Timed { stream, deadline }, &message);
        sent.map_err(|why| self.broken(&why))?;
        match self.receive(longest, deadline)? {
            (b'R', record) => Ok(Ok(record)),
            (b'C', reason) => Ok(Err(Unmerged::Refused(shown(&reason)))),
            _ => Err(Broken("it has answered nonsense".to_owned())),
        }
    }

    /// A second handle on the socket: whoever shuts it down ends the conversation.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn line(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How the process has ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(how(status))
    }

    fn receive(&mut self, longest: usize, deadline: Instant) -> Result<(u8, Vec<u8>), Broken> {
        let stream = &self.stream;
        let received = receive(&mut Timed { stream, deadline }, longest);
        received.map_err(|why| self.broken(&why))
    }

    /// What a failed read or write says of the process.
    fn broken(&mut self, why: &io::Error) -> Broken {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
        Broken(match why.kind() {
            TimedOut | WouldBlock => "it has not answered in time".to_owned(),
            UnexpectedEof | BrokenPipe | ConnectionReset => self.end(),
            _ => why.to_string(),
        })
    }

    /// Ends the process, and whatever it has started, and tells how it has ended.
    fn end(&mut self) -> String {
        // The socket closes a moment before the process is gone.
        let until = Instant::now() + Duration::from_millis(100);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let ended = self.child.try_wait().ok().flatten();
        // On a busy machine the moment is long. A process that was about to end does so in its own way.
        let killed = self.kill();
        let by_us = Some(Signal::KILL.as_raw());
        ended
            .or(killed.filter(|status| status.signal() != by_us))
            .map_or_else(|| "it has closed its connection".to_owned(), how)
    }

    fn kill(&mut self) -> Option<ExitStatus> {
        // A process that is gone needs no signal. Its group has its number as long as
        // anything of it is left, be it this process not yet waited for.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts the interpreter with a socket as its standard input, and one pipe for all its output.
fn spawn(path: &Path, script: &Path) -> io::Result<(Child, UnixStream, PipeReader)> {
    let (stream, theirs) = UnixStream::pair()?;
    let (output, input) = io::pipe()?;
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        if PRIVATE
            .iter()
            .any(|p| name.as_encoded_bytes().starts_with(p.as_bytes()))
        {
            command.env_remove(name);
        }
    }
    // A group of its own: a signal from the terminal is for the server.
    let child = command
        .arg(script)
        .process_group(0)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(input.try_clone()?)
        .stderr(input)
        .spawn()?;
    Ok((child, stream, output))
}

fn with_words(Broken(why): Broken, words: &LastWords) -> Broken {
    match words.wait(LAST_WORDS) {
        Some(last) => Broken(format!("{why}; its last words: {last}")),
        None => Broken(why),
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it has ended with exit code {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it has ended".to_owned(),
    }
}

fn shown(text: &[u8]) -> String {
    one_line(&String::from_utf8_lossy(text), 1000)
}
