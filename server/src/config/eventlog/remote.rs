//! `<syslog>`, `<http-logger>`, `<email-notifier>` and `<win32-eventlog>`.

use zeo_storage::zconfig::datatypes::{self, Address};
use zeo_storage::zconfig::reader::{self, Reader};
use zeo_storage::zconfig::{ConfigError, Section};

use super::handler;
use crate::eventlog::{
    EmailConfig, HandlerConfig, HttpConfig, HttpMethod, LogTarget, SMTP_PORT, SyslogAddress,
    SyslogConfig, check_url, facility, mailboxes,
};

/// The default format of mails, and of HTTP requests, which do not use it.
const LINE_FORMAT: &str = "%(asctime)s %(levelname)s %(name)s %(message)s";

/// Reads a syslog section.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn syslog(section: &Section) -> Result<HandlerConfig, ConfigError> {
    let reader = Reader::new(section, handler_keys!("facility", "address"))?;
    reader::no_sections(section)?;
    let facility = reader.optional("facility", facility)?;
    let address = reader.optional("address", syslog_address)?;
    let config = SyslogConfig {
        address: address.unwrap_or_else(|| SyslogAddress::Host("localhost".to_owned(), 514)),
        facility: facility.unwrap_or(1),
    };
    handler(&reader, LogTarget::Syslog(config), "%(name)s %(message)s")
}

/// Python takes an address without a host or a port, and then finds no host, or loses each line.
fn syslog_address(text: &str) -> Result<SyslogAddress, String> {
    match datatypes::socket_binding_address(text)? {
        Address::Unix(path) => Ok(SyslogAddress::Path(path)),
        Address::Tcp {
            host: Some(host),
            port: Some(port),
        } => Ok(SyslogAddress::Host(host, port)),
        _ => Err(format!(
            "{text:?} is not the address of a syslog daemon; expected HOST:PORT or a path with a \
             slash"
        )),
    }
}

/// Reads an http-logger section.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn http_logger(section: &Section) -> Result<HandlerConfig, ConfigError> {
    let reader = Reader::new(section, handler_keys!("url", "method"))?;
    reader::no_sections(section)?;
    let url = reader.optional("url", check_url)?;
    let method = reader.optional("method", HttpMethod::named)?;
    let config = HttpConfig {
        url: url.unwrap_or_else(|| "http://localhost/".to_owned()),
        method: method.unwrap_or(HttpMethod::Get),
    };
    handler(&reader, LogTarget::Http(config), LINE_FORMAT)
}

/// Reads an email-notifier section.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn email_notifier(section: &Section) -> Result<HandlerConfig, ConfigError> {
    let reader = Reader::with_repeated(
        section,
        handler_keys!(
            "from",
            "to",
            "subject",
            "smtp-server",
            "smtp-username",
            "smtp-password"
        ),
        &["to"],
    )?;
    reader::no_sections(section)?;
    let from = reader.required("from", |text| match mailboxes(text)?.as_slice() {
        [from] => Ok(from.clone()),
        _ => Err(format!("{text:?} is more than one address")),
    })?;
    reader.required("to", mailboxes)?;
    let to = reader.all("to", mailboxes)?;
    let subject = reader.optional("subject", |text| Ok(text.to_owned()))?;
    let server = reader.optional("smtp-server", smtp_server)?;
    let text = |text: &str| Ok(text.to_owned());
    let user = reader.optional("smtp-username", text)?;
    let password = reader.optional("smtp-password", text)?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let credentials = match (given(user), given(password)) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        _ => return Err(reader.conflict("give smtp-username and smtp-password both, or neither")),
    };
    let config = EmailConfig {
        from,
        to: to.into_iter().flatten().collect(),
        subject: subject.unwrap_or_else(|| "Message from Zope".to_owned()),
        server: server.unwrap_or_else(|| ("localhost".to_owned(), SMTP_PORT)),
        credentials,
    };
    handler(&reader, LogTarget::Email(config), LINE_FORMAT)
}

/// Python takes a port alone, and then loses each line.
fn smtp_server(text: &str) -> Result<(String, u16), String> {
    match datatypes::socket_binding_address(text)? {
        Address::Tcp {
            host: Some(host),
            port,
        } => Ok((host, port.unwrap_or(SMTP_PORT))),
        _ => Err(format!(
            "{text:?} is not the address of a mail server; expected HOST or HOST:PORT"
        )),
    }
}

/// Reads a win32-eventlog section.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn win32_eventlog(section: &Section) -> Result<HandlerConfig, ConfigError> {
    let reader = Reader::new(section, handler_keys!("appname"))?;
    reader::no_sections(section)?;
    reader.optional("appname", |_| Ok(()))?;
    let format = "%(levelname)s %(name)s %(message)s";
    handler(&reader, LogTarget::Windows, format)
}
