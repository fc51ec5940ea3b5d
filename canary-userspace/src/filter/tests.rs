use proptest::prelude::*;

use super::*;
use std::sync::Arc;

use crate::catalog::{Health, Instance, Node, Origin, Pairs, Registered, Weights};

fn instance() -> Instance {
    let pairs = [
        ("version", "2"),
        ("long", "12"),
        ("empty", ""),
        ("pod-name", "p1"),
        ("a.b", "x"),
        ("dots", "v2.rc1"),
        ("minor", "2.0"),
    ];
    Instance {
        service: "payments".to_owned(),
        id: "payments-blue-1".to_owned(),
        address: Some("10.244.1.1".parse().unwrap()),
        port: 9090,
        tags: vec!["v2".to_owned(), "blue".to_owned()],
        meta: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        tagged_addresses: [("virtual".to_owned(), "10.96.0.10:80".parse().unwrap())].into(),
        weights: Weights { passing: 3, warning: 1 },
        checks: Vec::new(),
    }
}

fn node() -> Node {
    let meta = [("zone".to_owned(), "a".to_owned())];
    Node {
        name: "n1".to_owned(),
        address: "192.0.2.1".to_owned(),
        datacenter: "dc1".to_owned(),
        meta: meta.into(),
        ..Node::default()
    }
}

fn registered() -> Registered {
    Registered {
        node: Arc::new(node()),
        checks: Box::default(),
        instance: instance(),
        origin: Origin::Store,
        health: Health::Passing,
    }
}

fn matches(text: &str) -> bool {
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    filter.check().unwrap_or_else(|error| panic!("{text}: {error}"));
    filter.matches(&registered())
}

fn syntax_error(text: &str) -> String {
    match Filter::parse(text) {
        Ok(_) => panic!("accepted {text}"),
        Err(error) => error.to_string(),
    }
}

fn type_error(text: &str) -> String {
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert!(!filter.matches(&registered()), "{text} matches though it cannot be evaluated");
    filter.check().expect_err(text).text
}

const SELECTED: &[(&str, bool)] = &[
    ("", true),
    ("Service.Meta.version == 2", true),
    ("Service.Meta.version == \"2\"", true),
    ("Service.Meta.version==2", true),
    ("Service.Meta.version == `2`", true),
    ("Service.Meta[\"version\"] == 2", true),
    ("Service.Meta[ `version` ] == 2", true),
    ("Service.Meta.version == 2\n  ", true),
    ("\t( Service.Meta.version == 2 )\r\n", true),
    ("Service.Meta.version != 2", false),
    ("Service.Meta.version == 3", false),
    ("Service.Meta.version == 2.0", false),
    ("Service.Meta.version == \"2 \"", false),
    ("Service.Meta.minor == 2.0", true),
    ("Service.Meta.dots == v2.rc1", true),
    ("Service.Meta.version == and", false),
    ("Service.Meta[\"pod-name\"] == \"p1\"", true),
    ("Service.Meta[\"a.b\"] == x", true),
    ("Service.Meta.empty == \"\"", true),
    ("Service.Meta.version == \"\\x32\"", true),
    // Parts of texts, elements of lists, keys of maps.
    ("2 in Service.Meta.long", true),
    ("Service.Meta.long contains 2", true),
    ("3 in Service.Meta.long", false),
    ("v2 in Service.Tags", true),
    ("v in Service.Tags", false),
    ("v3 not in Service.Tags", true),
    ("Service.Tags contains blue", true),
    ("Service.Tags not contains blue", false),
    ("version in Service.Meta", true),
    ("nothing in Service.Meta", false),
    ("virtual in Service.TaggedAddresses", true),
    ("Service.Tags is empty", false),
    ("Service.Tags is not empty", true),
    ("Service.Meta is not empty", true),
    ("Node.Meta is empty", false),
    // A key that is absent.
    ("Service.Meta.x == 2", false),
    ("Service.Meta.x != 2", true),
    ("2 in Service.Meta.x", false),
    ("2 not in Service.Meta.x", true),
    ("Service.Meta.x matches \".*\"", false),
    ("Service.Meta.x not matches \".*\"", true),
    ("Service.Meta.x == \"\"", false),
    // Regular expressions look anywhere, and at case.
    ("Service.Meta.long matches \"2\"", true),
    ("Service.Meta.long matches \"^2\"", false),
    ("Service.ID matches `blue-\\d+$`", true),
    ("Service.ID matches BLUE", false),
    ("Service.ID matches `(?i)BLUE`", true),
    // Every field.
    ("Service.ID == `payments-blue-1`", true),
    ("Service.Service == payments", true),
    ("Service.Address == \"10.244.1.1\"", true),
    ("Service.Port == 9090", true),
    ("Service.Port == \"0x2382\"", true),
    ("Service.Port != 9090", false),
    ("Service.Weights.Passing == 3", true),
    ("Service.Weights.Warning == 3", false),
    ("Service.TaggedAddresses.virtual.Port == 80", true),
    ("Service.TaggedAddresses.virtual.Address == \"10.96.0.10\"", true),
    ("Service.TaggedAddresses.lan.Port == 80", false),
    ("Service.EnableTagOverride == false", true),
    ("Service.Kind == \"\"", true),
    ("Node.Node == n1", true),
    ("Node.Address == \"192.0.2.1\"", true),
    ("Node.Datacenter == dc1", true),
    ("Node.Meta.zone == a", true),
    // Joined: `and` binds tighter than `or`, `not` tightest.
    ("Service.Port == 1 and Service.Port == 2 or Service.Port == 9090", true),
    ("Service.Port == 9090 or Service.Port == 1 and Service.Port == 2", true),
    ("(Service.Port == 9090 or Service.Port == 1) and Service.Port == 2", false),
    ("not Service.Port == 1 and Service.Port == 2", false),
    ("not (Service.Port == 1 and Service.Port == 2)", true),
    ("not not Service.Port == 9090", true),
    ("not not not Service.Port == 9090", false),
    ("(Service.Port == 9090) and (not (Service.Port == 1))", true),
];

