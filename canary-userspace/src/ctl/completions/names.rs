//! Names that a running agent knows.

use std::collections::BTreeSet;
use std::env;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::ctl::address::DEFAULT_AGENT;
use crate::ctl::client::{Client, escape};
use crate::ctl::config::{kind_path, path};
use crate::document::Weights;
use crate::source::{KINDS, RESOLVER, SPLITTER};

/// Time that an agent has for all that is asked: a person is typing.
const PATIENCE: Duration = Duration::from_millis(150);

/// Finds the names that an argument may have.
pub(super) type Ask = fn(&Words) -> Vec<String>;

/// Who tells the names of the argument `id` of `verb`; `None` where they are nobody's to tell.
pub(super) fn of(verb: &str, id: &str) -> Option<Ask> {
    Some(match (verb, id) {
        (_, "service") | ("explain", "what") => |words| words.ask(&services),
        ("set", "weights") => |words| words.ask(&weights),
        ("rollback", "to") | ("sever", "subset") => |words| words.ask(&subsets),
        ("deregister" | "maintenance", "id") => |words| words.ask(&instances),
        ("flows" | "observe", "kind") => return None,
        ("flows" | "observe", "subset") => |words| words.ask(&subsets),
        (_, "kind") => |_| KINDS.map(str::to_owned).to_vec(),
        (_, "name") => |words| words.ask(&entries),
        _ => return None,
    })
}

/// The words of the command line that is being typed.
#[derive(Debug)]
pub(super) struct Words(Vec<String>);

impl Words {
    pub(super) fn new(words: Vec<String>) -> Self {
        Self(words)
    }

    /// The value of a flag, in either form.
    fn flag(&self, name: &str) -> Option<&str> {
        let mut words = self.0.iter();
        while let Some(word) = words.next() {
            if word == name {
                return words.next().map(String::as_str);
            }
            let value = word.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
            if value.is_some() {
                return value;
            }
        }
        None
    }

    /// The word after `verb` that is no flag: the service.
    fn service(&self) -> Option<&str> {
        let verbs = ["set", "rollback", "sever", "flows", "observe"];
        let verb = self.0.iter().position(|word| verbs.contains(&word.as_str()))?;
        let mut rest = self.0.iter().skip(verb.saturating_add(1));
        rest.find(|word| !word.starts_with('-')).map(String::as_str)
    }

    /// Runs `question` against the agent that the words, else the environment, name.
    fn ask(&self, question: &impl AsyncFn(&Client, &Self) -> Option<Vec<String>>) -> Vec<String> {
        let set = env::var("CANARY_AGENT").ok().filter(|address| !address.is_empty());
        let address = self.flag("--agent").map(str::to_owned).or(set);
        let address = address.as_deref().unwrap_or(DEFAULT_AGENT).parse();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (Ok(address), Ok(runtime)) = (address, runtime) else { return Vec::new() };
        // Certificates in files are not read here: an agent that asks for them tells no names.
        let token = env::var("CANARY_TOKEN").ok().filter(|token| !token.is_empty());
        let client = Client::new(address).with_token(token);
        let asked = async { timeout(PATIENCE, question(&client, self)).await };
        let answer = runtime.block_on(asked).ok().flatten().unwrap_or_default();
        runtime.shutdown_background();
        answer
    }
}

async fn get(client: &Client, path: &str) -> Option<Value> {
    client.get(path).await.ok()?.ok().ok()?.json().ok()
}

/// Services that have instances or entries.
async fn services(client: &Client, _: &Words) -> Option<Vec<String>> {
    let registered: Map<String, Value> =
        serde_json::from_value(get(client, "/v1/catalog/services").await?).ok()?;
    let mut names: BTreeSet<String> = registered.into_iter().map(|(name, _)| name).collect();
    for kind in [RESOLVER, SPLITTER] {
        names.extend(names_of(client, kind).await.unwrap_or_default());
    }
    Some(names.into_iter().collect())
}

async fn names_of(client: &Client, kind: &str) -> Option<Vec<String>> {
    let entries: Vec<Value> = serde_json::from_value(get(client, &kind_path(kind)).await?).ok()?;
    let name = |entry: &Value| entry.get("Name")?.as_str().map(str::to_owned);
    Some(entries.iter().filter_map(name).collect())
}

/// Names of entries, of the kind that is given or of all.
async fn entries(client: &Client, words: &Words) -> Option<Vec<String>> {
    let mut names = BTreeSet::new();
    let kinds = words.flag("--kind").map_or_else(|| KINDS.to_vec(), |kind| vec![kind]);
    for kind in kinds {
        names.extend(names_of(client, kind).await?);
    }
    Some(names.into_iter().collect())
}

/// Subsets of the service's resolver.
async fn subsets(client: &Client, words: &Words) -> Option<Vec<String>> {
    let resolver = get(client, &path(RESOLVER, words.service()?)).await?;
    let names: BTreeSet<&String> = resolver.get("Subsets")?.as_object()?.keys().collect();
    Some(names.into_iter().cloned().collect())
}

/// Subsets and targets of the service's splits, each ready for a weight.
async fn weights(client: &Client, words: &Words) -> Option<Vec<String>> {
    let service = words.service()?;
    let mut names: BTreeSet<String> =
        subsets(client, words).await.unwrap_or_default().into_iter().collect();
    let path = format!("/v1/canary/split/{}", escape(service));
    let splits: Option<Weights> =
        get(client, &path).await.and_then(|weights| serde_json::from_value(weights).ok());
    for split in splits.into_iter().flat_map(|weights| weights.splits) {
        names.insert(if split.subset.is_empty() { split.service } else { split.subset });
    }
    let given = |name: &String| words.0.iter().any(|word| word.starts_with(&format!("{name}=")));
    Some(names.into_iter().filter(|name| !given(name)).map(|name| format!("{name}=")).collect())
}

/// Ids of registered instances.
async fn instances(client: &Client, _: &Words) -> Option<Vec<String>> {
    let registered = get(client, "/v1/agent/services").await?;
    let ids: BTreeSet<&String> = registered.as_object()?.keys().collect();
    Some(ids.into_iter().cloned().collect())
}
