use proptest::prelude::*;
use serde_json::json;

use super::*;

pub(crate) mod arbitrary;
mod language;
mod refused;

fn read(text: &str) -> Decoded {
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn error(text: &str) -> String {
    match parse(text.as_bytes()) {
        Ok(decoded) => panic!("{text}\naccepted as {decoded:?}"),
        Err(error) => error.to_string(),
    }
}

fn splitter_of(text: &str) -> Splitter {
    match read(text).entry {
        Entry::Splitter(splitter) => splitter,
        other => panic!("{other:?}"),
    }
}

fn resolver_of(text: &str) -> Resolver {
    match read(text).entry {
        Entry::Resolver(resolver) => resolver,
        other => panic!("{other:?}"),
    }
}

fn weights(weights: &str) -> Result<Vec<Units>, String> {
    let splits: Vec<_> = weights
        .split(' ')
        .enumerate()
        .map(|(index, weight)| format!("{{ weight = {weight} service_subset = \"s{index}\" }}"))
        .collect();
    let text = format!("kind = \"service-splitter\" name = \"p\" splits = [{}]", splits.join(","));
    match parse(text.as_bytes()) {
        Ok(Decoded { entry: Entry::Splitter(splitter), .. }) => {
            Ok(splitter.splits.iter().map(|split| split.weight).collect())
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.text),
    }
}

const RESOLVER: &str = r#"kind = "service-resolver"
name = "payments"
# https://www.consul.io/api/health.html#filtering-2
default_subset = "blue"
subsets = {
  blue = {
    filter = "Service.Meta.version == 2"
  }
  green = {
    filter = "Service.Meta.version == 3"
  }
}
"#;

const SPLITTER: &str = r#"kind = "service-splitter",
name = "payments"
splits = [
  { weight = 50, service_subset = "blue" },
  { weight = 50, service_subset = "green" }
]
"#;

#[test]
fn the_tutorials_files_are_read_and_shown_as_consul_shows_them() {
    let resolver = read(RESOLVER);
    let splitter = read(SPLITTER);

    assert!(resolver.warnings.is_empty() && splitter.warnings.is_empty());
    assert_eq!(
        to_json(&resolver.entry),
        json!({"Kind": "service-resolver", "Name": "payments", "DefaultSubset": "blue", "Subsets": {
            "blue": {"Filter": "Service.Meta.version == 2"}, "green": {"Filter": "Service.Meta.version == 3"}}})
    );
    assert_eq!(
        to_json(&splitter.entry).to_string(),
        r#"{"Kind":"service-splitter","Name":"payments","Splits":[{"Weight":50,"ServiceSubset":"blue"},{"Weight":50,"ServiceSubset":"green"}]}"#
    );
    assert_eq!((splitter.entry.kind(), splitter.entry.name()), ("service-splitter", "payments"));
    assert_eq!(
        splitter.places.splits,
        [Position { line: 4, column: 35 }, Position { line: 5, column: 35 }]
    );
}

#[test]
fn keys_match_in_any_case_and_by_alias() {
    let expected = splitter_of(SPLITTER);
    for text in [
        r#"{"Kind": "service-splitter", "Name": "payments", "Splits": [{"Weight": 50, "ServiceSubset": "blue"}, {"weight": 50.0, "service_subset": "green"}], "CreateIndex": 7, "ModifyIndex": 9}"#,
        "Kind = \"service-splitter\" NAME = \"payments\" SPLITS { WEIGHT = \"50\" servicesubset = \"blue\" } splits { weight = \"50\" Service_Subset = \"green\" } namespace = \"default\" Partition = \"\"",
    ] {
        assert_eq!(splitter_of(text), expected, "{text}");
    }
    assert_eq!(
        error(
            "kind = \"service-resolver\" name = \"p\" DefaultSubset = \"a\" default_subset = \"a\" subsets { a {} }"
        ),
        "1:58: invalid config key \"default_subset\""
    );
}

#[test]
fn weak_types_are_as_weak_as_consuls() {
    let text = "kind = \"service-splitter\" name = 7 splits { weight = true service_subset = 1.5 } splits = { weight = 99 } meta { a = 7 b = true c = \"x\" }";
    let splitter = splitter_of(text);

    assert_eq!(splitter.name, "7");
    assert_eq!(
        splitter.splits[0],
        Split { weight: 100, service: String::new(), service_subset: "1.5".to_owned() }
    );
    assert_eq!(splitter.meta.values().collect::<Vec<_>>(), ["7", "1", "x"]);
    for (text, expected) in [
        (
            "splits = [{ weight = \"abc\" }]",
            "1:59: cannot parse 'Splits[0].Weight' as float: strconv.ParseFloat: parsing \"abc\": invalid syntax",
        ),
        (
            "splits = [{ weight = {} }]",
            "1:59: 'Splits[0].Weight' expected type 'float32', got unconvertible type 'map'",
        ),
        ("splits = [5]", "1:48: 'Splits[0]' expected a map, got 'int'"),
        ("meta = 5", "1:45: 'Meta' expected a map, got 'int'"),
        (
            "meta { a = [1, 2] }",
            "1:49: 'Meta[a]' expected type 'string', got unconvertible type 'slice'",
        ),
    ] {
        let text = format!("kind = \"service-splitter\" name = \"p\" {text}");
        assert_eq!(error(&text), expected, "{text}");
    }
}

#[test]
fn repeated_keys_follow_consuls_merge_and_are_told() {
    let text = "kind = \"service-resolver\"\nname = \"a\"\nname = \"b\"\nsubsets \"blue\" { filter = \"Service.Meta.v == 1\" }\nsubsets \"green\" { filter = \"Service.Meta.v == 2\" }\nsubsets \"green\" { }\nmeta { a = 1 }\nmeta { a = 2 b = 3 }\n";
    let decoded = read(text);
    let resolver = resolver_of(text);

    assert_eq!(resolver.name, "b");
    assert_eq!(resolver.subsets["blue"].filter, "Service.Meta.v == 1");
    assert_eq!(resolver.subsets["green"].filter, "");
    assert_eq!(
        resolver.meta,
        [("a".to_owned(), "2".to_owned()), ("b".to_owned(), "3".to_owned())].into()
    );
    let warnings: Vec<_> = decoded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "3:1: key \"name\" is given 2 times: the last one counts",
            "6:9: key \"green\" of \"subsets\" is given again: the last one replaces the others whole",
            "8:8: key \"a\" of \"meta\" is given again: the last one replaces the others whole",
        ]
    );

    let lists = "kind = \"service-splitter\" name = \"p\" splits = [{ weight = 50 service_subset = \"a\" }]\nsplits = [{ weight = 50 service_subset = \"b\" }]";
    assert_eq!(splitter_of(lists).splits.len(), 2);
    assert_eq!(
        read(lists).warnings[0].to_string(),
        "2:1: key \"splits\" is given 2 times: the lists are joined"
    );
    let json = r#"{"Kind": "service-resolver", "Name": "a", "Name": "b"}"#;
    assert_eq!(resolver_of(json).name, "b");
    assert_eq!(
        read(json).warnings[0].to_string(),
        "1:30: key \"Name\" is given again: the last one counts"
    );
}

