//! Where what is wanted comes from, as far as the agent knows it.

use std::path::PathBuf;
use std::time::Instant;

use super::follow::Followed;
use crate::compile::Warning;
use crate::engine::Edit;
use crate::refusal::Refusal;
use crate::source::Condition;

/// Who keeps what is written over the API, and judges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// The agent's own store.
    Store,
    /// The source, which says it again when it has it.
    Source,
}

/// What is wrong with a source, and since when.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) text: String,
    pub(super) since: Instant,
}

/// A source of config entries and instances.
pub(super) trait Source: Send {
    /// Its name in `status`.
    fn kind(&self) -> &'static str;

    /// Where it is asked; `None` where it is no server.
    fn address(&self) -> Option<String> {
        None
    }

    /// What is wrong with it.
    fn fault(&self) -> Option<Fault>;

    /// What people should know of it.
    fn warnings(&self) -> Vec<Warning> {
        Vec::new()
    }

    /// Who keeps what is written over the API.
    fn destination(&self) -> Destination;

    /// Says whether `edits` may be made over the API.
    ///
    /// # Errors
    ///
    /// The source has them for itself.
    fn permit(&self, edits: &[Edit]) -> Result<(), Refusal>;

    /// The directories that are read when the agent wants it; `None` where the source says by
    /// itself what is new.
    fn directories(&self) -> Option<&[PathBuf]> {
        None
    }

    /// Takes note that a set of files was refused, or with `None` that one is in force.
    fn note_files(&mut self, _error: Option<String>) {}

    /// Takes note of how a server is.
    fn note_condition(&mut self, _condition: Condition) {}

    /// The source that is followed, where it is one.
    fn followed(&mut self) -> Option<&mut Followed> {
        None
    }
}

/// Directories of files, with the store above them.
#[derive(Debug)]
pub(super) struct Files {
    directories: Vec<PathBuf>,
    fault: Option<Fault>,
}

impl Files {
    pub(super) fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories, fault: None }
    }
}

impl Source for Files {
    fn kind(&self) -> &'static str {
        "files"
    }

    fn fault(&self) -> Option<Fault> {
        self.fault.clone()
    }

    fn destination(&self) -> Destination {
        Destination::Store
    }

    fn permit(&self, _edits: &[Edit]) -> Result<(), Refusal> {
        Ok(())
    }

    fn directories(&self) -> Option<&[PathBuf]> {
        Some(&self.directories)
    }

    fn note_files(&mut self, error: Option<String>) {
        let since = self.fault.take().map_or_else(Instant::now, |fault| fault.since);
        self.fault = error.map(|text| Fault { text, since });
    }
}
