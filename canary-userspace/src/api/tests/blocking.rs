//! Queries that wait for a change.

use std::time::Instant;

use tokio::net::TcpListener;

use super::*;

const NEVER_GIVEN: u64 = u64::MAX;

/// A client that has asked for what comes after `index` and waits.
fn watch(agent: &Running, path: &str, index: u64) -> JoinHandle<Reply> {
    let glue = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{glue}index={index}&wait=60s");
    let agent = Running { socket: agent.socket.clone(), ..idle() };
    tokio::spawn(async move { agent.get(&path).await })
}

/// The parts of a [`Running`] that a client does not need.
fn idle() -> Running {
    Running {
        socket: PathBuf::new(),
        stop: oneshot::channel().0,
        task: tokio::spawn(async { Ok(()) }),
    }
}

fn web(port: u16, tag: &str) -> String {
    json!({"Name": "web", "ID": "web-1", "Address": "10.1.0.50", "Port": port, "Tags": [tag]})
        .to_string()
}

#[tokio::test]
async fn a_write_wakes_exactly_those_who_watch_it() {
    let place = Place::with_payments();
    let agent = place.start().await;
    agent.done("/v1/config", resolver()).await;
    agent.done("/v1/agent/service/register", web(80, "v1")).await;
    let paths = [
        "/v1/config/service-splitter",
        "/v1/config/service-splitter/payments",
        "/v1/config/service-resolver",
        "/v1/config/service-resolver/payments",
        "/v1/config/service-splitter/web",
        "/v1/catalog/services",
        "/v1/catalog/service/web",
        "/v1/catalog/nodes",
        "/v1/catalog/node/node-1",
        "/v1/catalog/node-services/node-1",
        "/v1/health/service/web",
        "/v1/health/service/web?passing",
        "/v1/health/checks/web",
        "/v1/health/node/node-1",
        "/v1/health/state/any",
        "/v1/health/service/payments",
        "/v1/health/service/nobody",
        "/v1/agent/services",
    ];
    let mut watches = Vec::new();
    for path in paths {
        let index = agent.get(path).await.index;
        watches.push((path, index, watch(&agent, path, index)));
    }
    let splitters = ["/v1/config/service-splitter", "/v1/config/service-splitter/payments"];
    let of_web = |path: &str| {
        path.contains("/v1/health/") && !path.contains("payments") && !path.contains("nobody")
            || path.contains("/catalog/service/web")
            || path.contains("node")
            || path == "/v1/agent/services"
    };

    for (what, woken) in [
        ("splitter", Box::new(|path: &str| splitters.contains(&path)) as Box<dyn Fn(&str) -> bool>),
        ("port", Box::new(of_web)),
        ("tag", Box::new(move |path| of_web(path) || path == "/v1/catalog/services")),
    ] {
        match what {
            "splitter" => agent.done("/v1/config", splitter(90.0, 10.0)).await,
            "port" => agent.done("/v1/agent/service/register", web(81, "v1")).await,
            _ => agent.done("/v1/agent/service/register", web(81, "v2")).await,
        };
        for (path, index, task) in &mut watches {
            if !woken(path) {
                continue;
            }
            let reply = tokio::time::timeout(Duration::from_secs(20), &mut *task).await;
            let reply = reply.unwrap_or_else(|_| panic!("{what}: {path}")).unwrap();
            assert!(reply.status == 200 && reply.index > *index, "{what}: {path}: {reply:?}");
            *index = reply.index;
            *task = watch(&agent, path, *index);
        }
        // A round trip after all of them: who was woken by mistake has its answer by now.
        agent.status().await;
        for (path, _, task) in &watches {
            assert!(!task.is_finished(), "{what}: {path}");
        }
        // The same content again is no change.
        agent.done("/v1/config", splitter(90.0, 10.0)).await;
        agent.done("/v1/agent/reload", "").await;
    }
    for (path, index, task) in watches {
        assert!(!task.is_finished(), "{path}");
        assert_eq!(agent.get(path).await.index, index, "{path}");
        task.abort();
    }
    agent.stop().await;
}

