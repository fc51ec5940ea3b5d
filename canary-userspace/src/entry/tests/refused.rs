//! What is refused or told, with the place: `@` marks where in each text.

use super::*;

/// The text without its mark, and `LINE:COL` of the mark.
fn marked(kind: &str, text: &str) -> (String, String) {
    let text = format!("kind = \"{kind}\"\nname = \"p\"\n{text}\n");
    let (before, after) = text.split_once('@').expect("a mark");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    (format!("{before}{after}"), format!("{line}:{column}: "))
}

fn refused(kind: &str, table: &[(&str, &str)]) {
    for (text, expected) in table {
        let (text, place) = marked(kind, text);
        assert_eq!(error(&text), format!("{place}{expected}"), "{text}");
        assert!(parse(text.as_bytes()).unwrap_err().is_rule, "{text}");
    }
}

const REDIRECT: &[(&str, &str)] = &[
    (
        "redirect { service = \"q\" partition = @\"x\" namespace = \"n\" }",
        "Redirect: Setting Partition requires Consul Enterprise",
    ),
    (
        "redirect { service = \"q\" namespace = @\"default\" }",
        "Redirect: Setting Namespace requires Consul Enterprise",
    ),
    (
        "redirect { sameness_group = @\"g\" }",
        "Redirect: Setting SamenessGroup requires Consul Enterprise",
    ),
    (
        "redirect { service = \"q\" }\nfailover { @\"*\" { service = \"r\" } }",
        "Redirect and Failover cannot both be set",
    ),
    ("@redirect { }", "Redirect is empty"),
    ("@redirect = { service = \"\" }", "Redirect is empty"),
    (
        "redirect { service = \"q\" service_subset = \"a\" peer = @\"x\" }",
        "Redirect.Peer cannot be set with Redirect.ServiceSubset",
    ),
    (
        "redirect { service = \"q\" datacenter = \"dc2\" peer = @\"x\" }",
        "Redirect.Peer cannot be set with Redirect.Datacenter",
    ),
    (
        "redirect { service_subset = @\"a\" }\nsubsets { a {} }",
        "Redirect.ServiceSubset defined without Redirect.Service",
    ),
    ("redirect { peer = @\"x\" }", "Redirect.Peer defined without Redirect.Service"),
    (
        "redirect { service = \"p\" service_subset = @\"b\" }\nsubsets { a {} }",
        "Redirect.ServiceSubset \"b\" is not a valid subset of \"p\"",
    ),
    // Consul takes these; they reach what this agent does not know.
    (
        "redirect { datacenter = @\"dc2\" }",
        "Redirect.Datacenter \"dc2\" is not supported: this agent knows the instances of its own datacenter only",
    ),
    (
        "redirect { service = \"q\" peer = @\"x\" }",
        "Redirect.Peer \"x\" is not supported: a peer is reached through mesh gateways, and this agent sends packets straight to instances",
    ),
];

#[test]
fn a_redirect_is_refused_in_consuls_words() {
    refused("service-resolver", REDIRECT);
}

