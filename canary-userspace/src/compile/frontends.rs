//! Which service each virtual address belongs to.

use canary_common::endpoint::{Endpoint, TCP, UDP};
use imbl::OrdSet;

use super::Warning;
use super::address::Shown;
use crate::snapshot::Snapshot;

/// The protocol that `service` is reached with.
pub(super) fn protocol(snapshot: &Snapshot, service: &str) -> u8 {
    if snapshot.protocol(service) == "udp" { UDP } else { TCP }
}

/// Who of `claimants` gets `frontend`: who holds it stays, else the first by name.
pub(super) fn winner<'c>(
    holder: Option<&String>,
    claimants: &'c OrdSet<String>,
) -> Option<&'c String> {
    holder.and_then(|holder| claimants.get(holder)).or_else(|| claimants.get_min())
}

/// What the others are told.
pub(super) fn lost<'c>(
    frontend: &'c Endpoint,
    winner: &'c String,
    claimants: &'c OrdSet<String>,
) -> impl Iterator<Item = Warning> + use<'c> {
    claimants.iter().filter(move |claimant| *claimant != winner).map(move |loser| {
        let text = format!(
            "frontend {} is claimed by {winner:?} and {loser:?}: it stays with {winner:?}",
            Shown(frontend)
        );
        Warning { service: loser.clone(), text }
    })
}
