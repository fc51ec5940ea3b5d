//! What outlives an agent.

use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn what_the_api_wrote_is_there_after_a_restart() {
    let place = Place::with_payments();
    let agent = place.start().await;
    agent.done("/v1/config", resolver()).await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    let web = json!({"Name": "web", "ID": "w", "Address": "10.1.0.50", "Port": 1});
    agent.done("/v1/agent/service/register", web.to_string()).await;
    let before = agent.everything(&place).await;
    let entry = agent.get("/v1/config/service-splitter/payments").await.json();
    let (index, revision) =
        (agent.get("/v1/agent/services").await.index, place.memory.get().revision);
    agent.stop().await;
    assert!(!place.dir.path().join("agent.sock").exists());

    let agent = place.start().await;

    assert_eq!(agent.everything(&place).await, before);
    assert_eq!(agent.get("/v1/config/service-splitter/payments").await.json(), entry);
    assert!(agent.get("/v1/agent/services").await.index > index);
    assert_eq!(place.memory.get().revision, revision);
    agent.stop().await;
}

#[tokio::test]
async fn a_claimed_frontend_stays_with_its_service_over_a_restart() {
    let place = Place::with_payments();
    let agent = place.start().await;
    // First by name, which decides only between new claims.
    let thief = json!({"Name": "aaa", "Address": "10.1.0.50", "Port": 1,
        "TaggedAddresses": {"virtual": {"Address": "10.96.0.10", "Port": 80}}});
    agent.done("/v1/agent/service/register", thief.to_string()).await;
    let before = agent.everything(&place).await;
    agent.stop().await;

    let agent = place.start().await;

    assert_eq!(agent.everything(&place).await, before);
    assert_eq!(place.memory.get().published.services[0].name, "payments");
    agent.stop().await;
}

#[tokio::test]
async fn bad_files_at_the_start_leave_the_last_good_ones_in_force() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let agent = place.start().await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    let before = agent.everything(&place).await;
    agent.stop().await;
    place.file("resolver.hcl", &RESOLVER[..60]);

    let agent = place.start().await;

    let status = agent.status().await;
    assert_eq!(status["ready"], true);
    assert_eq!(status["source"]["ok"], false);
    assert!(status["source"]["error"].as_str().unwrap().contains("resolver.hcl:"), "{status}");
    assert_eq!(agent.everything(&place).await, before);
    agent.done("/v1/config", splitter(80.0, 20.0)).await;
    place.file("resolver.hcl", RESOLVER);
    agent.done("/v1/agent/reload", "").await;
    assert_eq!(place.memory.shares("payments"), shares(8000, 2000));
    agent.stop().await;
}

#[tokio::test]
async fn bad_files_without_anything_earlier_end_the_start() {
    let place = Place::with_payments();
    place.file("resolver.hcl", &RESOLVER[..60]);

    let agent = place.try_start().await;

    let error = agent.task.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("resolver.hcl:"), "{error}");
    assert_eq!(place.memory.get().revision, 0);
}

#[tokio::test]
async fn tables_that_nobody_can_explain_stay_until_the_files_are_mended() {
    let place = Place::with_payments();
    let agent = place.start().await;
    agent.stop().await;
    fs::remove_dir_all(place.dir.path().join("data")).unwrap();
    place.file("resolver.hcl", &RESOLVER[..60]);
    let published = place.memory.get().published.clone();

    let agent = place.start().await;

    let refused = agent.put("/v1/config", resolver()).await;
    assert_eq!(refused.status, 503);
    assert!(refused.text.contains("resolver.hcl:"), "{refused:?}");
    assert_eq!(place.memory.get().published, published);
    place.file("resolver.hcl", RESOLVER);
    agent.done("/v1/agent/reload", "").await;
    agent.done("/v1/config", splitter(50.0, 50.0)).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_corrupt_store_is_said_and_the_tables_stay_until_somebody_decides() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let agent = place.start().await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    let backup = agent.get("/v1/canary/export").await.json();
    agent.stop().await;
    let store = place.dir.path().join("data/store.redb");
    for mended in ["import", "reload"] {
        let garbage = fs::read(&store).unwrap()[..100].repeat(50);
        fs::write(&store, garbage).unwrap();
        let (published, revision) = {
            let inner = place.memory.get();
            (inner.published.clone(), inner.revision)
        };

        let agent = place.start().await;

        let warnings = agent.status().await["warnings"].to_string();
        assert!(warnings.contains("store.redb.corrupt-"), "{warnings}");
        assert!(warnings.contains("the tables stay as they are"), "{warnings}");
        let refused = agent.put("/v1/config", splitter(10.0, 90.0)).await;
        assert_eq!(refused.status, 503, "{refused:?}");
        // Nor is a service of the lost store called unknown: the tables may have it.
        let brake = agent.put("/v1/canary/rollback/currency", "").await;
        assert_eq!(brake.status, 503, "{brake:?}");
        assert_eq!(agent.status().await["source"]["ok"], false);
        assert_eq!(place.memory.get().published, published);
        assert_eq!(place.memory.get().revision, revision);
        if mended == "import" {
            let content = backup["entries"][0].to_string();
            let files = json!({"files": [{"path": "splitter.json", "content": content}]});
            agent.done("/v1/canary/import", files.to_string()).await;
            assert_eq!(place.memory.get().published, published);
            agent.done("/v1/config", splitter(80.0, 20.0)).await;
            assert_eq!(place.memory.shares("payments"), shares(8000, 2000));
        } else {
            agent.done("/v1/agent/reload", "").await;
            assert_eq!(place.memory.shares("payments"), [("blue".to_owned(), 10_000)]);
        }
        let warnings = agent.status().await["warnings"].to_string();
        assert!(!warnings.contains("the tables stay as they are"), "{warnings}");
        agent.stop().await;
    }
}