const FAILOVER: &[(&str, &str)] = &[
    (
        "failover { \"*\" { namespace = @\"n\" } }",
        "Bad Failover[\"*\"]: Setting Namespace requires Consul Enterprise",
    ),
    (
        "failover { \"*\" { sameness_group = @\"n\" } }",
        "Bad Failover[\"*\"]: Setting SamenessGroup requires Consul Enterprise",
    ),
    (
        "failover { \"*\" { service = \"q\" policy { mode = @\"sequential\" } } }",
        "Bad Failover[\"*\"]: Setting failover policies requires Consul Enterprise",
    ),
    ("failover { @a { service = \"q\" } }", "Bad Failover[\"a\"]: not a valid subset subset"),
    ("failover { @\"\" { service = \"q\" } }", "Bad Failover[\"\"]: not a valid subset subset"),
    (
        "failover { @\"*\" { } }",
        "Bad Failover[\"*\"]: one of Service, ServiceSubset, Namespace, Targets, SamenessGroup, or Datacenters is required",
    ),
    (
        "failover { @\"*\" { targets = [] datacenters = [] } }",
        "Bad Failover[\"*\"]: one of Service, ServiceSubset, Namespace, Targets, SamenessGroup, or Datacenters is required",
    ),
    (
        "failover { \"*\" { service_subset = @\"b\" } }",
        "Bad Failover[\"*\"]: ServiceSubset \"b\" is not a valid subset of \"\"",
    ),
    (
        "failover { \"*\" { service = \"p\" service_subset = @\"b\" } }",
        "Bad Failover[\"*\"]: ServiceSubset \"b\" is not a valid subset of \"p\"",
    ),
    (
        "failover { \"*\" { @targets = [{ service = \"q\" }] datacenters = [\"dc2\"] } }",
        "Bad Failover[\"*\"]: Targets cannot be set with Datacenters",
    ),
    (
        "failover { \"*\" { @targets = [{ service = \"q\" }] service = \"q\" service_subset = \"a\" } }",
        "Bad Failover[\"*\"]: Targets cannot be set with ServiceSubset",
    ),
    (
        "failover { \"*\" { @targets = [{ service = \"q\" }] service = \"q\" } }",
        "Bad Failover[\"*\"]: Targets cannot be set with Service",
    ),
    (
        "failover { \"*\" { targets = [{ service = \"q\" }, { partition = @\"x\" }] } }",
        "Bad Failover[\"*\"].Targets[1]: Setting Partition requires Consul Enterprise",
    ),
    (
        "failover { \"*\" { targets = [{ namespace = @\"x\" }] } }",
        "Bad Failover[\"*\"].Targets[0]: Setting Namespace requires Consul Enterprise",
    ),
    (
        "failover { \"*\" { targets = [{ service_subset = \"a\" peer = @\"x\" }] } }",
        "Bad Failover[\"*\"].Targets[0]: Peer cannot be set with ServiceSubset",
    ),
    (
        "failover { \"*\" { targets = [{ datacenter = \"a\" peer = @\"x\" }] } }",
        "Bad Failover[\"*\"].Targets[0]: Peer cannot be set with Datacenter",
    ),
    (
        "failover { \"*\" { targets = [{ service_subset = @\"b\" }] } }",
        "Bad Failover[\"*\"].Targets[0]: ServiceSubset \"b\" is not a valid subset of \"\"",
    ),
    (
        "failover { \"*\" { datacenters = [\"dc2\", @\"\"] } }",
        "Bad Failover[\"*\"].Datacenters: found empty datacenter",
    ),
    (
        "failover { \"*\" { datacenters = [@\"dc2\"] } }",
        "Bad Failover[\"*\"].Datacenters: \"dc2\" is not supported: this agent knows the instances of its own datacenter only",
    ),
    (
        "failover { \"*\" { targets = [{ service = \"q\" datacenter = @\"dc2\" }] } }",
        "Bad Failover[\"*\"].Targets[0]: Datacenter \"dc2\" is not supported: this agent knows the instances of its own datacenter only",
    ),
    (
        "failover { \"*\" { targets = [{ service = \"q\" peer = @\"x\" }] } }",
        "Bad Failover[\"*\"].Targets[0]: Peer \"x\" is not supported: a peer is reached through mesh gateways, and this agent sends packets straight to instances",
    ),
    (
        "failover { \"*\" { service = \"q\" policy { @regions = [\"eu\"] } } }",
        "Bad Failover[\"*\"].Policy.Regions is not supported: instances have no locality here",
    ),
];

#[test]
fn a_failover_is_refused_in_consuls_words() {
    refused("service-resolver", FAILOVER);
}

