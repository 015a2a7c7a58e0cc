//! `<email-notifier>`: a mail for each line.

use std::time::Duration;

use lettre::message::header::{ContentType, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message, SmtpTransport, Transport as _};

use super::Transport;

/// How long a server may take for each of its answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The port of SMTP.
pub const SMTP_PORT: u16 = 25;

/// Mails, and the server that takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmailConfig {
    /// The sender.
    pub from: Mailbox,
    /// The receivers, at least one.
    pub to: Vec<Mailbox>,
    /// The subject of each mail.
    pub subject: String,
    /// The server's host and port.
    pub server: (String, u16),
    /// User and password, if the server wants them.
    pub credentials: Option<(String, String)>,
}

/// Reads one or several addresses, such as `a@example.com, Bob <b@example.com>, root`. One without
/// a domain is of this host.
///
/// # Errors
/// It is not an address.
pub fn mailboxes(text: &str) -> Result<Vec<Mailbox>, String> {
    if !text.contains('@') && !text.is_empty() {
        let host = host_name();
        let local = Address::new(text.trim(), &host)
            .map_err(|why| format!("{text:?} is not an address at {host}: {why}"))?;
        return Ok(vec![Mailbox::new(None, local)]);
    }
    let parsed: Result<Mailboxes, _> = text.parse();
    match parsed {
        Ok(boxes) if boxes.iter().next().is_some() => Ok(boxes.into_iter().collect()),
        Ok(_) => Err("no address".to_owned()),
        Err(why) => Err(format!("{text:?} is not a mail address: {why}")),
    }
}

/// The name that this host gives itself.
fn host_name() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}

/// Sends mails.
pub struct Email {
    config: EmailConfig,
    transport: SmtpTransport,
}

impl Email {
    /// Makes no connection before the first line.
    pub fn new(config: EmailConfig) -> Email {
        let (host, port) = config.server.clone();
        // Without TLS, as in Python.
        let mut transport = SmtpTransport::builder_dangerous(host)
            .port(port)
            .timeout(Some(ANSWER_TIMEOUT))
            .hello_name(ClientId::Domain(host_name()));
        if let Some((user, password)) = config.credentials.clone() {
            transport = transport.credentials(Credentials::new(user, password));
        }
        Email {
            config,
            transport: transport.build(),
        }
    }

    fn mail(&self, line: &[u8]) -> Result<Message, lettre::error::Error> {
        let mut mail = Message::builder()
            .from(self.config.from.clone())
            .subject(self.config.subject.clone())
            .date_now()
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.config.to {
            mail = mail.to(to.clone());
        }
        mail.body(String::from_utf8_lossy(line).into_owned())
    }
}

impl Transport for Email {
    fn name(&self) -> String {
        let (host, port) = &self.config.server;
        format!("the mail server {host}:{port}")
    }

    fn send(&mut self, line: &[u8]) -> Result<(), String> {
        let mail = self.mail(line).map_err(|why| why.to_string())?;
        let sent = self.transport.send(&mail);
        sent.map(drop).map_err(|why| why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, expected) in [
            ("a@b.c", vec!["a@b.c"]),
            ("Joe <a@b.c>", vec!["Joe <a@b.c>"]),
            ("a@b.c, d@localhost", vec!["a@b.c", "d@localhost"]),
        ] {
            let boxes = mailboxes(text).unwrap();
            let shown: Vec<_> = boxes.iter().map(ToString::to_string).collect();
            assert_eq!(shown, expected);
        }
        let local = mailboxes("root").unwrap().remove(0);
        assert_eq!(local.email.user(), "root");
        assert_eq!(local.email.domain(), host_name());
        for text in ["", "a b", "a@", "@b", "a@b c", "a@b, <"] {
            assert!(mailboxes(text).is_err(), "{text}");
        }
    }
}
