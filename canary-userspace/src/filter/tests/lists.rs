//! Filters of the API's lists, one for each kind of document.

use serde_json::{Value, json};

use super::*;
use crate::filter::schema::{Fields, Type, find};

fn holds(shape: Shape, document: &Value, rows: &[(&str, bool)]) {
    for (text, expected) in rows.iter().copied() {
        let filter =
            ListFilter::parse(text, shape).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(document), expected, "{text} of {document}");
    }
}

fn refused(shape: Shape, text: &str) -> ConfigError {
    ListFilter::parse(text, shape).map(|_| ()).expect_err(text)
}

#[test]
fn services_have_their_fields_at_the_top() {
    let service = document(&registered())["Service"].clone();
    holds(
        Shape::Service,
        &service,
        &[
            ("", true),
            ("Service == payments", true),
            ("Meta.version == 2 and v2 in Tags", true),
            ("Port == 9090", true),
            ("Port == 9091", false),
            ("Weights.Passing == 3", true),
            ("TaggedAddresses.virtual.Port == 80", true),
            ("TaggedAddresses.lan.Port != 80", true),
            ("Kind == \"\"", true),
            ("Proxy.Upstreams is empty", true),
            ("Connect.Native == true", false),
            ("EnableTagOverride == false", true),
        ],
    );
    let error = refused(Shape::Service, "Service.Meta.version == 2");
    assert_eq!(error.text, "Selector \"Service.Meta\" is not valid");
    assert_eq!(error.hint.as_deref(), Some("did you mean Meta.version?"));
}

#[test]
fn checks_and_nodes_have_their_fields_at_the_top() {
    let instance = document(&registered());
    holds(
        Shape::Check,
        &instance["Checks"][0],
        &[
            ("Status == passing and ServiceName == payments", true),
            ("Status != passing", false),
            ("blue in ServiceTags", true),
            ("Node == n1 and CheckID == tcp and Type == tcp", true),
            ("Output contains refused", false),
            ("ExposedPort == 0", true),
        ],
    );
    holds(
        Shape::Node,
        &instance["Node"],
        &[
            ("Node == n1", true),
            ("Meta.zone == a", true),
            ("zone in Meta and lan in TaggedAddresses", true),
            ("TaggedAddresses.lan == \"192.0.2.7\"", true),
            ("Datacenter != dc1", false),
        ],
    );
    assert_eq!(
        refused(Shape::Check, "Checks.Status == passing").hint.as_deref(),
        Some("did you mean Status?")
    );
    assert_eq!(
        refused(Shape::Node, "Node.Meta.zone == a").hint.as_deref(),
        Some("did you mean Meta.zone?")
    );
}

#[test]
fn the_catalogue_has_one_flat_row_an_instance() {
    let row = json!({
        "ID": "7d2f-1", "Node": "n1", "Address": "192.0.2.1", "Datacenter": "dc1",
        "TaggedAddresses": {"lan": "192.0.2.7"}, "NodeMeta": {"zone": "a"},
        "ServiceID": "p-1", "ServiceName": "payments", "ServiceTags": ["v2"],
        "ServiceAddress": "10.0.0.1", "ServicePort": 9090, "ServiceMeta": {"version": "2"},
        "ServiceWeights": {"Passing": 1, "Warning": 1}, "ServiceEnableTagOverride": false,
        "ServiceTaggedAddresses": {"virtual": {"Address": "10.96.0.10", "Port": 80}},
        "CreateIndex": 3, "ModifyIndex": 4,
    });
    holds(
        Shape::CatalogService,
        &row,
        &[
            ("ServiceMeta.version == 2 and NodeMeta.zone == a", true),
            ("v2 in ServiceTags", true),
            ("ServicePort == 9090", true),
            ("ServiceTaggedAddresses.virtual.Port == 80", true),
            ("ServiceWeights.Passing == 2", false),
            ("ServiceProxy.Mode == \"\"", true),
        ],
    );
    let error = refused(Shape::CatalogService, "Service.Meta.version == 2");
    assert_eq!(error.hint.as_deref(), Some("did you mean ServiceMeta.version?"));
    // Consul hides the indices of rows from filters.
    assert_eq!(
        refused(Shape::CatalogService, "CreateIndex == 3").text,
        "Selector \"CreateIndex\" is not valid"
    );
}

