//! Weights, rollback, undo, and what people are told.

use super::*;
use crate::compile::SplitKey;
use crate::datapath::{Counters, Histogram};

fn moved(subset: &str, before: impl Into<Option<f64>>, after: impl Into<Option<f64>>) -> Value {
    json!({"subset": subset, "before": before.into(), "after": after.into()})
}

#[tokio::test]
async fn a_split_is_made_where_a_resolver_has_the_subsets() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let agent = place.start().await;
    let weights = agent.get("/v1/canary/split/payments").await.json();
    let split = json!([{"service": "payments", "subset": "blue", "weight": 100.0}]);
    assert_eq!(weights["splits"], split);

    let set = agent.done("/v1/canary/split/payments", r#"{"blue": 90, "green": 10}"#).await.json();

    assert_eq!(set["weights"], json!([moved("blue", 100.0, 90.0), moved("green", None, 10.0)]));
    assert_eq!(set["revision"], set["revision_before"].as_u64().unwrap() + 1);
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    let only = agent.put("/v1/canary/split/payments", r#"{"green": 20}"#).await;
    assert_eq!(only.status, 400);
    assert_eq!(only.text, "the sum of all split weights must be 100, not 110.000000");
    let unknown = agent.put("/v1/canary/split/payments", r#"{"blue": 80, "gren": 20}"#).await;
    assert_eq!(unknown.status, 400);
    assert_eq!(unknown.text, r#"service "payments" does not have a subset named "gren""#);
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    let missing = agent.put("/v1/canary/split/payment", r#"{"blue": 100}"#).await;
    assert_eq!(missing.status, 404);
    assert!(missing.text.contains("did you mean \"payments\""), "{missing:?}");
    agent.stop().await;
}

#[tokio::test]
async fn setting_a_split_keeps_what_it_does_not_name() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    place.file("currency.hcl", &service("currency", "1", 9, 1).replace("0.10\"", "0.11\""));
    let agent = place.start().await;
    let entry = json!({
        "Kind": "service-splitter", "Name": "payments", "Meta": {"owner": "team-a"},
        "Splits": [
            {"Weight": 50, "ServiceSubset": "green"},
            {"Weight": 10, "Service": "currency"},
            {"Weight": 40, "ServiceSubset": "blue"},
        ],
    });
    agent.done("/v1/config", entry.to_string()).await;

    agent.done("/v1/canary/split/payments", r#"{"green": 10.01, "blue": 79.99}"#).await;

    let entry = agent.get("/v1/config/service-splitter/payments").await.json();
    assert_eq!(entry["Meta"]["owner"], "team-a");
    assert_eq!(entry["Splits"][1]["Service"], "currency");
    let expected = [("green", 1001), ("", 1000), ("blue", 7999)];
    assert_eq!(place.memory.shares("payments"), expected.map(|(s, w)| (s.to_owned(), w)));
    agent.stop().await;
}

#[tokio::test]
async fn rollback_sends_everything_to_the_stable_subset() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let agent = place.start().await;
    agent.done("/v1/config", splitter(50.0, 50.0)).await;

    let back = agent.done("/v1/canary/rollback/payments", "").await.json();
    assert_eq!(back["weights"], json!([moved("blue", 50.0, 100.0), moved("green", 50.0, 0.0)]));
    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));

    agent.done("/v1/canary/rollback/payments", r#"{"to": "green"}"#).await;
    assert_eq!(place.memory.shares("payments"), shares(0, 10_000));
    let unknown = agent.put("/v1/canary/rollback/payments", r#"{"to": "gren"}"#).await;
    assert_eq!((unknown.status, place.memory.shares("payments")), (400, shares(0, 10_000)));
    agent.stop().await;
}

#[tokio::test]
async fn rollback_without_a_stable_subset_is_refused() {
    let place = Place::with_payments();
    place.file("resolver.hcl", &RESOLVER.replace("default_subset = \"blue\"", ""));
    let agent = place.start().await;
    agent.done("/v1/config", splitter(50.0, 50.0)).await;

    let refused = agent.put("/v1/canary/rollback/payments", "").await;

    assert_eq!(refused.status, 400);
    assert!(refused.text.contains("no default subset"), "{refused:?}");
    assert_eq!(place.memory.shares("payments"), shares(5000, 5000));
    agent.stop().await;
}

#[tokio::test]
async fn undo_puts_back_what_was_in_force_and_twice_is_redo() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let agent = place.start().await;
    assert_eq!(agent.put("/v1/canary/undo/payments", "").await.status, 404);
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    agent.done("/v1/config", splitter(50.0, 50.0)).await;

    let undone = agent.done("/v1/canary/undo/payments", "").await.json();
    assert_eq!(undone["weights"], json!([moved("blue", 50.0, 90.0), moved("green", 50.0, 10.0)]));
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    agent.done("/v1/canary/undo/payments", "").await;
    assert_eq!(place.memory.shares("payments"), shares(5000, 5000));

    agent.stop().await;
    let agent = place.start().await;
    agent.done("/v1/canary/undo/payments", "").await;
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    agent.stop().await;
}

#[tokio::test]
async fn undoing_the_first_write_deletes_it() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let agent = place.start().await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;

    agent.done("/v1/canary/undo/payments", "").await;

    assert_eq!(agent.get("/v1/config/service-splitter/payments").await.status, 404);
    assert_eq!(place.memory.shares("payments"), [("blue".to_owned(), 10_000)]);
    agent.stop().await;
}

#[tokio::test]
async fn status_says_where_entries_come_from_and_what_is_shadowed() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    place.file("splitter.json", &splitter(100.0, 0.0));
    let agent = place.start().await;
    let before = agent.get("/v1/canary/status/payments").await.json();
    assert_eq!(before["origin"]["splitter"], "file splitter.json");
    assert_eq!(before["splits"][1]["weight"].as_f64(), Some(0.0));
    let in_file = agent.delete("/v1/config/service-splitter/payments").await;
    assert_eq!(in_file.status, 500);
    assert!(in_file.text.contains("splitter.json"), "{in_file:?}");
    let in_file = agent.put("/v1/agent/service/deregister/payments-blue-1", "").await;
    assert!(in_file.text.contains("services.hcl"), "{in_file:?}");

    let written = agent.done("/v1/config", splitter(50.0, 50.0)).await;

    let shadowed = |text: &str| text.contains("splitter.json") && text.contains("shadowed");
    assert!(written.warnings.iter().any(|text| shadowed(text)), "{written:?}");
    let after = agent.status().await;
    assert_eq!(after["services"][0]["origin"]["splitter"], "store");
    let warnings = after["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|w| shadowed(w["text"].as_str().unwrap())), "{warnings:?}");
    agent.delete("/v1/config/service-splitter/payments").await;
    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
    assert_eq!(agent.status().await["warnings"], json!([]));
    agent.stop().await;
}

#[tokio::test]
async fn a_registration_shadows_a_file_and_gives_it_back() {
    let place = Place::with_payments();
    let agent = place.start().await;
    let body = json!({"Name": "payments", "ID": "payments-blue-1", "Address": "10.1.0.99", "Port": 1,
        "TaggedAddresses": {"virtual": {"Address": "10.96.0.10", "Port": 80}}});

    agent.done("/v1/agent/service/register", body.to_string()).await;
    let address =
        async || agent.get("/v1/agent/services").await.json()["payments-blue-1"]["Address"].clone();

    assert_eq!(address().await, "10.1.0.99");
    agent.done("/v1/agent/reload", "").await;
    assert_eq!(address().await, "10.1.0.99");
    agent.done("/v1/agent/service/deregister/payments-blue-1", "").await;
    assert_eq!(address().await, "10.1.0.1");
    agent.stop().await;
}

#[tokio::test]
async fn a_likely_name_is_offered() {
    let place = Place::new();
    place.file("services.hcl", &service("payment", "1", 1, 2));
    let agent = place.start().await;

    let written = agent.done("/v1/config", resolver()).await;

    let text = r#"no instance is registered as "payments" (did you mean "payment"?)"#;
    assert_eq!(written.warnings, [text]);
    let status = agent.status().await;
    assert_eq!(status["warnings"], json!([{"service": "payments", "text": text}]));
    assert_eq!(status["services"][1]["service"], "payments");
    assert_eq!(status["services"][1]["splits"][0]["subset"], "blue");
    agent.stop().await;
}

#[tokio::test]
async fn counters_reach_status_and_metrics() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let agent = place.start().await;
    agent.done("/v1/config", splitter(99.0, 1.0)).await;
    let key =
        SplitKey { service: "payments".into(), target: "payments".into(), subset: "green".into() };
    let counters = Counters {
        opened: 12,
        established: 10,
        refused: 2,
        closed: 6,
        reset_by_server: 1,
        unanswered: 3,
        bytes_to_client: 4096,
        connect_us: Some(Histogram { buckets: vec![(100, 9), (2000, 1)], sum_us: 2500 }),
        ..Counters::default()
    };
    place.memory.get().counters.insert(key, counters);

    let green = agent.get("/v1/canary/status/payments").await.json()["splits"][1].clone();
    let metrics = agent.get("/metrics").await.text;

    assert_eq!(green["connections"]["active"], 3);
    assert_eq!(green["connections"]["unanswered"], 3);
    assert_eq!(green["connect_us"], json!({"count": 10, "p50": 100, "p99": 2000}));
    assert_eq!(green["response_us"], Value::Null);
    assert_eq!(green["http"], Value::Null);
    let labels = r#"service="payments",target="payments",subset="green""#;
    for line in [
        format!("canary_connects_total{{{labels},result=\"ok\"}} 10"),
        format!("canary_connects_total{{{labels},result=\"refused\"}} 2"),
        format!("canary_resets_total{{{labels},side=\"server\"}} 1"),
        format!("canary_bytes_total{{{labels},direction=\"tx\"}} 4096"),
        format!("canary_connections_open{{{labels}}} 3"),
        format!("canary_endpoints{{{labels},state=\"healthy\"}} 1"),
        format!("canary_subset_weight_ratio{{{labels},kind=\"programmed\"}} 0.01"),
        format!("canary_connect_duration_seconds_bucket{{{labels},le=\"0.000100\"}} 9"),
        format!("canary_connect_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 10"),
        format!("canary_connect_duration_seconds_sum{{{labels}}} 0.002500"),
        "canary_packets_not_forwarded_total{reason=\"flow-lost\"} 3".to_owned(),
        "canary_map_capacity{map=\"SERVICES\"} 32768".to_owned(),
        "canary_source_ok{source=\"files\"} 1".to_owned(),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in:\n{metrics}");
    }
    let names = metrics.lines().filter(|line| line.starts_with("# TYPE"));
    let names: Vec<&str> = names.filter_map(|line| line.split(' ').nth(2)).collect();
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len(), "a metric has two heads");
    agent.stop().await;
}
