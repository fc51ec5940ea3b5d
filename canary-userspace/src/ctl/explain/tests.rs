//! Documents as people read them.

use serde_json::{Value, json};

use super::*;
use crate::ctl::paint::Paint;

fn instance(id: &str, member: bool, healthy: bool, why: &str) -> Value {
    let health = if healthy { "passing" } else { "critical" };
    let checks = if healthy {
        json!([])
    } else {
        json!([{"id": "c", "name": "tcp", "status": "critical", "of_node": false,
            "output": "connection refused\u{1b}[2J\nmore"}])
    };
    json!({"id": id, "address": "10.0.0.1:80", "node": "node-1", "health": health, "checks": checks,
        "healthy": member && healthy, "weight": 1, "member": member, "why": why})
}

fn document() -> Value {
    let green = json!({"priority": 0, "service": "web", "subset": "green", "in_use": false,
        "filter": "Service.Meta.version == 3", "only_passing": true,
        "instances": [
            instance("web-1", false, true, "Service.Meta.version is \"2\""),
            instance("web-2", true, false, "Service.Meta.version == 3")]});
    let failover = json!({"priority": 1, "service": "spare", "subset": "", "in_use": true, "filter": "",
        "only_passing": false, "instances": [instance("spare-1", true, true, "")]});
    json!({
        "service": "web", "protocol": "tcp",
        "frontends": [{"address": "10.96.0.10", "port": 80, "protocol": "tcp"}],
        "policy": "evenly", "affinity": "connection", "on_empty": "redistribute",
        "splitters": [
            {"service": "web", "splits": [
                {"weight": 90.0, "service": "web", "subset": "green",
                    "next": {"target": {"service": "web", "subset": "green"}}},
                {"weight": 10.0, "service": "api", "subset": "", "next": {"splitter": "api"}}]},
            {"service": "api", "splits": [
                {"weight": 50.0, "service": "api", "subset": "",
                    "next": {"target": {"service": "api", "subset": "old"}}},
                {"weight": 50.0, "service": "web", "subset": "", "next": {"splitter": "web"}}]}],
        "leaves": [
            {"service": "web", "subset": "green", "weight": 90.0, "share": 100.0, "refused": false,
                "levels": [green, failover]},
            {"service": "api", "subset": "old", "weight": 10.0, "share": 10.0, "refused": true, "levels": []}],
        "warnings": [{"service": "web", "text": "green is empty"}], "revision": 7})
}

fn text(document: &Value, all: bool) -> String {
    let explain: Explain = serde_json::from_value(document.clone()).unwrap();
    let mut lines = chain::lines(&explain, Paint::default());
    lines.extend(levels::lines(&explain.leaves, all, Paint::default()));
    lines.join("\n")
}

#[test]
fn the_chain_is_a_tree_and_each_leaf_says_who_serves_it() {
    assert_eq!(
        text(&document(), false),
        "\
Service:     web  10.96.0.10:80/tcp
Backends:    evenly, each connection by itself
When empty:  the others take its share
Revision:    7

web
├─  90.00 %  green
└─  10.00 %  api  splitter
   ├─  50.00 %  (all)  -> old
   └─  50.00 %  web  back to the splitter of web

       INSTANCE  ADDRESS      NODE    HEALTH    WEIGHT  WHY
✔ web/green  90.00 %, gets 100.00 % of new connections
  own instances: 0 of 1 healthy, only passing ones  filter Service.Meta.version == 3
    ✖  web-2     10.0.0.1:80  node-1  critical       1  Service.Meta.version == 3; check \"tcp\" is critical: connection refused\u{fffd}[2J
    -  web-1     10.0.0.1:80  node-1  passing        1  Service.Meta.version is \"2\"
  failover 1: spare: 1 of 1 healthy, in use
    ✔  spare-1   10.0.0.1:80  node-1  passing        1
✖ api/old  10.00 %  refused: nobody is healthy at any level"
    );
}

#[test]
fn a_service_without_a_splitter_is_one_way() {
    let mut document = document();
    document["splitters"] = json!([]);
    document["leaves"] = json!([{"service": "web", "subset": "green", "weight": 100.0, "share": 100.0,
        "refused": false, "levels": []}]);
    document["frontends"] = json!([]);
    document["error"] = json!("detected circular reference: [x]");

    let text = text(&document, false);

    assert!(text.contains("no virtual address: nothing connects to it"), "{text}");
    assert!(
        text.contains("\n✖ detected circular reference: [x]\nweb\n└─ 100.00 %  green\n"),
        "{text}"
    );
}

