//! What is refused, and that nothing changes then.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
    assert_eq!(agent.everything(&place).await, before);
    assert_eq!(agent.put("/v1/canary/undo/payments", "").await.status, 404);
    agent.stop().await;
    place.memory.get().limit = None;
    let agent = place.start().await;
    assert_eq!(agent.everything(&place).await, before);
    agent.stop().await;
}

/// Sends `text` as it is, as far as the agent takes it, and returns all of the answer.
async fn raw(agent: &Running, text: &[u8]) -> String {
    let mut stream = UnixStream::connect(&agent.socket).await.unwrap();
    let mut answer = Vec::new();
    _ = stream.write_all(text).await;
    _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn bodies_without_end_depth_or_letters_are_refused() {
    let place = Place::with_payments();
    let agent = place.start().await;
    let before = agent.everything(&place).await;
    let head = "PUT /v1/config HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
    let of_length = |body: &[u8]| {
        let head = format!("{head}content-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    let deep = format!("{{\"Kind\": \"service-splitter\", \"Name\": {}", "[".repeat(100_000));
    let said_too_long = format!("{head}content-length: 1048577\r\n\r\n");

    for (what, request, status, text) in [
        ("deep", of_length(deep.as_bytes()), 400, "Request decoding failed: "),
        ("no letters", of_length(b"{\"Kind\": \"\xff\xfe\"}"), 400, "Request decoding failed: "),
        ("too long", said_too_long.into_bytes(), 413, "Request body(1048577 bytes) too large"),
        ("no end", chunked.into_bytes(), 413, "Request body too large"),
    ] {
        let answer = raw(&agent, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        assert!(answer.contains(text), "{what}: {answer}");
    }
    let long = format!("GET /v1/{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(1 << 20));
    let answer = raw(&agent, long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 414") || answer.starts_with("HTTP/1.1 431"), "{answer}");

    assert_eq!(agent.everything(&place).await, before);
    agent.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_nobody_up() {
    let place = Place::with_payments();
    let agent = place.start().await;
    let deaf = UnixStream::connect(&agent.socket).await.unwrap();
    // Answers that the system's buffer does not take, asked for until nobody takes questions.
    let question = b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".repeat(64);
    while let Ok(sent) = deaf.try_write(&question)
        && sent > 0
    {}

    agent.done("/v1/config", resolver()).await;

    drop(deaf);
    agent.stop().await;
}

#[tokio::test]
async fn answers_are_packed_for_those_who_ask() {
    let place = Place::with_payments();
    let agent = place.start().await;
    let request = "GET /v1/health/service/payments HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                   accept-encoding: gzip\r\n\r\n";
    let mut stream = UnixStream::connect(&agent.socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();

    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert!(text.contains("content-encoding: gzip\r\n"), "{text}");
    assert!(text.to_lowercase().contains("vary: accept-encoding\r\n"), "{text}");
    assert!(text.contains("x-consul-index: "), "{text}");
    // The magic number of RFC 1952, after the length of a chunk.
    assert!(answer.windows(3).any(|bytes| bytes == [0x1f, 0x8b, 8]), "{text}");
    agent.stop().await;
}
