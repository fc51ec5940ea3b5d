//! Checks and maintenance over the API.

use tokio::net::TcpListener;

use super::*;

/// Registers an instance of `web` with `fields` beside its name, id and port.
async fn register(agent: &Running, id: &str, port: u16, fields: Value) {
    let mut body = json!({"Name": "web", "ID": id, "Address": "127.0.0.1", "Port": port,
        "TaggedAddresses": {"virtual": {"Address": "10.96.0.20", "Port": 80}}});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    agent.done("/v1/agent/service/register", body.to_string()).await;
}

/// Ports of the healthy backends of `web` in the datapath, with their weights.
fn published(place: &Place) -> Vec<(u16, u32)> {
    let inner = place.memory.get();
    let web = inner.published.services.iter().find(|service| service.name == "web").unwrap();
    let healthy = web.splits[0].backends.iter().filter(|backend| backend.healthy);
    healthy.map(|backend| (u16::from_be_bytes(backend.endpoint.port), backend.weight)).collect()
}

async fn status(agent: &Running, check: &str) -> String {
    let checks = agent.get("/v1/agent/checks").await.json();
    checks[check]["Status"].as_str().unwrap_or("none").to_owned()
}

async fn wait_for(agent: &Running, check: &str, wanted: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let found = status(agent, check).await;
        if found == wanted {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{check} is {found}, not {wanted}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_clients_word_about_a_ttl_check_is_in_the_datapath_when_it_is_acknowledged() {
    let place = Place::new();
    let agent = place.start().await;
    let checks = json!({"Weights": {"Passing": 10, "Warning": 2}, "Check": {"TTL": "1h"}});
    register(&agent, "w", 81, checks).await;
    assert_eq!(published(&place), []);

    for (verb, healthy, shown) in [
        ("pass", vec![(81, 10)], "passing"),
        ("warn", vec![(81, 2)], "warning"),
        ("fail", vec![], "critical"),
        ("pass", vec![(81, 10)], "passing"),
    ] {
        agent.done(&format!("/v1/agent/check/{verb}/service:w?note=by%20{verb}"), "").await;
        assert_eq!(published(&place), healthy, "{verb}");
        let check = agent.get("/v1/agent/checks").await.json()["service:w"].clone();
        assert_eq!(check["Status"], shown);
        assert_eq!(check["Output"], format!("by {verb}"));
    }
    let body = r#"{"Status": "warning", "Output": "slow"}"#;
    agent.done("/v1/agent/check/update/service:w", body).await;
    assert_eq!(published(&place), [(81, 2)]);
    agent.stop().await;
}

#[tokio::test]
async fn a_change_reaches_the_datapath_within_ten_milliseconds() {
    let place = Place::new();
    let agent = place.start().await;
    register(&agent, "w", 81, json!({"Check": {"TTL": "1h"}})).await;
    let mut times = Vec::new();
    for verb in ["pass", "fail"].repeat(20) {
        let start = std::time::Instant::now();
        agent.done(&format!("/v1/agent/check/{verb}/service:w"), "").await;
        assert_eq!(published(&place).is_empty(), verb == "fail");
        times.push(start.elapsed());
    }
    times.sort();
    // The median, for whatever else runs here is not the agent's doing; the request counts too.
    assert!(times[times.len() / 2] < Duration::from_millis(10), "{times:?}");
    agent.stop().await;
}

#[tokio::test]
async fn a_lapsed_ttl_check_takes_its_instance_out() {
    let place = Place::new();
    let agent = place.start().await;
    register(&agent, "w", 81, json!({"Check": {"TTL": "200ms"}})).await;
    agent.done("/v1/agent/check/pass/service:w?note=fine", "").await;

    wait_for(&agent, "service:w", "critical").await;

    assert_eq!(published(&place), []);
    let output = agent.get("/v1/agent/checks").await.json()["service:w"]["Output"].clone();
    assert_eq!(output, "TTL expired (last output before timeout follows): fine");
    agent.stop().await;
}

#[tokio::test]
async fn checks_on_their_own_count_for_their_instance_or_for_all_of_the_node() {
    let place = Place::new();
    let agent = place.start().await;
    register(&agent, "a", 81, json!({})).await;
    register(&agent, "b", 82, json!({})).await;
    assert_eq!(published(&place), [(81, 1), (82, 1)]);

    let check = json!({"Name": "Deep", "ID": "deep", "ServiceID": "a", "TTL": "1h"});
    agent.done("/v1/agent/check/register", check.to_string()).await;
    assert_eq!(published(&place), [(82, 1)]);
    agent.done("/v1/agent/check/pass/deep", "").await;
    assert_eq!(published(&place), [(81, 1), (82, 1)]);

    let check = json!({"Name": "disk", "TTL": "1h", "Status": "passing"});
    agent.done("/v1/agent/check/register", check.to_string()).await;
    assert_eq!(published(&place), [(81, 1), (82, 1)]);
    agent.done("/v1/agent/check/fail/disk", "").await;
    assert_eq!(published(&place), []);
    let checks = agent.get("/v1/agent/checks").await.json();
    assert_eq!(checks["disk"]["ServiceID"], "");
    assert_eq!(checks["deep"]["ServiceName"], "web");
    agent.done("/v1/agent/check/deregister/disk", "").await;
    assert_eq!(published(&place), [(81, 1), (82, 1)]);

    // It goes with its instance.
    agent.done("/v1/agent/service/deregister/a", "").await;
    assert_eq!(status(&agent, "deep").await, "none");
    register(&agent, "a", 81, json!({})).await;
    assert_eq!(status(&agent, "deep").await, "none");
    agent.stop().await;
}

/// Path, body, and what is answered.
const REFUSED: &[(&str, &str, u16, &str)] = &[
    (
        "/v1/agent/check/pass/x",
        "",
        404,
        "Unknown check ID \"x\". Ensure that the check ID is passed, not the check name.",
    ),
    (
        "/v1/agent/check/deregister/x",
        "",
        404,
        "Unknown check ID \"x\". Ensure that the check ID is passed, not the check name.",
    ),
    (
        "/v1/agent/check/pass/service:w",
        "",
        500,
        "CheckID \"service:w\" does not have associated TTL",
    ),
    ("/v1/agent/check/update/disk", r#"{"Status": "ok"}"#, 400, "Invalid check status: 'ok'"),
    ("/v1/agent/check/register", "{}", 400, "Missing check name"),
    (
        "/v1/agent/check/register",
        r#"{"Name": "x", "ServiceID": "y", "TTL": "1s"}"#,
        404,
        "ServiceID \"y\" does not exist",
    ),
    ("/v1/agent/check/register", r#"{"Name": "x"}"#, 400, "TTL must be > 0 for TTL checks"),
    (
        "/v1/agent/check/register",
        r#"{"Name": "x", "TTL": "1s", "y": 1}"#,
        400,
        "Request decoding failed: invalid config key \"y\"",
    ),
    (
        "/v1/agent/check/register",
        r#"{"Name": "service:w", "TTL": "1s"}"#,
        500,
        "check id \"service:w\" (the store) belongs to service id \"w\" (the store): \
             choose another, or change it there",
    ),
    (
        "/v1/agent/check/deregister/disk",
        "",
        500,
        "check id \"disk\" is defined in DISK:1:1: delete it there and reload",
    ),
    ("/v1/agent/maintenance", "", 400, "Missing value for enable"),
    ("/v1/agent/maintenance?enable=x", "", 400, "Invalid value for enable: \"x\""),
    (
        "/v1/agent/service/maintenance/x?enable=true",
        "",
        404,
        "Unknown service ID \"x\". Ensure that the service ID is passed, not the service name.",
    ),
    (
        "/v1/agent/service/register",
        r#"{"Name": "a", "Port": 1, "Check": {"Args": ["true"], "Interval": "1s"}}"#,
        400,
        "Request decoding failed: check kind \"args\" is refused: the agent runs as root and \
             runs no commands; use tcp, http, grpc or ttl",
    ),
    (
        "/v1/agent/service/register",
        r#"{"Name": "a", "Port": 1, "Weights": {"Passing": 0}}"#,
        400,
        "Invalid Weights: Passing must be greater than 0",
    ),
];

#[tokio::test]
async fn what_cannot_be_done_to_a_check_is_refused_in_consuls_words() {
    let place = Place::new();
    place.file("disk.hcl", "check { name = \"disk\" ttl = \"1h\" }");
    let agent = place.start().await;
    let tcp = json!({"Check": {"TCP": "127.0.0.1:1", "Interval": "60s"}});
    register(&agent, "w", 81, tcp).await;
    let disk = place.path("disk.hcl").display().to_string();
    for (path, body, code, text) in REFUSED {
        let before = agent.everything(&place).await;
        let reply = agent.put(path, *body).await;
        let text = text.replace("DISK", &disk);
        assert_eq!((reply.status, reply.text), (*code, text), "{path} {body}");
        assert_eq!(agent.everything(&place).await, before, "{path} {body}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_file_whose_check_is_about_nobody_is_refused() {
    let place = Place::new();
    let agent = place.start().await;
    place.file("c.hcl", "\ncheck { name = \"c\" service_id = \"w\" ttl = \"1h\" }");

    let reply = agent.put("/v1/agent/reload", "").await;
    let text = format!(
        "{}:2:1: check \"c\": ServiceID \"w\" does not exist",
        place.path("c.hcl").display()
    );
    assert_eq!((reply.status, reply.text), (500, text));

    register(&agent, "w", 81, json!({})).await;
    agent.done("/v1/agent/reload", "").await;
    assert_eq!(status(&agent, "c").await, "critical");
    agent.stop().await;
}

#[tokio::test]
async fn registering_again_keeps_checks_that_are_not_named_unless_told_otherwise() {
    let place = Place::new();
    let agent = place.start().await;
    let named = |ids: &[&str]| {
        let checks = ids.iter().map(|id| json!({"CheckID": id, "TTL": "1h"}));
        json!({"Checks": checks.collect::<Value>()})
    };
    register(&agent, "w", 81, named(&["one", "two"])).await;
    let lone = json!({"Name": "lone", "ServiceID": "w", "TTL": "1h"});
    agent.done("/v1/agent/check/register", lone.to_string()).await;
    for check in ["one", "two", "lone"] {
        agent.done(&format!("/v1/agent/check/pass/{check}"), "").await;
    }
    agent.done("/v1/agent/service/maintenance/w?enable=true", "").await;

    register(&agent, "w", 81, named(&["one"])).await;
    for check in ["one", "two", "lone"] {
        assert_eq!(status(&agent, check).await, "passing", "{check}");
    }

    let mut body = named(&["one"]);
    body.as_object_mut()
        .unwrap()
        .extend(json!({"Name": "web", "ID": "w", "Port": 81}).as_object().unwrap().clone());
    let path = "/v1/agent/service/register?replace-existing-checks=true";
    agent.done(path, body.to_string()).await;
    assert_eq!(status(&agent, "one").await, "passing");
    assert_eq!(status(&agent, "two").await, "none");
    assert_eq!(status(&agent, "lone").await, "none");
    assert_eq!(status(&agent, "_service_maintenance:w").await, "critical");

    agent.done("/v1/agent/check/deregister/one", "").await;
    assert_eq!(status(&agent, "one").await, "none");
    agent.stop().await;
}

#[tokio::test]
async fn maintenance_takes_an_instance_or_the_node_out_and_outlives_a_restart() {
    let place = Place::new();
    let agent = place.start().await;
    register(&agent, "a", 81, json!({})).await;
    register(&agent, "b", 82, json!({})).await;

    let path = "/v1/agent/service/maintenance/a";
    agent.done(&format!("{path}?enable=true&reason=new%20disk"), "").await;
    agent.done(&format!("{path}?enable=true&reason=other"), "").await;
    assert_eq!(published(&place), [(82, 1)]);
    let check = agent.get("/v1/agent/checks").await.json()["_service_maintenance:a"].clone();
    assert_eq!(check["Name"], "Service Maintenance Mode");
    assert_eq!(check["Notes"], "new disk");
    assert_eq!(check["Status"], "critical");
    let warnings = agent.status().await["warnings"].to_string();
    assert!(warnings.contains("instance \\\"a\\\" is in maintenance mode: new disk"), "{warnings}");

    agent.done("/v1/agent/maintenance?enable=true", "").await;
    assert_eq!(published(&place), []);
    agent.stop().await;
    let agent = place.start().await;
    assert_eq!(published(&place), []);
    let notes = agent.get("/v1/agent/checks").await.json()["_node_maintenance"]["Notes"].clone();
    let default = "Maintenance mode is enabled for this node, but no reason was provided. \
                   This is a default message.";
    assert_eq!(notes, default);

    agent.done("/v1/agent/maintenance?enable=false", "").await;
    assert_eq!(published(&place), [(82, 1)]);
    agent.done(&format!("{path}?enable=false"), "").await;
    agent.done(&format!("{path}?enable=false"), "").await;
    assert_eq!(published(&place), [(81, 1), (82, 1)]);
    agent.stop().await;
    let agent = place.start().await;
    assert_eq!(published(&place), [(81, 1), (82, 1)]);
    agent.stop().await;
}

#[tokio::test]
async fn checks_on_their_own_and_ttl_states_outlive_a_restart() {
    let place = Place::new();
    let agent = place.start().await;
    register(&agent, "w", 81, json!({"Check": {"TTL": "1h"}})).await;
    let lone = json!({"Name": "lone", "ServiceID": "w", "TTL": "1h", "Notes": "n"});
    agent.done("/v1/agent/check/register", lone.to_string()).await;
    agent.done("/v1/agent/check/pass/service:w?note=fine", "").await;
    agent.done("/v1/agent/check/warn/lone", "").await;
    let before = agent.get("/v1/agent/checks").await.json();
    agent.stop().await;

    let agent = place.start().await;

    assert_eq!(agent.get("/v1/agent/checks").await.json(), before);
    assert_eq!(published(&place), [(81, 1)]);
    agent.stop().await;
}

#[tokio::test]
async fn the_agents_view_of_health_is_in_the_status_code() {
    let place = Place::new();
    let agent = place.start().await;
    register(&agent, "a", 81, json!({"Check": {"TTL": "1h", "Status": "passing"}})).await;
    register(&agent, "b", 82, json!({"Check": {"TTL": "1h", "Status": "warning"}})).await;
    let by_id = |id: &str| format!("/v1/agent/health/service/id/{id}");

    let a = agent.get(&by_id("a")).await;
    assert_eq!((a.status, a.json()["AggregatedStatus"].clone()), (200, json!("passing")));
    assert_eq!(a.json()["Checks"][0]["CheckID"], "service:a");
    assert_eq!(agent.get(&by_id("b")).await.status, 429);
    let missing = agent.get(&by_id("c")).await;
    assert_eq!((missing.status, missing.json()["Service"].clone()), (404, Value::Null));

    let by_name = "/v1/agent/health/service/name/web";
    assert_eq!(agent.get(by_name).await.status, 429);
    agent.done("/v1/agent/service/maintenance/a?enable=true", "").await;
    let web = agent.get(by_name).await;
    assert_eq!(
        (web.status, web.json()[0]["AggregatedStatus"].clone()),
        (503, json!("maintenance"))
    );
    let text = agent.get(&format!("{by_name}?format=text")).await;
    assert_eq!((text.status, text.text.as_str()), (503, "maintenance"));
    assert_eq!(agent.get("/v1/agent/health/service/name/x").await.status, 404);
    agent.stop().await;
}

#[tokio::test]
async fn a_probe_decides_and_a_flapping_target_is_followed() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let agent = place.start().await;
    let tcp = json!({"Check": {"TCP": target.to_string(), "Interval": "20ms", "Timeout": "1s"}});
    register(&agent, "w", 81, tcp).await;
    wait_for(&agent, "service:w", "passing").await;
    assert_eq!(published(&place), [(81, 1)]);

    drop(listener);
    wait_for(&agent, "service:w", "critical").await;
    assert_eq!(published(&place), []);
    let listener = TcpListener::bind(target).await.unwrap();
    wait_for(&agent, "service:w", "passing").await;

    assert_eq!(published(&place), [(81, 1)]);
    drop(listener);
    agent.stop().await;
}

#[tokio::test]
async fn a_check_is_shown_as_consul_shows_it() {
    let place = Place::new();
    let agent = place.start().await;
    let fields = json!({"Tags": ["v2"], "Check": {"TCP": "127.0.0.1:1", "Interval": "1h", "Timeout": "2s", "Notes": "n", "Status": "passing"}});
    register(&agent, "w", 81, fields).await;
    agent.done("/v1/agent/maintenance?enable=true&reason=why", "").await;

    let all = agent.get("/v1/agent/checks").await.json();
    let filtered = agent.get("/v1/agent/checks?filter=Type==maintenance").await.json();
    let of_web = agent.get("/v1/health/service/web").await.json()[0]["Checks"].clone();

    let mut own = all["service:w"].clone();
    // It may have been probed already.
    own["Status"] = json!("passing");
    own["Output"] = json!("");
    assert_eq!(
        own,
        json!({
            "Node": "node-1", "CheckID": "service:w", "Name": "Service 'web' check",
            "Status": "passing", "Notes": "n", "Output": "", "ServiceID": "w",
            "ServiceName": "web", "ServiceTags": ["v2"], "Type": "tcp", "Interval": "1h0m0s",
            "Timeout": "2s", "ExposedPort": 0, "Definition": {}, "CreateIndex": 0,
            "ModifyIndex": 0,
        })
    );
    assert_eq!(
        all["_node_maintenance"],
        json!({
            "Node": "node-1", "CheckID": "_node_maintenance", "Name": "Node Maintenance Mode",
            "Status": "critical", "Notes": "why", "Output": "", "ServiceID": "",
            "ServiceName": "", "ServiceTags": [], "Type": "maintenance", "Interval": "",
            "Timeout": "", "ExposedPort": 0, "Definition": {}, "CreateIndex": 0,
            "ModifyIndex": 0,
        })
    );
    assert_eq!(filtered.as_object().unwrap().keys().collect::<Vec<_>>(), ["_node_maintenance"]);
    let ids: Vec<_> =
        of_web.as_array().unwrap().iter().map(|check| check["CheckID"].clone()).collect();
    assert_eq!(ids, ["_node_maintenance", "service:w"]);
    agent.stop().await;
}
