//! The kinds of entry that Consul has, and what becomes of each here.

use crate::error::ConfigError;
use crate::syntax::{Data, Item, Value};

pub(super) const RESOLVER: &str = "service-resolver";
pub(super) const SPLITTER: &str = "service-splitter";
pub(super) const DEFAULTS: &str = "service-defaults";
pub(super) const PROXY: &str = "proxy-defaults";
const ROUTER: &str = "service-router";

/// The kinds that say nothing to this agent.
const UNUSED: [&str; 14] = [
    "service-intentions",
    "mesh",
    "exported-services",
    "sameness-group",
    "ingress-gateway",
    "terminating-gateway",
    "api-gateway",
    "bound-api-gateway",
    "inline-certificate",
    "file-system-certificate",
    "http-route",
    "tcp-route",
    "jwt-provider",
    "control-plane-request-limit",
];

/// The item that tells an entry's kind: `Kind`, else `kind`, and in no other case.
pub(super) fn kind_item(value: &Value) -> Option<&Item> {
    let items = value.items()?;
    let last = |name: &str| items.iter().rev().find(|item| item.key == name);
    last("Kind").or_else(|| last("kind"))
}

/// The kind of an entry.
///
/// # Errors
///
/// If there is none, or it is no string.
pub(super) fn kind_of(value: &Value) -> Result<(&str, &Item), ConfigError> {
    let Some(item) = kind_item(value) else {
        let text = "Payload does not contain a kind/Kind key at the top level";
        return Err(ConfigError::at(value.position, text));
    };
    match &item.value.data {
        Data::String(kind) => Ok((kind, item)),
        _ => Err(ConfigError::at(item.value.position, "Kind value in payload is not a string")),
    }
}

/// Why an entry of a kind that Consul has is left aside; `None` for the kinds that are served
/// and those that do not exist.
///
/// A directory is read on without such an entry; a write of one is refused with this error.
#[must_use]
pub fn set_aside(value: &Value) -> Option<ConfigError> {
    let (kind, item) = kind_of(value).ok()?;
    let text = if kind == ROUTER {
        let items = value.items().unwrap_or_default();
        let name = items.iter().rev().find(|item| item.key.eq_ignore_ascii_case("name"));
        let name = match name.map(|item| &item.value.data) {
            Some(Data::String(name)) => name.as_str(),
            _ => "",
        };
        format!(
            "service-router {name:?}: routing by HTTP path/header needs layer 7 and is not \
             supported; traffic goes to the splitter or resolver of {name:?}"
        )
    } else if UNUSED.contains(&kind) {
        format!("config entry kind {kind:?} is not used by this agent")
    } else {
        return None;
    };
    Some(ConfigError::at(item.value.position, text))
}