#[test]
fn entries_have_the_fields_of_their_kind() {
    let resolver = json!({
        "Kind": "service-resolver", "Name": "payments", "DefaultSubset": "blue",
        "Subsets": {"blue": {"Filter": "Service.Meta.version == 2"}, "green": {"OnlyPassing": true}},
        "Failover": {"*": {"Service": "backup", "Targets": [{"Service": "a"}, {"Service": "b"}]}},
        "ConnectTimeout": "5s", "LoadBalancer": {"Policy": "maglev", "HashPolicies": [{"SourceIP": true}]},
        "Meta": {"team": "pay"}, "CreateIndex": 7, "ModifyIndex": 9,
    });
    let shape = Shape::of_entries("service-resolver");
    holds(
        shape,
        &resolver,
        &[
            ("Kind == `service-resolver` and Name == payments", true),
            ("Meta.team == pay", true),
            ("CreateIndex == 7 and ModifyIndex != 7", true),
            ("green in Subsets and Subsets.green.OnlyPassing == true", true),
            ("Subsets.blue.Filter contains version", true),
            ("Subsets.red.OnlyPassing != true", true),
            ("Failover[\"*\"].Targets.Service == b", true),
            ("Failover[\"*\"].Targets.Service == c", false),
            ("Failover.blue.Targets is empty", true),
            ("Failover.blue.Targets is not empty", false),
            ("ConnectTimeout == 5000000000", true),
            ("RequestTimeout == 0", true),
            ("LoadBalancer.Policy == maglev", true),
            ("LoadBalancer.RingHashConfig.MinimumRingSize == 0", true),
            ("LoadBalancer.HashPolicies.SourceIP == true", true),
            ("Redirect.Service == \"\"", true),
        ],
    );
    let defaults = json!({"Kind": "service-defaults", "Name": "web", "Protocol": "udp"});
    holds(
        Shape::of_entries("service-defaults"),
        &defaults,
        &[("Protocol == udp", true), ("MeshGateway.Mode == \"\"", true)],
    );
    let proxies =
        json!({"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}});
    holds(
        Shape::of_entries("proxy-defaults"),
        &proxies,
        &[("protocol in Config", true), ("Config is empty", false)],
    );
    holds(Shape::of_entries("mesh"), &json!({"Kind": "mesh"}), &[("Kind == mesh", true)]);
}

#[test]
fn splits_are_asked_one_by_one() {
    let splitter = json!({
        "Kind": "service-splitter", "Name": "payments",
        "Splits": [{"Weight": 66.67, "ServiceSubset": "blue"}, {"Weight": 33.33, "Service": "other"}],
    });
    let shape = Shape::of_entries("service-splitter");
    holds(
        shape,
        &splitter,
        &[
            ("Splits.Weight == 33.33", true),
            ("Splits.Weight == 66.67 and Splits.Weight == 33.33", true),
            ("Splits.Weight == 50", false),
            ("Splits.ServiceSubset == blue", true),
            ("Splits.Service == \"\"", true),
            ("Splits is empty", false),
            ("Meta is empty", true),
            ("CreateIndex == 0", true),
        ],
    );
}

#[test]
fn what_a_kind_does_not_have_is_refused() {
    for (kind, text, expected) in [
        ("service-splitter", "Subsets is empty", "Selector \"Subsets\" is not valid"),
        ("proxy-defaults", "Config.protocol == http", "Selector \"Config.protocol\" is not valid"),
        (
            "service-splitter",
            "Splits.Weight == half",
            "Failed to coerce value \"half\" for selector \"Splits.Weight\": \
             strconv.ParseFloat: parsing \"half\": invalid syntax",
        ),
        (
            "service-splitter",
            "ModifyIndex == -1",
            "Failed to coerce value \"-1\" for selector \"ModifyIndex\": \
             strconv.ParseUint: parsing \"-1\": invalid syntax",
        ),
        (
            "service-splitter",
            "Splits.Weight in Splits",
            "Invalid match operator \"In\" for selector \"Splits\"",
        ),
    ] {
        assert_eq!(refused(Shape::of_entries(kind), text).text, expected, "{text}");
    }
}

/// What a document leaves out is as if it were zero, as Consul's own lists leave it out.
#[test]
fn a_document_that_leaves_a_field_out_has_its_zero() {
    for shape in Shape::ALL {
        for fields in shape.fields() {
            each_field(fields, &mut Vec::new(), &mut |path, of| {
                let selector = path.join(".");
                let rows: &[(&str, bool)] = match of {
                    Type::Text => &[
                        ("== \"\"", true),
                        ("!= \"\"", false),
                        ("matches `^$`", true),
                        ("contains x", false),
                    ],
                    Type::Whole | Type::Natural | Type::Nanoseconds | Type::Real => {
                        &[("== 0", true), ("!= 0", false), ("== 1", false)]
                    }
                    Type::Truth => &[("== false", true), ("== true", false)],
                    Type::Words | Type::Names | Type::Map(_) => {
                        &[("is empty", true), ("is not empty", false), ("contains \"\"", false)]
                    }
                    Type::List(_) => &[("is empty", true), ("is not empty", false)],
                    Type::Record(_) => &[],
                };
                for (rest, expected) in rows {
                    for absent in [json!({}), Value::Null, json!([])] {
                        holds(shape, &absent, &[(&format!("{selector} {rest}"), *expected)]);
                    }
                    // Subsets ask the same of an instance.
                    if shape == Shape::Instance {
                        let text = format!("{selector} {rest}");
                        let filter = Filter::parse(&text).unwrap();
                        assert_eq!(filter.check(), Ok(()), "{text}");
                        let (native, listed) = (
                            filter.matches(&registered()),
                            ListFilter::parse(&text, shape)
                                .unwrap()
                                .matches(&document(&registered())),
                        );
                        assert_eq!(native, listed, "{text}");
                    }
                }
            });
        }
    }
    let selector = ["Service", "Meta", "a", "b"].map(str::to_owned);
    assert!(find(Shape::Instance, &selector).is_err());
}

/// Calls `with` for every field that is not inside a map or a list.
fn each_field(
    fields: &'static Fields,
    path: &mut Vec<&'static str>,
    with: &mut dyn FnMut(&[&'static str], &'static Type),
) {
    for (name, of) in fields {
        path.push(name);
        with(path, of);
        if let Type::Record(inner) = of {
            each_field(inner, path, with);
        }
        path.pop();
    }
}
