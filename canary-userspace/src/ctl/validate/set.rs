//! What only shows between the files of a set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Finding, Findings, hints};
use crate::catalog::{Health, Origin, Registered, Sourced};
use crate::compile::{Claims, compile};
use crate::ctl::near::nearest;
use crate::entry::{self, Entry, GraphError, Part, Resolver, Splitter, Subset, check_graph};
use crate::error::ConfigError;
use crate::snapshot::Snapshot;
use crate::source::Definitions;

/// Where splitters and the targets of their splits are.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<String, (String, entry::Places)>);

impl Places {
    /// Remembers an entry of `file`.
    pub(super) fn add(&mut self, file: &str, entry: &Entry, places: entry::Places) {
        if let Entry::Splitter(splitter) = entry {
            self.0.insert(splitter.name.clone(), (file.to_owned(), places));
        }
    }

    fn at(&self, splitter: &str, split: usize, text: String) -> ConfigError {
        let Some((file, places)) = self.0.get(splitter) else { return ConfigError::new(text) };
        let position = places.splits.get(split).unwrap_or(&places.name);
        ConfigError::at(*position, text).in_file(file)
    }
}

/// Checks a set in which every file is right by itself.
pub(super) fn check(set: Definitions, places: &Places, found: &mut Findings) {
    checks(&set, found);
    let snapshot = snapshot(set);
    let elsewhere = resolvers_elsewhere(&snapshot, places, found);
    let before = found.errors.len();
    for GraphError { service, part, text } in graph_errors(&snapshot, &elsewhere) {
        let Part::Split(split) = part else {
            let resolver = snapshot.resolvers.get(&service).map(|resolver| &resolver.origin);
            found.errors.push(Finding::from(at_origin(resolver, text)));
            continue;
        };
        let target = snapshot.splitters.get(&service).and_then(|splitter| {
            let split = splitter.value.splits.get(split)?;
            Some(target(&splitter.value, &split.service))
        });
        let resolver = target.and_then(|target| snapshot.resolvers.get(target));
        let hint = resolver.and_then(|resolver| hints::of_subset(&text, &resolver.value));
        found.errors.push(Finding { error: places.at(&service, split, text), hint });
    }
    // Entries alone are a set too; only with instances is it known who is missing.
    if found.errors.len() > before || snapshot.instances.is_empty() {
        return;
    }
    let compiled = compile(&snapshot, &Claims::new());
    let sentence = |service: &str, text: &str| {
        Finding::from(at_entry(&snapshot, service, format!("{service}: {text}")))
    };
    let refused = compiled.refused.iter().map(|refused| sentence(&refused.service, &refused.text));
    found.errors.extend(refused);
    // The file's own warning says that of a filter, with its place.
    let warnings = compiled.warnings.iter().filter(|warning| !warning.text.contains("unusable"));
    found.warnings.extend(warnings.map(|warning| sentence(&warning.service, &warning.text)));
}

/// Checks on their own, as an agent checks them that has nothing but the set.
fn checks(set: &Definitions, found: &mut Findings) {
    for (id, lone) in &set.checks {
        let of = &*lone.value.service_id;
        if of.is_empty() || set.instances.contains_key(of) {
            continue;
        }
        let at = |text: String| at_origin(Some(&lone.origin), text);
        if set.instances.is_empty() {
            let text = format!("service id {of:?} is not among these files: check {id:?} needs it");
            found.warnings.push(at(text).into());
            continue;
        }
        let error = at(format!("check {id:?}: ServiceID {of:?} does not exist"));
        let hint = hints::meant(nearest(of, set.instances.keys().map(String::as_str)));
        found.errors.push(Finding { error, hint });
    }
}

