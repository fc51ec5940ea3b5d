//! Which service each virtual address belongs to.

use std::collections::{BTreeMap, BTreeSet};

use canary_common::endpoint::{Endpoint, TCP, UDP};

use super::address::{Shown, endpoint};
use super::{Claims, Warning};
use crate::catalog::{Snapshot, VIRTUAL_PREFIX};

/// The protocol that `service` is reached with.
pub(super) fn protocol(snapshot: &Snapshot, service: &str) -> u8 {
    if snapshot.protocol(service) == "udp" { UDP } else { TCP }
}

/// Frontends by service, each with exactly one: what is in force stays, else the first by name.
pub(super) fn assign<'a>(
    snapshot: &'a Snapshot,
    in_force: &Claims,
    warnings: &mut Vec<Warning>,
) -> BTreeMap<&'a str, Vec<Endpoint>> {
    let mut owned: BTreeMap<&str, Vec<Endpoint>> = BTreeMap::new();
    for (frontend, claimants) in claims(snapshot, warnings) {
        let holder = in_force.get(&frontend).and_then(|holder| claimants.get(holder.as_str()));
        let Some(&winner) = holder.or_else(|| claimants.first()) else { continue };
        for loser in claimants.iter().filter(|&&claimant| claimant != winner) {
            let text = format!(
                "frontend {} is claimed by {winner:?} and {loser:?}: it stays with {winner:?}",
                Shown(&frontend)
            );
            warnings.push(Warning { service: (*loser).to_owned(), text });
        }
        owned.entry(winner).or_default().push(frontend);
    }
    owned
}

/// Every service that claims a frontend, by frontend.
fn claims<'a>(
    snapshot: &'a Snapshot,
    warnings: &mut Vec<Warning>,
) -> BTreeMap<Endpoint, BTreeSet<&'a str>> {
    let mut claims: BTreeMap<Endpoint, BTreeSet<&str>> = BTreeMap::new();
    for registered in &snapshot.instances {
        let instance = &registered.instance;
        let protocol = protocol(snapshot, &instance.service);
        for (name, address) in instance.tagged_addresses.iter() {
            if !name.starts_with(VIRTUAL_PREFIX) {
                continue;
            }
            let frontend = endpoint(address.ip(), address.port(), protocol);
            if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
                let text =
                    format!("{} cannot be a frontend: {name:?} is ignored", Shown(&frontend));
                warnings.push(Warning { service: instance.service.clone(), text });
                continue;
            }
            claims.entry(frontend).or_default().insert(&instance.service);
        }
    }
    claims
}