#[test]
fn timeouts_and_locality_are_refused_in_consuls_words() {
    refused(
        "service-resolver",
        &[
            ("connect_timeout = @\"-1s\"", "Bad ConnectTimeout '-1s', must be >= 0"),
            ("request_timeout = @\"-90m\"", "Bad RequestTimeout '-1h30m0s', must be >= 0"),
            ("connect_timeout = @-15", "Bad ConnectTimeout '-15ns', must be >= 0"),
            (
                "prioritize_by_locality { mode = @\"failover\" }",
                "Prioritize-by-locality requires Consul Enterprise ",
            ),
        ],
    );
    let text = |timeout: &str| {
        format!("kind = \"service-resolver\" name = \"p\" connect_timeout = {timeout}")
    };
    assert_eq!(resolver_of(&text("15")).connect_timeout, Duration::from_nanos(15));
    assert_eq!(
        resolver_of(&text("\"1h2m3.5s\"")).connect_timeout,
        Duration::from_millis(3_723_500)
    );
    assert_eq!(resolver_of(&text("\"\"")).connect_timeout, Duration::ZERO);
    for (timeout, expected) in [
        ("\"15\"", "error decoding 'ConnectTimeout': time: missing unit in duration \"15\""),
        ("\"1x\"", "error decoding 'ConnectTimeout': time: unknown unit \"x\" in duration \"1x\""),
        ("\"s\"", "error decoding 'ConnectTimeout': time: invalid duration \"s\""),
        ("{}", "'ConnectTimeout' expected type 'int', got unconvertible type 'map'"),
    ] {
        assert_eq!(error(&text(timeout)), format!("1:56: {expected}"));
    }
}

const BALANCER: &[(&str, &str)] = &[
    ("load_balancer { policy = @\"x\" }", "Bad LoadBalancer policy: \"x\" is not supported"),
    (
        "load_balancer { policy = \"maglev\" @ring_hash_config { minimum_ring_size = 1 } }",
        "Bad LoadBalancer configuration. RingHashConfig specified for incompatible load balancing policy \"maglev\"",
    ),
    (
        "load_balancer { @least_request_config { choice_count = 1 } }",
        "Bad LoadBalancer configuration. LeastRequestConfig specified for incompatible load balancing policy \"\"",
    ),
    (
        "load_balancer { policy = \"random\" hash_policies = [@{ source_ip = true }] }",
        "Bad LoadBalancer configuration: HashPolicies specified for non-hash-based Policy: \"random\"",
    ),
    (
        "load_balancer { policy = \"maglev\" hash_policies = [{ source_ip = true }, { field = @\"x\" }] }",
        "Bad LoadBalancer HashPolicy[1]: \"x\" is not a supported field",
    ),
    (
        "load_balancer { policy = \"maglev\" hash_policies = [{ source_ip = true field = @\"header\" }] }",
        "Bad LoadBalancer HashPolicy[0]: A single hash policy cannot hash both a source address and a \"header\"",
    ),
    (
        "load_balancer { policy = \"maglev\" hash_policies = [{ source_ip = true field_value = @\"x\" }] }",
        "Bad LoadBalancer HashPolicy[0]: A FieldValue cannot be specified when hashing SourceIP",
    ),
    (
        "load_balancer { policy = \"ring_hash\" hash_policies = [{ field = @\"cookie\" }] }",
        "Bad LoadBalancer HashPolicy[0]: Field \"cookie\" was specified without a FieldValue",
    ),
    (
        "load_balancer { policy = \"ring_hash\" hash_policies = [{ field_value = @\"x\" }] }",
        "Bad LoadBalancer HashPolicy[0]: FieldValue requires a Field to apply to",
    ),
    (
        "load_balancer { policy = \"ring_hash\" hash_policies = [{ field = \"header\" field_value = \"x\" @cookie_config { } }] }",
        "Bad LoadBalancer HashPolicy[0]: cookie_config provided for \"header\"",
    ),
    (
        "load_balancer { policy = \"ring_hash\" hash_policies = [{ field = \"cookie\" field_value = \"x\" cookie_config { session = true ttl = @\"5s\" } }] }",
        "Bad LoadBalancer HashPolicy[0]: a session cookie cannot have an associated TTL",
    ),
    // What Consul takes and layer 4 cannot do.
    (
        "load_balancer { policy = @\"least_request\" least_request_config { choice_count = 3 } }",
        "load_balancer.policy \"least_request\" is not supported yet",
    ),
    (
        "load_balancer { policy = \"maglev\" hash_policies = [{ field = @\"header\" field_value = \"x\" }] }",
        "load_balancer.hash_policies[0]: \"header\" needs layer 7; only source_ip can be hashed at layer 4",
    ),
];

