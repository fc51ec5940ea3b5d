//! Instances and checks to JSON, as Consul's API shows and takes them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Check, DATACENTER, Health, Instance, LoneCheck, Probe, Thresholds, Tls, Upstream};
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
    let mut definition = json!({
        "ID": instance.id,
        "Name": instance.service,
        "Tags": instance.tags,
        "Meta": instance.meta,
        "Port": instance.port,
        "Address": instance.address.map(|address| address.to_string()).unwrap_or_default(),
        "TaggedAddresses": tagged_addresses(instance),
        "Weights": weights(instance),
        "Checks": instance.checks.iter().map(|check| check_fields(check, "CheckID")).collect::<Value>(),
    });
    if let Some(fields) = definition.as_object_mut().filter(|_| !instance.upstreams.is_empty()) {
        let upstreams: Value = instance.upstreams.iter().map(upstream).collect();
        let proxy = json!({"Proxy": {"Upstreams": upstreams}});
        fields.insert("Connect".to_owned(), json!({"SidecarService": proxy}));
    }
    definition
}

fn upstream(upstream: &Upstream) -> Value {
    json!({
        "DestinationName": upstream.destination,
        "LocalBindAddress": upstream.address.map(|own| own.to_string()).unwrap_or_default(),
        "LocalBindPort": upstream.port,
    })
}

/// The check as the body of a registration; reading it again gives the same check.
#[must_use]
pub fn to_check_definition(lone: &LoneCheck) -> Value {
    let mut fields = check_fields(&lone.check, "ID");
    if let Some(fields) = fields.as_object_mut().filter(|_| !lone.of_node()) {
        fields.insert("ServiceID".to_owned(), json!(&*lone.service_id));
    }
    fields
}

/// The maintenance mode as a file has it; reading it again gives the same.
#[must_use]
pub fn to_maintenance(lone: &LoneCheck) -> Value {
    let reason = &*lone.check.notes;
    if lone.of_node() {
        return json!({"Reason": reason});
    }
    json!({"ServiceID": &*lone.service_id, "Reason": reason})
}

/// What a check is, without what it does not say.
fn check_fields(check: &Check, id: &str) -> Value {
    let Check { probe, thresholds, tls, .. } = check;
    let Thresholds { passing, warning, critical } = *thresholds;
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value, said: bool| {
        if said {
            fields.insert(name.to_owned(), value);
        }
    };
    put(id, json!(&*check.id), true);
    put("Name", json!(&*check.name), true);
    put("Notes", json!(&*check.notes), !check.notes.is_empty());
    put("Status", json!(check.initial.as_str()), check.initial != Health::Critical);
    put("TLSSkipVerify", json!(true), *tls == Tls::Unverified);
    match probe {
        Probe::Tcp(target) => {
            put("TCP", json!(&**target), true);
            put("TCPUseTLS", json!(true), *tls != Tls::Off);
        }
        Probe::Grpc(grpc) => {
            put("GRPC", json!(grpc.shown()), true);
            put("GRPCUseTLS", json!(true), *tls != Tls::Off);
        }
        Probe::Http(http) => {
            let mut headers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (name, value) in &http.headers {
                headers.entry(name).or_default().push(value);
            }
            put("HTTP", json!(&*http.url), true);
            put("Method", json!(&*http.method), true);
            put("Header", json!(headers), !headers.is_empty());
            put("Body", json!(&*http.body), !http.body.is_empty());
            put("DisableRedirects", json!(true), http.stay);
            put("OutputMaxSize", json!(http.shown), true);
        }
        Probe::Ttl(ttl) => put("TTL", json!(format_duration(*ttl)), true),
        Probe::Maintenance => {}
    }
    put("Interval", json!(duration(check.interval)), !check.interval.is_zero());
    put("Timeout", json!(duration(check.timeout)), !check.timeout.is_zero());
    put("SuccessBeforePassing", json!(passing), passing != 0);
    put("FailuresBeforeWarning", json!(warning), warning != 0);
    put("FailuresBeforeCritical", json!(critical), critical != 0);
    let after = check.deregister_after;
    put(
        "DeregisterCriticalServiceAfter",
        json!(after.map(format_duration).unwrap_or_default()),
        after.is_some(),
    );
    fields.into()
}

/// As Go shows it; empty where there is none.
fn duration(duration: Duration) -> String {
    if duration.is_zero() { String::new() } else { format_duration(duration) }
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
