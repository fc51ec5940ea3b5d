//! A step's requests, and what agent and pods counted of them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};

use super::{
    cluster::{Cluster, FRONT},
    document::Step,
    narrator::Narrator,
};
use crate::{
    lab::wait_for,
    workload::get::{Requests, request_many},
};

/// Requests at the same time.
const CLIENTS: usize = 8;

/// How long a pod may take to accept a connection that its kernel has.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// What was sent to the front, and where it went.
#[derive(Clone, Debug)]
pub struct Measured {
    /// For the document.
    pub step: Step,
    /// For the story.
    pub requests: Requests,
}

impl Measured {
    /// Connections of a subset.
    #[must_use]
    pub fn subset(&self, name: &str) -> u64 {
        self.step.by_subset.get(name).copied().unwrap_or_default()
    }

    /// Whether a subset got about `percent` of the connections: within five standard
    /// deviations, which chance exceeds once in a million runs.
    ///
    /// # Errors
    ///
    /// If it got more or less.
    pub fn expect_share(&self, subset: &str, percent: u32) -> Result<()> {
        let share = f64::from(percent) / 100.0;
        let count = exact(self.step.by_subset.values().sum())?;
        let (mean, got) = (count * share, exact(self.subset(subset))?);
        let bound = 5.0 * (count * share * (1.0 - share)).sqrt();
        ensure!(
            (got - mean).abs() <= bound,
            "{subset} got {got} of {count} connections, not {mean} within {bound:.0}"
        );
        Ok(())
    }
}

/// Sends `count` requests through web, api and payments, and counts them on all sides.
///
/// # Errors
///
/// If agent and pods disagree, or a request made more or fewer connections than one.
pub fn measure(
    cluster: &Cluster<'_>,
    narrator: Narrator,
    name: &str,
    count: u64,
) -> Result<Measured> {
    let web = &cluster.pod_of("web")?.pod.namespace;
    let (before, pods_before) = (opened(cluster)?, accepted(cluster)?);

    let requests = request_many(web, FRONT, CLIENTS, count)?;

    let by_subset = grown(&before, &opened(cluster)?);
    let mut pods = BTreeMap::new();
    let agreed = wait_for("agent and pods to agree", ACCEPT_TIMEOUT, || {
        pods = grown(&pods_before, &accepted(cluster)?);
        Ok(agrees(&by_subset, &pods))
    });
    ensure!(
        agreed.is_ok(),
        "{name}: the agent counted {by_subset:?} connections, the pods accepted {pods:?}"
    );
    let connections: u64 = by_subset.values().sum();
    ensure!(connections == count, "{name}: {count} requests made {connections} connections");
    tell(narrator, &requests, &pods)?;
    let step = Step { name: name.to_owned(), requests: count, by_subset, failed: requests.failed };
    Ok(Measured { step, requests })
}

/// Connections of payments by subset as the agent counts them.
fn opened(cluster: &Cluster<'_>) -> Result<BTreeMap<String, u64>> {
    let mut opened = BTreeMap::new();
    for split in cluster.lab().service("payments")?.splits {
        opened.insert(split.subset, split.connections.opened);
    }
    // A subset without a share has no line of its own and gets nothing; without entries
    // there is one line for all, whose subset has no name.
    if !opened.contains_key("") {
        for subset in ["blue", "green"] {
            opened.entry(subset.to_owned()).or_default();
        }
    }
    Ok(opened)
}

/// Connections that payments' pods accepted.
fn accepted(cluster: &Cluster<'_>) -> Result<BTreeMap<String, u64>> {
    ["blue", "green"]
        .into_iter()
        .map(|subset| Ok((subset.to_owned(), cluster.accepted(subset)?)))
        .collect()
}

fn grown(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let earlier = |name: &String| before.get(name).copied().unwrap_or_default();
    after.iter().map(|(name, now)| (name.clone(), now.saturating_sub(earlier(name)))).collect()
}

/// Whether the agent's counts are the pods'; without entries it has one count for all.
fn agrees(by_subset: &BTreeMap<String, u64>, pods: &BTreeMap<String, u64>) -> bool {
    match by_subset.get("") {
        Some(all) if by_subset.len() == 1 => *all == pods.values().sum::<u64>(),
        _ => by_subset == pods,
    }
}

fn tell(narrator: Narrator, requests: &Requests, pods: &BTreeMap<String, u64>) -> Result<()> {
    let (half, most) = (requests.percentile_ms(50), requests.percentile_ms(99));
    let pods: Vec<_> = pods.iter().map(|(name, count)| format!("{name} {count}")).collect();
    narrator.measured(&format!(
        "{} requests to web, {} failed; p50 {half:.1} ms, p99 {most:.1} ms",
        requests.sent, requests.failed
    ))?;
    for (failure, count) in &requests.failures {
        narrator.measured(&format!("  {count} x {failure}"))?;
    }
    narrator.measured(&format!("payments' pods accepted: {}; the agent agrees", pods.join(", ")))
}

/// A count as a floating point number, which is exact for any count of a demo.
fn exact(count: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
        counts.map(|(name, count)| (name.to_owned(), count)).into()
    }

    #[test]
    fn one_connection_too_few_is_a_mismatch() {
        let pods = counts([("blue", 100), ("green", 100)]);

        assert!(agrees(&counts([("blue", 100), ("green", 100)]), &pods));
        assert!(!agrees(&counts([("blue", 101), ("green", 99)]), &pods));
        assert!(agrees(&counts([("", 200)]), &pods));
        assert!(!agrees(&counts([("", 199)]), &pods));
    }

    #[test]
    fn shares_far_from_their_mean_are_refused() {
        let measured = |green| Measured {
            step: Step {
                name: "ramp-5".into(),
                requests: 2000,
                by_subset: counts([("blue", 2000 - green), ("green", green)]),
                failed: 0,
            },
            requests: Requests::default(),
        };

        assert!(measured(100).expect_share("green", 5).is_ok());
        assert!(measured(148).expect_share("green", 5).is_ok());
        assert!(measured(150).expect_share("green", 5).is_err());
        assert!(measured(50).expect_share("green", 5).is_err());
    }
}
