//! HTTP responses.

use std::io::{self, Write};

/// What is answered to a request.
#[derive(Debug, PartialEq)]
pub(super) struct Response {
    pub status: u16,
    pub content_type: &'static str,
    /// What the page may do, for a browser.
    pub policy: Option<String>,
    pub body: Vec<u8>,
}

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

impl Response {
    /// Text.
    pub fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            content_type: PLAIN,
            policy: None,
            body: format!("{text}\n").into_bytes(),
        }
    }

    /// JSON.
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self {
            status,
            content_type: JSON,
            policy: None,
            body: format!("{value}\n").into_bytes(),
        }
    }

    /// Sends it, without its body to who asked for the head only.
    pub fn send(&self, to: &mut impl Write, head_only: bool) -> io::Result<()> {
        let policy = self.policy.as_deref().unwrap_or("default-src 'none'");
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Content-Security-Policy: {policy}\r\nX-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\nCache-Control: no-store\r\nConnection: close\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len()
        );
        if self.status == 405 {
            head += "Allow: GET, HEAD\r\n";
        }
        head += "\r\n";
        let mut all = head.into_bytes();
        if !head_only {
            all.extend_from_slice(&self.body);
        }
        to.write_all(&all)
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}
