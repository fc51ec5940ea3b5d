mod limits;
mod lists;
mod mistakes;
mod table;

use std::fmt::Write;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalog::{CheckState, Health, Instance, Node, Origin, Registered, Weights};

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> crate::catalog::Pairs<String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// An instance that has everything.
fn registered() -> Registered {
    let node = Node {
        id: "7d2f-1".to_owned(),
        name: "n1".to_owned(),
        address: "192.0.2.1".to_owned(),
        datacenter: "dc1".to_owned(),
        meta: texts([("zone", "a")]),
        tagged_addresses: texts([("lan", "192.0.2.7")]),
    };
    let instance = Instance {
        service: "payments".to_owned(),
        id: "payments-blue-1".to_owned(),
        address: Some("10.244.1.1".parse().unwrap()),
        port: 9090,
        tags: vec!["v2".to_owned(), "blue".to_owned()],
        meta: texts([
            ("version", "2"),
            ("long", "12"),
            ("empty", ""),
            ("pod-name", "p1"),
            ("a.b", "x"),
            ("tag", "v2"),
            ("dots", "v2.rc1"),
            ("minor", "2.0"),
            ("negative", "-1"),
            ("word", "and"),
            ("lines", "a\n\tb\\"),
            ("unicode", "\u{fc}ber"),
            ("digits", "\u{664}\u{662}"),
            ("spaced", "a\u{a0}b"),
            ("sets", "a&b"),
            ("quoted", "a.b*"),
        ]),
        tagged_addresses: [
            ("virtual".to_owned(), "10.96.0.10:80".parse().unwrap()),
            ("six".to_owned(), "[fd00::1]:80".parse().unwrap()),
        ]
        .into(),
        weights: Weights { passing: 3, warning: 1 },
        ..bare().instance
    };
    Registered {
        node: Arc::new(node),
        checks: [check("tcp", Health::Passing, false)].into(),
        instance,
        ..bare()
    }
}

/// An instance that has nothing which can be left out.
fn bare() -> Registered {
    Registered {
        node: Arc::default(),
        checks: Box::default(),
        instance: Instance {
            upstreams: Box::default(),
            service: "payments".to_owned(),
            id: "payments".to_owned(),
            address: None,
            port: 1,
            tags: Vec::new(),
            meta: texts([]),
            tagged_addresses: [].into(),
            weights: Weights::default(),
            checks: Vec::new(),
        },
        origin: Origin::Store,
        health: Health::Passing,
    }
}

fn check(id: &str, status: Health, of_node: bool) -> Arc<CheckState> {
    Arc::new(CheckState {
        id: id.into(),
        name: format!("Check {id}").into(),
        status,
        notes: format!("about {id}").into(),
        output: "connected".into(),
        kind: "tcp".into(),
        of_node,
        ..CheckState::default()
    })
}

/// The instance as the API shows it.
fn document(registered: &Registered) -> Value {
    let Registered { node, instance, checks, .. } = registered;
    let check = |check: &Arc<CheckState>| {
        let status = format!("{:?}", check.status).to_lowercase();
        let mut shown = json!({
            "Node": node.name, "CheckID": &*check.id, "Name": &*check.name, "Status": status,
            "Notes": check.notes, "Output": check.output, "Type": check.kind,
        });
        if !check.of_node {
            shown["ServiceID"] = instance.id.clone().into();
            shown["ServiceName"] = instance.service.clone().into();
            shown["ServiceTags"] = instance.tags.clone().into();
        }
        shown
    };
    json!({
        "Node": {
            "ID": node.id, "Node": node.name, "Address": node.address,
            "Datacenter": node.datacenter, "Meta": node.meta,
            "TaggedAddresses": node.tagged_addresses,
        },
        "Service": crate::catalog::to_agent_json(instance),
        "Checks": checks.iter().map(check).collect::<Value>(),
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        exercise(&text, &document(&registered()));
    }

    #[test]
    fn no_pattern_makes_it_panic(pattern in "[]\\\\^$.|?*+(){}a-z0-9\\[&~:,<>=!QEdDwWsSbBpPxU -]{0,24}") {
        exercise(&format!("Service.ID matches `{pattern}`"), &json!({}));
    }

    /// Whatever a soup of words means, it means the same of an instance and of its document.
    #[test]
    fn a_soup_of_words_means_the_same_to_subsets_and_lists(
        parts in prop::collection::vec(prop::sample::select(vec![
            "Service.Meta.version", "Service.Tags", "Checks.Status", "a", "==", "!=", "in", "not", "is", "empty",
            "and", "or", "contains", "matches", "(", ")", "\"x\"", "`", "\"", "[", "]", ".", "1", "-", "0", " ",
            "\n", "\u{e9}",
        ]), 0..30),
        spaced in any::<bool>(),
    ) {
        let text = parts.join(if spaced { " " } else { "" });
        exercise(&text, &document(&registered()));
        if let Ok(filter) = ListFilter::parse(&text, Shape::Instance) {
            let native = Filter::parse(&text).unwrap();
            for registered in [registered(), bare()] {
                prop_assert_eq!(native.matches(&registered), filter.matches(&document(&registered)));
            }
        }
    }

    /// Terms that always parse, so that the two are compared often.
    #[test]
    fn terms_mean_the_same_to_subsets_and_lists(
        terms in prop::collection::vec((
            prop::sample::select(vec![
                "Service.Meta.version", "Service.Meta.none", "Service.ID", "Service.Address", "Checks.Status",
                "Checks.ServiceName", "Node.TaggedAddresses.lan", "Service.TaggedAddresses.six.Address",
                "Service.TaggedAddresses.none.Address", "Service.Proxy.Mode", "Service.Proxy.Upstreams.Datacenter",
            ]),
            prop::sample::select(vec!["==", "!=", "contains", "not contains", "matches", "not matches"]),
            prop::sample::select(vec!["2", "v2", "passing", "payments", "\"\"", "`^.*[0-9]$`", "\"fd00::1\""]),
            any::<bool>(),
            any::<bool>(),
        ), 1..6),
    ) {
        let mut text = String::new();
        for (selector, operator, value, negated, either) in terms {
            if !text.is_empty() {
                text += if either { " or " } else { " and " };
            }
            let not = if negated { "not " } else { "" };
            _ = write!(text, "{not}{selector} {operator} {value}");
        }
        let native = Filter::parse(&text).unwrap();
        let listed = ListFilter::parse(&text, Shape::Instance).unwrap();
        for registered in [registered(), bare()] {
            prop_assert_eq!(native.matches(&registered), listed.matches(&document(&registered)), "{}", text);
        }
    }
}
