use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::catalog::{
    Check, GrpcProbe, Health, HttpProbe, LoneCheck, Probe, Thresholds, Tls, to_check_definition,
    to_definition,
};
use crate::content::{FileContent, Services, parse_file};

/// The checks of a service `web` with id `w`, its `check` fields being `fields`.
fn checks(fields: &str) -> Vec<Arc<Check>> {
    match parse_file(service(fields).as_bytes()) {
        Ok(FileContent::Services(services)) => services.instances[0].0.checks.clone(),
        other => panic!("{fields}: {other:?}"),
    }
}

fn service(fields: &str) -> String {
    format!("service {{ name = \"web\" id = \"w\" port = 1\n{fields}\n}}")
}

/// The one check that a block of `fields` defines.
fn check(fields: &str) -> Check {
    let checks = checks(&format!("check {{ {fields} }}"));
    assert_eq!(checks.len(), 1, "{fields}");
    Check::clone(&checks[0])
}

/// What is said of a block of `fields`.
fn refusal(fields: &str) -> String {
    match parse_file(service(&format!("check {{ {fields} }}")).as_bytes()) {
        Ok(content) => panic!("{fields}: accepted as {content:?}"),
        Err(error) => error.text,
    }
}

#[test]
fn a_check_gets_consuls_id_and_name() {
    let one = check("ttl = \"10s\"");
    assert_eq!((&*one.id, &*one.name), ("service:w", "Service 'web' check"));
    assert_eq!((one.initial, one.interval), (Health::Critical, Duration::ZERO));

    let three = checks(
        "check { ttl = \"10s\" }\nchecks = [{ tcp = \"a:1\" interval = \"1s\" }, \
         { check_id = \"c\" id = \"d\" name = \"n\" notes = \"why\" ttl = \"1s\" }]",
    );

    let ids: Vec<_> = three.iter().map(|check| &*check.id).collect();
    assert_eq!(ids, ["service:w:1", "service:w:2", "c"]);
    assert_eq!((&*three[2].name, &*three[2].notes), ("n", "why"));
}

#[test]
fn each_kind_is_read_with_its_fields() {
    let tcp = check("tcp = \"db.internal:5432\" interval = \"2s\" tcp_use_tls = true");
    assert_eq!(tcp.probe, Probe::Tcp("db.internal:5432".into()));
    assert_eq!((tcp.tls, tcp.timeout), (Tls::Verified, Duration::from_secs(10)));

    let http = check(
        "http = \"https://web.internal/health\" method = \"PUT\" body = \"{}\" \
         header { x-a = [\"1\", \"2\"] x-b = [\"3\"] } tls_skip_verify = true \
         disable_redirects = true output_max_size = 9 interval = \"10s\" timeout = \"3s\"",
    );
    let headers = [("x-a", "1"), ("x-a", "2"), ("x-b", "3")];
    let expected = HttpProbe {
        url: "https://web.internal/health".into(),
        method: "PUT".into(),
        headers: headers.map(|(name, value)| (name.into(), value.into())).into(),
        body: "{}".into(),
        stay: true,
        shown: 9,
    };
    assert_eq!(http.probe, Probe::Http(Box::new(expected)));
    assert_eq!((http.tls, http.timeout), (Tls::Unverified, Duration::from_secs(3)));

    let grpc = check(
        "grpc = \"[::1]:9000/a.B\" grpc_use_tls = true tls_skip_verify = true interval = \"1s\"",
    );
    let expected = GrpcProbe { target: "[::1]:9000".into(), service: "a.B".into() };
    assert_eq!((grpc.probe, grpc.tls), (Probe::Grpc(Box::new(expected)), Tls::Unverified));

    let ttl = check("ttl = \"90s\" status = \"warning\"");
    assert_eq!((ttl.probe, ttl.initial), (Probe::Ttl(Duration::from_secs(90)), Health::Warning));
}

#[test]
fn thresholds_are_read_as_consul_reads_them() {
    let of = |fields: &str| check(&format!("tcp = \"a:1\" interval = \"1s\" {fields}")).thresholds;
    let known = |passing, warning, critical| Thresholds { passing, warning, critical };
    assert_eq!(of(""), known(0, 0, 0));
    assert_eq!(of("success_before_passing = 3 failures_before_critical = 5"), known(3, 5, 5));
    assert_eq!(of("failures_before_warning = 2 failures_before_critical = 5"), known(0, 2, 5));
}

