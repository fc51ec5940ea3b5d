//! Rules that hold between entries: every reference must lead somewhere, and none in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::reference::{self, Asked, Entries, Target, candidates, nested, no_subset, resolve};
use super::{Resolver, Splitter};

/// Entries that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct GraphError {
    /// The service whose entry shows it.
    pub service: String,
    /// Which part of the entry.
    pub part: Part,
    /// Consul's text.
    pub text: String,
}

/// The part of an entry that refers to something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A split of the splitter, from 0.
    Split(usize),
    /// The redirect of the resolver.
    Redirect,
    /// A failover section of the resolver, by its subset.
    Failover(String),
}

/// A set of entries.
#[derive(Debug, Default)]
struct Listed<'e> {
    resolvers: BTreeMap<&'e str, &'e Resolver>,
    splitters: BTreeMap<&'e str, &'e Splitter>,
}

impl<'e> Entries<'e> for Listed<'e> {
    fn resolver(&self, service: &str) -> Option<&'e Resolver> {
        self.resolvers.get(service).copied()
    }

    fn splitter(&self, service: &str) -> Option<&'e Splitter> {
        self.splitters.get(service).copied()
    }
}

/// Checks a whole set of entries, as it would be after a write or a delete.
///
/// # Errors
///
/// As [`check_names`].
pub fn check_graph<'e>(
    resolvers: impl IntoIterator<Item = &'e Resolver>,
    splitters: impl IntoIterator<Item = &'e Splitter>,
) -> Result<(), GraphError> {
    let entries = Listed {
        resolvers: resolvers.into_iter().map(|entry| (entry.name.as_str(), entry)).collect(),
        splitters: splitters.into_iter().map(|entry| (entry.name.as_str(), entry)).collect(),
    };
    let names: BTreeSet<&str> =
        entries.resolvers.keys().chain(entries.splitters.keys()).copied().collect();
    check_names(&entries, &names)
}

/// Checks the entries of the services `names` against all the others.
///
/// # Errors
///
/// The first redirect or failover by name of the resolver, then the first split by name of the
/// splitter and in the order written, that leads nowhere or in a circle; else the first circle of
/// splitters.
pub fn check_names<'e>(
    entries: &impl Entries<'e>,
    names: &BTreeSet<&'e str>,
) -> Result<(), GraphError> {
    let resolvers = names.iter().filter_map(|name| entries.resolver(name));
    let splitters = || names.iter().filter_map(|name| entries.splitter(name));
    for resolver in resolvers {
        check_resolver(entries, resolver)?;
    }
    for splitter in splitters() {
        for (split, index) in splitter.splits.iter().zip(0_usize..) {
            if nested(entries, splitter, split).is_none() {
                let named = reference::named(splitter, split);
                resolve(entries, named, &mut Asked::new())
                    .map_err(|text| error(&splitter.name, Part::Split(index), text))?;
            }
        }
    }
    check_circles(entries, splitters())
}

fn error(service: &str, part: Part, text: String) -> GraphError {
    GraphError { service: service.to_owned(), part, text }
}

fn check_resolver<'e>(
    entries: &impl Entries<'e>,
    resolver: &'e Resolver,
) -> Result<(), GraphError> {
    let name = resolver.name.as_str();
    let plain = Target { service: name, subset: "" };
    if resolver.redirect.is_some() {
        resolve(entries, plain, &mut Asked::new())
            .map_err(|text| error(name, Part::Redirect, text))?;
    }
    for key in resolver.failover.keys() {
        let subset = if key == "*" { "" } else { key };
        for candidate in candidates(entries, Target { subset, ..plain }) {
            resolve(entries, candidate, &mut Asked::new())
                .map_err(|text| error(name, Part::Failover(key.clone()), text))?;
        }
    }
    Ok(())
}

/// Which split of `splitter` a text of [`check_graph`] is about; `None` if it is about none.
///
/// For whoever wrote the splitter and heard the text from an agent: only the writer knows where
/// the split stands.
#[must_use]
pub fn split_meant(splitter: &Splitter, text: &str) -> Option<usize> {
    splitter.splits.iter().position(|split| {
        let Target { service, subset } = reference::named(splitter, split);
        if subset.is_empty() {
            service != splitter.name && text.contains(&step(&splitter.name, service))
        } else {
            text == no_subset(service, subset)
        }
    })
}

/// Part of a circle's text: from one splitter to the next.
fn step(from: &str, to: &str) -> String {
    format!("{} -> {}", node(from), node(to))
}

/// A splitter as Consul calls it in a chain.
fn node(splitter: &str) -> String {
    format!("splitter:{splitter}.default.default")
}

/// Consul's text for splitters that lead back to the first of `way`.
#[must_use]
pub fn circular(way: &[&str]) -> String {
    let nodes: Vec<_> = way.iter().map(|splitter| node(splitter)).collect();
    format!("detected circular reference: [{}]", nodes.join(" -> "))
}

/// A splitter on the way from the first one, and the split to look at next.
struct Step<'e> {
    splitter: &'e Splitter,
    next: usize,
}

/// Follows splits without a subset from splitter to splitter, deep first, each splitter once.
fn check_circles<'e>(
    entries: &impl Entries<'e>,
    splitters: impl Iterator<Item = &'e Splitter>,
) -> Result<(), GraphError> {
    let mut done = BTreeSet::new();
    for start in splitters {
        let mut way = vec![Step { splitter: start, next: 0 }];
        let mut on_way = BTreeSet::from([start.name.as_str()]);
        while let Some(step) = way.last_mut() {
            let splitter = step.splitter;
            let index = step.next;
            step.next = index.saturating_add(1);
            let name = splitter.name.as_str();
            let Some(split) = splitter.splits.get(index).filter(|_| !done.contains(name)) else {
                done.insert(name);
                on_way.remove(name);
                way.pop();
                continue;
            };
            let Some(service) = nested(entries, splitter, split) else { continue };
            let Some(next) = entries.splitter(service) else { continue };
            if !on_way.insert(service) {
                let names = way.iter().map(|step| step.splitter.name.as_str());
                let round: Vec<&str> =
                    names.skip_while(|name| *name != service).chain([service]).collect();
                return Err(error(name, Part::Split(index), circular(&round)));
            }
            way.push(Step { splitter: next, next: 0 });
        }
    }
    Ok(())
}
