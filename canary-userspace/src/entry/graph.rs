//! Rules that hold between entries: a split must lead somewhere, and not in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::{Resolver, Splitter};

/// Entries that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct GraphError {
    /// The service whose splitter shows it.
    pub splitter: String,
    /// Which of its splits, from 0.
    pub split: usize,
    /// Consul's text.
    pub text: String,
}

/// Checks a whole set of entries, as it would be after a write or a delete.
///
/// # Errors
///
/// The first split, by name of the splitter and then in the order written, that names a subset
/// which its service does not have; else the first circle of splitters.
pub fn check_graph<'e>(
    resolvers: impl IntoIterator<Item = &'e Resolver>,
    splitters: impl IntoIterator<Item = &'e Splitter>,
) -> Result<(), GraphError> {
    let resolvers: BTreeMap<&str, &Resolver> =
        resolvers.into_iter().map(|resolver| (resolver.name.as_str(), resolver)).collect();
    let splitters: BTreeMap<&str, &Splitter> =
        splitters.into_iter().map(|splitter| (splitter.name.as_str(), splitter)).collect();
    for splitter in splitters.values() {
        for (split, index) in splitter.splits.iter().zip(0_usize..) {
            let (service, subset) = (target(splitter, &split.service), &split.service_subset);
            let has = |resolver: &&Resolver| resolver.subsets.contains_key(subset);
            if !subset.is_empty() && !resolvers.get(service).is_some_and(has) {
                return Err(GraphError {
                    splitter: splitter.name.clone(),
                    split: index,
                    text: no_subset(service, subset),
                });
            }
        }
    }
    check_circles(&splitters)
}

/// Which split of `splitter` a text of [`check_graph`] is about; `None` if it is about none.
///
/// For whoever wrote the splitter and heard the text from an agent: only the writer knows where
/// the split stands.
#[must_use]
pub fn split_meant(splitter: &Splitter, text: &str) -> Option<usize> {
    splitter.splits.iter().position(|split| {
        let service = target(splitter, &split.service);
        if split.service_subset.is_empty() {
            service != splitter.name && text.contains(&step(&splitter.name, service))
        } else {
            text == no_subset(service, &split.service_subset)
        }
    })
}

fn no_subset(service: &str, subset: &str) -> String {
    format!("service {service:?} does not have a subset named {subset:?}")
}

/// Part of a circle's text: from one splitter to the next.
fn step(from: &str, to: &str) -> String {
    format!("{} -> {}", node(from), node(to))
}

/// A splitter as Consul calls it in a chain.
fn node(splitter: &str) -> String {
    format!("splitter:{splitter}.default.default")
}

/// The service that a split goes to.
fn target<'e>(splitter: &'e Splitter, service: &'e str) -> &'e str {
    if service.is_empty() { &splitter.name } else { service }
}

/// A splitter on the way from the first one, and the split to look at next.
struct Step<'e> {
    splitter: &'e Splitter,
    next: usize,
}

/// Follows splits without a subset from splitter to splitter, deep first, each splitter once.
fn check_circles(splitters: &BTreeMap<&str, &Splitter>) -> Result<(), GraphError> {
    let mut done = BTreeSet::new();
    for start in splitters.values() {
        let mut way = vec![Step { splitter: start, next: 0 }];
        let mut on_way = BTreeSet::from([start.name.as_str()]);
        while let Some(step) = way.last_mut() {
            let splitter = step.splitter;
            let index = step.next;
            step.next = index.saturating_add(1);
            let Some(split) = splitter.splits.get(index).filter(|_| !done.contains(&splitter.name))
            else {
                done.insert(splitter.name.clone());
                on_way.remove(splitter.name.as_str());
                way.pop();
                continue;
            };
            let service = target(splitter, &split.service);
            if !split.service_subset.is_empty() || service == splitter.name {
                continue;
            }
            let Some(next) = splitters.get(service) else { continue };
            if !on_way.insert(service) {
                let (splitter, text) = (splitter.name.clone(), circle(&way, service));
                return Err(GraphError { splitter, split: index, text });
            }
            way.push(Step { splitter: next, next: 0 });
        }
    }
    Ok(())
}

/// The circle that closes at `service`, in Consul's words.
fn circle(way: &[Step<'_>], service: &str) -> String {
    let names = way.iter().map(|step| step.splitter.name.as_str());
    let round = names.skip_while(|name| *name != service).chain([service]);
    let nodes: Vec<_> = round.map(node).collect();
    format!("detected circular reference: [{}]", nodes.join(" -> "))
}