#[test]
fn a_deregistration_is_never_sooner_than_a_minute() {
    let after = |text: &str| {
        let fields = format!("ttl = \"1s\" deregister_critical_service_after = \"{text}\"");
        check(&fields).deregister_after
    };
    assert_eq!(after("0s"), None);
    assert_eq!(after("5s"), Some(Duration::from_secs(60)));
    assert_eq!(after("2h"), Some(Duration::from_secs(7200)));
}

#[test]
fn what_cannot_be_run_is_refused_with_its_reason() {
    for kind in ["script", "args", "script_args", "docker_container_id", "shell"] {
        let text = refusal(&format!("{kind} = \"/bin/true\" interval = \"1s\""));
        let wanted = format!(
            "check kind {kind:?} is refused: the agent runs as root and runs no commands; \
             use tcp, http, grpc or ttl"
        );
        assert_eq!(text, wanted);
    }
    for kind in ["udp", "h2ping", "alias_node", "alias_service", "os_service"] {
        let text = refusal(&format!("{kind} = \"x\" interval = \"1s\""));
        let wanted = format!("check kind {kind:?} is not supported; use tcp, http, grpc or ttl");
        assert_eq!(text, wanted);
    }
}

/// Fields of a check, and what is said of them.
const SENSELESS: &[(&str, &str)] = &[
    ("name = \"x\"", "TTL must be > 0 for TTL checks"),
    ("interval = \"1s\"", "TTL must be > 0 for TTL checks"),
    ("ttl = \"1s\" interval = \"1s\"", "Interval and TTL cannot both be specified"),
    (
        "http = \"http://a\"",
        "Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks",
    ),
    ("tcp = \"a:1\" interval = \"9ms\"", "check interval is below 10ms"),
    (
        "tcp = \"a:1\" grpc = \"a:1\" interval = \"1s\"",
        "check asks two things, tcp and grpc: give each a check of its own",
    ),
    (
        "tcp = \"a:1\" ttl = \"1s\"",
        "check asks two things, tcp and ttl: give each a check of its own",
    ),
    ("tcp = \"a\" interval = \"1s\"", "check target \"a\" is not HOST:PORT"),
    ("tcp = \"a:0\" interval = \"1s\"", "check target \"a:0\" is not HOST:PORT"),
    ("tcp = \":1\" interval = \"1s\"", "check target \":1\" is not HOST:PORT"),
    ("tcp = \"::1:1\" interval = \"1s\"", "check target \"::1:1\" is not HOST:PORT"),
    ("grpc = \"a/b\" interval = \"1s\"", "check target \"a\" is not HOST:PORT"),
    ("http = \"a\" interval = \"1s\"", "check target \"a\" is no URL of http or https"),
    ("http = \"ftp://a\" interval = \"1s\"", "check target \"ftp://a\" is no URL of http or https"),
    (
        "http = \"http://a\" method = \"A B\" interval = \"1s\"",
        "check method \"A B\" is no HTTP method",
    ),
    (
        "http = \"http://a\" header { \"a b\" = [\"c\"] } interval = \"1s\"",
        "check header \"a b\" is no HTTP header",
    ),
    (
        "http = \"http://a\" header { a = [[]] } interval = \"1s\"",
        "check header \"a\" is no list of strings",
    ),
    (
        "http = \"http://a\" output_max_size = -1 interval = \"1s\"",
        "MaxOutputMaxSize must be positive",
    ),
    (
        "tcp = \"a:1\" interval = \"1s\" failures_before_warning = 2",
        "FailuresBeforeWarning can't be higher than FailuresBeforeCritical",
    ),
    (
        "tcp = \"a:1\" interval = \"1s\" success_before_passing = -1",
        "success_before_passing must be between 0 and 65535",
    ),
    (
        "tcp = \"a:1\" interval = \"1s\" tcp_use_tls = \"maybe\"",
        "cannot parse 'service.Check.TCPUseTLS' as bool: strconv.ParseBool: parsing \"maybe\": invalid syntax",
    ),
    ("ttl = \"1s\" token = \"t\"", "token is not supported yet"),
    ("ttl = \"1s\" tls_server_name = \"t\"", "tls_server_name is not supported yet"),
    ("ttl = \"1s\" status = \"ok\"", "Status for checks must 'passing', 'warning', 'critical'"),
    ("ttl = \"1s\" tll = 1", "invalid config key \"service.Check.tll\""),
];

