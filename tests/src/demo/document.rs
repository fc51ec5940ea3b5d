//! The demo's result as one document.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Steps in the order of the story.
    pub steps: Vec<Step>,
    /// From the start of the command to the last SYN that green saw, in milliseconds; 0 where
    /// none came after the start.
    pub rollback_ms: f64,
    /// The download that ran through all of it.
    pub long_download: LongDownload,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Requests sent to the front.
    pub requests: u64,
    /// Connections of payments by subset, from the agent's status.
    pub by_subset: BTreeMap<String, u64>,
    /// Answers of the front other than 200.
    pub failed: u64,
}

/// How the download ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongDownload {
    /// Bytes received.
    pub bytes: u64,
    /// It broke off, or other bytes came than were sent.
    pub interrupted: bool,
}

impl Document {
    /// Prints it on one line of standard output.
    ///
    /// # Errors
    ///
    /// If nobody reads it.
    pub fn print(&self) -> Result<()> {
        let text = serde_json::to_string(self)?;
        Ok(writeln!(io::stdout(), "{text}")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_promised_form() {
        let document = Document {
            steps: vec![Step {
                name: "resolver".into(),
                requests: 200,
                by_subset: BTreeMap::from([("blue".into(), 200), ("green".into(), 0)]),
                failed: 0,
            }],
            rollback_ms: 1.5,
            long_download: LongDownload { bytes: 7, interrupted: false },
        };

        assert_eq!(
            serde_json::to_string(&document).unwrap(),
            r#"{"steps":[{"name":"resolver","requests":200,"by_subset":{"blue":200,"green":0},"failed":0}],"rollback_ms":1.5,"long_download":{"bytes":7,"interrupted":false}}"#
        );
    }
}
