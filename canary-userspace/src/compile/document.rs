//! A compiled chain as Consul's API shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::chain::{Chain, Chains, Leaf};
use crate::catalog::DATACENTER;
use crate::document::chain::{
    Chain as Document, Definition, DiscoveryChain, Failover, HashPolicy, LeastRequestConfig,
    LoadBalancer, Node, Resolver, RingHashConfig, Split, Subset, Target as TargetDocument,
};
use crate::entry::reference::{self, Entries, Target};
use crate::entry::{self, Policy, Units};
use crate::snapshot::Snapshot;
use crate::syntax::format_duration;

/// Consul's time for a connection to open where no resolver says one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The one namespace, and the one partition.
const DEFAULT: &str = "default";

/// The chain of `service`, which need not exist: then it is the default chain.
///
/// # Errors
///
/// Why it cannot be compiled, in Consul's words.
pub fn discovery_chain(snapshot: &Snapshot, service: &str) -> Result<DiscoveryChain, String> {
    let (chain, _) = Chains::new(snapshot).chain(service);
    let chain = chain?;
    let mut document = Document {
        service_name: service.to_owned(),
        namespace: DEFAULT.to_owned(),
        partition: DEFAULT.to_owned(),
        datacenter: DATACENTER.to_owned(),
        protocol: snapshot.protocol(service).to_owned(),
        service_meta: service_meta(snapshot, service),
        ..Document::default()
    };
    for ((leaf, _), failover) in chain.leaves.iter().zip(&chain.failover) {
        let node = resolver_node(snapshot, leaf.target);
        document.nodes.insert(key_of(&node), node);
        for target in std::iter::once(&leaf.target).chain(failover) {
            document.targets.insert(target.id(), target_of(snapshot, *target));
        }
    }
    let start = match snapshot.splitter(service) {
        Some(_) => splitter_node(service, &chain),
        None => chain
            .leaves
            .first()
            .map(|(leaf, _)| resolver_node(snapshot, leaf.target))
            .unwrap_or_default(),
    };
    let is_default = start.resolver.as_ref().is_some_and(|resolver| resolver.default);
    document.default = is_default && start.name == Target { service, subset: "" }.id();
    document.start_node = key_of(&start);
    document.nodes.insert(key_of(&start), start);
    Ok(DiscoveryChain { chain: document })
}

fn key_of(node: &Node) -> String {
    format!("{}:{}", node.r#type, node.name)
}

fn splitter_node(service: &str, chain: &Chain<'_>) -> Node {
    let split = |(leaf, weight): &(Leaf<'_>, Units)| Split {
        definition: definition(leaf),
        weight: percent(*weight),
        next_node: format!("resolver:{}", leaf.target.id()),
    };
    Node {
        r#type: "splitter".to_owned(),
        name: format!("{service}.{DEFAULT}.{DEFAULT}"),
        splits: chain.leaves.iter().map(split).collect(),
        load_balancer: chain.balancer.map(load_balancer),
        ..Node::default()
    }
}

fn definition(leaf: &Leaf<'_>) -> Definition {
    let split = leaf.split;
    let text = |of: fn(&entry::Split) -> &String| split.map(of).cloned().unwrap_or_default();
    Definition {
        weight: percent(split.map_or(0, |split| split.weight)),
        service: text(|split| &split.service),
        service_subset: text(|split| &split.service_subset),
    }
}

fn resolver_node(snapshot: &Snapshot, target: Target<'_>) -> Node {
    let resolver = snapshot.resolver(target.service);
    // As the section names them: one that leads nowhere would have been an error before.
    let failover: Vec<String> =
        reference::failover(&snapshot, target, &mut reference::Asked::new())
            .unwrap_or_default()
            .iter()
            .map(Target::id)
            .collect();
    let request = resolver.map_or(Duration::ZERO, |resolver| resolver.request_timeout);
    Node {
        r#type: "resolver".to_owned(),
        name: target.id(),
        resolver: Some(Resolver {
            default: resolver.is_none_or(entry::Resolver::says_nothing),
            connect_timeout: connect_timeout(resolver),
            request_timeout: if request.is_zero() {
                String::new()
            } else {
                format_duration(request)
            },
            target: target.id(),
            failover: (!failover.is_empty()).then_some(Failover { targets: failover }),
        }),
        load_balancer: resolver.and_then(|r| r.load_balancer.as_ref()).map(load_balancer),
        ..Node::default()
    }
}

fn connect_timeout(resolver: Option<&entry::Resolver>) -> String {
    let said = resolver.map(|resolver| resolver.connect_timeout).filter(|time| !time.is_zero());
    format_duration(said.unwrap_or(CONNECT_TIMEOUT))
}

fn target_of(snapshot: &Snapshot, target: Target<'_>) -> TargetDocument {
    let resolver = snapshot.resolver(target.service);
    let subset = resolver.and_then(|resolver| resolver.subsets.get(target.subset));
    TargetDocument {
        id: target.id(),
        service: target.service.to_owned(),
        service_subset: target.subset.to_owned(),
        namespace: DEFAULT.to_owned(),
        partition: DEFAULT.to_owned(),
        datacenter: DATACENTER.to_owned(),
        mesh_gateway: BTreeMap::new(),
        subset: subset.map_or_else(Subset::default, |subset| Subset {
            filter: subset.filter.clone(),
            only_passing: subset.only_passing,
        }),
        connect_timeout: connect_timeout(resolver),
    }
}

fn load_balancer(balancer: &entry::LoadBalancer) -> LoadBalancer {
    let policy = |policy: &entry::HashPolicy| HashPolicy {
        field: policy.field.clone(),
        field_value: policy.field_value.clone(),
        source_ip: policy.source_ip,
        terminal: policy.terminal,
    };
    LoadBalancer {
        policy: policy_name(balancer.policy).to_owned(),
        ring_hash_config: balancer.ring_hash.map(|ring| RingHashConfig {
            minimum_ring_size: ring.minimum_ring_size,
            maximum_ring_size: ring.maximum_ring_size,
        }),
        least_request_config: balancer
            .choice_count
            .map(|choice_count| LeastRequestConfig { choice_count }),
        hash_policies: balancer.hash_policies.iter().map(policy).collect(),
    }
}

/// The policy as entries name it.
const fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Unset => "",
        Policy::Random => "random",
        Policy::RoundRobin => "round_robin",
        Policy::LeastRequest => "least_request",
        Policy::RingHash => "ring_hash",
        Policy::Maglev => "maglev",
    }
}

/// The meta of the service's defaults, as far as it is pairs of texts.
fn service_meta(snapshot: &Snapshot, service: &str) -> BTreeMap<String, String> {
    let defaults = snapshot.defaults.get(service).map(|entry| &entry.value.other);
    let mut keys = defaults.into_iter().flatten();
    let meta = keys.find(|(key, _)| key.eq_ignore_ascii_case("meta"));
    let pairs = meta.and_then(|(_, meta)| meta.as_object()).into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn percent(units: Units) -> f64 {
    f64::from(units) / 100.0
}