#[test]
fn a_check_that_makes_no_sense_is_refused_in_consuls_words() {
    for (fields, wanted) in SENSELESS {
        assert_eq!(refusal(fields), *wanted, "{fields}");
    }
    let twice = service("checks = [{ id = \"a\" ttl = \"1s\" }, { id = \"a\" ttl = \"1s\" }]");
    assert_eq!(parse_file(twice.as_bytes()).unwrap_err().text, "check id \"a\" is given twice");
}

#[test]
fn weights_are_refused_in_consuls_words() {
    for (fields, wanted) in [
        ("passing = 0", "Invalid Weights: Passing must be greater than 0"),
        ("warning = -1", "Invalid Weights: Warning must be greater or equal than 0"),
        ("passing = 65536", "Invalid Weights: DNS Weight must be between 0 and 65535"),
    ] {
        let text = service(&format!("weights {{ {fields} }}"));
        assert_eq!(parse_file(text.as_bytes()).unwrap_err().text, wanted);
    }
}

#[test]
fn a_file_defines_checks_on_their_own() {
    let text = "check { id = \"disk\" name = \"Disk\" ttl = \"1m\" }\n\
                checks = [{ name = \"port\" service_id = \"w\" tcp = \"a:1\" interval = \"1s\" }]\n\
                service { name = \"web\" id = \"w\" port = 1 }";
    let Ok(FileContent::Services(Services { instances, checks })) = parse_file(text.as_bytes())
    else {
        panic!("no services")
    };

    assert_eq!(instances.len(), 1);
    let found: Vec<_> = checks
        .iter()
        .map(|(lone, at)| (&*lone.check.id, &*lone.service_id, (at.line, at.column)))
        .collect();
    assert_eq!(found, [("disk", "", (1, 1)), ("port", "w", (2, 11))]);
}

#[test]
fn a_check_on_its_own_needs_a_name() {
    let parse = |body: &str| parse_check(body.as_bytes());
    assert_eq!(parse("{}").unwrap_err().text, "Missing check name");
    assert_eq!(parse(r#"{"TTL": "1s"}"#).unwrap_err().text, "Missing check name");
    let bad = parse(r#"{"Name": "a", "TTL": "1s", "Status": "ok"}"#).unwrap_err();
    assert_eq!((bad.text.as_str(), bad.is_rule), ("Bad check status", true));
    let kept = parse(r#"{"Name": "_node_maintenance", "TTL": "1s"}"#).unwrap_err().text;
    assert_eq!(kept, "check id \"_node_maintenance\" is kept for maintenance mode");
    let refused = parse(r#"{"Name": "a", "Args": ["true"], "Interval": "1s"}"#).unwrap_err().text;
    assert!(refused.contains("runs no commands"), "{refused}");
}

#[test]
fn definitions_of_checks_read_back() {
    for fields in [
        "tcp = \"a:1\" interval = \"2s\" tcp_use_tls = true tls_skip_verify = true",
        "http = \"http://a/b\" header { c = [\"d\", \"e\"] } body = \"f\" interval = \"1m\" notes = \"n\"",
        "http = \"https://a/b\" disable_redirects = true output_max_size = 7 interval = \"1m\"",
        "grpc = \"a:1/b\" grpc_use_tls = true interval = \"1s\" timeout = \"5s\" status = \"passing\"",
        "ttl = \"1m\" deregister_critical_service_after = \"90m\"",
        "tcp = \"a:1\" interval = \"1s\" success_before_passing = 1 failures_before_warning = 2 failures_before_critical = 3",
    ] {
        let check = Arc::new(check(fields));
        let lone = LoneCheck { check: Arc::clone(&check), service_id: "w".into() };
        let body = to_check_definition(&lone).to_string();
        assert_eq!(parse_check(body.as_bytes()), Ok(lone), "{body}");
        let text = service(&format!("check {{ {fields} }}"));
        let Ok(FileContent::Services(services)) = parse_file(text.as_bytes()) else {
            panic!("{text}")
        };
        let instance = services.instances[0].0.clone();
        let body = to_definition(&instance).to_string();
        assert_eq!(parse_registration(body.as_bytes()), Ok(instance), "{body}");
    }
}