#[test]
fn a_load_balancer_is_refused_in_consuls_words() {
    refused("service-resolver", BALANCER);
}

#[test]
fn a_split_cannot_leave_layer_4() {
    refused(
        "service-splitter",
        &[
            (
                "splits = [{ weight = 100 @request_headers { add { a = \"b\" } } }]",
                "splits[0].request_headers is not supported: changing headers needs layer 7",
            ),
            (
                "splits = [{ weight = 50 service = \"q\" }, { weight = 50 @response_headers { set { a = \"b\" } } }]",
                "splits[1].response_headers is not supported: changing headers needs layer 7",
            ),
            (
                "splits = [{ weight = 100 namespace = @\"n\" }]",
                "Splits[0]: Setting Namespace requires Consul Enterprise",
            ),
            (
                "splits = [{ weight = 100 partition = @\"n\" }]",
                "Splits[0]: Setting Partition requires Consul Enterprise",
            ),
            (
                "splits = [{ weight = 50 }, { weight = 50 service = @\"p\" namespace = \"\" }]",
                "split destination occurs more than once: service=\"p\", subset=\"\", namespace=\"\", partition=\"\"",
            ),
        ],
    );
}

#[test]
fn what_cannot_be_read_is_told_before_the_rules() {
    for (text, expected) in [
        (
            "@namespace = \"n\"",
            "invalid config key \"namespace\", namespaces are a consul enterprise feature",
        ),
        ("@partition = \"n\"", "invalid config key \"partition\""),
        (
            "subsets { a { @bogus = 1 } }\nextra = 2\nfailover { \"*\" { targets { x = 1 } } }",
            "3 errors occurred:\n\t* invalid config key \"Subsets[a].bogus\"\n\t* invalid config key \"extra\"\n\t* invalid config key \"Failover[*].Targets[0].x\"",
        ),
        (
            "subsets { a { only_passing = @\"yes\" } }",
            "cannot parse 'Subsets[a].OnlyPassing' as bool: strconv.ParseBool: parsing \"yes\": invalid syntax",
        ),
        (
            "load_balancer { ring_hash_config { minimum_ring_size = @-1 } }",
            "cannot parse 'LoadBalancer.RingHashConfig.MinimumRingSize', -1 overflows uint",
        ),
        (
            "load_balancer { least_request_config { choice_count = @4294967296 } }",
            "cannot parse 'LoadBalancer.LeastRequestConfig.ChoiceCount', 4294967296 overflows uint32",
        ),
        (
            "redirect { service = \"a\" }\n@redirect { service = \"b\" }",
            "'Redirect' expected a map, got 'slice'",
        ),
        (
            "failover { \"*\" { datacenters = [@{}] } }",
            "'Failover[*].Datacenters[0]' expected type 'string', got unconvertible type 'map'",
        ),
    ] {
        let (text, place) = marked("service-resolver", text);
        assert_eq!(error(&text), format!("{place}{expected}"), "{text}");
        assert!(!parse(text.as_bytes()).unwrap_err().is_rule, "{text}");
    }
}

