//! What carries a connection: a socket, with or without TLS.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use clap::Args;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslStream, SslVerifyMode,
};
use socket2::Socket;

use crate::error::{Error, Result};

/// The client's side of TLS. All three are given, or none.
#[derive(Debug, Args)]
#[group(id = "tls", requires_all = ["tls_certificate", "tls_key", "tls_trust"])]
pub struct TlsArgs {
    /// Use TLS, with the certificate in this PEM file.
    #[arg(long, global = true, requires = "tls_key", requires = "tls_trust")]
    tls_certificate: Option<PathBuf>,
    /// The PEM file with its key.
    #[arg(long, global = true, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// The PEM file with the server's certificate, or its authority's.
    #[arg(long, global = true, requires = "tls_certificate")]
    tls_trust: Option<PathBuf>,
}

impl TlsArgs {
    /// Whether TLS is wanted.
    pub fn is_given(&self) -> bool {
        self.tls_certificate.is_some()
    }

    /// The context of all connections. The server's name is not checked.
    pub fn context(&self) -> Result<SslContext> {
        let (Some(certificate), Some(key), Some(trust)) =
            (&self.tls_certificate, &self.tls_key, &self.tls_trust)
        else {
            return Err(Error::Usage("TLS needs certificate, key and trust".into()));
        };
        let make = || {
            let mut builder = SslContextBuilder::new(SslMethod::tls_client())?;
            builder.set_certificate_chain_file(certificate)?;
            builder.set_private_key_file(key, SslFiletype::PEM)?;
            builder.load_verify_locations(Some(trust), None)?;
            builder.set_verify(SslVerifyMode::PEER);
            Ok::<_, openssl::error::ErrorStack>(builder.build())
        };
        make().map_err(|why| Error::Usage(format!("TLS: {why}")))
    }
}

/// A blocking socket, with or without TLS.
#[derive(Debug)]
pub enum Wire {
    /// Without.
    Plain(Socket),
    /// With.
    Tls(SslStream<Socket>),
}

impl Wire {
    /// Shakes hands.
    pub fn secured(socket: Socket, context: &SslContext) -> Result<Self> {
        let failed = |why: &dyn std::fmt::Display| Error::Protocol(format!("TLS: {why}"));
        let ssl = Ssl::new(context).map_err(|why| failed(&why))?;
        let mut stream = SslStream::new(ssl, socket).map_err(|why| failed(&why))?;
        stream.connect().map_err(|why| failed(&why))?;
        Ok(Wire::Tls(stream))
    }

    /// What is below.
    pub fn socket(&self) -> &Socket {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(stream) => stream.get_ref(),
        }
    }

    /// Whether there is something to read that does not make the socket
    /// readable.
    pub fn holds_more(&self) -> bool {
        matches!(self, Wire::Tls(stream) if stream.ssl().pending() > 0)
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.write(bytes),
            Wire::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
