//! Two entries field by field.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::entry::{self, Entry, Splitter};

/// A field that is different.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Field {
    /// What errors call it; a split is `Splits[TARGET]`, and its value the weight.
    pub(super) path: String,
    /// What it was; `null` if it was not.
    pub(super) before: Option<Value>,
    /// What it would be.
    pub(super) after: Option<Value>,
    /// Where the split leads, if the field is a weight.
    #[serde(skip)]
    pub(super) split: Option<String>,
}

/// What is different between two entries: nothing if they mean the same.
pub(super) fn of(before: Option<&Entry>, after: Option<&Entry>) -> Vec<Field> {
    let [mut old, new] = [before, after].map(|entry| entry.map(parts).unwrap_or_default());
    let mut fields = Vec::new();
    for (path, value) in new {
        let was = old.remove(&path);
        if was.as_ref() != Some(&value) {
            fields.push(field(path, was, Some(value)));
        }
    }
    fields.extend(old.into_iter().map(|(path, value)| field(path, Some(value), None)));
    fields.sort_by(|a, b| a.path.cmp(&b.path));
    fields
}

fn field(path: String, before: Option<Value>, after: Option<Value>) -> Field {
    let inner = path.strip_prefix("Splits[").and_then(|rest| rest.strip_suffix(']'));
    let split = inner.map(str::to_owned);
    Field { path, before, after, split }
}

/// Every field that says something, by its path. The order of splits says nothing, and a split to
/// the entry's own service is the same with and without the service's name.
fn parts(entry: &Entry) -> BTreeMap<String, Value> {
    let mut parts = BTreeMap::new();
    let mut json = entry::to_json(entry);
    if let Value::Object(object) = &mut json {
        object.remove("Kind");
        object.remove("Name");
        if let (Entry::Splitter(splitter), Some(Value::Array(splits))) =
            (entry, object.remove("Splits"))
        {
            for split in splits {
                add_split(splitter, split, &mut parts);
            }
        }
    }
    flatten(String::new(), json, &mut parts);
    parts
}

fn add_split(splitter: &Splitter, split: Value, parts: &mut BTreeMap<String, Value>) {
    let Value::Object(mut fields) = split else { return };
    let mut text = |key: &str| match fields.remove(key) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (service, subset) = (text("Service"), text("ServiceSubset"));
    let target = match (service.as_str(), subset.as_str()) {
        ("", "") => splitter.name.clone(),
        ("", subset) => subset.to_owned(),
        (service, subset) if service == splitter.name && !subset.is_empty() => subset.to_owned(),
        (service, "") => service.to_owned(),
        (service, subset) => format!("{service}/{subset}"),
    };
    let path = format!("Splits[{target}]");
    let weight = fields.remove("Weight").and_then(|weight| weight.as_f64()).unwrap_or_default();
    parts.insert(path.clone(), weight.into());
    flatten(path, Value::Object(fields), parts);
}

fn flatten(path: String, value: Value, parts: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let inner = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(inner, value, parts);
            }
        }
        Value::Array(elements) => {
            for (element, index) in elements.into_iter().zip(0_usize..) {
                flatten(format!("{path}[{index}]"), element, parts);
            }
        }
        value => {
            parts.insert(path, value);
        }
    }
}
