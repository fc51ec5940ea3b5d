//! What the query string of a request says, as Consul reads it.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;

use super::answer::Error;
use super::filter;
use crate::agent::{Handle, Refusal};
use crate::catalog::{DATACENTER, Health, Node, Registered};
use crate::filter::{ListFilter, Shape};
use crate::syntax::parse_duration;

/// How long a query waits for a change where it does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(300);
/// How long a query waits for a change at most.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// What is added to a wait is at most this part of it, so that queries do not come in herds.
const JITTER_PART: u32 = 16;

/// The parameters of a request. Names that mean nothing here are ignored, as by Consul.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The index that the client has seen; 0 if it wants an answer now.
    pub(super) index: u64,
    /// The content that the client has seen, by its hash.
    pub(super) hash: Option<String>,
    /// How long to wait for another.
    pub(super) wait: Duration,
    /// Only instances that pass.
    pub(super) passing: bool,
    /// Tags that an instance must have, in any case of letters.
    pub(super) tags: Vec<String>,
    /// Pairs that a node must have.
    pub(super) node_meta: Vec<(String, String)>,
    /// The filter expression.
    pub(super) filter: Option<String>,
    /// The index that an entry must be at.
    pub(super) cas: Option<u64>,
    /// The agents that a list of members is about.
    pub(super) wan: bool,
}

impl FromRequestParts<Handle> for Asked {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, handle: &Handle) -> Result<Self, Error> {
        let pairs = pairs(&parts.uri)?;
        check_place(&pairs, handle).await?;
        read(&pairs)
    }
}

/// How long the answer to a request may take longer than to one that waits for nothing.
pub(super) fn longest_wait(uri: &Uri) -> Duration {
    let asked = pairs(uri).and_then(|pairs| read(&pairs));
    asked.map_or(Duration::ZERO, |asked| if asked.waits() { asked.wait } else { Duration::ZERO })
}

/// Whether the query string has the parameter, whatever its value.
pub(super) fn has(uri: &Uri, name: &str) -> bool {
    pairs(uri).is_ok_and(|pairs| pairs.iter().any(|(key, _)| key == name))
}

impl Asked {
    /// Whether the client wants an answer only when something has changed.
    pub(super) fn waits(&self) -> bool {
        self.index > 0 || self.hash.as_ref().is_some_and(|hash| !hash.is_empty())
    }

    /// Whether `node` has the pairs asked for.
    pub(super) fn is_node(&self, node: &Node) -> bool {
        self.node_meta.iter().all(|(key, value)| node.meta.get(key) == Some(value))
    }

    /// Whether `registered` has the tags, the health and the node asked for.
    pub(super) fn is_instance(&self, registered: &Registered) -> bool {
        let tags = &registered.instance.tags;
        let tagged = |tag: &String| tags.iter().any(|own| own.eq_ignore_ascii_case(tag));
        (!self.passing || registered.health == Health::Passing)
            && self.tags.iter().all(tagged)
            && self.is_node(&registered.node)
    }

    /// The filter of a list of `shape`.
    pub(super) fn filter(&self, shape: Shape) -> Result<ListFilter, Error> {
        filter::read(self.filter.as_deref(), shape)
    }
}

/// The parameters of a query, in their order.
pub(super) fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Error> {
    let query = axum::extract::Query::try_from_uri(uri);
    let wrong = |error| Error(Refusal::bad_request(format!("Invalid query string: {error}")));
    query.map(|axum::extract::Query(pairs)| pairs).map_err(wrong)
}

/// Refuses a query about another place than this one.
async fn check_place(pairs: &[(String, String)], handle: &Handle) -> Result<(), Error> {
    let given = pairs.iter().filter(|(_, value)| !value.is_empty());
    for (name, value) in given {
        let edition = match name.as_str() {
            "dc" if value != DATACENTER => {
                let own = handle.call(|agent| agent.node().datacenter.clone()).await?;
                if *value != own {
                    return Err(Error(Refusal::invalid("No path to datacenter")));
                }
                continue;
            }
            "ns" | "namespace" if value != "default" => "Namespaces are",
            "partition" if value != "default" => "Partitions are",
            "peer" => "Peers are",
            "sg" | "sameness-group" => "Sameness groups are",
            _ => continue,
        };
        let text = format!("Invalid query parameter: {name:?} - {edition} not supported by canary");
        return Err(Error(Refusal::bad_request(text)));
    }
    Ok(())
}

