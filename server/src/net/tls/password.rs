//! The password of the server's key: from a file, from a program, or from the environment.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a program may take to print the password.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a command that has printed its password is asked whether it has ended.
const WAIT_INTERVAL: Duration = Duration::from_millis(5);
/// The longest password of OpenSSL, and of Python's `ssl`.
const LONGEST: usize = 1024;

/// The options and the variable that give a password, for messages.
pub const OPTIONS: &str =
    "--tls-password-file, --tls-password-command or the variable RZEO_TLS_PASSWORD";

/// Where the password is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PasswordSource {
    /// The key is not encrypted.
    #[default]
    None,
    /// The first line of a file.
    File(PathBuf),
    /// The first line that a command of the shell prints.
    Command(String),
    /// Here.
    Text(Secret),
}

/// Text that is not shown in logs and messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

impl PasswordSource {
    /// The password, or `None` if none is given.
    ///
    /// # Errors
    /// What is wrong with where it should be, in words.
    pub fn read(&self) -> Result<Option<Vec<u8>>, String> {
        let (from, text) = match self {
            PasswordSource::None => return Ok(None),
            PasswordSource::Text(secret) => {
                let from = "the variable RZEO_TLS_PASSWORD".to_owned();
                (from, secret.0.clone().into_bytes())
            }
            PasswordSource::File(path) => {
                let from = format!("the password file {}", path.display());
                let text = first_line_of(path);
                let text = text.map_err(|why| format!("can't read {from}: {why}"))?;
                (from, text)
            }
            PasswordSource::Command(command) => {
                let from = format!("the password command {command:?}");
                let text = output_of(command, COMMAND_TIMEOUT);
                let text = text.map_err(|why| format!("{from} {why}"))?;
                (from, text)
            }
        };
        if text.len() > LONGEST {
            return Err(format!("{from} gives more than {LONGEST} bytes"));
        }
        if text.contains(&0) {
            return Err(format!("{from} gives a NUL byte"));
        }
        Ok(Some(text))
    }
}

fn first_line_of(path: &Path) -> io::Result<Vec<u8>> {
    first_line(File::open(path)?)
}

/// The first line without its end; of a longer one, as much as shows that it is too long.
fn first_line(from: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(LONGEST as u64 + 3).read_to_end(&mut text)?;
    if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
        text.truncate(end);
        if text.last() == Some(&b'\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// The first line that a command prints. It ends with all that it started after `timeout`.
fn output_of(command: &str, timeout: Duration) -> Result<Vec<u8>, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env_remove("RZEO_TLS_PASSWORD")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|why| format!("can't be started: {why}"))?;
    let output = child.stdout.take();
    let (done, result) = crossbeam_channel::bounded(1);
    let read = move || {
        let mut output = output.ok_or(io::ErrorKind::BrokenPipe)?;
        let line = first_line(&mut output)?;
        // It must not fail because nobody reads the rest.
        io::copy(&mut output, &mut io::sink())?;
        Ok::<_, io::Error>(line)
    };
    let until = Instant::now() + timeout;
    let reader = thread::Builder::new().name("password".into());
    let started = reader.spawn(move || drop(done.send(read())));
    let line = match started {
        Ok(_) => result.recv_timeout(timeout),
        Err(why) => Ok(Err(why)),
    };
    match line {
        Ok(Ok(line)) => match wait(&mut child, until) {
            Ok(Some(status)) if status.success() => Ok(line),
            Ok(Some(status)) => Err(format!("has failed ({status})")),
            Ok(None) => {
                end(&mut child);
                Err(format!("was ended after {} seconds", timeout.as_secs()))
            }
            Err(why) => Err(format!("can't be waited for: {why}")),
        },
        Ok(Err(why)) => {
            end(&mut child);
            Err(format!("can't be read from: {why}"))
        }
        Err(_) => {
            end(&mut child);
            Err(format!("was ended after {} seconds", timeout.as_secs()))
        }
    }
}

/// Waits for the end of a command, which may go on after it has closed its output; `None` if it
/// takes longer.
fn wait(child: &mut Child, until: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        let ended = child.try_wait()?;
        if ended.is_some() || Instant::now() >= until {
            return Ok(ended);
        }
        thread::sleep(WAIT_INTERVAL);
    }
}

/// Ends a command with all that it started.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &PasswordSource) -> Result<String, String> {
        let text = source.read()?.unwrap();
        Ok(String::from_utf8(text).unwrap())
    }

    #[test]
    fn the_first_line_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let file = PasswordSource::File(path.clone());
        for (text, expected) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("a b \r\nnext\n", "a b "),
            ("\n", ""),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&file).as_deref(), Ok(expected));
            let command = PasswordSource::Command(format!("cat '{}'", path.display()));
            assert_eq!(read(&command).as_deref(), Ok(expected));
        }
        std::fs::write(&path, "x".repeat(LONGEST)).unwrap();
        assert_eq!(read(&file).unwrap().len(), LONGEST);
        std::fs::write(&path, "x".repeat(LONGEST + 1)).unwrap();
        assert!(read(&file).unwrap_err().contains("more than 1024 bytes"));
        std::fs::write(&path, "a\0b").unwrap();
        assert!(read(&file).unwrap_err().contains("NUL"));
        assert_eq!(PasswordSource::None.read(), Ok(None));
    }

    #[test]
    fn what_can_t_be_read() {
        let error = read(&PasswordSource::File("/no/such/file".into())).unwrap_err();
        assert!(error.starts_with("can't read the password file /no/such/file: No such file"));
        for (command, expected) in [
            ("exit 3", "has failed (exit status: 3)"),
            ("echo x; exit 1", "has failed"),
        ] {
            let error = read(&PasswordSource::Command(command.to_owned())).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        // The shell waits for it.
        for command in ["sleep 1000; true", "echo x; exec >&-; sleep 1000; true"] {
            let error = output_of(command, Duration::from_millis(50)).unwrap_err();
            assert!(error.contains("was ended after"), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let source = PasswordSource::Text(Secret::new("hidden".to_owned()));
        assert!(!format!("{source:?}").contains("hidden"));
        assert_eq!(read(&source).as_deref(), Ok("hidden"));
    }
}
