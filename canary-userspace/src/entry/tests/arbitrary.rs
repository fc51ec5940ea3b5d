//! Any entry that the rules let pass.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value as Json, json};

use crate::entry::{
    Cookie, Entry, Failover, FailoverTarget, HashPolicy, LoadBalancer, Policy, ProxyDefaults,
    Redirect, Resolver, RingHash, ServiceDefaults, Split, Splitter, Subset, WHOLE,
};

/// An entry of any kind that is served.
pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        resolver().prop_map(Entry::Resolver),
        splitter().prop_map(Entry::Splitter),
        (name(), name(), other()).prop_map(|(name, protocol, other)| {
            let protocol = protocol.to_lowercase();
            Entry::Defaults(ServiceDefaults { name, protocol, other })
        }),
        (option::of(name()), other()).prop_map(|(protocol, mut other)| {
            if let Some(protocol) = &protocol {
                other.insert("Config".to_owned(), json!({ "protocol": protocol, "x": [1, 2.5] }));
            }
            let protocol = protocol.unwrap_or_default().to_lowercase();
            Entry::Proxy(ProxyDefaults { name: "global".to_owned(), protocol, other })
        }),
    ]
}

/// A text with all that could end a string too early or mean something in it.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,6}",
        ".{0,12}",
        vec(
            select(vec![
                "\"",
                "\\",
                "${",
                "%{",
                "$",
                "}",
                "{",
                "\n",
                "\t",
                "\r",
                "\u{7}",
                "\0",
                "\u{feff}",
                "EOT",
                "\u{e9}",
                "\u{1f600}",
                "$${",
                "\u{2028}",
                "\\n"
            ]),
            0..6
        )
        .prop_map(|parts| parts.concat()),
    ]
}

fn name() -> impl Strategy<Value = String> {
    text().prop_filter("a name is not empty", |name| !name.is_empty())
}

fn label() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9-]{0,4}[a-z0-9])?"
}

fn meta() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..4)
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(0), 0..10_000_u64, 0..i64::MAX.unsigned_abs()].prop_map(Duration::from_nanos)
}

/// Keys that no field of the kind has.
fn other() -> impl Strategy<Value = Map<String, Json>> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>()
            .prop_filter("whole numbers are integers", |n| n.is_finite()
                && n.to_string().parse::<i64>().is_err())
            .prop_map(Json::from),
        text().prop_map(Json::from),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Json::from),
            btree_map(text(), inner, 0..3)
                .prop_map(|map| map.into_iter().collect::<Map<_, _>>().into()),
        ]
    });
    btree_map("[x-z]{1,5}", value, 0..4).prop_map(|map| map.into_iter().collect())
}

fn target() -> impl Strategy<Value = FailoverTarget> {
    ("other[a-z]{0,3}", text())
        .prop_map(|(service, service_subset)| FailoverTarget { service, service_subset })
}

fn failover() -> impl Strategy<Value = Failover> {
    prop_oneof![target().prop_map(Failover::One), vec(target(), 1..4).prop_map(Failover::Targets),]
}

fn balancer() -> impl Strategy<Value = LoadBalancer> {
    let policy = select(vec![
        Policy::Unset,
        Policy::Random,
        Policy::RoundRobin,
        Policy::RingHash,
        Policy::Maglev,
    ]);
    let size = 0..i64::MAX.unsigned_abs();
    let sizes = (size.clone(), size).prop_map(|(minimum_ring_size, maximum_ring_size)| RingHash {
        minimum_ring_size,
        maximum_ring_size,
    });
    (policy, option::of(sizes), vec(hash_policy(), 0..3)).prop_map(
        |(policy, sizes, mut policies)| {
            if !policies.iter().any(|hash| hash.source_ip) {
                policies.push(HashPolicy { source_ip: true, ..HashPolicy::default() });
            }
            LoadBalancer {
                policy,
                ring_hash: sizes.filter(|_| policy == Policy::RingHash),
                choice_count: None,
                hash_policies: if policy.is_hash_based() { policies } else { Vec::new() },
            }
        },
    )
}

fn hash_policy() -> impl Strategy<Value = HashPolicy> {
    let cookie = (any::<bool>(), duration(), text()).prop_map(|(session, ttl, path)| Cookie {
        session,
        ttl: if session { Duration::ZERO } else { ttl },
        path,
    });
    let of_field =
        (select(vec!["header", "query_parameter"]), name()).prop_map(|(field, value)| HashPolicy {
            field: field.to_owned(),
            field_value: value,
            ..HashPolicy::default()
        });
    let of_cookie = (name(), option::of(cookie)).prop_map(|(field_value, cookie)| HashPolicy {
        field: "cookie".to_owned(),
        field_value,
        cookie,
        ..HashPolicy::default()
    });
    let of_address = any::<bool>().prop_map(|terminal| HashPolicy {
        source_ip: true,
        terminal,
        ..HashPolicy::default()
    });
    prop_oneof![of_field, of_cookie, of_address]
}

fn resolver() -> impl Strategy<Value = Resolver> {
    let filter = select(vec![
        String::new(),
        "Service.Meta.version == 2".to_owned(),
        "Service.Meta[\"${x}\"] == `%{y}\n`".to_owned(),
        "\"\u{e9}\" in Service.Tags".to_owned(),
    ]);
    let subset =
        (filter, any::<bool>()).prop_map(|(filter, only_passing)| Subset { filter, only_passing });
    let elsewhere = prop_oneof![
        Just((None, Vec::new())),
        target().prop_map(|target| {
            let FailoverTarget { service, service_subset } = target;
            (Some(Redirect { service, service_subset }), Vec::new())
        }),
        vec(failover(), 1..3).prop_map(|failover| (None, failover)),
    ];
    let timeouts = (duration(), duration());
    let parts = (name(), btree_map(label(), subset, 0..4), elsewhere, timeouts);
    (parts, option::of(balancer()), meta(), any::<prop::sample::Index>()).prop_map(
        |(
            (name, subsets, (redirect, sections), (connect, request)),
            load_balancer,
            meta,
            index,
        )| {
            let mut keys: Vec<String> = subsets.keys().cloned().collect();
            keys.push("*".to_owned());
            let default = index.get(&keys);
            Resolver {
                default_subset: if default == "*" { String::new() } else { default.clone() },
                failover: keys.into_iter().rev().zip(sections).collect(),
                name,
                subsets,
                redirect,
                connect_timeout: connect,
                request_timeout: request,
                load_balancer,
                meta,
            }
        },
    )
}

fn splitter() -> impl Strategy<Value = Splitter> {
    let targets = btree_set((text(), text()), 1..5);
    (name(), targets, vec(0..=WHOLE, 4), meta()).prop_map(|(name, targets, cuts, meta)| {
        // The own name and no name are the same target.
        let targets: Vec<_> = targets.into_iter().filter(|(service, _)| *service != name).collect();
        let targets = if targets.is_empty() { vec![Default::default()] } else { targets };
        let mut cuts = cuts[..targets.len() - 1].to_vec();
        cuts.sort_unstable();
        let (starts, ends) =
            (std::iter::once(0).chain(cuts.clone()), cuts.iter().copied().chain([WHOLE]));
        let weights = starts.zip(ends).map(|(start, end)| end - start);
        let splits = targets
            .into_iter()
            .zip(weights)
            .map(|((service, service_subset), weight)| Split { weight, service, service_subset });
        Splitter { name, splits: splits.collect(), meta }
    })
}
