//! What an agent over TCP may ask for: a token, certificates.

use std::path::{Path, PathBuf};

use clap::Args;

use super::address::Address;
use super::client::{Client, reason};
use super::failure::Failure;
use super::tls::TlsOptions;

/// The flags, which every verb has.
#[derive(Clone, Debug, Default, Args)]
pub struct Access {
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "File with the token to show; without it the variable CANARY_TOKEN"
    )]
    token_file: Option<PathBuf>,
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "Authorities that an https agent is trusted by, PEM; the system's where absent"
    )]
    ca_file: Option<PathBuf>,
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        requires = "client_key",
        help = "Certificate to show to an https agent, PEM"
    )]
    client_cert: Option<PathBuf>,
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        requires = "client_cert",
        help = "Private key of that certificate, PEM"
    )]
    client_key: Option<PathBuf>,
}

impl Access {
    /// A client of the agent at `address`; `token` is shown where no file has one.
    ///
    /// # Errors
    ///
    /// A file that cannot be used.
    pub fn client(&self, address: &Address, token: Option<String>) -> Result<Client, Failure> {
        let token = match &self.token_file {
            Some(path) => Some(read_token(path)?),
            None => token.filter(|token| !token.is_empty()),
        };
        let tls = TlsOptions {
            ca_file: self.ca_file.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
            ..TlsOptions::default()
        };
        Ok(Client::new(address.clone()).with_tls(&tls)?.with_token(token))
    }
}

/// The token in a file, which may end in a line break.
///
/// # Errors
///
/// It cannot be read.
pub(super) fn read_token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::Error(format!("token file {}: {}", path.display(), reason(&error)))
    })?;
    Ok(text.trim().to_owned())
}
