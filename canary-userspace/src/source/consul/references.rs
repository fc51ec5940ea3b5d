//! Which services entries refer to: their instances are needed before the entries count.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::{Entry, Failover};

/// The services that each service's entries name, its own apart.
#[derive(Debug, Default)]
pub(super) struct References(BTreeMap<String, BTreeSet<String>>);

impl References {
    /// Those of `entries`.
    pub(super) fn of<'e, I: IntoIterator<Item = &'e Entry>>(entries: I) -> Self {
        let mut services: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in entries {
            // Defaults alone make no service one to follow: they are in Consul by the thousand.
            if !matches!(entry, Entry::Resolver(_) | Entry::Splitter(_)) {
                continue;
            }
            let named = services.entry(entry.name().to_owned()).or_default();
            let others = names(entry).filter(|name| !name.is_empty() && *name != entry.name());
            named.extend(others.map(str::to_owned));
        }
        Self(services)
    }

    /// Every service that has entries or is named by some.
    pub(super) fn services(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flat_map(|(service, named)| std::iter::once(service).chain(named))
    }

    /// Whether `service` has entries that name services.
    pub(super) fn has(&self, service: &str) -> bool {
        self.0.contains_key(service)
    }

    /// `service` and all that it leads to.
    pub(super) fn reach<'r>(&'r self, service: &'r str) -> BTreeSet<&'r str> {
        let mut found = BTreeSet::from([service]);
        let mut open = vec![service];
        while let Some(current) = open.pop() {
            for next in self.0.get(current).into_iter().flatten() {
                if found.insert(next) {
                    open.push(next);
                }
            }
        }
        found
    }
}

/// The services that an entry names.
fn names(entry: &Entry) -> Box<dyn Iterator<Item = &str> + '_> {
    match entry {
        Entry::Splitter(splitter) => {
            Box::new(splitter.splits.iter().map(|split| split.service.as_str()))
        }
        Entry::Resolver(resolver) => {
            let redirect = resolver.redirect.iter().map(|redirect| redirect.service.as_str());
            let failover = resolver.failover.values().flat_map(|failover| match failover {
                Failover::One(target) => std::slice::from_ref(target),
                Failover::Targets(targets) => targets,
            });
            Box::new(redirect.chain(failover.map(|target| target.service.as_str())))
        }
        Entry::Defaults(_) | Entry::Proxy(_) => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{FailoverTarget, Redirect, Resolver, ServiceDefaults, Split, Splitter};

    fn splitter(name: &str, services: &[&str]) -> Entry {
        let split = |service: &&str| Split {
            weight: 1,
            service: (*service).to_owned(),
            service_subset: String::new(),
        };
        let splits = services.iter().map(split).collect();
        Entry::Splitter(Splitter { name: name.to_owned(), splits, ..Splitter::default() })
    }

    #[test]
    fn splits_redirects_and_failover_lead_on() {
        let target = |service: &str| FailoverTarget {
            service: service.to_owned(),
            service_subset: String::new(),
        };
        let resolver = Resolver {
            name: "b".to_owned(),
            redirect: Some(Redirect { service: "c".to_owned(), ..Redirect::default() }),
            failover: BTreeMap::from([
                ("*".to_owned(), Failover::One(target("d"))),
                ("x".to_owned(), Failover::Targets(vec![target("e"), target("")])),
            ]),
            ..Resolver::default()
        };
        let defaults = ServiceDefaults { name: "z".to_owned(), ..ServiceDefaults::default() };
        let entries = [
            splitter("a", &["", "b", "a"]),
            Entry::Resolver(resolver),
            splitter("e", &["a"]),
            Entry::Defaults(defaults),
        ];

        let references = References::of(&entries);

        let all: BTreeSet<&str> = references.services().map(String::as_str).collect();
        assert_eq!(all, BTreeSet::from(["a", "b", "c", "d", "e"]));
        assert_eq!(references.reach("e"), all);
        assert_eq!(references.reach("d"), BTreeSet::from(["d"]));
    }
}
