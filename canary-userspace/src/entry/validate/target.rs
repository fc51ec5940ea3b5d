//! Where a redirect or a failover leads: the fields that both have.

use crate::error::ConfigError;
use crate::syntax::Placed;

/// A target as it was written, with all that Consul can say of one.
#[derive(Default)]
pub(in crate::entry) struct TargetDraft {
    pub(in crate::entry) service: Placed<String>,
    pub(in crate::entry) service_subset: Placed<String>,
    pub(in crate::entry) namespace: Placed<String>,
    pub(in crate::entry) partition: Placed<String>,
    pub(in crate::entry) datacenter: Placed<String>,
    pub(in crate::entry) peer: Placed<String>,
    pub(in crate::entry) sameness_group: Placed<String>,
}

/// An error of a rule, as a result.
pub(super) fn broken<T, V>(place: &Placed<V>, text: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::at(place.position, text))
}

impl TargetDraft {
    /// Fields that need Consul Enterprise, in Consul's order and words.
    pub(super) fn check_edition(&self, prefix: &str) -> Result<(), ConfigError> {
        for (place, name) in [
            (&self.partition, "Partition"),
            (&self.namespace, "Namespace"),
            (&self.sameness_group, "SamenessGroup"),
        ] {
            if !place.value.is_empty() {
                return broken(place, format!("{prefix}Setting {name} requires Consul Enterprise"));
            }
        }
        Ok(())
    }

    /// Refuses what Consul takes and nothing here could honour; `prefix` names the target.
    pub(super) fn check_reach(&self, prefix: &str) -> Result<(), ConfigError> {
        check_datacenter(&self.datacenter, &format!("{prefix}Datacenter"))?;
        let peer = &self.peer;
        if peer.value.is_empty() {
            return Ok(());
        }
        broken(
            peer,
            format!(
                "{prefix}Peer {:?} is not supported: a peer is reached through mesh gateways, and \
                 this agent sends packets straight to instances",
                peer.value
            ),
        )
    }

    /// Whether the target is the entry's own service.
    pub(super) fn is_own(&self, name: &str) -> bool {
        self.service.value.is_empty() || self.service.value == name
    }

    /// Nothing is said at all.
    pub(super) fn is_empty(&self) -> bool {
        [
            &self.service,
            &self.service_subset,
            &self.namespace,
            &self.partition,
            &self.datacenter,
            &self.peer,
            &self.sameness_group,
        ]
        .iter()
        .all(|place| place.value.is_empty())
    }
}

/// Instances of another datacenter are none of this agent's.
pub(super) fn check_datacenter(place: &Placed<String>, name: &str) -> Result<(), ConfigError> {
    if place.value.is_empty() {
        return Ok(());
    }
    broken(
        place,
        format!(
            "{name} {:?} is not supported: this agent knows the instances of its own datacenter only",
            place.value
        ),
    )
}