#[tokio::test]
async fn health_wakes_those_who_watch_it_and_nobody_else() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let place = Place::new();
    let agent = place.start().await;
    let body = json!({"Name": "web", "Address": "127.0.0.1", "Port": port,
        "Check": {"TCP": format!("127.0.0.1:{port}"), "Interval": "20ms", "Timeout": "1s"}});
    agent.done("/v1/agent/service/register", body.to_string()).await;
    let path = "/v1/health/service/web?passing";
    let mut reply = agent.get(path).await;
    while reply.json() == json!([]) {
        reply = watch(&agent, path, reply.index).await.unwrap();
    }
    let catalogue = agent.get("/v1/catalog/service/web").await.index;
    let other = watch(&agent, "/v1/catalog/service/web", catalogue);

    drop(target);

    let gone = watch(&agent, path, reply.index).await.unwrap();
    assert_eq!(gone.json(), json!([]));
    assert!(gone.index > reply.index);
    assert_eq!(agent.get("/v1/catalog/service/web").await.index, catalogue);
    assert!(!other.is_finished());
    other.abort();
    agent.stop().await;
}

#[tokio::test]
async fn without_a_change_the_same_answer_comes_when_the_time_is_up() {
    let place = Place::with_payments();
    let agent = place.start().await;
    let now = agent.get("/v1/health/service/payments").await;
    let asked = Instant::now();

    let path = format!("/v1/health/service/payments?index={}&wait=100ms", now.index);
    let later = agent.get(&path).await;

    assert!(asked.elapsed() >= Duration::from_millis(100));
    assert_eq!((&later.text, later.index), (&now.text, now.index));
    // An index that was never given: the client must learn the real one.
    let unknown =
        agent.get(&format!("/v1/health/service/payments?index={NEVER_GIVEN}&wait=60s")).await;
    assert_eq!(unknown.index, now.index);
    agent.stop().await;
}

#[tokio::test]
async fn an_entry_that_is_not_there_can_be_waited_for() {
    let place = Place::with_payments();
    let agent = place.start().await;
    let path = "/v1/config/service-resolver/payments";
    let missing = agent.get(path).await;
    assert!(missing.status == 404 && missing.index > 0, "{missing:?}");
    let waiting = watch(&agent, path, missing.index);

    agent.done("/v1/config", resolver()).await;

    let found = waiting.await.unwrap();
    assert_eq!(found.json()["ModifyIndex"].as_u64(), Some(found.index));
    let waiting = watch(&agent, path, found.index);
    agent.delete(path).await;
    let gone = waiting.await.unwrap();
    assert!(gone.status == 404 && gone.index > found.index, "{gone:?}");
    agent.stop().await;
}

#[tokio::test]
async fn no_index_goes_back_over_restarts_and_every_start_answers_anew() {
    let place = Place::with_payments();
    let mut last = 0;
    for _ in 0..3 {
        let agent = place.start().await;
        let path = "/v1/health/service/payments";
        let started = watch(&agent, path, last).await.unwrap();
        assert!(started.index > last, "{} after {last}", started.index);
        agent.done("/v1/agent/service/register", web(80, "v1")).await;
        agent.done("/v1/agent/service/deregister/web-1", "").await;
        last = agent.get("/v1/catalog/nodes").await.index;
        agent.stop().await;
    }
}

#[tokio::test]
async fn an_instance_is_watched_by_the_hash_of_its_content() {
    let place = Place::new();
    let agent = place.start().await;
    agent.done("/v1/agent/service/register", web(80, "v1")).await;
    let first = agent.get("/v1/agent/service/web-1").await;
    let hash = first.header("x-consul-contenthash").unwrap().to_owned();
    assert_eq!(first.json()["ContentHash"], hash.as_str());
    let path = format!("/v1/agent/service/web-1?hash={hash}&wait=60s");
    let waiting = watch(&agent, &path, 0);

    let other = json!({"Name": "other", "Address": "10.1.0.51", "Port": 80}).to_string();
    agent.done("/v1/agent/service/register", other).await;
    agent.done("/v1/agent/service/register", web(81, "v1")).await;

    let second = waiting.await.unwrap();
    assert_eq!(second.json()["Port"], 81);
    assert_ne!(second.header("x-consul-contenthash"), Some(hash.as_str()));
    let missing = agent.get("/v1/agent/service/web-2").await;
    assert_eq!((missing.status, missing.text.as_str()), (404, "unknown service ID: web-2"));
    agent.stop().await;
}
