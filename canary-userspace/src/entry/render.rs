//! Entries to JSON, as Consul's API shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    Entry, Failover, FailoverTarget, HashPolicy, LoadBalancer, Resolver, Splitter, Subset, Units,
};
use crate::syntax::format_duration;

/// The entry with Consul's CamelCase keys; what is empty is left out. Reading it again gives
/// the same entry.
#[must_use]
pub fn to_json(entry: &Entry) -> Value {
    let mut object = Map::new();
    object.insert("Kind".to_owned(), entry.kind().into());
    object.insert("Name".to_owned(), entry.name().into());
    match entry {
        Entry::Resolver(entry) => resolver(&mut object, entry),
        Entry::Splitter(entry) => splitter(&mut object, entry),
        Entry::Defaults(defaults) => {
            text(&mut object, "Protocol", &defaults.protocol);
            object.extend(defaults.other.clone());
        }
        Entry::Proxy(defaults) => object.extend(defaults.other.clone()),
    }
    object.into()
}

fn resolver(object: &mut Map<String, Value>, resolver: &Resolver) {
    text(object, "DefaultSubset", &resolver.default_subset);
    add(object, "Subsets", map(&resolver.subsets, subset));
    if let Some(redirect) = &resolver.redirect {
        let inner = target(&redirect.service, &redirect.service_subset);
        object.insert("Redirect".to_owned(), inner);
    }
    add(object, "Failover", map(&resolver.failover, failover));
    duration(object, "ConnectTimeout", resolver.connect_timeout);
    duration(object, "RequestTimeout", resolver.request_timeout);
    if let Some(balancer) = &resolver.load_balancer {
        object.insert("LoadBalancer".to_owned(), load_balancer(balancer));
    }
    meta(object, &resolver.meta);
}

fn splitter(object: &mut Map<String, Value>, splitter: &Splitter) {
    let splits = splitter.splits.iter().map(|split| {
        let mut inner = Map::new();
        inner.insert("Weight".to_owned(), percent(split.weight));
        text(&mut inner, "Service", &split.service);
        text(&mut inner, "ServiceSubset", &split.service_subset);
        Value::Object(inner)
    });
    object.insert("Splits".to_owned(), splits.collect());
    meta(object, &splitter.meta);
}

fn subset(subset: &Subset) -> Value {
    let mut inner = Map::new();
    text(&mut inner, "Filter", &subset.filter);
    flag(&mut inner, "OnlyPassing", subset.only_passing);
    inner.into()
}

fn failover(failover: &Failover) -> Value {
    let one = |one: &FailoverTarget| target(&one.service, &one.service_subset);
    match failover {
        Failover::One(only) => one(only),
        Failover::Targets(targets) => {
            json!({"Targets": targets.iter().map(one).collect::<Value>()})
        }
    }
}

fn target(service: &str, service_subset: &str) -> Value {
    let mut inner = Map::new();
    text(&mut inner, "Service", service);
    text(&mut inner, "ServiceSubset", service_subset);
    inner.into()
}

fn load_balancer(balancer: &LoadBalancer) -> Value {
    let mut inner = Map::new();
    text(&mut inner, "Policy", balancer.policy.name());
    if let Some(sizes) = &balancer.ring_hash {
        let mut ring = Map::new();
        number(&mut ring, "MinimumRingSize", sizes.minimum_ring_size);
        number(&mut ring, "MaximumRingSize", sizes.maximum_ring_size);
        inner.insert("RingHashConfig".to_owned(), ring.into());
    }
    if let Some(count) = balancer.choice_count {
        let mut least = Map::new();
        number(&mut least, "ChoiceCount", count.into());
        inner.insert("LeastRequestConfig".to_owned(), least.into());
    }
    if !balancer.hash_policies.is_empty() {
        let policies = balancer.hash_policies.iter().map(hash_policy).collect();
        inner.insert("HashPolicies".to_owned(), policies);
    }
    inner.into()
}

fn hash_policy(policy: &HashPolicy) -> Value {
    let mut inner = Map::new();
    text(&mut inner, "Field", &policy.field);
    text(&mut inner, "FieldValue", &policy.field_value);
    if let Some(cookie) = &policy.cookie {
        let mut config = Map::new();
        flag(&mut config, "Session", cookie.session);
        duration(&mut config, "TTL", cookie.ttl);
        text(&mut config, "Path", &cookie.path);
        inner.insert("CookieConfig".to_owned(), config.into());
    }
    flag(&mut inner, "SourceIP", policy.source_ip);
    flag(&mut inner, "Terminal", policy.terminal);
    inner.into()
}

fn meta(object: &mut Map<String, Value>, meta: &BTreeMap<String, String>) {
    add(object, "Meta", map(meta, |value| value.as_str().into()));
}

fn map<T>(map: &BTreeMap<String, T>, show: impl Fn(&T) -> Value) -> Map<String, Value> {
    map.iter().map(|(key, value)| (key.clone(), show(value))).collect()
}

/// Adds a map, unless it is empty.
fn add(object: &mut Map<String, Value>, key: &str, map: Map<String, Value>) {
    if !map.is_empty() {
        object.insert(key.to_owned(), map.into());
    }
}

/// Adds a text, unless it is empty.
fn text(object: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        object.insert(key.to_owned(), text.into());
    }
}

/// Adds a truth, unless it is false.
fn flag(object: &mut Map<String, Value>, key: &str, flag: bool) {
    if flag {
        object.insert(key.to_owned(), true.into());
    }
}

/// Adds a number, unless it is 0.
fn number(object: &mut Map<String, Value>, key: &str, number: u64) {
    if number > 0 {
        object.insert(key.to_owned(), number.into());
    }
}

/// Adds a duration in Go's text, unless it is 0.
fn duration(object: &mut Map<String, Value>, key: &str, duration: Duration) {
    if !duration.is_zero() {
        object.insert(key.to_owned(), format_duration(duration).into());
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