#[test]
fn what_has_no_effect_is_told_and_kept() {
    for (kind, text, expected) in [
        (
            "service-resolver",
            "connect_timeout = @\"5s\" request_timeout = \"1s\"",
            "connect_timeout and request_timeout have no effect: nothing at layer 4 waits for them",
        ),
        (
            "service-resolver",
            "request_timeout = @\"1s\" connect_timeout = \"0s\"",
            "request_timeout has no effect: nothing at layer 4 waits for it",
        ),
        (
            "service-resolver",
            "load_balancer { policy = \"maglev\" hash_policies = [{ source_ip = true }, { field = @\"header\" field_value = \"x\" }] }",
            "load_balancer.hash_policies[1]: \"header\" needs layer 7 and is ignored; source_ip is hashed",
        ),
        (
            "service-resolver",
            "load_balancer { policy = \"maglev\" hash_policies = [@{ terminal = true }] }",
            "load_balancer.hash_policies[0] names nothing to hash and has no effect",
        ),
        (
            "service-resolver",
            "@meta { on_empty = \"redistribute\" }",
            "meta on_empty has no effect here: the service-splitter says it",
        ),
        (
            "service-splitter",
            "splits { weight = 100 }\n@meta { on_empty = \"drop\" }",
            "meta on_empty \"drop\" is neither \"reset\" nor \"redistribute\": it counts as \"reset\"",
        ),
        (
            "service-defaults",
            "protocol = \"udp\"\n@meta { \"canary/udp-follow-weights\" = \"yes\" }",
            "meta canary/udp-follow-weights \"yes\" is neither \"true\" nor \"false\": it counts as \"false\"",
        ),
    ] {
        let (text, place) = marked(kind, text);
        let decoded = read(&text);
        let warnings: Vec<_> = decoded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [format!("{place}{expected}")], "{text}");
        let again = parse(to_json(&decoded.entry).to_string().as_bytes()).unwrap();
        assert_eq!(again.entry, decoded.entry);
    }
    let quiet = read(
        "kind = \"service-resolver\" name = \"p\" connect_timeout = \"0s\" request_timeout = 0",
    );
    assert_eq!(quiet.warnings, []);
}

#[test]
fn datagrams_may_follow_the_weights() {
    for (meta, follows) in [
        ("", false),
        ("meta { \"canary/udp-follow-weights\" = \"true\" }", true),
        ("meta { \"canary/udp-follow-weights\" = \"false\" }", false),
        ("meta { \"canary/udp-follow-weights\" = \"\" }", false),
        ("meta { \"udp-follow-weights\" = \"true\" }", false),
    ] {
        let decoded = read(&format!("kind = \"service-defaults\" name = \"p\" {meta}"));
        assert_eq!(decoded.warnings, [], "{meta}");
        let Entry::Defaults(defaults) = decoded.entry else { panic!("{meta}") };
        assert_eq!(defaults.datagrams_follow(), follows, "{meta}");
    }
}

#[test]
fn a_traffic_policy_is_cluster_or_local() {
    for key in [INTERNAL_POLICY, EXTERNAL_POLICY] {
        for (word, policy) in [
            ("", TrafficPolicy::Cluster),
            ("Cluster", TrafficPolicy::Cluster),
            ("Local", TrafficPolicy::Local),
        ] {
            let text = format!("meta {{ \"{key}\" = \"{word}\" }}");
            let decoded = read(&format!("kind = \"service-defaults\" name = \"p\" {text}"));
            assert_eq!(decoded.warnings, [], "{text}");
            let Entry::Defaults(defaults) = decoded.entry else { panic!("{text}") };
            assert_eq!(defaults.policy(key), policy, "{text}");
        }
        for word in ["local", "Topology"] {
            let text = format!(
                "kind = \"service-defaults\"\nname = \"p\"\nmeta {{ \"{key}\" = \"{word}\" }}"
            );
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            let wanted = format!("meta {key} {word:?} is neither \"Cluster\" nor \"Local\"");
            assert!(error.starts_with("3:") && error.ends_with(&wanted), "{error}");
        }
    }
}

