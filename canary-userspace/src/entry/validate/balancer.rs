//! The rules for a load balancer: Consul's, then those of layer 4.

use std::time::Duration;

use super::target::broken;
use crate::entry::{Cookie, HashPolicy, LoadBalancer, Policy, RingHash};
use crate::error::{ConfigError, Position};
use crate::syntax::Placed;

/// A load balancer as it was written.
pub(in crate::entry) struct BalancerDraft {
    pub(in crate::entry) policy: Placed<String>,
    /// Sizes of the ring, and where they are said.
    pub(in crate::entry) ring_hash: Option<(Position, RingHash)>,
    /// Candidates, and where they are said.
    pub(in crate::entry) choice_count: Option<(Position, u32)>,
    pub(in crate::entry) hash_policies: Vec<HashDraft>,
}

/// A hash policy as it was written.
pub(in crate::entry) struct HashDraft {
    pub(in crate::entry) position: Position,
    pub(in crate::entry) field: Placed<String>,
    pub(in crate::entry) field_value: Placed<String>,
    pub(in crate::entry) cookie: Option<CookieDraft>,
    pub(in crate::entry) source_ip: Placed<bool>,
    pub(in crate::entry) terminal: bool,
}

/// A cookie as it was written.
pub(in crate::entry) struct CookieDraft {
    pub(in crate::entry) position: Position,
    pub(in crate::entry) session: bool,
    pub(in crate::entry) ttl: Placed<Option<Duration>>,
    pub(in crate::entry) path: String,
}

impl BalancerDraft {
    /// Consul's rules, in its order; gives the policy.
    pub(super) fn check(&self) -> Result<Policy, ConfigError> {
        let name = &self.policy.value;
        let Some(policy) = Policy::of_name(name) else {
            return broken(
                &self.policy,
                format!("Bad LoadBalancer policy: {name:?} is not supported"),
            );
        };
        if let Some((position, _)) = self.ring_hash.filter(|_| policy != Policy::RingHash) {
            return Err(incompatible(position, "RingHashConfig", name));
        }
        if let Some((position, _)) = self.choice_count.filter(|_| policy != Policy::LeastRequest) {
            return Err(incompatible(position, "LeastRequestConfig", name));
        }
        let first = self.hash_policies.first().filter(|_| !policy.is_hash_based());
        if let Some(first) = first {
            let text = format!(
                "Bad LoadBalancer configuration: HashPolicies specified for non-hash-based Policy: \
                 {name:?}"
            );
            return Err(ConfigError::at(first.position, text));
        }
        for (hash, index) in self.hash_policies.iter().zip(0_usize..) {
            hash.check(&format!("Bad LoadBalancer HashPolicy[{index}]: "))?;
        }
        Ok(policy)
    }

    /// What layer 4 cannot do: refused, or told where something is left that it can.
    pub(super) fn check_layer(
        &self,
        policy: Policy,
        warnings: &mut Vec<ConfigError>,
    ) -> Result<(), ConfigError> {
        if policy == Policy::LeastRequest {
            return broken(
                &self.policy,
                "load_balancer.policy \"least_request\" is not supported yet",
            );
        }
        let by_address = self.hash_policies.iter().any(|hash| hash.source_ip.value);
        for (hash, index) in self.hash_policies.iter().zip(0_usize..) {
            let (field, place) = (&hash.field.value, hash.field.position);
            let which = format!("load_balancer.hash_policies[{index}]");
            if field.is_empty() {
                if !hash.source_ip.value {
                    let text = format!("{which} names nothing to hash and has no effect");
                    warnings.push(ConfigError::at(hash.position, text));
                }
                continue;
            }
            if !by_address {
                let text = format!(
                    "{which}: {field:?} needs layer 7; only source_ip can be hashed at layer 4"
                );
                return Err(ConfigError::at(place, text));
            }
            let text =
                format!("{which}: {field:?} needs layer 7 and is ignored; source_ip is hashed");
            warnings.push(ConfigError::at(place, text));
        }
        Ok(())
    }

    pub(super) fn settle(self, policy: Policy) -> LoadBalancer {
        LoadBalancer {
            policy,
            ring_hash: self.ring_hash.map(|(_, sizes)| sizes),
            choice_count: self.choice_count.map(|(_, count)| count),
            hash_policies: self.hash_policies.into_iter().map(HashDraft::settle).collect(),
        }
    }
}

fn incompatible(position: Position, config: &str, policy: &str) -> ConfigError {
    let text = format!(
        "Bad LoadBalancer configuration. {config} specified for incompatible load balancing policy \
         {policy:?}"
    );
    ConfigError::at(position, text)
}

impl HashDraft {
    /// Consul's rules, in its order.
    fn check(&self, prefix: &str) -> Result<(), ConfigError> {
        let (field, value) = (&self.field.value, &self.field_value.value);
        if !matches!(field.as_str(), "" | "header" | "cookie" | "query_parameter") {
            return broken(&self.field, format!("{prefix}{field:?} is not a supported field"));
        }
        if self.source_ip.value && !field.is_empty() {
            let text = format!(
                "{prefix}A single hash policy cannot hash both a source address and a {field:?}"
            );
            return broken(&self.field, text);
        }
        if self.source_ip.value && !value.is_empty() {
            let text = format!("{prefix}A FieldValue cannot be specified when hashing SourceIP");
            return broken(&self.field_value, text);
        }
        if !field.is_empty() && value.is_empty() {
            let text = format!("{prefix}Field {field:?} was specified without a FieldValue");
            return broken(&self.field, text);
        }
        if field.is_empty() && !value.is_empty() {
            let text = format!("{prefix}FieldValue requires a Field to apply to");
            return broken(&self.field_value, text);
        }
        let Some(cookie) = &self.cookie else { return Ok(()) };
        if field != "cookie" {
            let text = format!("{prefix}cookie_config provided for {field:?}");
            return Err(ConfigError::at(cookie.position, text));
        }
        if cookie.session && !cookie.ttl.value.unwrap_or_default().is_zero() {
            let text = format!("{prefix}a session cookie cannot have an associated TTL");
            return broken(&cookie.ttl, text);
        }
        Ok(())
    }

    fn settle(self) -> HashPolicy {
        HashPolicy {
            field: self.field.value,
            field_value: self.field_value.value,
            cookie: self.cookie.map(|cookie| Cookie {
                session: cookie.session,
                ttl: cookie.ttl.value.unwrap_or_default(),
                path: cookie.path,
            }),
            source_ip: self.source_ip.value,
            terminal: self.terminal,
        }
    }
}
