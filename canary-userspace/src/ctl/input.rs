//! What a user hands in as a file or on standard input.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Map;

use super::client::reason;
use super::failure::Failure;
use crate::entry::{self, Entry, Places};
use crate::error::ConfigError;
use crate::syntax::{self, Data, Value};

/// A config entry, ready for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Kind of the entry.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The entry as Consul's JSON.
    pub json: String,
    /// What is odd about the file and stops nothing.
    pub warnings: Vec<ConfigError>,
    /// The entry and where its parts are, if it could be decoded.
    decoded: Option<(Entry, Places)>,
}

impl Document {
    /// The entry itself, if it could be decoded.
    #[must_use]
    pub fn entry(&self) -> Option<&Entry> {
        self.decoded.as_ref().map(|(entry, _)| entry)
    }

    /// An agent's refusal of it, with the place in `file` that it is about.
    #[must_use]
    pub fn refused(&self, file: &Path, text: String) -> ConfigError {
        let place = self.decoded.as_ref().map(|(entry, places)| places.of_refusal(entry, &text));
        ConfigError { position: place, ..ConfigError::new(text) }
            .in_file(file.display().to_string())
    }
}

/// Reads a file; `-` is standard input.
///
/// # Errors
///
/// What the system says.
pub fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return fs::read(file);
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file for a verb of ours.
///
/// # Errors
///
/// [`Failure::Error`] with the file's name.
pub fn load(file: &Path) -> Result<Vec<u8>, Failure> {
    read(file).map_err(|error| Failure::Error(format!("{}: {}", file.display(), reason(&error))))
}

/// Decodes and validates a config entry.
///
/// # Errors
///
/// What is wrong with it, and where.
pub fn decode(file: &Path, bytes: &[u8]) -> Result<Document, ConfigError> {
    let name = file.display().to_string();
    let decoded = entry::parse(bytes).map_err(|error| error.in_file(&name))?;
    Ok(Document {
        kind: decoded.entry.kind().to_owned(),
        name: decoded.entry.name().to_owned(),
        json: entry::to_json(&decoded.entry).to_string(),
        warnings: decoded.warnings.into_iter().map(|warning| warning.in_file(&name)).collect(),
        decoded: Some((decoded.entry, decoded.places)),
    })
}

/// A config entry as it is written, whatever it says; `None` if it names no kind and name.
#[must_use]
pub fn undecoded(bytes: &[u8]) -> Option<Document> {
    let root = syntax::parse(bytes).ok()?;
    let text = |wanted: &str| {
        let mut items = root.items()?.iter().rev();
        let item = items.find(|item| item.key.eq_ignore_ascii_case(wanted))?;
        match &item.value.data {
            Data::String(text) => Some(text.clone()),
            _ => None,
        }
    };
    Some(Document {
        kind: text("kind")?,
        name: text("name")?,
        json: plain(&root).to_string(),
        warnings: Vec::new(),
        decoded: None,
    })
}

fn plain(value: &Value) -> serde_json::Value {
    match &value.data {
        Data::Null => serde_json::Value::Null,
        Data::Bool(value) => (*value).into(),
        Data::Integer(value) => (*value).into(),
        Data::Float(value) => (*value).into(),
        Data::String(value) => value.clone().into(),
        Data::List(values) => values.iter().map(plain).collect(),
        Data::Object(items) => {
            let pairs = items.iter().map(|item| (item.key.clone(), plain(&item.value)));
            pairs.collect::<Map<_, _>>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_refused_can_still_be_named_and_sent() {
        let text =
            b"kind = \"service-splitter\", name = \"p\"\nsplits = [{ weight = 90.5, x = true }]";

        let document = undecoded(text).unwrap();

        assert_eq!((document.kind.as_str(), document.name.as_str()), ("service-splitter", "p"));
        assert_eq!(
            document.json,
            r#"{"kind":"service-splitter","name":"p","splits":[{"weight":90.5,"x":true}]}"#
        );
        assert_eq!(undecoded(b"kind = 3"), None);
    }

    #[test]
    fn errors_and_warnings_carry_the_files_name() {
        let bad = b"kind = \"service-splitter\"\nname = \"p\"\nsplits = [{ weight = 90 }]\n";

        let error = decode(Path::new("bad.hcl"), bad).unwrap_err();

        assert!(error.to_string().starts_with("bad.hcl:3:"), "{error}");
    }
}
