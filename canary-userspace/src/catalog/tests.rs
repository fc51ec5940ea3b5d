use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::content::{FileContent, parse_file};

const BLOCK: &str = r#"service {
  name = "payments"
  id = "payments-blue-1"
  address = "10.244.1.1"
  port = 8080
  meta { version = "2" }
  tags = ["v2"]
  tagged_addresses { virtual { address = "10.96.0.10" port = 80 } }
  check { tcp = "10.244.1.1:8080" interval = "2s" timeout = "1s" }
}
"#;

fn blue() -> Instance {
    Instance {
        service: "payments".to_owned(),
        id: "payments-blue-1".to_owned(),
        address: Some("10.244.1.1".parse().unwrap()),
        port: 8080,
        tags: vec!["v2".to_owned()],
        meta: [("version".to_owned(), "2".to_owned())].into(),
        tagged_addresses: [("virtual".to_owned(), "10.96.0.10:80".parse().unwrap())].into(),
        weights: Weights::default(),
        checks: vec![Arc::new(tcp_check())],
        upstreams: Box::default(),
    }
}

fn tcp_check() -> Check {
    Check {
        id: "service:payments-blue-1".into(),
        name: "Service 'payments' check".into(),
        notes: "".into(),
        probe: Probe::Tcp("10.244.1.1:8080".into()),
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        thresholds: Thresholds::default(),
        deregister_after: None,
        tls: Tls::Off,
        initial: Health::Critical,
    }
}

fn services(text: &str) -> Vec<(Instance, Position)> {
    match parse_file(text.as_bytes()) {
        Ok(FileContent::Services(services)) => services.instances,
        other => panic!("{text}\n{other:?}"),
    }
}

fn error(text: &str) -> String {
    match parse_file(text.as_bytes()) {
        Ok(content) => panic!("{text}\naccepted as {content:?}"),
        Err(error) => error.in_file("f.hcl").to_string(),
    }
}

#[test]
fn a_service_block_is_an_instance() {
    assert_eq!(services(BLOCK), [(blue(), Position { line: 1, column: 1 })]);
}

#[test]
fn services_come_as_blocks_as_lists_and_as_json() {
    let small = "name = \"a\" address = \"::1\" port = 1";
    let two = services(&format!("service {{ {small} }}\nservice {{ {small} id = \"b\" }}"));
    assert_eq!(
        two.iter().map(|(instance, place)| (instance.id.as_str(), place.line)).collect::<Vec<_>>(),
        [("a", 1), ("b", 2)]
    );
    assert_eq!(
        services(&format!("services = [\n{{ {small} }},\n{{ {small} }}]"))[1].1,
        Position { line: 3, column: 1 }
    );
    let json = json!({"service": to_definition(&blue())}).to_string();
    assert_eq!(services(&json)[0].0, blue());
    let json = json!({"services": [to_definition(&blue())]}).to_string();
    assert_eq!(services(&json)[0].0, blue());
}

#[test]
fn a_file_is_an_entry_or_services_or_nothing() {
    assert_eq!(parse_file(b"# nothing\n\n"), Ok(FileContent::Nothing));
    assert_eq!(parse_file(b""), Ok(FileContent::Nothing));
    let entry = parse_file(b"kind = \"service-resolver\" name = \"p\"").unwrap();
    assert!(matches!(entry, FileContent::Entry(decoded) if decoded.entry.name() == "p"));
    let skipped =
        parse_file(b"kind = \"ingress-gateway\" name = \"edge\" listeners { port = 80 }").unwrap();
    assert!(
        matches!(skipped, FileContent::Skipped(reason) if reason.text == "config entry kind \"ingress-gateway\" is not used by this agent")
    );
    assert_eq!(
        error("x = 1"),
        "f.hcl:1:1: Payload does not contain a kind/Kind key at the top level"
    );
    assert_eq!(
        error("service { name = \"a\" address = \"::1\" port = 1 }\nkind = \"x\""),
        "f.hcl:2:1: invalid config key \"kind\""
    );
}

