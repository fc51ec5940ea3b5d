//! Why a request was not done, by what the one who asked can do about it.

use std::fmt;

use crate::datapath::PublishError;
use crate::store::StoreError;

/// Why a request was not done. What was in force stays in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// What sort of reason it is.
    pub kind: Kind,
    /// The sentence: Consul's where Consul has one.
    pub text: String,
}

/// Sorts of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is not understood.
    BadRequest,
    /// What it is about is not there.
    NotFound,
    /// It is understood, and its content is refused.
    Invalid,
    /// The source of configuration does not allow it here.
    NotAllowed,
    /// Somebody else has changed what it is about.
    Conflict,
    /// The source of configuration refuses it, with this status.
    OfSource(u16),
    /// The machine or the agent's own state is in the way.
    Failed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Refusal {
    /// The request is not understood.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self { kind: Kind::BadRequest, text: text.into() }
    }

    /// What the request is about is not there.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self { kind: Kind::NotFound, text: text.into() }
    }

    /// The content is refused.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self { kind: Kind::Invalid, text: text.into() }
    }

    /// The source of configuration does not allow it here.
    pub fn not_allowed(text: impl Into<String>) -> Self {
        Self { kind: Kind::NotAllowed, text: text.into() }
    }

    /// Somebody else has changed what it is about.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self { kind: Kind::Conflict, text: text.into() }
    }

    /// The source of configuration refuses it.
    pub fn of_source(status: u16, text: impl Into<String>) -> Self {
        Self { kind: Kind::OfSource(status), text: text.into() }
    }

    /// The machine or the agent's own state is in the way.
    pub fn failed(text: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, text: text.into() }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Full { .. } => Self::invalid(error.to_string()),
            PublishError::Kernel(error) => Self::failed(format!("{error:#}")),
        }
    }
}
