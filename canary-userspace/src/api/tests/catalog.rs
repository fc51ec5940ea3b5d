//! The catalogue as Consul shows it.

use super::*;

fn web(id: &str, host: u8, tags: &[&str]) -> String {
    json!({"Name": "web", "ID": id, "Address": format!("10.1.0.{host}"), "Port": 80, "Tags": tags,
        "Meta": {"version": "1"}, "Weights": {"Passing": 3, "Warning": 1},
        "TaggedAddresses": {"lan": {"Address": "10.1.0.9", "Port": 81}}})
    .to_string()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn rows_have_consuls_fields() {
    let place = Place::new();
    let agent = place.start().await;
    agent.done("/v1/agent/service/register", web("web-1", 7, &["v1"])).await;
    let node = ["ID", "Node", "Address", "Datacenter", "TaggedAddresses", "Meta"];
    let indices = ["CreateIndex", "ModifyIndex"];
    let service = [
        "ID",
        "Service",
        "Tags",
        "Address",
        "TaggedAddresses",
        "Meta",
        "Port",
        "Weights",
        "EnableTagOverride",
        "Proxy",
        "Connect",
        "PeerName",
    ];

    let health = agent.get("/v1/health/service/web").await.json();

    assert_eq!(keys(&health[0]), ["Node", "Service", "Checks"]);
    assert_eq!(keys(&health[0]["Node"]), [&node[..], &indices].concat());
    assert_eq!(keys(&health[0]["Service"]), [&service[..], &indices].concat());
    assert_eq!(health[0]["Node"]["Node"], "node-1");
    assert_eq!(health[0]["Node"]["Datacenter"], "dc1");
    assert_eq!(health[0]["Service"]["Weights"], json!({"Passing": 3, "Warning": 1}));
    let tagged = json!({"lan": {"Address": "10.1.0.9", "Port": 81}});
    assert_eq!(health[0]["Service"]["TaggedAddresses"], tagged);
    let rows = agent.get("/v1/catalog/service/web").await.json();
    assert_eq!(rows[0]["ServiceAddress"], "10.1.0.7");
    assert_eq!(rows[0]["ServiceMeta"], json!({"version": "1"}));
    assert_eq!(rows[0]["ServiceTags"], json!(["v1"]));
    assert_eq!(rows[0]["ServicePort"], 80);
    assert_eq!(rows[0]["NodeMeta"], json!({}));
    let nodes = agent.get("/v1/catalog/nodes").await.json();
    assert_eq!(nodes.as_array().unwrap().len(), 1);
    assert_eq!(nodes[0]["ID"], health[0]["Node"]["ID"]);
    let id = nodes[0]["ID"].as_str().unwrap();
    for name in ["node-1", "NODE-1", id] {
        let one = agent.get(&format!("/v1/catalog/node/{name}")).await.json();
        assert_eq!(one["Node"], nodes[0]);
        assert_eq!(one["Services"]["web-1"], health[0]["Service"]);
        let listed = agent.get(&format!("/v1/catalog/node-services/{name}")).await.json();
        assert_eq!(listed["Services"], json!([health[0]["Service"]]));
    }
    assert_eq!(agent.get("/v1/catalog/datacenters").await.json(), json!(["dc1"]));
    agent.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_empty_as_with_consul() {
    let place = Place::new();
    let agent = place.start().await;

    for (path, empty) in [
        ("/v1/catalog/services", json!({})),
        ("/v1/catalog/service/web", json!([])),
        ("/v1/catalog/node/other", Value::Null),
        ("/v1/catalog/node-services/other", json!({"Node": null, "Services": []})),
        ("/v1/health/service/web", json!([])),
        ("/v1/health/checks/web", json!([])),
        ("/v1/health/node/other", json!([])),
        ("/v1/health/state/critical", json!([])),
        ("/v1/agent/services", json!({})),
    ] {
        let reply = agent.get(path).await;
        assert_eq!((reply.status, reply.json()), (200, empty), "{path}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn tags_and_pairs_of_the_node_choose() {
    let place = Place::new();
    let agent = place.start().await;
    agent.done("/v1/agent/service/register", web("web-1", 1, &["v1", "Fast"])).await;
    agent.done("/v1/agent/service/register", web("web-2", 2, &["v1"])).await;
    agent.done("/v1/agent/service/register", web("web-3", 3, &[])).await;

    for (query, ids) in [
        ("", &["web-1", "web-2", "web-3"][..]),
        ("?tag=v1", &["web-1", "web-2"]),
        ("?tag=V1&tag=fast", &["web-1"]),
        ("?tag=v2", &[]),
        ("?near=_agent&stale&passing", &["web-1", "web-2", "web-3"]),
        ("?dc=dc1&ns=default&partition=default", &["web-1", "web-2", "web-3"]),
        ("?node-meta=zone:a", &[]),
    ] {
        let flat = agent.get(&format!("/v1/catalog/service/web{query}")).await.json();
        let flat: Vec<_> = flat.as_array().unwrap().iter().map(|row| &row["ServiceID"]).collect();
        let nested = agent.get(&format!("/v1/health/service/web{query}")).await.json();
        let nested: Vec<_> =
            nested.as_array().unwrap().iter().map(|row| &row["Service"]["ID"]).collect();
        assert_eq!(flat, ids, "{query}");
        assert_eq!(nested, ids, "{query}");
    }
    let tags = agent.get("/v1/catalog/services").await.json();
    assert_eq!(tags, json!({"web": ["Fast", "v1"]}));
    agent.stop().await;
}

#[tokio::test]
async fn another_place_is_refused_on_every_path() {
    let place = Place::with_payments();
    let agent = place.start().await;

    for path in [
        "/v1/config/service-splitter",
        "/v1/catalog/services",
        "/v1/catalog/service/payments",
        "/v1/catalog/nodes",
        "/v1/health/service/payments",
        "/v1/agent/services",
        "/v1/agent/self",
        "/v1/status/leader",
    ] {
        for (query, status, text) in [
            ("dc=dc2", 500, "No path to datacenter"),
            ("ns=team", 400, "Invalid query parameter: \"ns\" - Namespaces are"),
            ("partition=p", 400, "Invalid query parameter: \"partition\" - Partitions are"),
            ("peer=p", 400, "Invalid query parameter: \"peer\" - Peers are"),
            ("index=x", 400, "Invalid index"),
            ("wait=x", 400, "Invalid wait time"),
        ] {
            let reply = agent.get(&format!("{path}?{query}")).await;
            assert_eq!(reply.status, status, "{path} {query}: {reply:?}");
            assert!(reply.text.contains(text), "{path} {query}: {reply:?}");
        }
    }
    agent.stop().await;
}

#[tokio::test]
async fn answers_have_consuls_headers_and_refusals_its_texts() {
    let place = Place::with_payments();
    let agent = place.start().await;

    let reply = agent.get("/v1/health/service/payments").await;
    for (name, value) in [
        ("content-type", "application/json"),
        ("vary", "Accept-Encoding"),
        ("x-consul-knownleader", "true"),
        ("x-consul-lastcontact", "0"),
        ("x-consul-effective-consistency", "leader"),
        ("x-consul-query-backend", "blocking-query"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    assert!(reply.index > 0);
    let stale = agent.get("/v1/health/service/payments?stale").await;
    assert_eq!(stale.header("x-consul-effective-consistency"), Some("stale"));
    let pretty = agent.get("/v1/catalog/datacenters?pretty").await;
    assert_eq!(pretty.text, "[\n    \"dc1\"\n]");
    let head = agent.ask("HEAD", "/v1/health/service/payments", "").await;
    assert_eq!((head.status, head.text.as_str(), head.index), (200, "", reply.index));

    let method = agent.ask("PATCH", "/v1/catalog/services", "").await;
    assert_eq!((method.status, method.text.as_str()), (405, "method PATCH not allowed"));
    assert_eq!(method.header("allow"), Some("GET,HEAD"));
    let register = agent.put("/v1/catalog/register", "{}").await;
    assert_eq!(register.status, 405);
    assert!(register.text.contains("/v1/agent/service/register"), "{register:?}");
    let nowhere = agent.get("/v1/kv/x").await;
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.text.starts_with("Invalid URL path: not a recognized HTTP API endpoint"));
    let kind = nowhere.header("content-type");
    assert_eq!(kind, Some("text/plain; charset=utf-8"));
    agent.stop().await;
}

#[tokio::test]
async fn the_agent_says_who_it_is() {
    let place = Place::new();
    let agent = place.start().await;

    let own = agent.get("/v1/agent/self").await.json();
    let members = agent.get("/v1/agent/members").await.json();
    let leader = agent.get("/v1/status/leader").await.json();

    assert_eq!(own["Config"]["Datacenter"], "dc1");
    assert_eq!(own["Config"]["NodeName"], "node-1");
    assert_eq!(own["Member"], members[0]);
    assert_eq!(members[0]["Status"], 1);
    assert_eq!(agent.get("/v1/agent/members?wan").await.json(), json!([]));
    assert_eq!(agent.get("/v1/status/peers").await.json(), json!([leader]));
    agent.stop().await;
}