#[test]
fn a_splitter_may_redistribute() {
    let splitter = |meta: &str| {
        splitter_of(&format!(
            "kind = \"service-splitter\" name = \"p\" splits {{ weight = 100 }} {meta}"
        ))
    };

    assert!(splitter("meta { on_empty = \"redistribute\" }").redistributes());
    for meta in [
        "",
        "meta { on_empty = \"reset\" }",
        "meta { on_empty = \"\" }",
        "meta { ON_EMPTY = \"redistribute\" }",
    ] {
        assert!(!splitter(meta).redistributes(), "{meta}");
    }
}

/// Consul's own order: the first of these rules that is broken is told, whatever comes after.
#[test]
fn rules_are_checked_in_consuls_order() {
    let broken = [
        ("name = \"\"", "Name is required"),
        ("meta { k = \"LONG\" }", "Meta value for key \"k\" exceeds maximum length 512"),
        ("subsets { A {} }", "Subset \"A\" is invalid: must be 63"),
        ("default_subset = \"x\"", "DefaultSubset \"x\" is not a valid subset"),
        ("redirect {}", "Redirect and Failover cannot both be set"),
        ("failover { \"*\" {} }", "Bad Failover[\"*\"]: one of"),
        ("connect_timeout = -1", "Bad ConnectTimeout '-1ns'"),
        ("request_timeout = -1", "Bad RequestTimeout '-1ns'"),
        ("prioritize_by_locality { mode = \"none\" }", "Prioritize-by-locality requires"),
        ("load_balancer { policy = \"x\" }", "Bad LoadBalancer policy"),
    ];
    for first in 0..broken.len() {
        let name = if first == 0 { "" } else { "name = \"p\"" };
        let parts: Vec<_> = broken[first..].iter().rev().map(|(text, _)| *text).collect();
        let text = format!("kind = \"service-resolver\"\n{name}\n{}\n", parts.join("\n"));
        let text = text.replace("LONG", &"v".repeat(513));
        assert!(error(&text).contains(broken[first].1), "{text}\n{}", error(&text));
    }
}

#[test]
fn all_of_a_resolver_is_read_and_shown() {
    let text = "kind = \"service-resolver\" name = \"p\" subsets \"a\" { filter = \"Service.Meta.v == 1\" only_passing = true }
        failover = { a = { service_subset = \"a\" service = \"q\" } \"*\" = { targets = [{ service = \"r\" }, { service_subset = \"a\" }] } }
        connect_timeout = \"90s\" request_timeout = 1500
        load_balancer { policy = \"ring_hash\" ring_hash_config { minimum_ring_size = 7 maximum_ring_size = \"0x10\" }
          hash_policies = [{ source_ip = 1 terminal = \"t\" }, { field = \"cookie\" field_value = \"c\" cookie_config { ttl = \"1m\" path = \"/\" } }] }";
    let entry = read(text).entry;

    assert_eq!(
        to_json(&entry),
        json!({"Kind": "service-resolver", "Name": "p",
            "Subsets": {"a": {"Filter": "Service.Meta.v == 1", "OnlyPassing": true}},
            "Failover": {"a": {"Service": "q", "ServiceSubset": "a"}, "*": {"Targets": [{"Service": "r"}, {"ServiceSubset": "a"}]}},
            "ConnectTimeout": "1m30s", "RequestTimeout": "1.5\u{b5}s",
            "LoadBalancer": {"Policy": "ring_hash", "RingHashConfig": {"MinimumRingSize": 7, "MaximumRingSize": 16},
                "HashPolicies": [{"SourceIP": true, "Terminal": true},
                    {"Field": "cookie", "FieldValue": "c", "CookieConfig": {"TTL": "1m0s", "Path": "/"}}]}})
    );
    let redirect = "kind = \"service-resolver\" name = \"p\" redirect { service = \"q\" service_subset = \"a\" }";
    assert_eq!(
        to_json(&read(redirect).entry),
        json!({"Kind": "service-resolver", "Name": "p", "Redirect": {"Service": "q", "ServiceSubset": "a"}})
    );
}