/// All that is wrong with the graph: a part that is told is made harmless, and the rest checked.
fn graph_errors(snapshot: &Snapshot, elsewhere: &[Resolver]) -> Vec<GraphError> {
    let own = snapshot.resolvers.values().map(|resolver| &resolver.value);
    let mut resolvers: BTreeMap<&str, Resolver> =
        own.chain(elsewhere).map(|resolver| (resolver.name.as_str(), resolver.clone())).collect();
    let mut splitters: BTreeMap<&str, Splitter> = snapshot
        .splitters
        .iter()
        .map(|(name, splitter)| (name.as_str(), splitter.value.clone()))
        .collect();
    let mut errors: Vec<GraphError> = Vec::new();
    while let Err(error) = check_graph(resolvers.values(), splitters.values()) {
        let known =
            |known: &GraphError| (&known.service, &known.part) == (&error.service, &error.part);
        let is_known = errors.iter().any(known);
        errors.push(error.clone());
        if is_known {
            // It is not the part itself that is wrong.
            break;
        }
        let name = error.service.as_str();
        match &error.part {
            Part::Split(split) => {
                let splits = splitters.get_mut(name).map(|splitter| &mut splitter.splits);
                if let Some(split) = splits.and_then(|splits| splits.get_mut(*split)) {
                    split.service.clear();
                    split.service_subset.clear();
                }
            }
            Part::Redirect => {
                if let Some(resolver) = resolvers.get_mut(name) {
                    resolver.redirect = None;
                }
            }
            Part::Failover(key) => {
                if let Some(resolver) = resolvers.get_mut(name) {
                    resolver.failover.remove(key);
                }
            }
        }
    }
    errors.dedup();
    errors
}

/// Stands in for the resolvers that splits need and the set does not hold, and warns of each.
fn resolvers_elsewhere(
    snapshot: &Snapshot,
    places: &Places,
    found: &mut Findings,
) -> Vec<Resolver> {
    let mut elsewhere: BTreeMap<&str, Resolver> = BTreeMap::new();
    for splitter in snapshot.splitters.values().map(|splitter| &splitter.value) {
        let mut told = BTreeSet::new();
        for (split, index) in splitter.splits.iter().zip(0..) {
            let service = target(splitter, &split.service);
            if split.service_subset.is_empty() || snapshot.resolvers.contains_key(service) {
                continue;
            }
            let resolver = elsewhere
                .entry(service)
                .or_insert_with(|| Resolver { name: service.to_owned(), ..Resolver::default() });
            resolver.subsets.insert(split.service_subset.clone(), Subset::default());
            if told.insert(service) {
                let text = format!(
                    "service-resolver/{service} is not among these files: its subsets are not checked"
                );
                let names = snapshot.resolvers.keys().map(String::as_str);
                let hint = hints::meant(nearest(service, names));
                let error = places.at(&splitter.name, index, text);
                found.warnings.push(Finding { error, hint });
            }
        }
    }
    elsewhere.into_values().collect()
}

fn target<'e>(splitter: &'e Splitter, service: &'e str) -> &'e str {
    if service.is_empty() { &splitter.name } else { service }
}

/// A sentence about a service, at the entry that makes it one.
fn at_entry(snapshot: &Snapshot, service: &str, text: String) -> ConfigError {
    let splitter = snapshot.splitters.get(service).map(|entry| &entry.origin);
    let resolver = snapshot.resolvers.get(service).map(|entry| &entry.origin);
    at_origin(splitter.or(resolver), text)
}

fn at_origin(origin: Option<&Origin>, text: String) -> ConfigError {
    match origin {
        Some(Origin::File { path, position }) => ConfigError::at(*position, text).in_file(path),
        _ => ConfigError::new(text),
    }
}

/// The set as a picture of a node on which all is well.
fn snapshot(set: Definitions) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for ((_, name), sourced) in set.entries {
        let origin = sourced.origin;
        match sourced.value {
            Entry::Resolver(value) => {
                snapshot.resolvers.insert(name, Arc::new(Sourced { value, origin }));
            }
            Entry::Splitter(value) => {
                snapshot.splitters.insert(name, Arc::new(Sourced { value, origin }));
            }
            Entry::Defaults(value) => {
                snapshot.defaults.insert(name, Arc::new(Sourced { value, origin }));
            }
            Entry::Proxy(value) => {
                snapshot.proxies.insert(name, Arc::new(Sourced { value, origin }));
            }
        }
    }
    let registered = |sourced: Sourced<_>| {
        let (node, checks) = (Arc::default(), Box::default());
        let Sourced { value: instance, origin } = sourced;
        Arc::new(Registered { node, checks, instance, origin, health: Health::Passing })
    };
    let mut instances: Vec<_> = set.instances.into_values().map(registered).collect();
    instances.sort_by(|a, b| {
        (&a.instance.service, &a.instance.id).cmp(&(&b.instance.service, &b.instance.id))
    });
    snapshot.instances = Arc::new(instances);
    snapshot
}
