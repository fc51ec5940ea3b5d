//! Entries to JSON, as Consul's API shows them.

use serde_json::{Map, Value, json};

use super::{Entry, Units};

/// The entry with Consul's CamelCase keys; what is empty is left out. Reading it again gives
/// the same entry.
#[must_use]
pub fn to_json(entry: &Entry) -> Value {
    let mut object = Map::new();
    object.insert("Kind".to_owned(), entry.kind().into());
    object.insert("Name".to_owned(), entry.name().into());
    let meta = match entry {
        Entry::Resolver(resolver) => {
            add(&mut object, "DefaultSubset", &resolver.default_subset);
            if !resolver.subsets.is_empty() {
                let subsets = resolver.subsets.iter().map(|(name, subset)| {
                    let mut inner = Map::new();
                    add(&mut inner, "Filter", &subset.filter);
                    (name.clone(), Value::Object(inner))
                });
                object.insert("Subsets".to_owned(), subsets.collect::<Map<_, _>>().into());
            }
            Some(&resolver.meta)
        }
        Entry::Splitter(splitter) => {
            let splits = splitter.splits.iter().map(|split| {
                let mut inner = Map::new();
                inner.insert("Weight".to_owned(), percent(split.weight));
                add(&mut inner, "Service", &split.service);
                add(&mut inner, "ServiceSubset", &split.service_subset);
                Value::Object(inner)
            });
            object.insert("Splits".to_owned(), splits.collect());
            Some(&splitter.meta)
        }
        Entry::Defaults(defaults) => {
            add(&mut object, "Protocol", &defaults.protocol);
            object.extend(defaults.other.clone());
            None
        }
        Entry::Proxy(defaults) => {
            object.extend(defaults.other.clone());
            None
        }
    };
    if let Some(meta) = meta.filter(|meta| !meta.is_empty()) {
        object.insert("Meta".to_owned(), json!(meta));
    }
    Value::Object(object)
}

/// Adds a text, unless it is empty.
fn add(object: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        object.insert(key.to_owned(), text.into());
    }
}

/// A weight as people write it: `50`, `33.33`.
fn percent(weight: Units) -> Value {
    if weight.is_multiple_of(100) {
        (weight / 100).into()
    } else {
        (f64::from(weight) / 100.0).into()
    }
}
