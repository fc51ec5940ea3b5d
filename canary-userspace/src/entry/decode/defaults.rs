//! `service-defaults` and `proxy-defaults`: the protocol is used, all else is kept as it was written.
//!
//! The two kinds are big and differ from version to version of Consul, so a key that is not known
//! here is no mistake.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::head;
use crate::entry::validate::Head;
use crate::entry::{
    Decoded, EXTERNAL_POLICY, Entry, FOLLOW_WEIGHTS, INTERNAL_POLICY, Places, ProxyDefaults,
    ServiceDefaults, TrafficPolicy,
};
use crate::error::ConfigError;
use crate::syntax::{Data, Fields, Item, Remarks, Value, weak_string};

/// The only name that proxy-defaults may have; it need not be given.
const GLOBAL: &str = "global";

/// Reads a `service-defaults` entry.
pub(super) fn service(
    mut fields: Fields<'_>,
    mut remarks: Remarks,
) -> Result<Decoded, ConfigError> {
    let head = head(&mut fields, &mut remarks)?;
    let protocol = fields.string("Protocol", "protocol", &mut remarks)?;
    let mut other = raw(fields);
    keep_meta(&mut other, &head.meta);
    let follow = head.meta.get(FOLLOW_WEIGHTS).map_or("", String::as_str);
    if !matches!(follow, "" | "true" | "false") {
        let text = format!(
            "meta {FOLLOW_WEIGHTS} {follow:?} is neither \"true\" nor \"false\": it counts as \"false\""
        );
        remarks.warn(head.meta_position, text);
    }
    for key in [INTERNAL_POLICY, EXTERNAL_POLICY] {
        let word = head.meta.get(key).map_or("", String::as_str);
        if TrafficPolicy::of(word).is_none() {
            let text = format!("meta {key} {word:?} is neither \"Cluster\" nor \"Local\"");
            return Err(ConfigError::at(head.meta_position, text));
        }
    }
    let warnings = remarks.settle()?;
    head.check_name().and_then(|()| head.check_meta()).map_err(ConfigError::of_rule)?;
    let places = Places { name: head.position, splits: Vec::new() };
    let protocol = protocol.value.to_lowercase();
    let entry = ServiceDefaults { name: head.name, protocol, other };
    Ok(Decoded { entry: Entry::Defaults(entry), places, warnings })
}

/// Reads a `proxy-defaults` entry.
pub(super) fn proxy(mut fields: Fields<'_>, mut remarks: Remarks) -> Result<Decoded, ConfigError> {
    let head = head(&mut fields, &mut remarks)?;
    let config = fields.map("Config", "config", &mut remarks)?;
    let protocol = config.get("protocol").map(|item| weak_string(&item.value, "Config[protocol]"));
    let protocol = protocol.transpose()?.unwrap_or_default().to_lowercase();
    let mut other = Map::new();
    if !config.is_empty() {
        let config: Map<_, _> =
            config.iter().map(|(key, item)| ((*key).to_owned(), plain(&item.value))).collect();
        other.insert("Config".to_owned(), config.into());
    }
    other.extend(raw(fields));
    keep_meta(&mut other, &head.meta);
    let warnings = remarks.settle()?;
    check_global(&head).and_then(|()| head.check_meta()).map_err(ConfigError::of_rule)?;
    let places = Places { name: head.position, splits: Vec::new() };
    let entry = ProxyDefaults { name: GLOBAL.to_owned(), protocol, other };
    Ok(Decoded { entry: Entry::Proxy(entry), places, warnings })
}

fn check_global(head: &Head) -> Result<(), ConfigError> {
    if matches!(head.name.as_str(), "" | GLOBAL) {
        return Ok(());
    }
    let text = format!("invalid name ({:?}), only {GLOBAL:?} is supported", head.name);
    Err(ConfigError::at(head.position, text))
}

fn keep_meta(other: &mut Map<String, Json>, meta: &BTreeMap<String, String>) {
    if !meta.is_empty() {
        other.insert("Meta".to_owned(), serde_json::json!(meta));
    }
}

/// What no field has taken.
fn raw(fields: Fields<'_>) -> Map<String, Json> {
    object(&mut fields.rest())
}

/// A value as JSON.
fn plain(value: &Value) -> Json {
    match &value.data {
        // Where Consul's types say what is zero, `null` is that; here only the text can be kept.
        Data::Null => Json::String(String::new()),
        Data::Bool(truth) => (*truth).into(),
        Data::Integer(number) => (*number).into(),
        // A whole number is one, however it is written: HCL knows no other difference.
        Data::Float(number) => {
            number.to_string().parse::<i64>().map_or_else(|_| (*number).into(), Json::from)
        }
        Data::String(text) => text.clone().into(),
        Data::List(elements) => elements.iter().map(plain).collect(),
        Data::Object(items) => object(&mut items.iter().filter(|item| !item.replaced)).into(),
    }
}

/// Items as JSON: of a repeated key the last value counts, but objects and lists add up.
fn object(items: &mut dyn Iterator<Item = &Item>) -> Map<String, Json> {
    let mut object = Map::new();
    for item in items.filter(|item| item.value.data != Data::Null) {
        let value = plain(&item.value);
        match object.get_mut(&item.key) {
            Some(earlier) => add(earlier, value),
            None => _ = object.insert(item.key.clone(), value),
        }
    }
    object
}

/// Adds the value of a repeated key to the one before it.
fn add(earlier: &mut Json, value: Json) {
    let adds_up = |value: &Json| value.is_array() || value.is_object();
    if !adds_up(earlier) || !adds_up(&value) {
        *earlier = value;
        return;
    }
    let list = |value| match value {
        Json::Array(elements) => elements,
        one => vec![one],
    };
    let mut elements = list(earlier.take());
    elements.extend(list(value));
    *earlier = elements.into();
}