fn read(pairs: &[(String, String)]) -> Result<Asked, Error> {
    let has = |wanted: &str| pairs.iter().any(|(name, _)| name == wanted);
    let value = |wanted: &str| {
        let found = pairs.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    };
    let all = |wanted: &'static str| {
        pairs.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| value)
    };
    let bad = |text: &str| Error(Refusal::bad_request(text));
    if has("stale") && has("consistent") {
        return Err(bad("Cannot specify ?stale with ?consistent, conflicting semantics."));
    }
    let number = |text: &str| text.parse::<u64>();
    let index = value("index").map(number).transpose().map_err(|_| bad("Invalid index"))?;
    let wait = value("wait").map(parse_duration).transpose();
    let wait = wait.map_err(|_| bad("Invalid wait time"))?.unwrap_or_default();
    let cas = value("cas").map(number).transpose().map_err(|_| {
        let text = value("cas").unwrap_or_default();
        bad(&format!("cas must be an index, not {text:?}"))
    })?;
    let pair = |text: &String| {
        let (key, value) = text.split_once(':').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    Ok(Asked {
        index: index.unwrap_or_default(),
        hash: value("hash").map(str::to_owned),
        wait: with_jitter(wait),
        // Consul takes the bare word for yes, and any spelling of a boolean.
        passing: has("passing") && !matches!(value("passing"), Some("0" | "f" | "false" | "F")),
        tags: all("tag").cloned().collect(),
        node_meta: all("node-meta").map(pair).collect(),
        filter: value("filter").map(str::to_owned),
        cas,
        wan: has("wan"),
    })
}

fn with_jitter(wait: Duration) -> Duration {
    let wait = if wait.is_zero() { DEFAULT_WAIT } else { wait.min(MAX_WAIT) };
    let most = u64::try_from((wait / JITTER_PART).as_nanos()).unwrap_or(u64::MAX);
    // Each state of this hasher has keys of its own.
    let random = RandomState::new().hash_one(()).checked_rem(most).unwrap_or(0);
    wait.saturating_add(Duration::from_nanos(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Asked, String> {
        let uri: Uri = format!("/v1/health/service/web?{query}").parse().unwrap();
        pairs(&uri).and_then(|pairs| read(&pairs)).map_err(|error| error.0.text)
    }

    #[test]
    fn parameters_are_read_as_consul_reads_them() {
        let read = asked("index=7&wait=10s&passing&tag=v1&tag=V2&node-meta=a:b:c&near=_agent&x=y");
        let read = read.unwrap();

        assert_eq!((read.index, read.passing, read.waits()), (7, true, true));
        assert_eq!(read.tags, ["v1", "V2"]);
        assert_eq!(read.node_meta, [("a".to_owned(), "b:c".to_owned())]);
        assert!(!asked("index=0").unwrap().waits());
        assert!(!asked("passing=false").unwrap().passing);
        assert_eq!(asked("cas=0").unwrap().cas, Some(0));
    }

    #[test]
    fn a_wait_is_five_minutes_by_default_ten_at_most_and_up_to_a_sixteenth_longer() {
        for (query, wait) in [("", 300), ("wait=0s", 300), ("wait=1m", 60), ("wait=5h", 600)] {
            let wait = Duration::from_secs(wait);
            let longest = wait + wait / JITTER_PART;
            let waits: Vec<_> = (0..32).map(|_| asked(query).unwrap().wait).collect();

            assert!(waits.iter().all(|got| (wait..=longest).contains(got)), "{query}: {waits:?}");
            assert!(waits.iter().any(|got| *got != waits[0]), "{query}: {waits:?}");
        }
    }

    #[test]
    fn what_is_no_number_or_time_is_refused_in_consuls_words() {
        for (query, text) in [
            ("index=x", "Invalid index"),
            ("index=-1", "Invalid index"),
            ("index=99999999999999999999", "Invalid index"),
            ("wait=10", "Invalid wait time"),
            ("wait=x", "Invalid wait time"),
            ("stale&consistent", "Cannot specify ?stale with ?consistent, conflicting semantics."),
            ("cas=x", "cas must be an index, not \"x\""),
        ] {
            assert_eq!(asked(query).unwrap_err(), text, "{query}");
        }
    }
}
