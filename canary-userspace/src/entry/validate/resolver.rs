//! The rules for a resolver.

use std::collections::BTreeMap;
use std::time::Duration;

use super::target::broken;
use super::{BalancerDraft, FailoverDraft, Head, RedirectDraft};
use crate::entry::{ON_EMPTY, Resolver, Subset};
use crate::error::{ConfigError, Position};
use crate::filter::Filter;
use crate::syntax::{Placed, format_nanoseconds};

/// Characters that a subset's name may have.
const MAX_SUBSET_NAME: usize = 63;

/// A resolver as it was written.
pub(in crate::entry) struct ResolverDraft {
    pub(in crate::entry) head: Head,
    pub(in crate::entry) default_subset: Placed<String>,
    pub(in crate::entry) subsets: BTreeMap<String, SubsetDraft>,
    pub(in crate::entry) redirect: Option<RedirectDraft>,
    pub(in crate::entry) failover: BTreeMap<String, FailoverDraft>,
    pub(in crate::entry) connect_timeout: Placed<i64>,
    pub(in crate::entry) request_timeout: Placed<i64>,
    /// Where it is asked to prefer instances that are near.
    pub(in crate::entry) locality: Option<Position>,
    pub(in crate::entry) balancer: Option<BalancerDraft>,
}

/// A subset as it was written.
pub(in crate::entry) struct SubsetDraft {
    /// Where its name is.
    pub(in crate::entry) position: Position,
    pub(in crate::entry) filter: Placed<String>,
    pub(in crate::entry) only_passing: bool,
}

impl ResolverDraft {
    /// Checks all rules.
    pub(in crate::entry) fn settle(
        self,
        warnings: &mut Vec<ConfigError>,
    ) -> Result<Resolver, ConfigError> {
        let name = self.head.name.as_str();
        self.head.check_name()?;
        self.head.check_meta()?;
        self.check_subsets(warnings)?;
        if let Some(redirect) = &self.redirect {
            let failover = self.failover.values().next().map(|failover| failover.position);
            redirect.check(name, &self.subsets, failover)?;
        }
        for (key, failover) in &self.failover {
            failover.check(key, name, &self.subsets)?;
        }
        for (place, field) in
            [(&self.connect_timeout, "ConnectTimeout"), (&self.request_timeout, "RequestTimeout")]
        {
            if place.value < 0 {
                let timeout = format_nanoseconds(place.value);
                return broken(place, format!("Bad {field} '{timeout}', must be >= 0"));
            }
        }
        if let Some(position) = self.locality {
            // The blank at the end is Consul's.
            let text = "Prioritize-by-locality requires Consul Enterprise ";
            return Err(ConfigError::at(position, text));
        }
        let balancer = match self.balancer {
            Some(balancer) => {
                let policy = balancer.check()?;
                Some((balancer, policy))
            }
            None => None,
        };
        if let Some(redirect) = &self.redirect {
            redirect.check_reach()?;
        }
        for (key, failover) in &self.failover {
            failover.check_reach(key)?;
        }
        if let Some((balancer, policy)) = &balancer {
            balancer.check_layer(*policy, warnings)?;
        }
        warn_of_timeouts(&self.connect_timeout, &self.request_timeout, warnings);
        if self.head.meta.contains_key(ON_EMPTY) {
            let text = format!("meta {ON_EMPTY} has no effect here: the service-splitter says it");
            warnings.push(ConfigError::at(self.head.meta_position, text));
        }
        let subset = |draft: SubsetDraft| Subset {
            filter: draft.filter.value,
            only_passing: draft.only_passing,
        };
        Ok(Resolver {
            default_subset: self.default_subset.value,
            subsets: self.subsets.into_iter().map(|(key, draft)| (key, subset(draft))).collect(),
            redirect: self.redirect.map(RedirectDraft::settle),
            failover: self.failover.into_iter().map(|(key, draft)| (key, draft.settle())).collect(),
            connect_timeout: Duration::from_nanos(self.connect_timeout.value.unsigned_abs()),
            request_timeout: Duration::from_nanos(self.request_timeout.value.unsigned_abs()),
            load_balancer: balancer.map(|(balancer, policy)| balancer.settle(policy)),
            name: self.head.name,
            meta: self.head.meta,
        })
    }

    fn check_subsets(&self, warnings: &mut Vec<ConfigError>) -> Result<(), ConfigError> {
        for (subset, draft) in &self.subsets {
            check_subset_name(subset).map_err(|text| ConfigError::at(draft.position, text))?;
            let filter = &draft.filter;
            let parsed = Filter::parse(&filter.value).map_err(|error| {
                let words = |text: &str| {
                    format!("Filter for subset {subset:?} is not a valid expression: {text}")
                };
                error.in_words(words).placed(filter.position)
            })?;
            if let Err(reason) = parsed.check() {
                let text = format!(
                    "Filter for subset {subset:?} cannot be evaluated, so the subset has no instances: {reason}"
                );
                warnings.push(ConfigError::at(filter.position, text));
            }
        }
        let default = &self.default_subset;
        if !default.value.is_empty() && !self.subsets.contains_key(&default.value) {
            let text = format!("DefaultSubset {:?} is not a valid subset", default.value);
            return broken(default, text);
        }
        Ok(())
    }
}

/// A subset's name is a DNS label.
fn check_subset_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Subset defined with empty name".to_owned());
    }
    if name.len() > MAX_SUBSET_NAME {
        return Err(format!(
            "Subset {name:?} is invalid: must be non-empty and 63 characters or fewer"
        ));
    }
    let legal = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if legal && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(());
    }
    Err(format!(
        "Subset {name:?} is invalid: must be 63 characters or fewer, begin or end with lower case \
         alphanumeric characters, and contain lower case alphanumeric characters or '-' in between"
    ))
}

/// Timeouts are kept for those who read the entry, and wait for nothing.
fn warn_of_timeouts(connect: &Placed<i64>, request: &Placed<i64>, warnings: &mut Vec<ConfigError>) {
    let (place, words) = match (connect.value > 0, request.value > 0) {
        (true, true) => (
            connect,
            "connect_timeout and request_timeout have no effect: nothing at layer 4 waits for them",
        ),
        (true, false) => {
            (connect, "connect_timeout has no effect: nothing at layer 4 waits for it")
        }
        (false, true) => {
            (request, "request_timeout has no effect: nothing at layer 4 waits for it")
        }
        (false, false) => return,
    };
    warnings.push(ConfigError::at(place.position, words));
}
