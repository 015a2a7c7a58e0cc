//! Which storages of which servers to pack.

use zeo_client::Address;
use zeo_proto::repr;

use crate::arguments::CommandLine;

/// A storage of a server.
#[derive(Debug, PartialEq)]
pub struct Server {
    pub address: Address,
    pub storage: String,
}

impl Server {
    fn tcp(host: &str, port: u16, storage: &str) -> Self {
        // As Python's client takes it.
        let host = if host.is_empty() { "127.0.0.1" } else { host }.to_owned();
        let address = Address::Tcp { host, port };
        Self {
            address,
            storage: storage.to_owned(),
        }
    }

    fn unix(path: &str, storage: &str) -> Self {
        Self {
            address: Address::Unix(path.into()),
            storage: storage.to_owned(),
        }
    }

    /// The address as Python shows it.
    pub fn python_address(&self) -> String {
        match &self.address {
            Address::Tcp { host, port } => format!("({}, {port})", repr::text(host)),
            Address::Unix(path) => repr::text(&path.to_string_lossy()),
        }
    }
}

/// All servers of the command line, in the order in which they are packed.
pub fn servers(line: &CommandLine) -> Result<Vec<Server>, String> {
    let mut servers = Vec::new();
    // As in Python, an empty value is none, and so is port 0.
    let host = line.host.as_deref().filter(|host| !host.is_empty());
    let number = line.port.filter(|port| *port != 0);
    match (host, number) {
        (None, None) => {}
        (Some(_), None) => {
            let why = "If host (-h) is specified then a port (-p) must be specified as well.";
            return Err(why.to_owned());
        }
        (host, Some(number)) => {
            let host = host.map_or_else(this_host, str::to_owned);
            let port = u16::try_from(number).map_err(|_| format!("Invalid port: {number}"))?;
            servers.push(Server::tcp(&host, port, &line.name));
        }
    }
    if let Some(path) = line.unix.as_deref().filter(|path| !path.is_empty()) {
        servers.push(Server::unix(path, &line.name));
    }
    for text in &line.servers {
        servers.push(tcp_server(text)?);
    }
    for text in &line.unix_sockets {
        servers.push(unix_server(text)?);
    }
    if servers.is_empty() {
        return Err("No servers specified.".to_owned());
    }
    Ok(servers)
}

fn this_host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// `HOST:PORT[:STORAGE]`, where an IPv6 address stands in brackets.
fn tcp_server(text: &str) -> Result<Server, String> {
    let invalid = |what| format!("Invalid {what}server specification: {}", repr::text(text));
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, rest) = match bracketed {
        Some((host, rest)) => (host, rest.strip_prefix(':').ok_or_else(|| invalid(""))?),
        None => text.split_once(':').ok_or_else(|| invalid(""))?,
    };
    let (port, storage) = rest.split_once(':').unwrap_or((rest, "1"));
    if storage.contains(':') {
        return Err(invalid(""));
    }
    let port = port.trim().parse().map_err(|_| invalid("port in "))?;
    Ok(Server::tcp(host, port, storage))
}

/// `PATH[:STORAGE]`.
fn unix_server(text: &str) -> Result<Server, String> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [path] => Ok(Server::unix(path, "1")),
        [path, storage] => Ok(Server::unix(path, storage)),
        _ => Err(format!(
            "Invalid server specification: {}",
            repr::text(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn found(args: &[&str]) -> Result<Vec<String>, String> {
        let line = CommandLine::parse_from([&["zeopack"], args].concat());
        let shown = |server: &Server| format!("{} {}", server.python_address(), server.storage);
        Ok(servers(&line)?.iter().map(shown).collect())
    }

    #[test]
    fn servers_in_python_s_order() {
        let args = [
            "-ufoo",
            "-ubar:spam",
            "host1:8100",
            "host1:8100:2",
            "-Uold",
            "-h",
            "h",
            "-p7",
        ];
        let expected = [
            "('h', 7) 1",
            "'old' 1",
            "('host1', 8100) 1",
            "('host1', 8100) 2",
            "'foo' 1",
            "'bar' spam",
        ];
        assert_eq!(found(&args).unwrap(), expected);
        let brackets = found(&["[::1]:8100", "[fe80::1]:7:main", ":8100"]);
        let expected = [
            "('::1', 8100) 1",
            "('fe80::1', 7) main",
            "('127.0.0.1', 8100) 1",
        ];
        assert_eq!(brackets.unwrap(), expected);
        let here = found(&["-d3", "-p", "8100"]).unwrap();
        assert_eq!(here, [format!("('{}', 8100) 1", this_host())]);
    }

    #[test]
    fn what_is_no_server() {
        for (args, expected) in [
            (&["-d3"][..], "No servers specified."),
            (&["a"], "Invalid server specification: 'a'"),
            (&["a:b:c:d"], "Invalid server specification: 'a:b:c:d'"),
            (&["a:1:c:d"], "Invalid server specification: 'a:1:c:d'"),
            (&["a:b:2"], "Invalid port in server specification: 'a:b:2'"),
            (&["-u", "a:b:2"], "Invalid server specification: 'a:b:2'"),
            (&["[::1]"], "Invalid server specification: '[::1]'"),
        ] {
            assert_eq!(found(args), Err(expected.to_owned()));
        }
    }
}
