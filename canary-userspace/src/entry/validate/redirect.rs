//! The rules for a redirect.

use std::collections::BTreeMap;

use super::resolver::SubsetDraft;
use super::target::{TargetDraft, broken};
use crate::entry::Redirect;
use crate::error::{ConfigError, Position};
use crate::syntax::Placed;

/// A redirect as it was written.
pub(in crate::entry) struct RedirectDraft {
    /// Where its key is.
    pub(in crate::entry) position: Position,
    pub(in crate::entry) target: TargetDraft,
}

impl RedirectDraft {
    /// Consul's rules, in its order.
    pub(super) fn check(
        &self,
        name: &str,
        subsets: &BTreeMap<String, SubsetDraft>,
        failover: Option<Position>,
    ) -> Result<(), ConfigError> {
        let target = &self.target;
        target.check_edition("Redirect: ")?;
        if let Some(position) = failover {
            return Err(ConfigError::at(position, "Redirect and Failover cannot both be set"));
        }
        if target.is_empty() {
            return Err(ConfigError::at(self.position, "Redirect is empty"));
        }
        let set = |place: &Placed<String>| !place.value.is_empty();
        let (subset, peer, datacenter) = (&target.service_subset, &target.peer, &target.datacenter);
        if set(peer) && set(subset) {
            return broken(peer, "Redirect.Peer cannot be set with Redirect.ServiceSubset");
        }
        if set(peer) && set(datacenter) {
            return broken(peer, "Redirect.Peer cannot be set with Redirect.Datacenter");
        }
        if !set(&target.service) {
            for (place, field) in [(subset, "ServiceSubset"), (peer, "Peer")] {
                if set(place) {
                    let text = format!("Redirect.{field} defined without Redirect.Service");
                    return broken(place, text);
                }
            }
        }
        let own = target.service.value == name;
        if set(subset) && own && !subsets.contains_key(&subset.value) {
            let text = format!(
                "Redirect.ServiceSubset {:?} is not a valid subset of {:?}",
                subset.value, target.service.value
            );
            return broken(subset, text);
        }
        Ok(())
    }

    /// What of it is out of this agent's reach.
    pub(super) fn check_reach(&self) -> Result<(), ConfigError> {
        self.target.check_reach("Redirect.")
    }

    pub(super) fn settle(self) -> Redirect {
        Redirect {
            service: self.target.service.value,
            service_subset: self.target.service_subset.value,
        }
    }
}
