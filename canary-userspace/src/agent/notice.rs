//! What is to be said of the agent itself.

use std::fmt;

/// Something true of the agent itself that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The store was not what it should be, and what became of it.
    Store(String),
    /// The tables hold what the lost store said.
    UntilImport,
    /// The files in force could not be copied.
    FilesNotKept(String),
    /// The store does not take what the source says.
    SourceNotKept(String),
    /// The store has things that are not used while a source is followed.
    Unused { count: usize, what: &'static str, followed: &'static str },
}

/// What is said while the tables hold what the lost store said.
pub(super) const UNTIL_IMPORT: &str = "the tables stay as they are, for the store is lost: `canaryctl \
                                       import` brings a backup of it, `canaryctl reload` goes on \
                                       with the files alone";

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(text) => f.write_str(text),
            Self::UntilImport => f.write_str(UNTIL_IMPORT),
            Self::FilesNotKept(error) => {
                write!(f, "the files in force are not kept for a restart: {error}")
            }
            Self::SourceNotKept(error) => {
                write!(f, "what the source says is not kept for a restart: {error}")
            }
            Self::Unused { count, what, followed } => {
                write!(f, "{count} {what} in the store are not used: {followed} is followed")
            }
        }
    }
}
