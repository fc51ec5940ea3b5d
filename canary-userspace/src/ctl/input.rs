//! What a user hands in as a file or on standard input.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::client::reason;
use super::failure::Failure;

/// A config entry, decoded and ready for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// The file as the user named it.
    pub(super) file: String,
    /// Kind of the entry.
    pub(super) kind: String,
    /// Its name.
    pub(super) name: String,
    /// The entry as Consul's JSON.
    pub(super) json: String,
    /// What is odd about the file and stops nothing.
    pub(super) warnings: Vec<String>,
}

/// Reads a file; `-` is standard input.
///
/// # Errors
///
/// What the system says.
pub(super) fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return fs::read(file);
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn decode(_file: &Path, _bytes: &[u8]) -> Result<Document, crate::error::ConfigError> {
    Err(crate::error::ConfigError::new("pending"))
}

/// Reads and decodes a config entry.
pub(super) fn entry(file: &Path) -> Result<Document, Failure> {
    let bytes = read(file)
        .map_err(|error| Failure::Error(format!("{}: {}", file.display(), reason(&error))))?;
    Ok(decode(file, &bytes)?)
}
