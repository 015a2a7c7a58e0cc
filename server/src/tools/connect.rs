//! The options that say how a server is reached.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use zeo_client::{Authorities, Options, Tls, TlsSettings};
use zeo_storage::zconfig::Env;

/// The longest message that the tools take, in bytes: the largest is a root object.
const MESSAGE_LIMIT: usize = 256 << 20;

/// How a server is reached, besides its address: by TLS or not.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub struct ConnectArguments {
    /// Connect by TLS. Any of the following options implies it
    #[arg(long)]
    tls: bool,
    /// Whom to trust: a PEM file with the server's certificate or its authority, a directory of
    /// such files, or DYNAMIC for the system's authorities, which is the default
    #[arg(long, value_name = "PATH")]
    tls_authority: Option<PathBuf>,
    /// PEM file with the client's certificate
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// PEM file with the key of the client's certificate; default: the file of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// File whose first line is the password of the key; or $RZEO_TLS_PASSWORD
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_password_file: Option<PathBuf>,
    /// Name that the server's certificate must have; default: the host of the address
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Accept any name in the server's certificate
    #[arg(long)]
    tls_any_server_name: bool,
}

impl ConnectArguments {
    /// What the client is told, with a time limit for connecting and for each call. Variables come
    /// from `env`.
    ///
    /// # Errors
    /// A certificate or key can't be read, in a sentence that names it.
    pub fn options(&self, limit: Duration, env: Env) -> Result<Options, String> {
        let mut options = Options::within(limit);
        options.message_limit = MESSAGE_LIMIT;
        if self.has_tls() {
            options.tls = Some(self.tls(env)?);
        }
        Ok(options)
    }

    fn has_tls(&self) -> bool {
        self.tls
            || self.tls_authority.is_some()
            || self.tls_certificate.is_some()
            || self.tls_server_name.is_some()
            || self.tls_any_server_name
    }

    fn tls(&self, env: Env) -> Result<Tls, String> {
        let mut settings = TlsSettings::default();
        if let Some(path) = &self.tls_authority {
            settings.authorities = Authorities::named(path);
        }
        settings.certificate.clone_from(&self.tls_certificate);
        settings.key.clone_from(&self.tls_key);
        settings.server_name.clone_from(&self.tls_server_name);
        settings.check_host_name = !self.tls_any_server_name;
        let password = match &self.tls_password_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|why| format!("the password file {}: {why}", path.display()))?;
                Some(text.lines().next().unwrap_or_default().to_owned())
            }
            None => env("RZEO_TLS_PASSWORD").filter(|text| !text.is_empty()),
        };
        let password = password.as_deref().map(str::as_bytes);
        Tls::new(&settings, password).map_err(|why| {
            format!(
                "{why} (see --tls-authority, --tls-certificate, --tls-key and --tls-password-file)"
            )
        })
    }
}

/// A variable of this process's environment.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A number of seconds above zero, such as `5` or `0.5`.
///
/// # Errors
/// Anything else.
pub fn time_limit(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| *seconds > 0.0);
    let limit = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    limit.ok_or_else(|| format!("{text:?} is not a number of seconds above zero"))
}
