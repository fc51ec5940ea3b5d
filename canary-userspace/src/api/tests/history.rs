//! The log of changes, undo to one of them, dry runs, export and import.

use std::process;

use super::*;

fn web(port: u16) -> String {
    json!({"Name": "web", "ID": "w", "Address": "10.1.0.50", "Port": port}).to_string()
}

/// A file of the import.
fn file(path: &str, content: impl Into<String>) -> Value {
    json!({"path": path, "content": content.into()})
}

async fn numbers(agent: &Running, service: &str) -> Vec<u64> {
    let history = agent.get(&format!("/v1/canary/history/{service}")).await.json();
    history.as_array().unwrap().iter().map(|change| change["number"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn every_change_is_recorded_with_who_and_what() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let agent = place.start().await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    let set = agent.done("/v1/canary/split/payments", r#"{"blue": 50, "green": 50}"#).await.json();
    agent.done("/v1/agent/service/register", web(1)).await;

    let history = agent.get("/v1/canary/history/payments").await.json();

    let [last, first] = &history.as_array().unwrap()[..] else { panic!("{history}") };
    assert_eq!((last["number"].as_u64(), first["number"].as_u64()), (Some(2), Some(1)));
    assert_eq!((&last["action"], &first["action"]), (&json!("split-set"), &json!("write")));
    assert_eq!(last["revision"], set["revision"]);
    assert_eq!(last["weights"]["payments"], set["weights"]);
    let change = &last["changes"][0];
    assert_eq!(change["before"]["Splits"][0], json!({"Weight": 90, "ServiceSubset": "blue"}));
    assert_eq!(change["after"]["Splits"][0], json!({"Weight": 50, "ServiceSubset": "blue"}));
    assert_eq!(first["changes"][0]["before"], Value::Null);
    let author = &last["author"];
    assert_eq!(author["via"], "socket");
    assert_eq!(author["uid"].as_u64(), Some(u64::from(nix::unistd::getuid().as_raw())));
    assert_eq!(author["pid"].as_u64(), Some(u64::from(process::id())));
    let name = fs::read_to_string("/proc/self/comm").unwrap();
    assert_eq!(author["process"], name.trim_end());
    assert!(last["time_ms"].as_u64() >= first["time_ms"].as_u64(), "{history}");
    let web = agent.get("/v1/canary/history/web").await.json();
    assert_eq!((&web[0]["action"], web.as_array().unwrap().len()), (&json!("register"), 1));
    assert_eq!(web[0]["changes"][0]["name"], "w");
    let all = agent.get("/v1/canary/history?limit=2").await.json();
    assert_eq!(all, json!([web[0], last]));
    for wrong in ["0", "10001", "x", "-1"] {
        let refused = agent.get(&format!("/v1/canary/history?limit={wrong}")).await;
        assert_eq!(refused.status, 400, "{wrong}");
    }
    agent.stop().await;
    let agent = place.start().await;
    assert_eq!(agent.get("/v1/canary/history/payments").await.json(), history);
    agent.done("/v1/agent/service/deregister/w", "").await;
    assert_eq!(numbers(&agent, "web").await, [4, 3]);
    agent.stop().await;
}

#[tokio::test]
async fn what_changes_nothing_is_not_recorded() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let agent = place.start().await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    agent.done("/v1/agent/service/register", web(1)).await;
    let index = agent.get("/v1/agent/services").await.index;

    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    agent.done("/v1/agent/service/register", web(1)).await;
    agent.done("/v1/agent/reload", "").await;
    agent.delete("/v1/config/service-splitter/nothing").await;
    agent.put("/v1/config", splitter(90.0, 20.0)).await;

    assert_eq!(numbers(&agent, "payments").await, [1]);
    assert_eq!(numbers(&agent, "web").await, [2]);
    assert_eq!(agent.get("/v1/agent/services").await.index, index);
    agent.done("/v1/config", splitter(80.0, 20.0)).await;
    assert_eq!(numbers(&agent, "payments").await, [3, 1]);
    agent.stop().await;
}

#[tokio::test]
async fn a_change_of_several_services_shows_in_each() {
    let place = Place::with_payments();
    let agent = place.start().await;
    place.file("resolver.hcl", RESOLVER);
    place.file("web.hcl", &service("web", "1", 9, 1).replace("0.10\"", "0.11\""));

    agent.done("/v1/agent/reload", "").await;

    let payments = agent.get("/v1/canary/history/payments").await.json();
    let web = agent.get("/v1/canary/history/web").await.json();
    assert_eq!(payments[0]["number"], web[0]["number"]);
    assert_eq!(payments[0]["action"], "reload");
    assert_eq!(payments[0]["changes"].as_array().unwrap().len(), 1);
    assert_eq!(payments[0]["changes"][0]["kind"], "service-resolver");
    assert_eq!(web[0]["changes"].as_array().unwrap().len(), 1);
    assert_eq!(web[0]["changes"][0]["name"], "web-1");
    let all = agent.get("/v1/canary/history").await.json();
    assert_eq!(all[0]["changes"].as_array().unwrap().len(), 2);
    agent.stop().await;
}

#[tokio::test]
async fn undo_to_a_change_puts_back_what_was_in_force_after_it() {
    let place = Place::with_payments();
    let agent = place.start().await;
    agent.done("/v1/config", resolver()).await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    agent.done("/v1/agent/service/register", web(1)).await;
    agent.done("/v1/canary/split/payments", r#"{"blue": 50, "green": 50}"#).await;
    agent.done("/v1/canary/rollback/payments", "").await;
    assert_eq!(numbers(&agent, "payments").await, [5, 4, 2, 1]);

    let look = agent.done("/v1/canary/undo/payments?to=2&dry-run", "").await.json();
    assert_eq!((&look["dry_run"], &look["revision"]), (&json!(true), &look["revision_before"]));
    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
    let undone = agent.done("/v1/canary/undo/payments?to=2", "").await.json();
    assert_eq!(undone["weights"], look["weights"]);
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    agent.done("/v1/canary/undo/payments?to=4", "").await;
    assert_eq!(place.memory.shares("payments"), shares(5000, 5000));
    agent.done("/v1/canary/undo/payments?to=1", "").await;
    assert_eq!(agent.get("/v1/config/service-splitter/payments").await.status, 404);
    agent.done("/v1/canary/undo/payments", "").await;
    assert_eq!(place.memory.shares("payments"), shares(5000, 5000));

    // 3 is of another service, and 99 of nobody.
    for unknown in [3, 99, 0] {
        let reply = agent.put(&format!("/v1/canary/undo/payments?to={unknown}"), "").await;
        assert_eq!(reply.status, 404, "{reply:?}");
        let text = format!("no change {unknown} of service \"payments\" is known");
        assert_eq!(reply.text, text);
    }
    assert_eq!(agent.put("/v1/canary/undo/payments?to=x", "").await.status, 400);
    assert_eq!(place.memory.shares("payments"), shares(5000, 5000));
    agent.stop().await;
}

#[tokio::test]
async fn a_dry_run_answers_as_the_change_would_and_changes_nothing() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let agent = place.start().await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    agent.done("/v1/agent/service/register", web(1)).await;
    let before = agent.everything(&place).await;
    let (status, index) = (agent.status().await, agent.get("/v1/agent/services").await.index);
    let history = agent.get("/v1/canary/history").await.json();
    place.file("web.hcl", &service("web", "1", 9, 1).replace("0.10\"", "0.11\""));
    let import = json!({"files": [file("a.json", splitter(1.0, 99.0))]}).to_string();
    let writes = [
        ("PUT", "/v1/config?dry-run", splitter(50.0, 50.0)),
        ("PUT", "/v1/config?cas=2&dry-run=true", splitter(50.0, 50.0)),
        ("DELETE", "/v1/config/service-splitter/payments?dry-run=1", String::new()),
        ("PUT", "/v1/canary/split/payments?dry-run", r#"{"blue": 50, "green": 50}"#.to_owned()),
        ("PUT", "/v1/canary/rollback/payments?dry-run", String::new()),
        ("PUT", "/v1/canary/undo/payments?dry-run", String::new()),
        ("PUT", "/v1/agent/service/register?dry-run", web(2)),
        ("PUT", "/v1/agent/service/deregister/w?dry-run", String::new()),
        ("PUT", "/v1/agent/reload?dry-run", String::new()),
        ("PUT", "/v1/canary/import?dry-run&replace", import),
    ];

    for (method, path, body) in writes {
        let reply = agent.ask(method, path, body).await;

        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert_eq!(agent.everything(&place).await, before, "{path}");
        assert_eq!(agent.status().await, status, "{path}");
        assert_eq!(agent.get("/v1/agent/services").await.index, index, "{path}");
        assert_eq!(agent.get("/v1/canary/history").await.json(), history, "{path}");
    }

    let set = agent.put("/v1/canary/split/payments?dry-run", r#"{"blue": 50, "green": 50}"#).await;
    assert_eq!(set.json()["weights"][0], json!({"subset": "blue", "before": 90.0, "after": 50.0}));
    let reload = agent.put("/v1/agent/reload?dry-run", "").await.json();
    let new = json!([{"service": "web", "kind": "service", "name": "web-1", "how": "new"}]);
    assert_eq!(reload["changes"], new);
    let written = agent.put("/v1/config?dry-run", splitter(50.0, 50.0)).await;
    let changed: Value = serde_json::from_str(written.changed.as_ref().unwrap()).unwrap();
    assert_eq!((&changed["weights"], written.text.as_str()), (&set.json()["weights"], "true"));
    let refused = agent.put("/v1/config?dry-run", splitter(50.0, 60.0)).await;
    assert_eq!(refused.status, 500, "{refused:?}");
    place.memory.get().limit = Some(1);
    let full = json!({"Name": "full", "Address": "10.1.0.50", "Port": 1,
        "TaggedAddresses": {"virtual": {"Address": "10.96.0.99", "Port": 80}}});
    let full = agent.put("/v1/agent/service/register?dry-run", full.to_string()).await;
    assert!(full.status == 500 && full.text.contains("SERVICES is full"), "{full:?}");
    assert_eq!(agent.put("/v1/config?dry-run=maybe", splitter(50.0, 50.0)).await.status, 400);
    agent.stop().await;
}

#[tokio::test]
async fn of_two_writers_with_one_index_exactly_one_wins() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let agent = place.start().await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    for round in 0..10 {
        let entry = agent.get("/v1/config/service-splitter/payments").await.json();
        let path = format!("/v1/config?cas={}", entry["ModifyIndex"]);
        let weight = f64::from(round) + 1.0;

        let (one, other) = tokio::join!(
            agent.put(&path, splitter(100.0 - weight, weight)),
            agent.put(&path, splitter(weight, 100.0 - weight)),
        );

        let mut answers = [one.text.as_str(), other.text.as_str()];
        answers.sort_unstable();
        assert_eq!(answers, ["false", "true"], "round {round}");
        let winner = if one.text == "true" { 100.0 - weight } else { weight };
        let entry = agent.get("/v1/config/service-splitter/payments").await.json();
        assert_eq!(entry["Splits"][0]["Weight"].as_f64(), Some(winner));
    }
    agent.stop().await;
}

#[tokio::test]
async fn an_import_is_all_or_nothing_and_names_the_place() {
    let place = Place::with_payments();
    let agent = place.start().await;
    agent.done("/v1/agent/service/register", web(1)).await;
    let before = agent.everything(&place).await;
    let lost = "kind = \"service-splitter\"\nname = \"payments\"\nsplits = [\n  \
                { weight = 50, service_subset = \"blue\" },\n  \
                { weight = 50, service_subset = \"gren\" },\n]\n";
    let import = |files: &[Value]| json!({"files": files}).to_string();
    let refused = [
        (
            import(&[file("r.hcl", RESOLVER), file("s.hcl", lost)]),
            "s.hcl:5:35: service \"payments\"",
        ),
        (import(&[file("r.hcl", RESOLVER), file("s.hcl", &lost[..40])]), "s.hcl:"),
        (
            import(&[file("r.hcl", RESOLVER), file("t.hcl", RESOLVER)]),
            "t.hcl:3:8: service-resolver/",
        ),
        (
            import(&[
                file("a.hcl", service("web", "1", 9, 1)),
                file("b.hcl", format!("\n{}", service("web", "2", 9, 1))),
            ]),
            "a.hcl:1:1: service \"web\": instances \"web-1\"",
        ),
        ("{}x".to_owned(), "Request decoding failed"),
    ];
    for (body, text) in refused {
        let reply = agent.put("/v1/canary/import", body).await;
        assert!(reply.status == 400 && reply.text.starts_with(text), "{text}: {reply:?}");
        assert_eq!(agent.everything(&place).await, before);
    }

    let files = import(&[file("r.hcl", RESOLVER), file("s.json", splitter(90.0, 10.0))]);
    let done = agent.done("/v1/canary/import", &files[..]).await.json();

    assert_eq!(done["changes"].as_array().unwrap().len(), 2);
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    assert_eq!(numbers(&agent, "payments").await, [2]);
    let again = agent.done("/v1/canary/import", &files[..]).await.json();
    assert_eq!((&again["changes"], &again["revision"]), (&json!([]), &done["revision"]));
    let replaced = agent.done("/v1/canary/import?replace", files).await.json();
    let gone = json!([{"service": "web", "kind": "service", "name": "w", "how": "gone"}]);
    assert_eq!(replaced["changes"], gone);
    agent.done("/v1/canary/import?replace", import(&[])).await;
    let export = agent.get("/v1/canary/export").await.json();
    let nothing = json!({"entries": [], "services": [], "checks": [], "maintenance": []});
    assert_eq!(export, nothing);
    let all = agent.get("/v1/canary/export?all").await.json();
    assert_eq!(all["services"].as_array().unwrap().len(), 3);
    agent.stop().await;
}