#[tokio::test]
async fn indices_only_grow_and_stay_with_what_stays() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let agent = place.start().await;
    let at = async |agent: &Running, kind: &str| {
        let entry = agent.get(&format!("/v1/config/{kind}/payments")).await.json();
        (entry["CreateIndex"].as_u64().unwrap(), entry["ModifyIndex"].as_u64().unwrap())
    };
    let resolver = at(&agent, "service-resolver").await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    let first = at(&agent, "service-splitter").await;
    assert_eq!(first.0, first.1);
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    assert_eq!(at(&agent, "service-splitter").await, first, "an unchanged write moves nothing");
    agent.done("/v1/config", splitter(50.0, 50.0)).await;
    let second = at(&agent, "service-splitter").await;
    assert!(second.0 == first.0 && second.1 > first.1, "{second:?}");
    agent.delete("/v1/config/service-splitter/payments").await;
    agent.done("/v1/config", splitter(50.0, 50.0)).await;
    let third = at(&agent, "service-splitter").await;
    assert!(third.0 > second.1, "{third:?}");
    let index = agent.get("/v1/agent/services").await.index;
    agent.stop().await;

    // The same files: nothing is new. Another line in front moves places, and no entry.
    place.file("resolver.hcl", &format!("# a comment\n{RESOLVER}"));
    let agent = place.start().await;
    assert_eq!(at(&agent, "service-resolver").await, resolver);
    assert_eq!(at(&agent, "service-splitter").await, third);
    let later = agent.get("/v1/agent/services").await.index;
    assert!(later > index, "a file is another, so who waits must look again");
    agent.stop().await;
    place.file("resolver.hcl", &RESOLVER.replace("== 3", "== 4"));
    let agent = place.start().await;
    let moved = at(&agent, "service-resolver").await;
    assert!(moved.0 == resolver.0 && moved.1 > later, "{moved:?}");
    let history = agent.get("/v1/canary/history/payments?limit=1").await.json();
    assert_eq!(history[0]["action"], "start");
    assert_eq!(history[0]["author"], json!({"via": "agent"}));
    agent.stop().await;
    let agent = place.start().await;
    assert_eq!(at(&agent, "service-resolver").await, moved);
    agent.stop().await;
}

#[tokio::test]
async fn a_second_agent_on_the_same_socket_is_refused() {
    let place = Place::new();
    let agent = place.start().await;

    let error = Listeners::bind(&agent.socket, None).await.unwrap_err().to_string();

    assert!(error.contains("another agent"), "{error}");
    assert_eq!(agent.get("/v1/canary/status").await.status, 200);
    agent.stop().await;
}

#[tokio::test]
async fn health_follows_checks_and_is_remembered_over_a_restart() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let check =
        format!("check {{ tcp = \"{target}\" interval = \"50ms\" timeout = \"1s\" }}\n}}\n");
    let text = service("web", "1", 1, 1);
    place.file("web.hcl", &format!("{}{check}", text.strip_suffix("}\n").unwrap()));
    let agent = place.start().await;
    wait_for_health(&agent, 1).await;
    agent.stop().await;

    let agent = place.start().await;
    assert_eq!(healthy(&agent).await, 1);
    drop(listener);
    wait_for_health(&agent, 0).await;

    let warnings = agent.status().await["warnings"].to_string();
    assert!(warnings.contains("unhealthy"), "{warnings}");
    agent.stop().await;
}

async fn healthy(agent: &Running) -> u64 {
    let web = agent.get("/v1/canary/status/web").await.json();
    web["splits"][0]["backends"]["healthy"].as_u64().unwrap()
}

async fn wait_for_health(agent: &Running, count: u64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while healthy(agent).await != count {
        assert!(tokio::time::Instant::now() < deadline, "health is not {count} in time");
        tokio::task::yield_now().await;
    }
}
