//! Inputs that cannot be believed: nothing is taken away in silence.

use super::*;

/// An agent whose files say 90 to 10.
fn place() -> Place {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    place.file("splitter.json", &splitter(90.0, 10.0));
    place
}

fn hide(place: &Place) {
    fs::rename(place.dir.path().join("etc"), place.dir.path().join("hidden")).unwrap();
}

fn back(place: &Place) {
    fs::rename(place.dir.path().join("hidden"), place.dir.path().join("etc")).unwrap();
}

fn empty(place: &Place) {
    hide(place);
    fs::create_dir(place.dir.path().join("etc")).unwrap();
}

async fn held(agent: &Running) -> Vec<Value> {
    agent.status().await["source"]["held"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_directory_that_is_gone_or_became_empty_takes_nothing_away() {
    for take_away in [hide, empty] {
        let place = place();
        let agent = place.start().await;
        let before = agent.everything(&place).await;

        take_away(&place);
        let refused = agent.put("/v1/agent/reload", "").await;

        assert_eq!(refused.status, 500, "{refused:?}");
        assert!(refused.text.contains("held: it is"), "{refused:?}");
        assert_eq!(agent.everything(&place).await, before);
        let status = agent.status().await;
        assert_eq!(status["source"]["ok"], false, "{status}");
        let [input] = &held(&agent).await[..] else { panic!("{status}") };
        let removals = input["removals"].to_string();
        for name in
            ["service-resolver/payments", "service-splitter/payments", "service/payments-blue-1"]
        {
            assert!(removals.contains(name), "{removals}");
        }
        let metrics = agent.get("/metrics").await.text;
        assert!(metrics.contains("canary_source_held{input="), "{metrics}");
        // Everything else goes on: writes, health, the brake, and a restart.
        agent.done("/v1/config", splitter(50.0, 50.0)).await;
        agent.done("/v1/canary/rollback/payments", "").await;
        assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
        agent.stop().await;
        *place.memory.get() = crate::agent::memory::Inner::default();
        let agent = place.start().await;
        assert_eq!(place.memory.shares("payments"), shares(10_000, 0), "after a reboot");
        assert_eq!(held(&agent).await.len(), 1);

        if fs::exists(place.dir.path().join("etc")).unwrap() {
            fs::remove_dir(place.dir.path().join("etc")).unwrap();
        }
        back(&place);
        agent.done("/v1/agent/reload", "").await;
        assert_eq!(held(&agent).await, [Value::Null; 0]);
        assert_eq!(agent.status().await["source"]["ok"], true);
        agent.stop().await;
    }
}

#[tokio::test]
async fn what_is_held_goes_once_it_is_accepted_by_name_and_only_that() {
    let place = place();
    let agent = place.start().await;
    empty(&place);
    agent.put("/v1/agent/reload", "").await;
    let digest = held(&agent).await[0]["digest"].as_str().unwrap().to_owned();

    let bare = agent.put("/v1/canary/accept", "").await;
    let wrong = agent.put("/v1/canary/accept?digest=0123", "").await;
    let other = agent.put("/v1/canary/accept?input=/nowhere&digest=0123", "").await;
    assert_eq!([bare.status, wrong.status, other.status], [409, 409, 404]);
    assert!(wrong.text.contains(&digest), "{wrong:?}");
    let dry = agent.done("/v1/canary/accept?dry-run", "").await.json();
    assert!(dry["changes"].as_array().unwrap().len() >= 5, "{dry}");
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));

    let accepted = agent.done(&format!("/v1/canary/accept?digest={digest}"), "").await.json();

    assert!(accepted["changes"].as_array().unwrap().iter().all(|c| c["how"] == "gone"));
    assert_eq!(place.memory.shares("payments"), []);
    assert_eq!(held(&agent).await, [Value::Null; 0]);
    let none = agent.done("/v1/canary/accept", "").await.json();
    assert_eq!(none["changes"], json!([]));
    agent.stop().await;
    // The accepted content is the last one: nothing is held again.
    let agent = place.start().await;
    assert_eq!(held(&agent).await, [Value::Null; 0]);
    assert_eq!(agent.status().await["source"]["ok"], true);
    agent.stop().await;
}

#[tokio::test]
async fn of_two_directories_the_empty_one_is_held_and_a_deleted_file_is_ordinary() {
    let place = place();
    let more = place.dir.path().join("more");
    fs::create_dir(&more).unwrap();
    let web = service("web", "1", 9, 1).replace("0.10\"", "0.11\"");
    fs::write(more.join("web.hcl"), &web).unwrap();
    let arguments = ["--config-dir", more.to_str().unwrap()];
    let agent = place.try_start_with(&arguments).await;
    assert_eq!(agent.status().await["source"]["ok"], true);

    fs::remove_file(place.path("splitter.json")).unwrap();
    let reloaded = agent.done("/v1/agent/reload?changes", "").await.json();
    assert_eq!(reloaded["changes"][0]["how"], "gone", "{reloaded}");
    assert_eq!(place.memory.shares("payments"), [("blue".to_owned(), 10_000)]);

    fs::remove_file(more.join("web.hcl")).unwrap();
    assert_eq!(agent.put("/v1/agent/reload", "").await.status, 500);
    assert_eq!(held(&agent).await[0]["input"], more.display().to_string());
    assert_eq!(held(&agent).await[0]["removals"], json!(["service/web-1"]));
    assert_eq!(place.memory.get().published.services.len(), 2);
    fs::write(more.join("web.hcl"), &web).unwrap();
    // It comes back without anybody who asks.
    until("it is believed again", async || held(&agent).await.is_empty()).await;
    assert_eq!(place.memory.get().published.services.len(), 2);
    agent.stop().await;
}

#[tokio::test]
async fn a_store_that_is_gone_freezes_only_what_the_files_do_not_say() {
    for (written, stands) in [(true, shares(5000, 5000)), (false, shares(9000, 1000))] {
        let place = place();
        let agent = place.start().await;
        if written {
            agent.done("/v1/config", splitter(50.0, 50.0)).await;
        }
        agent.stop().await;
        let store = place.dir.path().join("data/store.redb");
        if written {
            fs::remove_file(&store).unwrap();
        } else {
            fs::write(&store, "").unwrap();
        }

        let agent = place.start().await;

        assert_eq!(place.memory.shares("payments"), stands, "nothing is taken away");
        let status = agent.status().await;
        assert_eq!(status["source"]["ok"], !written, "{status}");
        let warnings = status["warnings"].to_string();
        assert!(warnings.contains("what the API wrote is gone"), "{warnings}");
        let refused = agent.put("/v1/config", splitter(80.0, 20.0)).await;
        assert_eq!(refused.status, if written { 503 } else { 200 }, "{refused:?}");
        if written {
            agent.done("/v1/agent/reload", "").await;
            assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
        }
        agent.stop().await;
        // It is a store like any other now.
        let agent = place.start().await;
        let warnings = agent.status().await["warnings"].to_string();
        assert!(!warnings.contains("what the API wrote is gone"), "{warnings}");
        agent.stop().await;
    }
}

#[tokio::test]
async fn a_named_directory_that_never_was_is_an_error() {
    let place = place();
    hide(&place);
    let settings = place.settings_with(&[]);
    let opened = Store::open(&settings.data_dir).unwrap();
    let started = crate::agent::Agent::start(&settings, opened, Box::new(place.memory.clone()));
    let error = started.err().expect("a start without its directory").to_string();
    assert!(error.contains("there is no such directory"), "{error}");
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let start = std::time::Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