#[test]
fn filters_select_what_they_select_in_consul() {
    for (text, expected) in SELECTED.iter().copied() {
        assert_eq!(matches(text), expected, "{text}");
    }
}

#[test]
fn words_are_not_reserved() {
    // These parse; what they select does not exist.
    for (text, selector) in [
        ("not == 2", "not"),
        ("not contains 2", "not"),
        ("not not contains 2", "not"),
        ("in in and", "and"),
        ("not in or", "or"),
        ("is is empty", "is"),
        ("not is empty", "not"),
    ] {
        assert_eq!(type_error(text), format!("Selector {selector:?} is not valid"), "{text}");
    }
}

#[test]
fn syntax_errors_are_consuls() {
    for (text, expected) in [
        ("Service.Meta.version == 1.2.3", "1:28 (27): rule \"number\": Invalid number literal"),
        ("Service.Meta.version == 02", "1:26 (25): rule \"number\": Invalid number literal"),
        ("Service.Meta.version == 0x2", "1:26 (25): rule \"number\": Invalid number literal"),
        ("Service.Meta.version == 1e3", "1:26 (25): rule \"number\": Invalid number literal"),
        (
            "Service.Meta.version == 2and x == 1",
            "1:26 (25): rule \"number\": Invalid number literal",
        ),
        (
            "Service.Meta.version == 2024-01-01",
            "1:29 (28): rule \"number\": Invalid number literal",
        ),
        (
            "Service.Meta.version == v2-rc1",
            "1:27 (26): no match found, expected: \".\", \"[\", [ \\t\\r\\n], [a-zA-Z0-9_] or EOF",
        ),
        ("Service.Meta[version] == 2", "1:14 (13): rule \"index\": Invalid index"),
        ("Service.Tags[0] == 2", "1:14 (13): rule \"index\": Invalid index"),
        ("Service.Meta[\"a\" == 2", "1:18 (17): rule \"index\": Unclosed index expression"),
        ("Service.Meta.a == \"x", "1:21 (20): rule \"string\": Unterminated string literal"),
        ("Service.Meta.a == \"a\\q\"", "1:19 (18): rule \"string\": invalid syntax"),
        ("(Service.Meta.a == 1", "1:21 (20): rule \"grouping\": Unmatched parentheses"),
        ("1 in 2", "1:6 (5): rule \"match\": Invalid selector"),
    ] {
        assert_eq!(syntax_error(text), expected, "{text}");
    }
    for text in [
        " ",
        "Service.Meta.a == +2",
        "Service.Meta.a == 'v2'",
        "Service.Meta.a == $x",
        "Service.Meta.a == \u{fc}",
        "Service.Meta.pod-name == \"x\"",
        "Service.Meta.a = 1",
        "Service.Meta.a == 1 AND b == 2",
        "Service.Meta.a == 1 && b == 2",
        "!(a == 1)",
        "a < 1",
        "(a == 1)and(b == 2)",
        "a == 1 and",
        "a == 1 or",
        "a",
        "not",
        "a is empt",
        "a == 1)",
        "any x as y { y == 1 }",
    ] {
        let error = syntax_error(text);
        assert!(error.contains("no match found, expected: "), "{text}: {error}");
    }
}

