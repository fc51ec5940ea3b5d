//! What decoding has to say beside the values that it gives.

use crate::error::{ConfigError, Position};

/// What decoding finds out beside the values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    warnings: Vec<ConfigError>,
    unknown: Vec<ConfigError>,
    unsupported: Vec<ConfigError>,
}

impl Remarks {
    /// Something that is accepted and should be known.
    pub fn warn(&mut self, position: Position, text: impl Into<String>) {
        self.warnings.push(ConfigError::at(position, text));
    }

    /// Something that Consul has and this agent refuses.
    pub fn refuse(&mut self, position: Position, text: impl Into<String>) {
        self.unsupported.push(ConfigError::at(position, text));
    }

    /// A key that means nothing; `path` is what messages call it.
    pub fn unknown(&mut self, position: Position, path: impl Into<String>) {
        self.strange(position, format!("invalid config key {:?}", path.into()));
    }

    /// A key that Consul does not take either, in its words; all of them are told together.
    pub fn strange(&mut self, position: Position, text: impl Into<String>) {
        self.unknown.push(ConfigError::at(position, text));
    }

    /// The warnings, in the order of the text.
    ///
    /// # Errors
    ///
    /// All unknown keys, else the first refused field.
    pub fn settle(mut self) -> Result<Vec<ConfigError>, ConfigError> {
        self.unknown.sort_by_key(|error| error.position);
        match self.unknown.as_slice() {
            [] => {}
            [only] => return Err(only.clone()),
            [first, ..] => {
                let texts: Vec<_> = self.unknown.iter().map(|error| error.text.as_str()).collect();
                let text =
                    format!("{} errors occurred:\n\t* {}", texts.len(), texts.join("\n\t* "));
                return Err(ConfigError { text, ..first.clone() });
            }
        }
        self.unsupported.sort_by_key(|error| error.position);
        if let Some(first) = self.unsupported.into_iter().next() {
            return Err(first);
        }
        self.warnings.sort_by_key(|warning| warning.position);
        Ok(self.warnings)
    }
}
