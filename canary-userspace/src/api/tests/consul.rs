//! Consul's own paths.

use super::*;

#[tokio::test]
async fn entries_are_written_read_listed_and_deleted() {
    let place = Place::with_payments();
    let agent = place.start().await;

    let missing = agent.get("/v1/config/service-splitter/payments").await;
    assert_eq!(missing.status, 404);
    let text = r#"Config entry not found for "service-splitter" / "payments""#;
    assert_eq!(missing.text, text);
    assert_eq!(agent.get("/v1/config/service-splitter").await.json(), json!([]));

    assert_eq!(agent.done("/v1/config", resolver()).await.json(), json!(true));
    let written = agent.done("/v1/config", splitter(90.0, 10.0)).await;
    let read = agent.get("/v1/config/service-splitter/payments").await;

    let entry = read.json();
    assert_eq!(entry["Kind"], "service-splitter");
    assert_eq!(entry["Splits"][0]["Weight"].as_f64(), Some(90.0));
    assert_eq!(entry["Splits"][1]["ServiceSubset"], "green");
    assert_eq!(entry["CreateIndex"], entry["ModifyIndex"]);
    assert_eq!(entry["ModifyIndex"].as_u64(), Some(read.index));
    assert_eq!(read.index, written.index);
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    let list = agent.get("/v1/config/service-splitter").await.json();
    assert_eq!(list, json!([entry]));

    let needed = agent.delete("/v1/config/service-resolver/payments").await;
    assert_eq!(needed.status, 500);
    let text = r#"service "payments" does not have a subset named "blue""#;
    assert_eq!(needed.text, text);
    assert_eq!(agent.delete("/v1/config/service-splitter/payments").await.json(), json!({}));
    assert_eq!(agent.delete("/v1/config/service-resolver/payments").await.status, 200);
    assert_eq!(agent.get("/v1/config/service-resolver/payments").await.status, 404);
    assert_eq!(place.memory.shares("payments"), [(String::new(), 10_000)]);
    agent.stop().await;
}

#[tokio::test]
async fn check_and_set_is_consuls() {
    let place = Place::with_payments();
    let agent = place.start().await;
    let modify = async |kind: &str| {
        let entry = agent.get(&format!("/v1/config/{kind}/payments")).await.json();
        entry["ModifyIndex"].as_u64().unwrap()
    };

    assert_eq!(agent.done("/v1/config?cas=5", resolver()).await.json(), json!(false));
    assert_eq!(agent.done("/v1/config?cas=0", resolver()).await.json(), json!(true));
    assert_eq!(agent.done("/v1/config?cas=0", resolver()).await.json(), json!(false));
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    let first = modify("service-splitter").await;
    let path = format!("/v1/config?cas={first}");
    assert_eq!(agent.done(&path, splitter(80.0, 20.0)).await.json(), json!(true));
    assert_eq!(agent.done(&path, splitter(70.0, 30.0)).await.json(), json!(false));

    assert_eq!(place.memory.shares("payments"), shares(8000, 2000));
    let entry = agent.get("/v1/config/service-splitter/payments").await.json();
    assert_eq!(entry["CreateIndex"].as_u64(), Some(first));
    let stale = agent.delete(&format!("/v1/config/service-splitter/payments?cas={first}")).await;
    assert_eq!(stale.json(), json!(false));
    let second = modify("service-splitter").await;
    let fresh = agent.delete(&format!("/v1/config/service-splitter/payments?cas={second}")).await;
    assert_eq!(fresh.json(), json!(true));
    assert_eq!(agent.put("/v1/config?cas=x", resolver()).await.status, 400);
    agent.stop().await;
}

#[tokio::test]
async fn instances_are_registered_listed_and_taken_back() {
    let place = Place::new();
    let agent = place.start().await;
    let body = json!({
        "Name": "web", "ID": "web-1", "Address": "10.1.0.7", "Port": 9090, "Tags": ["v1"],
        "Meta": {"version": "1"},
        "TaggedAddresses": {"virtual": {"Address": "10.96.0.7", "Port": 80}},
    });

    agent.done("/v1/agent/service/register?replace-existing-checks=true", body.to_string()).await;

    let list = agent.get("/v1/agent/services").await.json();
    assert_eq!(list["web-1"]["Service"], "web");
    assert_eq!(list["web-1"]["Address"], "10.1.0.7");
    assert_eq!(list["web-1"]["Port"], 9090);
    assert_eq!(list["web-1"]["Tags"], json!(["v1"]));
    assert_eq!(list["web-1"]["Meta"]["version"], "1");
    assert_eq!(list["web-1"]["TaggedAddresses"]["virtual"]["Port"], 80);
    assert_eq!(agent.get("/v1/catalog/services").await.json(), json!({"web": ["v1"]}));
    let service = agent.get("/v1/canary/status/web").await.json();
    let frontend = json!([{"address": "10.96.0.7", "port": 80, "protocol": "tcp"}]);
    assert_eq!(service["frontends"], frontend);
    assert_eq!(service["splits"][0]["backends"]["healthy"], 1);

    let unknown = agent.put("/v1/agent/service/deregister/web-2", "").await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
    agent.done("/v1/agent/service/deregister/web-1", "").await;
    assert_eq!(agent.get("/v1/agent/services").await.json(), json!({}));
    assert_eq!(place.memory.get().published.services, []);
    agent.stop().await;
}

#[tokio::test]
async fn clients_find_what_they_ask_first() {
    let place = Place::new();
    let agent = place.start().await;

    assert!(agent.get("/v1/status/leader").await.json().is_string());
    assert_eq!(agent.get("/v1/agent/self").await.json()["Config"]["NodeName"], "node-1");
    assert_eq!(agent.get("/v1/nothing").await.status, 404);
    assert_eq!(agent.get("/v1/config/nonsense").await.text, "invalid config entry kind: nonsense");
    assert_eq!(agent.get("/v1/config/service-router").await.json(), json!([]));
    agent.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_or_nonsense_holds_nobody_up() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let place = Place::with_payments();
    let agent = place.start().await;
    let mut silent = Vec::new();
    for head in ["", "PUT /v1/config HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{"] {
        let mut stream = UnixStream::connect(&agent.socket).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    let mut nonsense = UnixStream::connect(&agent.socket).await.unwrap();
    nonsense.write_all(b"\x16\x03\x01 not http\r\n\r\n").await.unwrap();

    agent.done("/v1/config", resolver()).await;

    let mut answer = String::new();
    nonsense.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let large = agent.try_ask("PUT", "/v1/config", " ".repeat(super::super::MAX_BODY + 1)).await;
    assert_eq!(large.unwrap().status, 413);
    drop(silent);
    agent.stop().await;
}
