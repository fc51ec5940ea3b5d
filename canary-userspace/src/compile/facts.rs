//! What the entries and instances of one name contribute, before anything is compiled.

use std::collections::BTreeSet;

use canary_common::endpoint::Endpoint;

use super::address::{Shown, endpoint};
use super::locals::{self, Want};
use super::{Warning, frontends, members};
use crate::catalog::VIRTUAL_PREFIX;
use crate::entry::reference::Entries;
use crate::entry::{FailoverTarget, reference};
use crate::snapshot::Snapshot;

/// Which entries a name has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kinds {
    /// None.
    #[default]
    None,
    /// Only defaults.
    Defaults,
    /// A resolver or a splitter.
    Chain,
}

/// What is known of a name.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// Virtual addresses that its instances claim.
    pub(super) claims: BTreeSet<Endpoint>,
    /// An instance is registered under it.
    pub(super) registered: bool,
    /// Which entries it has.
    pub(super) entries: Kinds,
    /// It needs no instance: every reference to it leads to another service.
    pub(super) redirects: bool,
    /// Other names that its entries refer to.
    pub(super) refers: BTreeSet<String>,
    /// Who of its instances reaches what at a loopback address.
    pub(super) wants: BTreeSet<Want>,
    /// What is to be said of its entries and instances by themselves.
    pub(super) warnings: Vec<Warning>,
}

impl Facts {
    /// What `snapshot` says of `name`.
    pub(super) fn of(snapshot: &Snapshot, name: &str) -> Self {
        let (resolver, splitter) = (snapshot.resolver(name), snapshot.splitter(name));
        let mut facts = Self {
            registered: !snapshot.instances_of(name).is_empty(),
            entries: if resolver.is_some() || splitter.is_some() {
                Kinds::Chain
            } else if snapshot.defaults.contains_key(name) {
                Kinds::Defaults
            } else {
                Kinds::None
            },
            ..Self::default()
        };
        let splits = splitter.map_or(&[][..], |splitter| &splitter.splits);
        facts.refer(name, splits.iter().map(|split| split.service.as_str()));
        if let Some(resolver) = resolver {
            let redirect = resolver.redirect.as_ref().map_or("", |to| to.service.as_str());
            facts.redirects = !redirect.is_empty() && redirect != name;
            let sections = resolver.failover.values().flat_map(reference::section);
            let failover = sections.map(|FailoverTarget { service, .. }| service.as_str());
            facts.refer(name, failover.chain([redirect]));
            for (subset, filter) in &resolver.subsets {
                if let Err(text) = members::read(&filter.filter) {
                    facts.say(
                        name,
                        format!(
                            "subset {subset:?} has no instances, its filter is unusable: {text}"
                        ),
                    );
                }
            }
        }
        facts.claim(snapshot, name);
        facts.wants = locals::wants(snapshot, name);
        let wanted: Vec<String> = facts.wanted().map(str::to_owned).collect();
        facts.refer(name, wanted.into_iter());
        facts
    }

    /// The services that its instances reach at loopback addresses.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &str> {
        self.wants.iter().map(|want| want.destination.as_str())
    }

    /// Whether nothing is known of the name.
    pub(super) fn is_empty(&self) -> bool {
        !self.registered && self.entries == Kinds::None
    }

    fn refer(&mut self, own: &str, names: impl Iterator<Item = impl AsRef<str>>) {
        let names = names.map(|name| name.as_ref().to_owned());
        self.refers.extend(names.filter(|name| !name.is_empty() && name != own));
    }

    fn claim(&mut self, snapshot: &Snapshot, name: &str) {
        let protocol = frontends::protocol(snapshot, name);
        for registered in snapshot.instances_of(name) {
            for (label, address) in registered.instance.tagged_addresses.iter() {
                if !label.starts_with(VIRTUAL_PREFIX) {
                    continue;
                }
                let frontend = endpoint(address.ip(), address.port(), protocol);
                let ip = address.ip();
                if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
                    let frontend = Shown(&frontend);
                    self.say(
                        name,
                        format!("{frontend} cannot be a frontend: {label:?} is ignored"),
                    );
                } else {
                    self.claims.insert(frontend);
                }
            }
        }
    }

    fn say(&mut self, name: &str, text: String) {
        self.warnings.push(Warning { service: name.to_owned(), text });
    }
}
