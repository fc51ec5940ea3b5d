//! What a person should know about a configuration that is valid all the same.

use std::collections::BTreeSet;

use super::members::Members;
use super::{DesiredService, DesiredSplit, Warning};
use crate::catalog::Snapshot;

/// Names without instances up to which a likely name is looked for: one or two are typing errors,
/// hundreds are a catalogue that is still filling.
const MAX_GUESSES: usize = 32;

/// Entries and split targets under whose name no instance is registered.
pub(super) fn unregistered(snapshot: &Snapshot, members: &Members<'_>) -> Vec<Warning> {
    let entries = (snapshot.resolvers.keys())
        .chain(snapshot.splitters.keys())
        .chain(snapshot.defaults.keys())
        .map(|name| (name, name));
    let targets = snapshot.splitters.iter().flat_map(|(service, entry)| {
        entry.value.splits.iter().map(move |split| (&split.service, service))
    });
    // An entry's own warning makes those of the splits that lead to it superfluous.
    let mut said = BTreeSet::new();
    entries
        .chain(targets)
        .filter(|(name, _)| !name.is_empty() && !members.has(name) && said.insert(*name))
        .enumerate()
        .map(|(place, (name, service))| {
            let guess = if place < MAX_GUESSES { likely(name, members.services()) } else { None };
            let hint = guess.map(|guess| format!(" (did you mean {guess:?}?)")).unwrap_or_default();
            let text = format!("no instance is registered as {name:?}{hint}");
            Warning { service: service.clone(), text }
        })
        .collect()
}

/// The name nearest to `name`, if it is near enough to be meant: a third of its letters at most.
fn likely<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (name.chars().count() / 3).max(1);
    names
        .map(|other| (strsim::damerau_levenshtein(name, other), other))
        .filter(|&(distance, _)| distance <= bound)
        .min()
        .map(|(_, other)| other)
}

/// Entries that would split traffic, were there a virtual address to send it to.
pub(super) fn unreachable(snapshot: &Snapshot, members: &Members<'_>) -> Vec<Warning> {
    let targets: BTreeSet<&str> = (snapshot.splitters.values())
        .flat_map(|entry| entry.value.splits.iter().map(|split| split.service.as_str()))
        .collect();
    let named: BTreeSet<&str> =
        snapshot.resolvers.keys().chain(snapshot.splitters.keys()).map(String::as_str).collect();
    named
        .into_iter()
        .filter(|name| members.has(name) && !members.has_frontend(name) && !targets.contains(name))
        .map(|name| Warning {
            service: name.to_owned(),
            text: "no instance has a tagged address \"virtual\": nothing connects to this service"
                .to_owned(),
        })
        .collect()
}

/// Shares of `service` that nobody can take.
pub(super) fn unserved(service: &DesiredService) -> impl Iterator<Item = Warning> {
    let empty = service
        .splits
        .iter()
        .filter(|split| split.share > 0 && !split.backends.iter().any(|backend| backend.healthy));
    empty
        .map(|split| Warning { service: service.name.clone(), text: unserved_text(service, split) })
}

fn unserved_text(service: &DesiredService, split: &DesiredSplit) -> String {
    let percent = f64::from(split.share) / 100.0;
    let whose = if split.key.target == service.name {
        String::new()
    } else {
        format!(" of {:?}", split.key.target)
    };
    let place = match split.key.subset.as_str() {
        "" => format!("all instances{whose}"),
        subset => format!("subset {subset:?}{whose}"),
    };
    let state = match split.backends.len() {
        0 => "which has no backend".to_owned(),
        1 => "whose one backend is unhealthy".to_owned(),
        count => format!("whose {count} backends are all unhealthy"),
    };
    format!("{percent} % of new connections are refused: they go to {place}, {state}")
}
