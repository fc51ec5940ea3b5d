//! The emergency brake: it acts though nothing can be written, and ends when it should.

use std::time::Instant;

use super::*;
use crate::store::disk::{Disk, Fate};

async fn start(place: &Place, disk: &Disk) -> Running {
    let (store, contents) = disk.store().unwrap();
    let agent = place.try_start_on(Opened { store, contents, warning: None }).await;
    assert_eq!(agent.status().await["ready"], true);
    agent
}

/// An agent with 90 to 10 in its store, on a disk that takes no more.
async fn full() -> (Place, Disk, Running) {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let disk = Disk::default();
    let agent = start(&place, &disk).await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    disk.get().room = Some(0);
    (place, disk, agent)
}

/// The service's status.
async fn payments(agent: &Running) -> Value {
    agent.get("/v1/canary/status/payments").await.json()
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const BACK: &str = "a reboot before it is stored goes back to 90/10";

#[tokio::test]
async fn on_a_full_disk_it_acts_and_says_what_it_owes_and_pays_when_it_can() {
    let (place, disk, agent) = full().await;

    let back = agent.done("/v1/canary/rollback/payments", "").await.json();

    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
    let moved = json!([{"subset": "blue", "before": 90.0, "after": 100.0},
        {"subset": "green", "before": 10.0, "after": 0.0}]);
    assert_eq!(back["weights"], moved, "{back}");
    let told = back["warnings"].to_string();
    assert!(told.contains("not stored: ") && told.contains(BACK), "{back}");
    let status = payments(&agent).await;
    assert_eq!(status["brake"]["subset"], "blue", "{status}");
    assert!(
        status["brake"]["reason"].as_str().unwrap().contains("the store cannot be"),
        "{status}"
    );
    assert_eq!(status["splits"][0]["weight"], 100.0);
    assert_eq!(status["splits"][0]["written"], 90.0);
    let metrics = agent.get("/metrics").await.text;
    assert!(metrics.contains("canary_brake{service=\"payments\"} 1"), "{metrics}");
    // What was written is what is read.
    let entry = agent.get("/v1/config/service-splitter/payments").await.json();
    assert_eq!(entry["Splits"][0]["Weight"], 90.0, "{entry}");
    let split = agent.get("/v1/canary/split/payments").await.json();
    assert_eq!(split["splits"][0]["weight"], 90.0);
    assert_eq!(split["brake"]["subset"], "blue");

    disk.get().room = None;
    until("it is paid", async || payments(&agent).await.get("brake").is_none()).await;
    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
    let entry = agent.get("/v1/config/service-splitter/payments").await.json();
    assert_eq!(entry["Splits"][0]["Weight"], 100.0, "{entry}");
    let history = agent.get("/v1/canary/history/payments").await.json();
    assert_eq!(history[0]["action"], "rollback", "{history}");
    assert_eq!(history[0]["author"]["via"], "socket", "who asked, not who paid: {history}");
    agent.stop().await;
    let agent = start(&place, &disk.survivors(Fate::Lost)).await;
    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
    agent.stop().await;
}

#[tokio::test]
async fn health_a_reload_the_same_entry_again_and_a_restart_leave_it() {
    let (place, disk, agent) = full().await;
    agent.done("/v1/canary/rollback/payments", "").await;

    agent.put("/v1/agent/service/maintenance/green-1?enable=true", "").await;
    agent.done("/v1/agent/reload", "").await;
    place.file("resolver.hcl", &format!("# read again\n\n{RESOLVER}"));
    agent.put("/v1/agent/reload", "").await;
    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
    assert_eq!(payments(&agent).await["brake"]["subset"], "blue");
    agent.stop().await;

    // The tables alone know of it.
    let disk = disk.survivors(Fate::Lost);
    let (store, contents) = disk.store().unwrap();
    disk.get().room = Some(0);
    let agent = place.try_start_on(Opened { store, contents, warning: None }).await;
    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
    assert_eq!(payments(&agent).await["brake"]["subset"], "blue");
    // The debt is paid after a restart too.
    disk.get().room = None;
    until("it is paid", async || payments(&agent).await.get("brake").is_none()).await;
    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
    agent.stop().await;
}

#[tokio::test]
async fn it_ends_with_an_undo_and_with_another_splitter_and_never_with_less() {
    let (place, disk, agent) = full().await;
    agent.done("/v1/canary/rollback/payments", "").await;

    let undone = agent.done("/v1/canary/undo/payments", "").await.json();
    assert_eq!(undone["weights"][1], json!({"subset": "green", "before": 0.0, "after": 10.0}));
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    assert_eq!(payments(&agent).await.get("brake"), None);

    agent.done("/v1/canary/rollback/payments", r#"{"to": "green"}"#).await;
    assert_eq!(place.memory.shares("payments"), shares(0, 10_000));
    // What cannot be stored changes nothing: the brake stays.
    assert_eq!(agent.put("/v1/config", splitter(50.0, 50.0)).await.status, 503);
    assert_eq!(place.memory.shares("payments"), shares(0, 10_000));
    disk.get().room = None;
    agent.done("/v1/config", splitter(50.0, 50.0)).await;
    assert_eq!(place.memory.shares("payments"), shares(5000, 5000));
    assert_eq!(payments(&agent).await.get("brake"), None);
    agent.stop().await;
}

#[tokio::test]
async fn what_cannot_be_rolled_back_is_refused_and_a_stored_one_leaves_no_brake() {
    let (place, disk, agent) = full().await;

    let unknown = agent.put("/v1/canary/rollback/nothing", "").await;
    let subset = agent.put("/v1/canary/rollback/payments", r#"{"to": "red"}"#).await;
    let dry = agent.done("/v1/canary/rollback/payments?dry-run", "").await.json();
    assert_eq!([unknown.status, subset.status], [404, 400], "{subset:?}");
    assert_eq!(dry["weights"][0]["after"], 100.0, "{dry}");
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));

    disk.get().room = None;
    let back = agent.done("/v1/canary/rollback/payments", "").await.json();
    assert_eq!(back["warnings"], json!([]), "{back}");
    assert_eq!(payments(&agent).await.get("brake"), None);
    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
    assert!(!place.memory.get().published.services[0].braked);
    agent.stop().await;
}

#[tokio::test]
async fn frozen_tables_are_rolled_back_by_their_own_labels() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    place.file("splitter.json", &splitter(90.0, 10.0));
    place.start().await.stop().await;
    fs::remove_dir_all(place.dir.path().join("data")).unwrap();
    let services = fs::read_to_string(place.path("services.hcl")).unwrap();
    place.file("services.hcl", "service {");
    let agent = place.start().await;
    assert_eq!(agent.status().await["source"]["ok"], false);

    let bare = agent.put("/v1/canary/rollback/payments", "").await;
    let red = agent.put("/v1/canary/rollback/payments", r#"{"to": "red"}"#).await;
    let other = agent.put("/v1/canary/rollback/other", r#"{"to": "blue"}"#).await;
    assert_eq!([bare.status, red.status, other.status], [503, 400, 404]);
    assert!(bare.text.contains("--to"), "{bare:?}");
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));

    let back = agent.done("/v1/canary/rollback/payments", r#"{"to": "green"}"#).await.json();
    assert_eq!(back["weights"][1], json!({"subset": "green", "before": 10.0, "after": 100.0}));
    assert_eq!(place.memory.shares("payments"), shares(0, 10_000));

    // Mended, it stands by the brake still: the files say something else.
    place.file("services.hcl", &services);
    agent.done("/v1/agent/reload", "").await;
    assert_eq!(place.memory.shares("payments"), shares(0, 10_000));
    until("it is stored", async || {
        let entry = agent.get("/v1/config/service-splitter/payments").await.json();
        entry["Splits"][1]["Weight"] == 100.0
    })
    .await;
    assert_eq!(place.memory.shares("payments"), shares(0, 10_000));
    agent.stop().await;
}
