//! What was likely meant.

use crate::ctl::near::{nearest, quoted};
use crate::entry::Resolver;
use crate::error::ConfigError;
use crate::source::KINDS;
use crate::syntax::{Data, Value};

/// Fields of the entries that are served, as files spell them.
const ENTRY_FIELDS: [&str; 32] = [
    "kind",
    "name",
    "meta",
    "namespace",
    "partition",
    "default_subset",
    "subsets",
    "filter",
    "only_passing",
    "redirect",
    "service",
    "service_subset",
    "datacenter",
    "failover",
    "targets",
    "connect_timeout",
    "request_timeout",
    "load_balancer",
    "policy",
    "ring_hash_config",
    "minimum_ring_size",
    "maximum_ring_size",
    "least_request_config",
    "choice_count",
    "hash_policies",
    "field",
    "field_value",
    "source_ip",
    "terminal",
    "splits",
    "weight",
    "protocol",
];

/// Fields of service definitions.
const SERVICE_FIELDS: [&str; 17] = [
    "id",
    "name",
    "address",
    "port",
    "tags",
    "meta",
    "tagged_addresses",
    "weights",
    "passing",
    "warning",
    "check",
    "checks",
    "tcp",
    "http",
    "ttl",
    "interval",
    "timeout",
];

/// Whether `error` is about a key that no field has.
pub(super) fn is_unknown_key(error: &ConfigError) -> bool {
    error.text.starts_with("invalid config key ")
}

/// What `error` of a single file is likely about.
pub(super) fn of(error: &ConfigError, root: &Value) -> Option<String> {
    if is_unknown_key(error) {
        let path = quoted(&error.text).into_iter().next()?;
        let key = path.rsplit('.').next()?;
        let is_entry = !path.to_lowercase().starts_with("service");
        let fields: &[&str] = if is_entry { &ENTRY_FIELDS } else { &SERVICE_FIELDS };
        return meant(nearest(key, fields.iter().copied()));
    }
    if let Some(kind) = error.text.strip_prefix("invalid config entry kind: ") {
        return meant(nearest(kind, KINDS));
    }
    let subset = error.text.strip_prefix("DefaultSubset ").map(quoted)?.into_iter().next()?;
    let subsets = root.items()?.iter().find(|item| item.key.eq_ignore_ascii_case("subsets"))?;
    let Data::Object(subsets) = &subsets.value.data else { return None };
    meant(nearest(subset, subsets.iter().map(|item| item.key.as_str())))
}

/// The subset of `resolver` that a refusal to find one was likely about.
pub(super) fn of_subset(text: &str, resolver: &Resolver) -> Option<String> {
    let subset = text.contains("does not have a subset named").then(|| quoted(text))?.pop()?;
    meant(nearest(subset, resolver.subsets.keys().map(String::as_str)))
}

/// The hint for a likely name.
pub(super) fn meant(name: Option<&str>) -> Option<String> {
    name.map(|name| format!("did you mean {name:?}?"))
}
