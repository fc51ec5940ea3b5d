//! Why a verb failed, and the exit code that says so.

use std::io;

use crate::error::ConfigError;

/// Why a verb did not do what was asked.
///
/// Scripts tell these apart by exit code, so a kind never changes its number.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was compared is not the same; what differs was said already.
    #[error("")]
    Differs,
    /// Anything that has no code of its own.
    #[error("{0}")]
    Error(String),
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The thing asked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The content was refused; nothing changed.
    #[error("{0}")]
    Invalid(String),
    /// Nothing listens at the agent's address, or it does not answer.
    #[error("agent unreachable at {address}: {cause} (is canary-agent running?)")]
    Unreachable {
        /// The address tried.
        address: String,
        /// What the system said.
        cause: String,
    },
    /// The entry changed since the index that was given.
    #[error("{0}")]
    Conflict(String),
    /// Standard output or standard error could not be written.
    #[error("write output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // The reader has left, as `head` does: it has what it wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Differs | Self::Error(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Invalid(_) => 4,
            Self::Unreachable { .. } => 5,
            Self::Conflict(_) => 6,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_exit_code_that_scripts_rely_on() {
        let unreachable = Failure::Unreachable { address: String::new(), cause: String::new() };
        let codes = [
            (Failure::Differs, 1),
            (Failure::Error(String::new()), 1),
            (Failure::Usage(String::new()), 2),
            (Failure::NotFound(String::new()), 3),
            (Failure::Invalid(String::new()), 4),
            (unreachable, 5),
            (Failure::Conflict(String::new()), 6),
            (Failure::from(ConfigError::new("x")), 4),
            (Failure::from(anyhow::anyhow!("x")), 1),
            (Failure::from(io::Error::from(io::ErrorKind::StorageFull)), 1),
        ];

        for (failure, code) in codes {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
        }
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));

        assert_eq!(failure.exit_code(), 0);
    }
}
