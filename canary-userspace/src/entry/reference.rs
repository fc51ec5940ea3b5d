//! What a reference to a service means: redirects, default subsets and failover followed.
//!
//! Nothing here calls itself: a chain of references may be as long as there are entries.

use std::collections::BTreeSet;

use super::{Failover, FailoverTarget, Resolver, Split, Splitter};

/// Where entries are found by service.
pub trait Entries<'e> {
    /// The resolver of `service`.
    fn resolver(&self, service: &str) -> Option<&'e Resolver>;
    /// The splitter of `service`.
    fn splitter(&self, service: &str) -> Option<&'e Splitter>;
}

/// Some instances of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target<'e> {
    /// The service.
    pub service: &'e str,
    /// The subset of it; empty for all its instances.
    pub subset: &'e str,
}

/// Services whose entries were asked for: whoever asked depends on them.
pub type Asked<'e> = BTreeSet<&'e str>;

impl<'e> Target<'e> {
    /// The target that `service` and `subset`, each perhaps empty, make of this one.
    ///
    /// A subset says nothing about another service: it is dropped where the service changes.
    #[must_use]
    pub fn rewritten(self, service: &'e str, subset: &'e str) -> Self {
        let mut target = self;
        if !service.is_empty() && service != self.service {
            target = Self { service, subset: "" };
        }
        if !subset.is_empty() {
            target.subset = subset;
        }
        target
    }

    /// As Consul names it in a chain: `green.payments.default.default.dc1`.
    #[must_use]
    pub fn id(&self) -> String {
        let Self { service, subset } = self;
        let dot = if subset.is_empty() { "" } else { "." };
        format!("{subset}{dot}{service}.default.default.dc1")
    }
}

/// The service whose splitter `split` leads to: that of another service, where no subset is named.
pub fn nested<'e>(
    entries: &impl Entries<'e>,
    splitter: &Splitter,
    split: &'e Split,
) -> Option<&'e str> {
    let next = split.service.as_str();
    let nests = !next.is_empty() && next != splitter.name && split.service_subset.is_empty();
    (nests && entries.splitter(next).is_some()).then_some(next)
}

/// What `split` names, before anything is followed.
#[must_use]
pub fn named<'e>(splitter: &'e Splitter, split: &'e Split) -> Target<'e> {
    let own = Target { service: &splitter.name, subset: "" };
    own.rewritten(&split.service, &split.service_subset)
}

/// The instances that a reference to `target` means.
///
/// # Errors
///
/// Redirects that lead in a circle, or a subset that is not there, in Consul's words.
pub fn resolve<'e>(
    entries: &impl Entries<'e>,
    mut target: Target<'e>,
    asked: &mut Asked<'e>,
) -> Result<Target<'e>, String> {
    let mut way = vec![target];
    let mut seen = BTreeSet::from([target]);
    loop {
        asked.insert(target.service);
        let resolver = entries.resolver(target.service);
        let next = resolver.map_or(target, |resolver| step(resolver, target));
        if next == target {
            return has_subset(resolver, target).map(|()| target);
        }
        way.push(next);
        if !seen.insert(next) {
            let ids: Vec<String> = way.iter().map(Target::id).collect();
            return Err(format!("detected circular resolver redirect: [{}]", ids.join(" -> ")));
        }
        target = next;
    }
}

/// What `resolver` makes of a reference: its redirect comes first, then its default subset.
fn step<'e>(resolver: &'e Resolver, target: Target<'e>) -> Target<'e> {
    if let Some(redirect) = &resolver.redirect {
        let next = target.rewritten(&redirect.service, &redirect.service_subset);
        if next != target {
            return next;
        }
    }
    match target.subset {
        "" => Target { subset: &resolver.default_subset, ..target },
        _ => target,
    }
}

fn has_subset(resolver: Option<&Resolver>, target: Target<'_>) -> Result<(), String> {
    let Target { service, subset } = target;
    if subset.is_empty() || resolver.is_some_and(|r| r.subsets.contains_key(subset)) {
        return Ok(());
    }
    Err(no_subset(service, subset))
}

/// Consul's text for a subset that is not there.
pub(super) fn no_subset(service: &str, subset: &str) -> String {
    format!("service {service:?} does not have a subset named {subset:?}")
}

/// What takes over for `target`, in order, as the failover section that is chosen names it.
///
/// One that means the target itself is left out.
pub fn candidates<'e>(
    entries: &impl Entries<'e>,
    target: Target<'e>,
) -> impl Iterator<Item = Target<'e>> {
    let sections = entries.resolver(target.service).map(|resolver| &resolver.failover);
    let chosen = sections.and_then(|sections| {
        sections.get(target.subset).filter(|_| !target.subset.is_empty()).or(sections.get("*"))
    });
    let all = chosen.map_or(&[][..], section);
    let named = all.iter().map(move |next| target.rewritten(&next.service, &next.service_subset));
    named.filter(move |next| *next != target)
}

/// The targets of a failover section.
#[must_use]
pub fn section(failover: &Failover) -> &[FailoverTarget] {
    match failover {
        Failover::One(target) => std::slice::from_ref(target),
        Failover::Targets(targets) => targets,
    }
}

/// The instances that take over for `target`, in order; never by their own failover.
///
/// # Errors
///
/// As [`resolve`].
pub fn failover<'e>(
    entries: &impl Entries<'e>,
    target: Target<'e>,
    asked: &mut Asked<'e>,
) -> Result<Vec<Target<'e>>, String> {
    candidates(entries, target).map(|candidate| resolve(entries, candidate, asked)).collect()
}
