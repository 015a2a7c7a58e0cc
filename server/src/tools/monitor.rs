//! A client of the monitor's HTTP (`docs/monitoring.md`): one request, one answer, the end.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use zeo_client::Address;

/// The longest answer to take, in bytes.
const ANSWER_LIMIT: u64 = 64 << 20;

/// The monitor of a server.
#[derive(Clone, Debug)]
pub struct Monitor {
    address: Address,
    limit: Duration,
}

/// A socket of either kind.
trait Socket: Read + Write {
    fn set_limit(&self, limit: Duration) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn set_limit(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))?;
        self.set_write_timeout(Some(limit))
    }
}

impl Socket for UnixStream {
    fn set_limit(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))?;
        self.set_write_timeout(Some(limit))
    }
}

impl Monitor {
    /// The monitor at an address, of which each request may take so long.
    pub fn new(address: Address, limit: Duration) -> Self {
        Self { address, limit }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it takes control requests: at a Unix socket only.
    pub fn is_local(&self) -> bool {
        matches!(self.address, Address::Unix(_))
    }

    /// Everything at one moment: `/status.json`.
    ///
    /// # Errors
    /// Nothing answers, or no monitor does; in a sentence that names the address.
    pub fn status(&self) -> Result<Value, String> {
        self.request("GET /status.json", "")
    }

    /// A control request.
    ///
    /// # Errors
    /// As of [`Self::status`]; and what the monitor says when it refuses.
    pub fn control(&self, what: &str, body: &Value) -> Result<Value, String> {
        if !self.is_local() {
            return Err(format!(
                "the monitor takes orders at its Unix socket only, not at {}; give the socket's path \
                 by --monitor",
                self.address
            ));
        }
        self.request(&format!("POST /control/{what}"), &body.to_string())
    }

    fn request(&self, what: &str, body: &str) -> Result<Value, String> {
        let answer = self.exchange(what, body).map_err(|why| {
            let why = match why.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    format!("no answer within {} s", self.limit.as_secs_f64())
                }
                _ => why.to_string(),
            };
            format!(
                "the monitor at {}: {why}; was the server started with --monitor {}?",
                self.address, self.address
            )
        })?;
        let (status, body) = parsed(&answer).map_err(|why| {
            let address = &self.address;
            format!("what answers at {address} is no monitor of this program: {why}")
        })?;
        match status {
            200 => Ok(body),
            _ => Err(match body.get("error").and_then(Value::as_str) {
                Some(why) => format!("the monitor at {} refuses: {why}", self.address),
                None => format!(
                    "the monitor at {} answers with status {status}",
                    self.address
                ),
            }),
        }
    }

    fn exchange(&self, what: &str, body: &str) -> io::Result<Vec<u8>> {
        let until = Instant::now() + self.limit;
        let mut socket = self.connect()?;
        let kind = match body {
            "" => String::new(),
            _ => format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            ),
        };
        let head = format!("{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}\r\n");
        socket.set_limit(self.limit)?;
        socket.write_all(format!("{head}{body}").as_bytes())?;
        let (mut answer, mut part) = (Vec::new(), [0; 16 << 10]);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_limit(left)?;
            let count = socket.read(&mut part)?;
            answer.extend_from_slice(part.get(..count).unwrap_or_default());
            if count == 0 || answer.len() as u64 > ANSWER_LIMIT {
                return Ok(answer);
            }
        }
    }

    fn connect(&self) -> io::Result<Box<dyn Socket>> {
        let (host, port) = match &self.address {
            Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path)?)),
            Address::Tcp { host, port } => (host.as_str(), *port),
        };
        let mut last = io::Error::other("the host has no address");
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, self.limit) {
                Ok(stream) => return Ok(Box::new(stream)),
                Err(why) => last = why,
            }
        }
        Err(last)
    }
}

/// The status and the body of an answer.
fn parsed(answer: &[u8]) -> Result<(u16, Value), String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let length = match head.parse(answer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err("its answer is cut short".to_owned()),
        Err(why) => return Err(format!("its answer is no HTTP ({why})")),
    };
    let status = head.code.unwrap_or_default();
    let body = answer.get(length..).unwrap_or_default();
    let body = serde_json::from_slice(body);
    match body {
        Ok(body) => Ok((status, body)),
        Err(_) if status != 200 => Ok((status, Value::Null)),
        Err(why) => Err(format!("its answer is no JSON ({why})")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers() {
        let good = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"kicked\":7}";
        assert_eq!(parsed(good), Ok((200, json!({"kicked": 7}))));
        let refused = b"HTTP/1.1 404 Not Found\r\n\r\n{\"error\": \"no\"}";
        assert_eq!(parsed(refused), Ok((404, json!({"error": "no"}))));
        let page = b"HTTP/1.1 421 Misdirected Request\r\n\r\n<html>";
        assert_eq!(parsed(page), Ok((421, Value::Null)));
        for (bytes, expected) in [
            (&b""[..], "cut short"),
            (b"HTTP/1.1 200 OK\r\n", "cut short"),
            (b"HTTP/1.1 200 OK\r\n\r\n{", "no JSON"),
            (b"\0\0\0\x02Z5", "no HTTP"),
        ] {
            assert!(parsed(bytes).unwrap_err().contains(expected), "{bytes:?}");
        }
    }
}
