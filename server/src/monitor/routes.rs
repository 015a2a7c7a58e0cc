//! Which request gets which answer.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock, OnceLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use openssl::sha::sha256;
use slog::Logger;

use super::listener::Peer;
use super::page::PAGE;
use super::request::{Method, Request};
use super::response::Response;
use super::served::Served;
use super::snapshot::{Faults, Inspector, Snapshot, faults};
use super::{control, metrics, status};

const HTML: &str = "text/html; charset=utf-8";
/// Prometheus's text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Lets the page run its own script and style and ask this server, and nothing else: labels of
/// clients and texts of transactions come from anybody.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hashes(PAGE, "script"),
        hashes(PAGE, "style"),
    )
});

/// Answers requests.
pub(super) struct Routes {
    served: Arc<OnceLock<Served>>,
    inspector: Inspector,
    log: Logger,
}

impl Routes {
    /// Answers for what is served, as soon as it is there.
    pub fn new(served: Arc<OnceLock<Served>>, log: Logger) -> Self {
        Self {
            served,
            inspector: Inspector::default(),
            log,
        }
    }

    /// The answer to a request.
    pub fn answer(&self, request: &Request, peer: &Peer) -> Response {
        if *peer == Peer::Loopback && !is_local(request.host.as_deref()) {
            let text = "at a loopback address, Host must be an IP address or localhost";
            return Response::text(421, text);
        }
        if request.path.starts_with("/control/") {
            return match (request.method, peer) {
                (Method::Post, Peer::Unix(who)) => {
                    control::control(request, self.served.get(), who, &self.log)
                }
                (Method::Post, _) => {
                    let text = "control requests are accepted at a Unix socket only";
                    control::error(403, text)
                }
                _ => Response::text(405, "control requests are POST requests"),
            };
        }
        if !matches!(request.method, Method::Get | Method::Head) {
            return Response::text(405, "only GET and HEAD are possible here");
        }
        match request.path.as_str() {
            "/" => Response {
                status: 200,
                content_type: HTML,
                policy: Some(POLICY.clone()),
                body: PAGE.as_bytes().to_vec(),
            },
            "/healthz" => self.healthz(),
            "/readyz" => self.readyz(),
            "/metrics" => self.shown(|snapshot, _| Response {
                status: 200,
                content_type: METRICS,
                policy: None,
                body: metrics::metrics(snapshot).into_bytes(),
            }),
            "/status.json" => self
                .shown(|snapshot, served| Response::json(200, &status::status(snapshot, served))),
            _ => Response::text(
                404,
                "there is /, /metrics, /status.json, /healthz and /readyz",
            ),
        }
    }

    fn shown(&self, show: impl FnOnce(&Snapshot<'_>, &Served) -> Response) -> Response {
        let Some(served) = self.served.get() else {
            return Response::text(503, STARTING);
        };
        let snapshot = Snapshot::take(&served.server, &self.inspector);
        show(&snapshot, served)
    }

    fn healthz(&self) -> Response {
        // A start may take long: to end it would not make the next one shorter.
        let faults = self.faults().unwrap_or_default();
        verdict(faults.is_alive(), &faults.dead)
    }

    fn readyz(&self) -> Response {
        match self.faults() {
            None => Response::text(503, STARTING),
            Some(faults) => verdict(faults.is_ready(), &faults.lines()),
        }
    }

    fn faults(&self) -> Option<Faults> {
        let served = self.served.get()?;
        Some(faults(&served.server, &self.inspector))
    }
}

const STARTING: &str = "the server is starting";

fn verdict(is_good: bool, faults: &[impl AsRef<str>]) -> Response {
    if is_good {
        return Response::text(200, "ok");
    }
    let lines: Vec<&str> = faults.iter().map(AsRef::as_ref).collect();
    Response::text(503, &lines.join("\n"))
}

/// Whether a request was meant for this machine: a page from elsewhere, whose host name leads to
/// the loopback address, has that name in `Host`.
fn is_local(host: Option<&str>) -> bool {
    let Some(host) = host else {
        return true;
    };
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

/// The hashes of all elements of a kind, which must have no attributes; `'none'` if there is none.
fn hashes(page: &str, element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let contents = page
        .split(&open)
        .skip(1)
        .filter_map(|rest| rest.split(&close).next());
    let hashes = contents.map(|content| {
        let hash = BASE64_STANDARD.encode(sha256(content.as_bytes()));
        format!("'sha256-{hash}'")
    });
    let hashes: Vec<_> = hashes.collect();
    if hashes.is_empty() {
        return "'none'".to_owned();
    }
    hashes.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        let local = [
            "localhost:9100",
            "LOCALHOST",
            "127.0.0.1:9100",
            "[::1]:9100",
            "[::1]",
            "10.0.0.1",
        ];
        assert!(local.iter().all(|host| is_local(Some(host))) && is_local(None));
        let others = [
            "example.com",
            "localhost.example.com:9100",
            "",
            "127.0.0.1.example.com",
        ];
        assert!(!others.iter().any(|host| is_local(Some(host))));
    }

    /// `printf 'let a = 1;' | openssl dgst -sha256 -binary | base64`
    #[test]
    fn the_page_may_run_what_stands_in_it() {
        let page = "<style>p{}</style><script>let a = 1;</script>";
        let hash = "'sha256-xY6QKfH9PRsQnLz56nj6MBwiK5oHg+im1Jkpdp1x/Ck='";
        assert_eq!(hashes(page, "script"), hash);
        assert_eq!(hashes("", "script"), "'none'");
        assert!(!PAGE.contains("<script ") && !PAGE.contains("<style "));
    }
}