#[test]
fn a_json_list_is_several_entries() {
    let entry = |name: &str| format!("{{\"Kind\": \"service-resolver\", \"Name\": \"{name}\"}}");
    let router = "{\"Kind\": \"service-router\", \"Name\": \"a\"}";
    let text = format!(" [{}, {router}, {}]\n", entry("a"), entry("b"));

    let parts = parse_file(text.as_bytes()).unwrap().parts();

    let told = parts.iter().map(|part| match part {
        FileContent::Entry(decoded) => decoded.entry.name().to_owned(),
        FileContent::Skipped(reason) => reason.to_string(),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "a",
            "1:55: service-router \"a\": routing by HTTP path/header needs layer 7 and is not supported; \
             traffic goes to the splitter or resolver of \"a\"",
            "b"
        ]
    );
    assert_eq!(parse_file(b"[]").unwrap().parts(), []);
    assert_eq!(
        error(&format!("[{},\n 5]", entry("a"))),
        "f.hcl:2:2: Payload does not contain a kind/Kind key at the top level"
    );
    assert_eq!(
        error(&format!("[{},\n [{}]]", entry("a"), entry("b"))),
        "f.hcl:2:2: Payload does not contain a kind/Kind key at the top level"
    );
    assert_eq!(error("[1"), "f.hcl:1:3: unexpected end of JSON input");
}

#[test]
fn a_registration_is_read_as_clients_send_it() {
    let body = json!({
        "ID": "payments-blue-1", "Name": "payments", "Tags": ["v2"], "Address": "10.244.1.1", "Port": 8080,
        "Meta": {"version": "2"}, "EnableTagOverride": false, "Proxy": null, "Kind": "",
        "TaggedAddresses": {"virtual": {"Address": "10.96.0.10", "Port": 80}},
        "Weights": {"Passing": 1, "Warning": 1},
        "Check": {"CheckID": "", "Name": "", "TCP": "10.244.1.1:8080", "Interval": "2s", "Timeout": "1s", "TLSSkipVerify": false},
    });
    assert_eq!(parse_registration(body.to_string().as_bytes()), Ok(blue()));

    // As a client of another language sends it.
    let body = r#"{"name": "a", "service_id": null, "port": 1, "address": "10.0.0.1", "tags": null, "check": {"tcp": "10.0.0.1:1", "interval": "10s"}}"#;
    let text = parse_registration(body.as_bytes()).unwrap_err().to_string();
    assert_eq!(text, "1:15: invalid config key \"service_id\"");
    let instance =
        parse_registration(body.replace("\"service_id\": null, ", "").as_bytes()).unwrap();
    assert_eq!((instance.id.as_str(), instance.checks[0].timeout), ("a", Duration::from_secs(10)));
}

#[test]
fn what_is_wrong_with_a_service_is_told_with_its_place() {
    for (old, new, expected) in [
        ("name = \"payments\"", "", "1:9: Missing service name"),
        ("\"10.244.1.1\"\n", "\"web.local\"\n", "4:13: address \"web.local\" is not an IP address"),
        ("port = 8080", "", "1:9: port is required: 1 to 65535"),
        ("8080\n", "0\n", "5:10: port 0 is not between 1 and 65535"),
        ("8080\n", "65536\n", "5:10: port 65536 is not between 1 and 65535"),
        (
            "8080\n",
            "\"http\"\n",
            "5:10: cannot parse 'service.Port' as int: strconv.ParseInt: parsing \"http\": invalid syntax",
        ),
        ("port = 80 }", "}", "8:30: tagged address \"virtual\": port is required: 1 to 65535"),
        (
            "port = 80 }",
            "port = 80 x = 1 }",
            "8:65: invalid config key \"service.TaggedAddresses[virtual].x\"",
        ),
        ("tags", "tgas", "7:3: invalid config key \"service.tgas\""),
        (
            "10.244.1.1:8080\" interval",
            "web\" interval",
            "9:17: check target \"web\" is not HOST:PORT",
        ),
        (
            "interval = \"2s\"",
            "",
            "9:9: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks",
        ),
        (
            "\"2s\"",
            "\"2\"",
            "9:46: error decoding 'service.Check.Interval': time: missing unit in duration \"2\"",
        ),
        ("\"2s\"", "15", "9:46: check interval is below 10ms"),
        (
            "timeout",
            "status = \"fine\" timeout",
            "9:60: Status for checks must 'passing', 'warning', 'critical'",
        ),
        ("tags", "connect { native = true }\n tags", "7:13: native is not supported yet"),
        (
            "tags",
            "weights { passing = 0 }\n tags",
            "7:23: Invalid Weights: Passing must be greater than 0",
        ),
    ] {
        let text = BLOCK.replacen(old, new, 1);
        assert_ne!(text, BLOCK, "{old}");
        assert_eq!(error(&text), format!("f.hcl:{expected}"), "{new}");
    }
}