#[test]
fn thousands_of_instances_are_shown_only_if_all_are_wanted() {
    let mut document = document();
    let many: Vec<_> =
        (0..2_000).map(|i| instance(&format!("web-{i}"), i < 1_000, true, "")).collect();
    document["leaves"][0]["levels"][0]["instances"] = json!(many);

    let short = text(&document, false);
    let long = text(&document, true);

    assert!(short.contains("… 950 more in it: --all shows them"), "{short}");
    assert!(short.contains("… 990 more not in it: --all shows them"), "{short}");
    assert_eq!(long.matches("passing  ").count() - short.matches("passing  ").count(), 1_940);
    assert!(!long.contains("--all"));
}

#[test]
fn a_flow_is_shown_from_its_hash_to_its_backend() {
    let mut flow = json!({
        "client": "10.244.1.7:51234", "frontend": "10.96.0.10:80", "protocol": "tcp", "service": "web",
        "affinity": "connection", "hash": "f3c0ffee00000001", "position": 95.2163,
        "splits": [
            {"service": "web", "subset": "blue", "from": 0.0, "to": 95.0, "drawn": false},
            {"service": "web", "subset": "green", "from": 95.0, "to": 100.0, "drawn": true}],
        "slot": {"index": 17, "of": 211}, "backend": "10.244.1.3:8080", "known": null, "revision": 3});
    let shown = |flow: &Value| {
        flow::lines(&serde_json::from_value(flow.clone()).unwrap(), Paint::default()).join("\n")
    };

    assert_eq!(
        shown(&flow),
        "\
10.244.1.7:51234 -> 10.96.0.10:80/tcp  web
  hash f3c0ffee00000001 of the client's address and port, at 95.2163 %
     blue     0.0000 % to  95.0000 %
  => green   95.0000 % to 100.0000 %
  slot 17 of 211 -> 10.244.1.3:8080
  not known yet: a new flow gets that"
    );
    flow["backend"] = json!(null);
    flow["slot"] = json!(null);
    flow["known"] = json!({"state": "established", "backend": "10.244.1.1:8080", "service": "web",
        "subset": "blue", "idle_seconds": 4});
    let known = shown(&flow);
    assert!(known.contains("no healthy backend -> refused"), "{known}");
    assert!(
        known.ends_with(
            "known already, established: it stays with blue at 10.244.1.1:8080 (idle for 4 s)"
        ),
        "{known}"
    );
}

#[test]
fn half_a_flow_is_a_usage_error() {
    let options = |what: &str, frontend: Option<&str>| args::Explain {
        what: what.to_owned(),
        frontend: frontend.map(str::to_owned),
        udp: false,
        all: false,
        json: false,
    };

    for (what, frontend) in
        [("10.0.0.1:80", None), ("web", Some("10.0.0.1:80")), ("10.0.0.1:80", Some("10.0.0.1"))]
    {
        let failure = path(&options(what, frontend)).unwrap_err();
        assert_eq!(failure.exit_code(), 2, "{what}: {failure}");
    }
    assert_eq!(path(&options("a b", None)).unwrap(), "/v1/canary/explain/a%20b");
    assert_eq!(
        path(&options("[fd00::7]:1", Some("[fd00::1]:80"))).unwrap(),
        "/v1/canary/explain-flow?client=%5Bfd00%3A%3A7%5D%3A1&frontend=%5Bfd00%3A%3A1%5D%3A80"
    );
}

#[test]
fn an_instance_without_an_address_takes_nothing_whatever_its_health() {
    let mut document = document();
    let instance = &mut document["leaves"][0]["levels"][0]["instances"][1];
    *instance = self::instance("web-2", true, true, "");
    instance["address"] = Value::Null;

    let text = text(&document, false);

    assert!(text.contains("own instances: 1 of 1 healthy, 1 without address"), "{text}");
    let line = text.lines().find(|line| line.contains("web-2")).unwrap();
    assert!(line.trim_start().starts_with('✖'), "{line}");
    assert!(line.ends_with("it has no address: nothing can be sent to it"), "{line}");
}
