//! HTTP requests, as far as the monitor takes them.

use std::io::{self, Read};

/// How long a request line and its headers may be together.
pub(super) const MAX_HEAD_BYTES: usize = 8 << 10;
/// How long a body may be.
pub(super) const MAX_BODY_BYTES: usize = 4 << 10;
/// How many headers there may be.
const MAX_HEADERS: usize = 64;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Post,
    Other,
}

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub method: Method,
    /// Without a query.
    pub path: String,
    /// The header `Host`, as it was sent.
    pub host: Option<String>,
    /// The header `Content-Type`, in lower case and without parameters.
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum Refused {
    /// This status is the answer, with this text.
    Status(u16, &'static str),
    /// Nobody is there to answer, or it took too long.
    Gone,
}

impl From<io::Error> for Refused {
    fn from(why: io::Error) -> Self {
        match why.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Refused::Status(408, "the request took too long")
            }
            _ => Refused::Gone,
        }
    }
}

/// A request line with its headers.
struct Head {
    request: Request,
    /// Where the body begins.
    end: usize,
    content_length: Option<usize>,
    is_chunked: bool,
    expects_continue: bool,
}

impl Request {
    /// Reads a request. `go_on` is called when the client wants to be told that its body is
    /// welcome (`Expect: 100-continue`).
    pub fn read(
        from: &mut impl Read,
        go_on: impl FnOnce() -> io::Result<()>,
    ) -> Result<Self, Refused> {
        let mut received = Vec::new();
        let head = loop {
            if let Some(head) = parse(&received)? {
                break head;
            }
            if received.len() >= MAX_HEAD_BYTES {
                return Err(Refused::Status(431, "the request's headers are too long"));
            }
            more(from, &mut received, MAX_HEAD_BYTES)?;
        };
        let mut request = head.request;
        if head.is_chunked {
            return Err(Refused::Status(411, "a length is required: Content-Length"));
        }
        let length = head.content_length.unwrap_or(0);
        if length > MAX_BODY_BYTES {
            return Err(Refused::Status(413, "the body is too long"));
        }
        let all = head.end + length;
        if head.expects_continue && received.len() < all {
            go_on()?;
        }
        while received.len() < all {
            more(from, &mut received, all)?;
        }
        request.body = received[head.end..all].to_vec();
        Ok(request)
    }
}

/// Reads what is there, up to `most` bytes in all.
fn more(from: &mut impl Read, received: &mut Vec<u8>, most: usize) -> Result<(), Refused> {
    let before = received.len();
    received.resize(most.min(before + 1024), 0);
    let count = loop {
        match from.read(&mut received[before..]) {
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            result => break result,
        }
    };
    received.truncate(before + count.as_ref().copied().unwrap_or(0));
    match count? {
        0 => Err(Refused::Gone),
        _ => Ok(()),
    }
}

/// The head of a request, if all of it is there.
fn parse(received: &[u8]) -> Result<Option<Head>, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let end = match parsed.parse(received) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refused::Status(431, "there are too many headers"));
        }
        Err(_) => return Err(Refused::Status(400, "this is not an HTTP request")),
    };
    let header = |name: &str| {
        let mut found = parsed.headers.iter();
        let found = found.find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(found.value).trim().to_owned())
    };
    let content_length = match header("content-length") {
        None => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty() => {
            Some(digits.parse().unwrap_or(usize::MAX))
        }
        Some(_) => return Err(Refused::Status(400, "Content-Length is no number")),
    };
    let media_type = |value: String| {
        let (media_type, _) = value.split_once(';').unwrap_or((&value, ""));
        media_type.trim().to_ascii_lowercase()
    };
    let request = Request {
        method: match parsed.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            _ => Method::Other,
        },
        path: path(parsed.path.unwrap_or_default()).to_owned(),
        host: header("host"),
        content_type: header("content-type").map(media_type),
        body: Vec::new(),
    };
    Ok(Some(Head {
        request,
        end,
        content_length,
        is_chunked: header("transfer-encoding").is_some(),
        expects_continue: header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")),
    }))
}

/// The path of a target, which may be a whole URL.
fn path(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            rest.find('/').map_or("/", |start| &rest[start..])
        }
        _ => target,
    };
    path.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, Refused> {
        Request::read(&mut text.as_bytes(), || Ok(()))
    }

    fn status(text: &str) -> u16 {
        match read(text) {
            Err(Refused::Status(status, _)) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_of_scrapers_browsers_and_tools_are_read() {
        let request = read("GET /metrics?x=1 HTTP/1.1\r\nHost: zeo:9100\r\nAccept: */*\r\n\r\n");
        let request = request.unwrap();
        assert_eq!(
            (
                request.method,
                request.path.as_str(),
                request.host.as_deref()
            ),
            (Method::Get, "/metrics", Some("zeo:9100"))
        );
        assert_eq!(read("HEAD / HTTP/1.0\n\n").unwrap().method, Method::Head);
        assert_eq!(
            read("GET http://zeo/a HTTP/1.1\r\n\r\n").unwrap().path,
            "/a"
        );
        let request = read(
            "POST /control/kick HTTP/1.1\r\ncontent-length: 2\r\n\
             Content-Type: Application/JSON; charset=utf-8\r\n\r\n{}GET",
        );
        let request = request.unwrap();
        assert_eq!(request.content_type.as_deref(), Some("application/json"));
        assert_eq!(request.body, b"{}");
    }

    #[test]
    fn whoever_waits_for_it_is_told_to_go_on() {
        let head = "POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        let mut told = false;
        let mut parts = head.as_bytes().chain(&b"{}"[..]);
        let request = Request::read(&mut parts, || {
            told = true;
            Ok(())
        });
        assert_eq!(request.unwrap().body, b"{}");
        assert!(told);
    }

    #[test]
    fn what_is_no_request_or_too_long_has_an_answer() {
        assert_eq!(status("\0\0\0\x04ruok\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nbad header\r\n\r\n"), 400);
        let long = "x".repeat(MAX_HEAD_BYTES);
        assert_eq!(status(&format!("GET /{long} HTTP/1.1\r\n\r\n")), 431);
        let many = "A: b\r\n".repeat(MAX_HEADERS + 1);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), 431);
        let post = |header: &str| status(&format!("POST / HTTP/1.1\r\n{header}\r\n\r\n"));
        assert_eq!(post("Transfer-Encoding: chunked"), 411);
        assert_eq!(post("Content-Length: 4097"), 413);
        assert_eq!(post("Content-Length: 99999999999999999999999"), 413);
        assert_eq!(post("Content-Length: -1"), 400);
        assert_eq!(
            status("GET / HTTP/1.1\r\nContent-Length: 4097\r\n\r\n"),
            413
        );
    }

    #[test]
    fn who_takes_too_long_is_told_so() {
        struct Slow;
        impl Read for Slow {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        let mut slow = "GET / HT".as_bytes().chain(Slow);
        let request = Request::read(&mut slow, || Ok(()));
        assert!(matches!(request, Err(Refused::Status(408, _))));
    }

    #[test]
    fn who_goes_in_the_middle_gets_no_answer() {
        for text in [
            "",
            "GET / HT",
            "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
        ] {
            assert!(matches!(read(text), Err(Refused::Gone)), "{text}");
        }
    }
}