const WRONG: &[(&str, &str)] = &[
    ("name = \"x\"", "1:1: Payload does not contain a kind/Kind key at the top level"),
    (
        "KIND = \"service-resolver\"",
        "1:1: Payload does not contain a kind/Kind key at the top level",
    ),
    ("kind = 5", "1:8: Kind value in payload is not a string"),
    ("kind = \"x\"", "1:8: invalid config entry kind: x"),
    ("kind = \"mesh\"", "1:8: config entry kind \"mesh\" is not used by this agent"),
    (
        "kind = \"service-router\" name = \"p\"",
        "1:8: service-router \"p\": routing by HTTP path/header needs layer 7 and is not supported; traffic goes to the splitter or resolver of \"p\"",
    ),
    ("kind = \"service-resolver\"", "1:1: Name is required"),
    ("kind = \"service-resolver\"\nname = \"p\"\nextra = 1", "3:1: invalid config key \"extra\""),
    (
        "kind = \"service-splitter\"\nname = \"p\"\nsplits = [\n  { weight = 100, bogus = 1 }]",
        "4:19: invalid config key \"Splits[0].bogus\"",
    ),
    (
        "kind = \"service-resolver\" name = \"p\" subsets { a { x = 1 } } y = 2",
        "1:52: 2 errors occurred:\n\t* invalid config key \"Subsets[a].x\"\n\t* invalid config key \"y\"",
    ),
    (
        "kind = \"service-resolver\" name = \"p\"\ndefault_subset = \"x\"",
        "2:18: DefaultSubset \"x\" is not a valid subset",
    ),
    (
        "kind = \"service-resolver\" name = \"p\"\nsubsets \"\" { }",
        "2:9: Subset defined with empty name",
    ),
    (
        "kind = \"service-resolver\" name = \"p\"\nsubsets { a { filter = \"Service.Meta.version == 1.2.3\" } }",
        "2:24: Filter for subset \"a\" is not a valid expression: 1:28 (27): rule \"number\": Invalid number literal (quote the value: \"1.2.3\")",
    ),
    ("kind = \"service-splitter\" name = \"p\"", "1:34: no splits configured"),
    (
        "kind = \"service-splitter\"\nname = \"payments\"\nsplits = [\n  {\n    weight = 50, service_subset = \"blue\" },\n  { service_subset = \"green\",\n    weight = 55 }\n]",
        "7:14: the sum of all split weights must be 100, not 105.000000",
    ),
    (
        "kind = \"service-splitter\" name = \"p\" splits = [{ weight = 50 },\n{ weight = 50 service = \"p\" }]",
        "2:25: split destination occurs more than once: service=\"p\", subset=\"\", namespace=\"\", partition=\"\"",
    ),
];

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in WRONG.iter().copied() {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn weights_round_and_add_as_consuls_do() {
    for (text, expected) in [
        ("50 50", vec![5000, 5000]),
        ("33.33 33.33 33.34", vec![3333, 3333, 3334]),
        ("99.99 0.01", vec![9999, 1]),
        ("12.5 12.5 12.5 12.5 12.5 12.5 12.5 12.5", vec![1250; 8]),
        ("16.67 16.67 16.67 16.67 16.66 16.66", [vec![1667; 4], vec![1666; 2]].concat()),
        ("100 0", vec![10000, 0]),
        ("99.999 0.001", vec![10000, 0]),
        ("100.004", vec![10000]),
        (
            "8.33 8.33 8.33 8.33 8.33 8.33 8.33 8.33 8.33 8.33 8.33 8.37",
            [vec![833; 11], vec![837]].concat(),
        ),
        (
            "9.09 9.09 9.09 9.09 9.09 9.09 9.09 9.09 9.09 9.09 9.10",
            [vec![909; 10], vec![910]].concat(),
        ),
    ] {
        assert_eq!(weights(text), Ok(expected), "{text}");
    }
    for (text, sum) in [
        ("33.333 33.333 33.334", "99.989998"),
        ("14.285714 14.285714 14.285714 14.285714 14.285714 14.285714 14.285714", "100.029999"),
        ("99.995 0.005", "100.010002"),
        ("16.665 16.665 16.67 50", "100.010002"),
        ("99.98 0.01", "99.989998"),
        ("100 0.01", "100.010002"),
        ("50 40", "90.000000"),
        ("0 0", "0.000000"),
    ] {
        let expected = format!("the sum of all split weights must be 100, not {sum}");
        assert_eq!(weights(text), Err(expected), "{text}");
    }
    for text in ["110 -10", "-0.01 100", "100.01", "1e300"] {
        assert_eq!(weights(text), Err(WEIGHT_RANGE.to_owned()), "{text}");
    }
    assert_eq!([0.005, 0.004, f64::NAN].map(units_of), [Some(1), Some(0), None]);
    assert_eq!(splitter_of("kind = \"service-splitter\" name = \"p\" splits = [{ service_subset = \"a\" }, { weight = 100 }]").splits[0].weight, 0);
}

#[test]
fn subset_names_are_labels() {
    let subset = |name: &str| {
        parse(
            format!("kind = \"service-resolver\" name = \"p\" subsets {{ \"{name}\" {{}} }}")
                .as_bytes(),
        )
    };
    let longest = "a".repeat(63);
    for name in ["a", "aa", "2a", "a22a", "1", "01", "a--a", "0--0--0", &longest] {
        assert!(subset(name).is_ok(), "{name}");
    }
    let longer = "a".repeat(64);
    for name in ["A", "AA", " ", "a a", "_", "a_", ".", "a.a", "-", "-a", "a-", &longer] {
        let text = subset(name).expect_err(name).text;
        assert!(text.starts_with(&format!("Subset {name:?} is invalid: must be ")), "{text}");
    }
}

#[test]
fn meta_has_limits() {
    let meta = |pairs: String| {
        error(&format!("kind = \"service-resolver\" name = \"p\" meta {{ {pairs} }}"))
    };
    let many: Vec<_> = (0..65).map(|index| format!("k{index} = 1")).collect();
    assert_eq!(meta(many.join(" ")), "1:38: Meta exceeds maximum element count 64");
    assert!(meta(format!("{} = 1", "k".repeat(129))).ends_with("exceeds maximum length 128"));
    assert_eq!(
        meta(format!("k = \"{}\"", "v".repeat(513))),
        "1:38: Meta value for key \"k\" exceeds maximum length 512"
    );
}

#[test]
fn a_filter_that_cannot_be_evaluated_is_a_warning() {
    let decoded = read(
        "kind = \"service-resolver\" name = \"p\" subsets { a { filter = \"ServiceMeta.env == prod\" } }",
    );
    let text = decoded.warnings[0].to_string();
    assert!(text.starts_with("1:61: Filter for subset \"a\" cannot be evaluated, so the subset has no instances: Selector \"ServiceMeta\" is not valid"), "{text}");
}

#[test]
fn defaults_give_the_protocol_and_keep_the_rest() {
    let decoded = read(
        "kind = \"service-defaults\" name = \"p\" protocol = \"UDP\" mesh_gateway { mode = \"local\" } anything = 1 \
         expose { paths { path = \"/a\" } paths { path = \"/b\" } } meta { a = 1 }",
    );
    let other = json!({"mesh_gateway": {"mode": "local"}, "anything": 1,
        "expose": {"paths": [{"path": "/a"}, {"path": "/b"}]}, "Meta": {"a": "1"}});
    assert_eq!(
        decoded.entry,
        Entry::Defaults(ServiceDefaults {
            name: "p".to_owned(),
            protocol: "udp".to_owned(),
            other: other.as_object().unwrap().clone(),
        })
    );
    assert_eq!(parse(to_json(&decoded.entry).to_string().as_bytes()).unwrap().entry, decoded.entry);
}

#[test]
fn proxy_defaults_are_global_and_keep_their_config() {
    let decoded = read(
        "kind = \"proxy-defaults\" config { protocol = \"HTTP2\" } config { local_connect_timeout_ms = 7 } mode = \"\"",
    );
    let other = json!({"Config": {"protocol": "HTTP2", "local_connect_timeout_ms": 7}, "mode": ""});
    assert_eq!(
        decoded.entry,
        Entry::Proxy(ProxyDefaults {
            name: "global".to_owned(),
            protocol: "http2".to_owned(),
            other: other.as_object().unwrap().clone(),
        })
    );
    assert_eq!(parse(to_json(&decoded.entry).to_string().as_bytes()).unwrap().entry, decoded.entry);
    assert_eq!(
        error("kind = \"proxy-defaults\" name = \"other\""),
        "1:32: invalid name (\"other\"), only \"global\" is supported"
    );
}

fn split(service: &str, subset: &str) -> Split {
    Split { weight: 0, service: service.to_owned(), service_subset: subset.to_owned() }
}

fn splitter(name: &str, splits: Vec<Split>) -> Splitter {
    Splitter { name: name.to_owned(), splits, meta: BTreeMap::new() }
}

#[test]
fn a_split_needs_its_subset() {
    let resolver = resolver_of(RESOLVER);
    let good = splitter_of(SPLITTER);
    assert_eq!(check_graph([&resolver], [&good]), Ok(()));
    assert_eq!(check_graph([], [&splitter("a", vec![split("", ""), split("b", "")])]), Ok(()));

    let missing = check_graph([], [&good]).unwrap_err();
    assert_eq!(missing.to_string(), "service \"payments\" does not have a subset named \"blue\"");
    let other = splitter("web", vec![split("", ""), split("payments", "red")]);
    let error = check_graph([&resolver], [&good, &other]).unwrap_err();
    assert_eq!((error.service.as_str(), error.part), ("web", Part::Split(1)));
    assert_eq!(error.text, "service \"payments\" does not have a subset named \"red\"");
}

#[test]
fn splitters_in_a_circle_are_refused() {
    let main = splitter("main", vec![split("", ""), split("other", "")]);
    let other = splitter("other", vec![split("leaf", ""), split("main", "")]);
    let error = check_graph([], [&main, &other]).unwrap_err();
    assert_eq!(
        error.text,
        "detected circular reference: [splitter:main.default.default -> splitter:other.default.default -> splitter:main.default.default]"
    );

    // The same splitter by two ways is no circle, and neither is a way with a subset.
    let top = splitter("top", vec![split("main", ""), split("leaf", "")]);
    let leaf = splitter("leaf", vec![split("", "")]);
    let main = splitter("main", vec![split("leaf", "")]);
    assert_eq!(check_graph([], [&top, &main, &leaf]), Ok(()));
    let chain: Vec<_> = (0..20_000)
        .map(|index| {
            splitter(&format!("s{index:05}"), vec![split(&format!("s{:05}", index + 1), "")])
        })
        .collect();
    assert_eq!(check_graph([], &chain), Ok(()));
}

proptest! {
    #[test]
    fn what_is_shown_reads_back(entry in arbitrary::entry()) {
        let shown = to_json(&entry).to_string();
        let read = parse(shown.as_bytes());
        prop_assert_eq!(read.map(|decoded| decoded.entry), Ok(entry), "{}", shown);
    }

    #[test]
    fn what_is_shown_as_hcl_reads_back(entry in arbitrary::entry()) {
        let shown = to_hcl(&entry);
        let read = parse(shown.as_bytes());
        prop_assert_eq!(read.map(|decoded| decoded.entry), Ok(entry), "{}", shown);
        // It is valid to readers of the second version of HCL, too.
        prop_assert!(::hcl::parse(&shown).is_ok(), "{}", shown);
    }
}

#[test]
fn hcl_is_shown_in_the_form_of_the_tutorial() {
    let without_comments = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.flat_map(|line| [line, "\n"]).collect::<String>()
    };
    assert_eq!(to_hcl(&read(RESOLVER).entry), without_comments(RESOLVER));
    assert_eq!(to_hcl(&read(SPLITTER).entry), SPLITTER.replace("\",\n", "\"\n"));
    let text = "kind = \"service-resolver\"
name = \"p\"
subsets = {
  a-b = {
    only_passing = true
  }
}
load_balancer = {
  policy = \"maglev\"
  hash_policies = [
    {
      source_ip = true
    }
  ]
}
meta = {
  SourceIP = \"\\u0024{x} \\\"y\\\" \\u0025{z}\"
}
";
    assert_eq!(to_hcl(&read(text).entry), text.replace("a-b", "\"a-b\""));
}
