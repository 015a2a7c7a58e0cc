//! `<http-logger>`: a request for each line, with the record's fields, as Python's `HTTPHandler`
//! makes it. The answer does not matter.

use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;

use super::Transport;

/// How long a request may take as a whole.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A web server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpConfig {
    /// The URL: `http`, with a path, without a user or a fragment.
    pub url: String,
    /// How the fields are sent.
    pub method: HttpMethod,
}

/// How fields are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpMethod {
    /// In the URL.
    Get,
    /// In the body.
    Post,
}

impl HttpMethod {
    /// The method that ZConfig calls `text`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn named(text: &str) -> Result<HttpMethod, String> {
        match text.to_uppercase().as_str() {
            "GET" => Ok(HttpMethod::Get),
            "POST" => Ok(HttpMethod::Post),
            _ => Err(format!("{text:?} is not a method; expected GET or POST")),
        }
    }
}

/// Checks that `text` is a URL that lines can be sent to.
///
/// # Errors
/// It is not, or has no path, or something that would not get there: a user, a fragment.
pub fn check_url(text: &str) -> Result<String, String> {
    let wrong = |problem: &str| {
        Err(format!(
            "{text:?} {problem}; expected a URL such as http://host:port/path"
        ))
    };
    if text.contains('#') {
        return wrong("has a fragment");
    }
    let Ok(url) = text.parse::<Uri>() else {
        return wrong("is not a URL");
    };
    let Some(authority) = url.authority() else {
        return wrong("has no host");
    };
    // The parsed path is never empty.
    let has_path = text
        .split_once("://")
        .and_then(|(_, rest)| rest.split('?').next())
        .is_some_and(|rest| rest.contains('/'));
    match url.scheme_str() {
        Some("http") if authority.host().is_empty() => wrong("has no host"),
        Some("http") if authority.as_str().contains('@') => wrong("has a user"),
        Some("http") if authority.as_str() != authority.host() && url.port_u16().is_none() => {
            wrong("has a port that is not a number")
        }
        Some("http") if !has_path => wrong("has no path"),
        Some("http") => Ok(text.to_owned()),
        _ => wrong("is not an http URL"),
    }
}

/// Sends records to a web server.
pub struct Http {
    config: HttpConfig,
    agent: Agent,
}

impl Http {
    /// Makes no connection before the first record.
    pub fn new(config: HttpConfig) -> Http {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A connection that was kept may be closed when the next record comes.
            .max_idle_connections(0)
            .proxy(None)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .user_agent(concat!("runzeo/", env!("CARGO_PKG_VERSION")))
            .build();
        Http {
            config,
            agent: agent.into(),
        }
    }
}

impl Transport for Http {
    fn name(&self) -> String {
        self.config.url.clone()
    }

    fn send(&mut self, fields: &[u8]) -> Result<(), String> {
        let url = &self.config.url;
        let answer = match self.config.method {
            HttpMethod::Get => {
                let separator = if url.contains('?') { '&' } else { '?' };
                let fields = String::from_utf8_lossy(fields);
                self.agent.get(format!("{url}{separator}{fields}")).call()
            }
            HttpMethod::Post => self
                .agent
                .post(url)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .send(fields),
        };
        answer.map(drop).map_err(|why| why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked() {
        for url in ["http://h/", "HTTP://h:81/a;b?c=d&e", "http://[::1]:80/x"] {
            assert_eq!(check_url(url).as_deref(), Ok(url));
        }
        for url in [
            "",
            "h",
            "/x",
            "http:///x",
            "http://h",
            "http://h?x=/",
            "https://h/",
            "ftp://h/",
            "http://h/#x",
            "http://me@h/",
            "http://h/a b",
            "http://h:port/",
            "http://:80/",
        ] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }
}
