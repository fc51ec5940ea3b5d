//! Traffic policies: services with the backends of this node alone, beside those with all.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use canary_common::backend::Frontend;
use canary_common::endpoint::Endpoint;

use super::Locality;
use crate::compile::{Desired, DesiredService, DesiredSplit, Names, Warning, socket};
use crate::entry::TrafficPolicy;
use crate::kernel::attach::{Attachments, Found};

impl Locality {
    /// What is desired, and beside each service of whose clients some are given backends of this
    /// node alone a second one that has no others.
    ///
    /// # Errors
    ///
    /// If routes cannot be read.
    pub fn with_local<'d>(
        &mut self,
        desired: &'d Desired,
        attachments: &mut Attachments,
    ) -> anyhow::Result<Cow<'d, Desired>> {
        if !desired.services.iter().any(|service| service.has_local()) {
            return Ok(Cow::Borrowed(desired));
        }
        self.learn(desired, attachments)?;
        let plain = desired.services.iter().filter(|service| !service.is_local());
        let mut services: Vec<Arc<DesiredService>> = plain.cloned().collect();
        let local: Vec<_> = services
            .iter()
            .filter(|service| service.has_local())
            .map(|service| Arc::new(service.local(|endpoint| self.is_here(endpoint))))
            .collect();
        services.extend(local);
        services.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Cow::Owned(Desired { services, locals: desired.locals.clone() }))
    }

    /// Whether a backend is of this node.
    fn is_here(&self, endpoint: &Endpoint) -> bool {
        self.is_of_node(socket(endpoint).ip())
    }

    /// Whether an address is known as one of this node.
    pub(in crate::kernel) fn is_of_node(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.get(&address) == Some(&Found::Here)
    }
}

/// These services, and those beside them with backends of this node alone.
pub(in crate::kernel) fn with_local_names(names: &Names) -> Names {
    let local = |name: &String| {
        let service = DesiredService { name: name.clone(), ..DesiredService::default() };
        [name.clone(), service.local_name()]
    };
    names.iter().flat_map(local).collect()
}

/// The flags of a service's frontends that say who is given backends of this node alone.
pub(super) fn flags(service: &DesiredService) -> u32 {
    let flag = |policy, flag| if policy == TrafficPolicy::Local { flag } else { 0 };
    flag(service.internal, Frontend::INTERNAL_LOCAL)
        | flag(service.external, Frontend::EXTERNAL_LOCAL)
}

/// What people should know of a service some of whose clients are given backends of this node
/// alone, which `local` has.
pub(super) fn warnings(service: &DesiredService, local: &DesiredService) -> Vec<Warning> {
    let who = match (service.internal, service.external) {
        (TrafficPolicy::Local, TrafficPolicy::Local) => "internal and external traffic policy",
        (TrafficPolicy::Local, TrafficPolicy::Cluster) => "internal traffic policy",
        _ => "external traffic policy",
    };
    let has_some = |split: &DesiredSplit| split.backends.iter().any(|backend| backend.healthy);
    let is_served = local.splits.iter().any(|split| split.share > 0 && has_some(split));
    let say = |text| Warning { service: service.name.clone(), text };
    if !is_served {
        let text = format!("{who} Local: no healthy backend is on this node, these are refused");
        return vec![say(text)];
    }
    let lacking: BTreeSet<String> = service
        .splits
        .iter()
        .zip(&local.splits)
        .filter(|(split, own)| split.share > 0 && !has_some(own))
        .map(|(split, _)| {
            let percent = f64::from(split.share) / 100.0;
            match split.key.subset.as_str() {
                "" => format!("{percent} % of {:?}", split.key.target),
                subset => format!("{percent} % of subset {subset:?}"),
            }
        })
        .collect();
    if lacking.is_empty() {
        return Vec::new();
    }
    let names: Vec<String> = lacking.into_iter().collect();
    vec![say(format!(
        "{who} Local: with no healthy backend on this node, the other splits get {}",
        names.join(", ")
    ))]
}
