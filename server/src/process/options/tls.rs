//! Options for the password of the server's key, which the configuration file can't give.

use std::path::PathBuf;

use zeo_storage::zconfig::Env;

use super::{OptionsError, non_empty};
use crate::net::tls::{PasswordSource, Secret};

/// Has no option: everybody on the machine can read a command line.
const VARIABLE: &str = "RZEO_TLS_PASSWORD";

#[derive(Debug, clap::Args)]
pub(super) struct TlsOptions {
    /// File whose first line is the password of the encrypted key in <ssl>
    #[arg(long, value_name = "FILE")]
    tls_password_file: Option<PathBuf>,
    /// Shell command that prints the password of the encrypted key in <ssl>
    #[arg(long, value_name = "COMMAND")]
    tls_password_command: Option<String>,
}

impl TlsOptions {
    /// The one place where the password is, if any.
    ///
    /// # Errors
    /// There are several, one of which is out of date.
    pub(super) fn password(self, env: Env) -> Result<PasswordSource, OptionsError> {
        let text = non_empty(VARIABLE, env);
        match (self.tls_password_file, self.tls_password_command, text) {
            (None, None, None) => Ok(PasswordSource::None),
            (Some(path), None, None) => Ok(PasswordSource::File(path)),
            (None, Some(command), None) => Ok(PasswordSource::Command(command)),
            (None, None, Some(text)) => Ok(PasswordSource::Text(Secret::new(text))),
            _ => Err(OptionsError::Usage(format!(
                "give only one of --tls-password-file, --tls-password-command and {VARIABLE}"
            ))),
        }
    }
}