#[test]
fn an_instance_is_shown_as_the_agents_api_shows_it() {
    assert_eq!(
        to_agent_json(&blue()),
        json!({"ID": "payments-blue-1", "Service": "payments", "Tags": ["v2"], "Meta": {"version": "2"}, "Port": 8080,
            "Address": "10.244.1.1", "TaggedAddresses": {"virtual": {"Address": "10.96.0.10", "Port": 80}},
            "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false, "Datacenter": "dc1"})
    );
}

#[test]
fn an_empty_check_is_no_check() {
    for check in ["", "check {}", "checks = []", "checks = [{}]"] {
        let text = format!("service {{ name = \"a\" address = \"::1\" port = 1 {check} }}");
        assert!(services(&text)[0].0.checks.is_empty(), "{check}");
    }
}

proptest! {
    #[test]
    fn no_mutation_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = BLOCK.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        _ = parse_file(&bytes);
        _ = parse_file(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn no_value_in_any_field_makes_it_panic(
        field in prop::sample::select(vec!["name", "id", "address", "port", "meta", "tags", "tagged_addresses", "weights", "check", "checks", "x"]),
        value in prop::sample::select(vec!["1", "-1", "1.5", "true", "\"\"", "[]", "{}", "[{}]", "[[]]", "{ a = 1 }", "{ a = { a = [] } }", "[1, {}]", "9223372036854775807"]),
    ) {
        _ = parse_file(format!("service {{ {field} = {value} name = \"a\" address = \"::1\" port = 1 }}").as_bytes());
        _ = parse_file(format!("service = {value}").as_bytes());
        _ = parse_file(format!("kind = \"service-splitter\" name = \"a\" splits = {value}").as_bytes());
        _ = parse_file(format!("kind = \"service-splitter\" name = \"a\" splits {{ weight = {value} }}").as_bytes());
        _ = parse_file(format!("kind = \"service-resolver\" name = \"a\" subsets = {value}").as_bytes());
        _ = parse_file(format!("kind = \"service-resolver\" name = \"a\" subsets \"a\" {{ filter = {value} }}").as_bytes());
    }

    #[test]
    fn a_definition_reads_back(
        name in ".{1,8}",
        id in ".{1,8}",
        address in any::<IpAddr>(),
        port in 1..=u16::MAX,
        tags in prop::collection::vec(".{0,5}", 0..3),
        meta in prop::collection::btree_map(".{0,5}", ".{0,5}", 0..3),
        passing in 1..=65_535_u32,
        interval in 10_000_000..1_000_000_000_000_u64,
    ) {
        let check = Check {
            probe: Probe::Tcp(SocketAddr::new(address, port).to_string().into()),
            interval: Duration::from_nanos(interval),
            ..tcp_check()
        };
        let instance = Instance {
            service: name, id, address: Some(address), port, tags,
            meta: meta.into(),
            tagged_addresses: [("virtual6".to_owned(), SocketAddr::new(address, port))].into(),
            weights: Weights { passing, warning: 0 },
            checks: vec![Arc::new(check)],
            upstreams: [Upstream { destination: "other".to_owned(), address: None, port }].into(),
        };
        let definition = to_definition(&instance).to_string();
        prop_assert_eq!(parse_registration(definition.as_bytes()), Ok(instance));
    }
}
