//! What is refused, and that nothing changes then.

use super::*;

#[tokio::test]
async fn a_refused_write_says_why_and_changes_nothing() {
    let place = Place::with_payments();
    let agent = place.start().await;
    agent.done("/v1/config", resolver()).await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    let before = agent.everything(&place).await;
    let revision = place.memory.get().revision;

    for (body, status, text) in [
        (splitter(90.0, 15.0), 500, "the sum of all split weights must be 100, not 105.000000"),
        (
            splitter(90.0, 10.0).replace("green", "gren"),
            500,
            r#"service "payments" does not have a subset named "gren""#,
        ),
        (resolver().replace("== 3", "=="), 500, r#"Filter for subset "green" is not a valid"#),
        (
            resolver().replace(r#""green":"#, r#""other":"#),
            500,
            r#"service "payments" does not have a subset named "green""#,
        ),
        (splitter(90.0, 10.0).replace("Splits", "Splitz"), 400, "Request decoding failed: "),
        (splitter(90.0, 10.0).replace("-splitter", "-sputter"), 400, "service-sputter"),
        (r#"{"Kind": "service-splitter", "#.to_owned(), 400, "Request decoding failed: "),
        (String::new(), 400, "Request decoding failed: "),
    ] {
        let reply = agent.put("/v1/config", body.clone()).await;

        assert_eq!(reply.status, status, "{body}: {reply:?}");
        assert!(reply.text.contains(text), "{body}: {reply:?}");
    }
    for body in ["{", "{}", r#"{"Name": "web", "Port": 70000}"#, r#"{"Name": "web", "Prot": 1}"#] {
        let reply = agent.put("/v1/agent/service/register", body).await;
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
    }

    assert_eq!(agent.everything(&place).await, before);
    assert_eq!(place.memory.get().revision, revision);
    agent.stop().await;
}

#[tokio::test]
async fn two_instances_of_one_service_at_one_place_are_refused_by_name() {
    let place = Place::with_payments();
    let agent = place.start().await;
    let before = agent.everything(&place).await;
    let twin = json!({"Name": "payments", "ID": "twin", "Address": "10.1.0.1", "Port": 8080});

    let reply = agent.put("/v1/agent/service/register", twin.to_string()).await;

    assert_eq!(reply.status, 500);
    for part in ["payments-blue-1", "twin", "10.1.0.1:8080", "services.hcl:1:1"] {
        assert!(reply.text.contains(part), "{part}: {reply:?}");
    }
    assert_eq!(agent.everything(&place).await, before);
    let other = twin.to_string().replace("payments", "ledger");
    agent.done("/v1/agent/service/register", other).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_reload_is_all_or_nothing() {
    let place = Place::with_payments();
    place.file("resolver.hcl", RESOLVER);
    place.file("splitter.json", &splitter(90.0, 10.0));
    let agent = place.start().await;
    let before = agent.everything(&place).await;
    let good = [("splitter.json", splitter(50.0, 50.0)), ("resolver.hcl", RESOLVER.to_owned())];

    for (name, content, parts) in [
        ("splitter.json", splitter(50.0, 60.0), &["splitter.json:1:", "not 110.000000"][..]),
        ("resolver.hcl", RESOLVER[..90].to_owned(), &["resolver.hcl:"]),
        ("resolver.hcl", RESOLVER.replace("green", "gren"), &["subset named \"green\""]),
        ("z.hcl", RESOLVER.to_owned(), &["z.hcl:3:8", "service-resolver/payments", "resolver.hcl"]),
        (
            "z.hcl",
            service("web", "x", 9, 1).replace("web-x", "payments-blue-2"),
            &["z.hcl:1:1", "payments-blue-2", "services.hcl"],
        ),
        (
            "z.hcl",
            service("payments", "x", 1, 1),
            &["10.1.0.1:8080", "payments-blue-1", "payments-x", "z.hcl", "services.hcl"],
        ),
    ] {
        for (name, content) in &good {
            place.file(name, content);
        }
        place.file(name, &content);

        let reply = agent.put("/v1/agent/reload", "").await;

        assert_eq!(reply.status, 500, "{name}: {reply:?}");
        for part in parts {
            assert!(reply.text.contains(part), "{name}: {part} is not in {reply:?}");
        }
        assert_eq!(agent.everything(&place).await, before, "{name}");
        let source = agent.status().await["source"].clone();
        assert_eq!((&source["ok"], &source["error"]), (&json!(false), &json!(reply.text)));
        if name == "z.hcl" {
            fs::remove_file(place.path(name)).unwrap();
        }
    }

    for (name, content) in &good {
        place.file(name, content);
    }
    agent.done("/v1/agent/reload", "").await;
    assert_eq!(place.memory.shares("payments"), shares(5000, 5000));
    assert_eq!(agent.status().await["source"]["ok"], true);
    agent.stop().await;
}

#[tokio::test]
async fn a_full_table_refuses_the_change_and_the_store_forgets_it() {
    let place = Place::with_payments();
    place.memory.get().limit = Some(1);
    let agent = place.start().await;
    let before = agent.everything(&place).await;
    let web = json!({"Name": "web", "Address": "10.1.0.50", "Port": 1,
        "TaggedAddresses": {"virtual": {"Address": "10.96.0.50", "Port": 80}}});

    let full = agent.put("/v1/agent/service/register", web.to_string()).await;

    assert_eq!(full.status, 500);
    assert!(full.text.contains("limits.services"), "{full:?}");
    place.memory.get().broken = Some("write map SERVICES");
    let broken = agent.put("/v1/config", resolver()).await;
    assert_eq!((broken.status, broken.text.as_str()), (503, "write map SERVICES"));
    place.memory.get().broken = None;
    assert_eq!(agent.everything(&place).await, before);
    assert_eq!(agent.put("/v1/canary/undo/payments", "").await.status, 404);
    agent.stop().await;
    place.memory.get().limit = None;
    let agent = place.start().await;
    assert_eq!(agent.everything(&place).await, before);
    agent.stop().await;
}
