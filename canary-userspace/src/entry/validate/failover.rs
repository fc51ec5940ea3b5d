//! The rules for a failover.

use std::collections::BTreeMap;

use super::resolver::SubsetDraft;
use super::target::{TargetDraft, broken, check_datacenter};
use crate::entry::{Failover, FailoverTarget};
use crate::error::{ConfigError, Position};
use crate::syntax::Placed;

/// The key that stands for every subset.
const ALL: &str = "*";

/// A failover as it was written.
pub(in crate::entry) struct FailoverDraft {
    /// Where its key is.
    pub(in crate::entry) position: Position,
    pub(in crate::entry) target: TargetDraft,
    pub(in crate::entry) datacenters: Vec<Placed<String>>,
    pub(in crate::entry) policy_mode: Placed<String>,
    pub(in crate::entry) policy_regions: Option<Position>,
    pub(in crate::entry) targets: Vec<TargetDraft>,
    /// Where the list of targets is.
    pub(in crate::entry) targets_position: Position,
}

impl FailoverDraft {
    /// Consul's rules, in its order.
    pub(super) fn check(
        &self,
        key: &str,
        name: &str,
        subsets: &BTreeMap<String, SubsetDraft>,
    ) -> Result<(), ConfigError> {
        let prefix = format!("Bad Failover[{key:?}]: ");
        self.target.check_edition(&prefix)?;
        if !self.policy_mode.value.is_empty() {
            let text = format!("{prefix}Setting failover policies requires Consul Enterprise");
            return broken(&self.policy_mode, text);
        }
        if key != ALL && !subsets.contains_key(key) {
            let text = format!("{prefix}not a valid subset subset");
            return Err(ConfigError::at(self.position, text));
        }
        if self.target.is_empty() && self.targets.is_empty() && self.datacenters.is_empty() {
            let text = format!(
                "{prefix}one of Service, ServiceSubset, Namespace, Targets, SamenessGroup, or \
                 Datacenters is required"
            );
            return Err(ConfigError::at(self.position, text));
        }
        check_subset(&self.target, name, subsets, &prefix)?;
        if !self.targets.is_empty() {
            let alone = [
                (self.datacenters.is_empty(), "Datacenters"),
                (self.target.service_subset.value.is_empty(), "ServiceSubset"),
                (self.target.service.value.is_empty(), "Service"),
            ];
            if let Some((_, other)) = alone.iter().find(|(absent, _)| !absent) {
                let text = format!("{prefix}Targets cannot be set with {other}");
                return Err(ConfigError::at(self.targets_position, text));
            }
        }
        for (target, index) in self.targets.iter().zip(0_usize..) {
            check_target(target, name, subsets, &target_prefix(key, index))?;
        }
        match self.datacenters.iter().find(|datacenter| datacenter.value.is_empty()) {
            Some(empty) => {
                broken(empty, format!("Bad Failover[{key:?}].Datacenters: found empty datacenter"))
            }
            None => Ok(()),
        }
    }

    /// What of it is out of this agent's reach.
    pub(super) fn check_reach(&self, key: &str) -> Result<(), ConfigError> {
        for datacenter in &self.datacenters {
            check_datacenter(datacenter, &format!("Bad Failover[{key:?}].Datacenters:"))?;
        }
        if let Some(position) = self.policy_regions {
            let text = format!(
                "Bad Failover[{key:?}].Policy.Regions is not supported: instances have no locality here"
            );
            return Err(ConfigError::at(position, text));
        }
        self.targets
            .iter()
            .zip(0_usize..)
            .try_for_each(|(target, index)| target.check_reach(&target_prefix(key, index)))
    }

    pub(super) fn settle(self) -> Failover {
        if self.targets.is_empty() {
            Failover::One(settle(self.target))
        } else {
            Failover::Targets(self.targets.into_iter().map(settle).collect())
        }
    }
}

fn target_prefix(key: &str, index: usize) -> String {
    format!("Bad Failover[{key:?}].Targets[{index}]: ")
}

fn check_target(
    target: &TargetDraft,
    name: &str,
    subsets: &BTreeMap<String, SubsetDraft>,
    prefix: &str,
) -> Result<(), ConfigError> {
    target.check_edition(prefix)?;
    if !target.peer.value.is_empty() {
        for (other, field) in
            [(&target.service_subset, "ServiceSubset"), (&target.datacenter, "Datacenter")]
        {
            if !other.value.is_empty() {
                return broken(&target.peer, format!("{prefix}Peer cannot be set with {field}"));
            }
        }
    }
    check_subset(target, name, subsets, prefix)
}

/// A subset of the own service must be there; those of others show with the whole set.
fn check_subset(
    target: &TargetDraft,
    name: &str,
    subsets: &BTreeMap<String, SubsetDraft>,
    prefix: &str,
) -> Result<(), ConfigError> {
    let subset = &target.service_subset;
    if subset.value.is_empty() || !target.is_own(name) || subsets.contains_key(&subset.value) {
        return Ok(());
    }
    let service = &target.service.value;
    let text =
        format!("{prefix}ServiceSubset {:?} is not a valid subset of {service:?}", subset.value);
    broken(subset, text)
}

fn settle(target: TargetDraft) -> FailoverTarget {
    FailoverTarget { service: target.service.value, service_subset: target.service_subset.value }
}
