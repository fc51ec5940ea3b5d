//! Instances to JSON, as Consul's API shows and takes them.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::{DATACENTER, Instance};
use crate::syntax::format_duration;

/// The instance as an element of `GET /v1/agent/services`.
#[must_use]
pub fn to_agent_json(instance: &Instance) -> Value {
    json!({
        "ID": instance.id,
        "Service": instance.service,
        "Tags": instance.tags,
        "Meta": instance.meta,
        "Port": instance.port,
        "Address": instance.address.map(|address| address.to_string()).unwrap_or_default(),
        "TaggedAddresses": tagged_addresses(instance),
        "Weights": weights(instance),
        "EnableTagOverride": false,
        "Datacenter": DATACENTER,
    })
}

/// The instance as the body of a registration; reading it again gives the same instance.
#[must_use]
pub fn to_definition(instance: &Instance) -> Value {
    let checks = instance.checks.iter().map(|check| {
        json!({
            "TCP": check.target.to_string(),
            "Interval": format_duration(check.interval),
            "Timeout": format_duration(check.timeout),
        })
    });
    json!({
        "ID": instance.id,
        "Name": instance.service,
        "Tags": instance.tags,
        "Meta": instance.meta,
        "Port": instance.port,
        "Address": instance.address.map(|address| address.to_string()).unwrap_or_default(),
        "TaggedAddresses": tagged_addresses(instance),
        "Weights": weights(instance),
        "Checks": checks.collect::<Value>(),
    })
}

fn tagged_addresses(instance: &Instance) -> Value {
    let pair = |(name, address): (&String, &SocketAddr)| {
        (name.clone(), json!({"Address": address.ip().to_string(), "Port": address.port()}))
    };
    instance.tagged_addresses.iter().map(pair).collect::<Map<_, _>>().into()
}

fn weights(instance: &Instance) -> Value {
    json!({"Passing": instance.weights.passing, "Warning": instance.weights.warning})
}
