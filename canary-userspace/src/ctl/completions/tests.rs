//! Lines that are being typed, against a server that answers.

use serde_json::{Value, json};

use super::*;
use crate::ctl::server::{Reply, Server};

/// Candidates for the last word of a line.
async fn complete(server: &Server, line: &str) -> Vec<String> {
    let address = server.address();
    let words: Vec<String> = ["canaryctl", "--agent", &address]
        .into_iter()
        .chain(line.split(' '))
        .map(str::to_owned)
        .collect();
    // As a shell does: in a process of its own, so not within this test's runtime.
    let complete = move || {
        let words: Vec<OsString> = argv::normalise(words.into_iter().map(OsString::from));
        let known = Arc::new(Words::new(
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        ));
        let last = words.len() - 1;
        let found =
            clap_complete::engine::complete(&mut command(&known), words, last, None).unwrap();
        let names = found.iter().map(|found| found.get_value().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with("--")).collect()
    };
    tokio::task::spawn_blocking(complete).await.unwrap()
}

fn replies(bodies: &[Value]) -> Server {
    Server::start(bodies.iter().map(|body| Reply::new(200, body.to_string())))
}

fn resolver() -> Value {
    json!({"Kind": "service-resolver", "Name": "payments",
        "Subsets": {"blue": {"Filter": ""}, "blau": {}, "green": {}}})
}

#[tokio::test]
async fn services_are_those_with_instances_or_entries() {
    let server = replies(&[
        json!({"payments": [], "web": []}),
        json!([{"Name": "web"}]),
        json!([{"Name": "pay"}]),
    ]);

    assert_eq!(complete(&server, "status pa").await, ["pay", "payments"]);
    assert_eq!(
        server.lines(),
        [
            "GET /v1/catalog/services",
            "GET /v1/config/service-resolver",
            "GET /v1/config/service-splitter"
        ]
    );
}

#[tokio::test]
async fn subsets_are_ready_for_a_weight_and_named_once() {
    let split = json!({"service": "payments", "revision": 3,
        "splits": [{"service": "payments", "subset": "blue", "weight": 90.0},
            {"service": "api", "subset": "", "weight": 10.0}]});
    let server = replies(&[resolver(), split]);

    assert_eq!(complete(&server, "split set payments blue=90 ").await, ["api=", "blau=", "green="]);
    assert_eq!(
        server.lines(),
        ["GET /v1/config/service-resolver/payments", "GET /v1/canary/split/payments"]
    );
}

#[tokio::test]
async fn a_rollback_goes_to_a_subset() {
    let server = replies(&[resolver()]);

    assert_eq!(complete(&server, "rollback payments --to bl").await, ["blau", "blue"]);
}

#[tokio::test]
async fn connections_of_a_subset_are_severed() {
    let server = replies(&[resolver()]);

    assert_eq!(complete(&server, "sever payments --subset bl").await, ["blau", "blue"]);
}

#[tokio::test]
async fn kinds_and_names_are_completed_with_consuls_flags_too() {
    let server = replies(&[json!([{"Name": "web"}, {"Name": "api"}])]);

    assert_eq!(
        complete(&server, "config read -kind service-").await,
        ["service-defaults", "service-resolver", "service-splitter"]
    );
    assert_eq!(
        complete(&server, "config read -kind service-splitter -name ").await,
        ["api", "web"]
    );
    assert_eq!(server.lines(), ["GET /v1/config/service-splitter"]);
}

#[tokio::test]
async fn instances_are_completed_by_id() {
    let known = json!({"web-1": {}, "web-2": {}, "api-1": {}});
    let server = replies(&[known.clone(), known]);

    assert_eq!(complete(&server, "service deregister web").await, ["web-1", "web-2"]);
    assert_eq!(complete(&server, "service maintenance web").await, ["web-1", "web-2"]);
}

#[tokio::test]
async fn an_agent_that_is_not_there_or_makes_no_sense_is_silence() {
    let refusing = Server::start([Reply::new(403, "Permission denied")]);
    let odd = Server::start([Reply::new(200, "<html>")]);

    assert_eq!(complete(&refusing, "status p").await, [""; 0]);
    assert_eq!(complete(&odd, "undo p").await, [""; 0]);
    let words = Words::new(["--agent", "unix", ":", "//x"].map(str::to_owned).to_vec());
    let ask = names::of("status", "service").unwrap();
    let nobody = tokio::task::spawn_blocking(move || ask(&words)).await.unwrap();
    assert_eq!(nobody, [""; 0], "half an address is no address");
}
