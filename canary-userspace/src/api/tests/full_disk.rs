//! A disk that takes no more: refused and said, nothing is different, and later it works.

use super::*;
use crate::store::disk::{Disk, Fate};

async fn start(place: &Place, disk: &Disk) -> Running {
    let (store, contents) = disk.store().unwrap();
    place.try_start_on(Opened { store, contents, warning: None }).await
}

#[tokio::test]
async fn a_write_that_finds_no_space_changes_nothing_and_works_later() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let disk = Disk::default();
    let agent = start(&place, &disk).await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    let before = agent.everything(&place).await;
    let revision = place.memory.get().revision;
    let history = agent.get("/v1/canary/history").await.json();
    let full = disk.get().synced_bytes();

    disk.get().room = Some(0);
    let web = json!({"Name": "web", "Address": "10.1.0.50", "Port": 1}).to_string();
    let writes = [
        ("PUT", "/v1/config", splitter(50.0, 50.0)),
        ("DELETE", "/v1/config/service-splitter/payments", String::new()),
        ("PUT", "/v1/canary/undo/payments", String::new()),
        ("PUT", "/v1/agent/service/register", web.clone()),
        ("PUT", "/v1/canary/import?replace", json!({"files": []}).to_string()),
    ];
    for (method, path, body) in writes {
        let refused = agent.ask(method, path, body).await;
        assert_eq!(refused.status, 503, "{path}: {refused:?}");
        assert!(refused.text.contains("the store cannot be"), "{path}: {refused:?}");
        assert_eq!(agent.everything(&place).await, before, "{path}");
        assert_eq!(place.memory.get().revision, revision, "{path}");
    }

    disk.get().room = None;
    assert_eq!(agent.get("/v1/canary/history").await.json(), history);
    agent.done("/v1/config", splitter(50.0, 50.0)).await;
    agent.done("/v1/agent/service/register", web).await;
    assert_eq!(place.memory.shares("payments"), shares(5000, 5000));
    assert!(disk.get().synced_bytes() >= full);
    let after = agent.everything(&place).await;
    agent.stop().await;
    let agent = start(&place, &disk.survivors(Fate::Lost)).await;
    assert_eq!(agent.everything(&place).await, after);
    agent.stop().await;
}

#[tokio::test]
async fn what_is_stored_stands_though_the_tables_refuse_it_and_is_in_force_after_a_restart() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let disk = Disk::default();
    let agent = start(&place, &disk).await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;

    place.memory.get().broken = Some("the kernel says no");
    let set = agent.put("/v1/config", splitter(10.0, 90.0)).await;
    let late = "stored; not in force yet: the kernel says no";
    assert_eq!(set.status, 200, "{set:?}");
    assert!(set.warnings.iter().any(|text| text.contains(late)), "{set:?}");
    let status = agent.status().await["warnings"].to_string();
    assert!(
        status.contains("the tables are behind what is wanted: the kernel says no"),
        "{status}"
    );
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    agent.stop().await;
    place.memory.get().broken = None;

    let agent = start(&place, &disk.survivors(Fate::Lost)).await;
    let history = agent.get("/v1/canary/history/payments").await.json();
    assert_eq!(history.as_array().unwrap().len(), 2);
    assert_eq!(place.memory.shares("payments"), shares(1000, 9000));
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_starts_on_a_full_disk_with_what_it_had() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    let disk = Disk::default();
    let agent = start(&place, &disk).await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    let before = agent.everything(&place).await;
    agent.stop().await;
    place.file("web.hcl", &service("web", "1", 9, 1).replace("0.10\"", "0.11\""));
    let disk = disk.survivors(Fate::Lost);
    // The store itself can be opened, and takes no write.
    let (store, contents) = disk.store().unwrap();
    disk.get().room = Some(0);

    let agent = place.try_start_on(Opened { store, contents, warning: None }).await;

    let warnings = agent.status().await["warnings"].to_string();
    assert!(warnings.contains("not kept for a restart"), "{warnings}");
    let after = agent.everything(&place).await;
    assert_eq!((after.0, after.1), (before.0, before.1));
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    assert_eq!(place.memory.shares("web"), [(String::new(), 10_000)]);
    assert_eq!(agent.put("/v1/config", splitter(50.0, 50.0)).await.status, 503);
    disk.get().room = None;
    agent.done("/v1/config", splitter(50.0, 50.0)).await;
    agent.stop().await;
}