#[test]
fn type_errors_are_consuls_and_such_filters_match_nothing() {
    for (text, expected) in [
        ("ServiceMeta.env == prod", "Selector \"ServiceMeta\" is not valid"),
        ("Service.meta == 1", "Selector \"Service.meta\" is not valid"),
        ("Service.Meta.rel.ease == 1", "Selector \"Service.Meta.rel.ease\" is not valid"),
        ("Service.Nothing.at.all == 1", "Selector \"Service.Nothing\" is not valid"),
        ("Service.Tags == v3", "Invalid match operator \"Equal\" for selector \"Service.Tags\""),
        (
            "Service.Meta.version is empty",
            "Invalid match operator \"Is Empty\" for selector \"Service.Meta.version\"",
        ),
        (
            "1 not in Service.Port",
            "Invalid match operator \"Not In\" for selector \"Service.Port\"",
        ),
        (
            "Service.Tags matches x",
            "Invalid match operator \"Matches\" for selector \"Service.Tags\"",
        ),
        ("Service == 1", "Invalid match operator \"Equal\" for selector \"Service\""),
        (
            "Service.Port == abc",
            "Failed to coerce value \"abc\" for selector \"Service.Port\": strconv.ParseInt: parsing \"abc\": invalid syntax",
        ),
        (
            "Service.EnableTagOverride == yes",
            "Failed to coerce value \"yes\" for selector \"Service.EnableTagOverride\": strconv.ParseBool: parsing \"yes\": invalid syntax",
        ),
    ] {
        assert_eq!(type_error(text), expected, "{text}");
    }
    let error = type_error("Service.ID matches `[`");
    assert!(error.starts_with("Failed to compile regular expression \"[\": "), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn long_and_deep_filters_are_refused() {
    let nested = |depth: usize| format!("{}a == 1{}", "(".repeat(depth), ")".repeat(depth));

    assert!(Filter::parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(syntax_error(&nested(MAX_DEPTH + 1)), "nested deeper than 64 parentheses");
    assert_eq!(syntax_error(&"a".repeat(MAX_LEN + 1)), "longer than 4096 bytes");
}

/// The grammar read naively takes four times as long for each parenthesis.
#[test]
fn hostile_filters_take_no_time() {
    let start = std::time::Instant::now();
    let texts = [
        format!("{}a == 1{}", "not (".repeat(64), ")".repeat(64)),
        format!("{}a =", "(".repeat(64)),
        format!("{}a", "(a == 1 or ".repeat(64)),
        "not ".repeat(1_000),
        format!("{}x", "a == 1 or ".repeat(400)),
        "a == 1 and ".repeat(300),
        format!("{}a", "not (".repeat(64)),
    ];

    for text in &texts {
        _ = Filter::parse(text);
    }

    assert!(start.elapsed().as_secs() < 2, "took {:?}", start.elapsed());
}

#[test]
fn an_instance_without_anything_has_no_match_and_no_panic() {
    let mut bare = registered();
    bare.instance.meta = Pairs::default();
    bare.instance.tags = Vec::new();
    for (text, expected) in [
        ("Service.Meta is empty", true),
        ("Service.Tags is empty", true),
        ("Service.Meta.a == 1", false),
    ] {
        assert_eq!(Filter::parse(text).unwrap().matches(&bare), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        _ = Filter::parse(&text);
    }

    #[test]
    fn no_soup_of_words_makes_it_panic(
        parts in prop::collection::vec(prop::sample::select(vec![
            "Service.Meta.version", "Service.Tags", "a", "==", "!=", "in", "not", "is", "empty", "and", "or",
            "contains", "matches", "(", ")", "\"x\"", "`", "\"", "[", "]", ".", "1", "-", "0", " ", "\n", "\u{e9}",
        ]), 0..30),
        spaced in any::<bool>(),
    ) {
        let text = parts.join(if spaced { " " } else { "" });
        if let Ok(filter) = Filter::parse(&text) {
            _ = filter.matches(&registered());
        }
    }
}
