//! Queries that wait for a change.

use std::time::Instant;

use tokio::net::TcpListener;

use super::many::idle;
use super::*;

const NEVER_GIVEN: u64 = u64::MAX;

/// A client that has asked for what comes after `index` and waits.
fn watch(agent: &Running, path: &str, index: u64) -> JoinHandle<Reply> {
    let glue = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{glue}index={index}&wait=60s");
    let agent = Running { socket: agent.socket.clone(), ..idle() };
    tokio::spawn(async move { agent.get(&path).await })
}

fn web(port: u16, tag: &str) -> String {
    json!({"Name": "web", "ID": "web-1", "Address": "10.1.0.50", "Port": port, "Tags": [tag]})
        .to_string()
}

/// Every path that can be watched, and what must be done to wake who watches it.
const WATCHED: [(&str, &[Deed]); 18] = [
    ("/v1/config/service-splitter", &[Deed::Splitter]),
    ("/v1/config/service-splitter/payments", &[Deed::Splitter]),
    ("/v1/config/service-splitter/web", &[]),
    ("/v1/config/service-resolver", &[]),
    ("/v1/config/service-resolver/payments", &[]),
    ("/v1/catalog/services", &[Deed::Tag]),
    ("/v1/catalog/service/web", &[Deed::Port, Deed::Tag]),
    ("/v1/catalog/nodes", &[]),
    ("/v1/catalog/node/node-1", &[Deed::Port, Deed::Tag]),
    ("/v1/catalog/node-services/node-1", &[Deed::Port, Deed::Tag]),
    ("/v1/health/service/web", &[Deed::Port, Deed::Tag]),
    ("/v1/health/service/web?passing", &[Deed::Port, Deed::Tag]),
    ("/v1/health/checks/web", &[Deed::Port, Deed::Tag]),
    ("/v1/health/node/node-1", &[Deed::Port, Deed::Tag]),
    ("/v1/health/state/any", &[Deed::Port, Deed::Tag]),
    ("/v1/health/service/payments", &[]),
    ("/v1/health/service/nobody", &[]),
    ("/v1/agent/services", &[Deed::Port, Deed::Tag]),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    Splitter,
    Port,
    Tag,
}

impl Deed {
    async fn done(self, agent: &Running) {
        match self {
            Self::Splitter => agent.done("/v1/config", splitter(90.0, 10.0)).await,
            Self::Port => agent.done("/v1/agent/service/register", web(81, "v1")).await,
            Self::Tag => agent.done("/v1/agent/service/register", web(81, "v2")).await,
        };
    }
}

#[tokio::test]
async fn a_write_wakes_exactly_those_who_watch_it() {
    let place = Place::with_payments();
    let agent = place.start().await;
    agent.done("/v1/config", resolver()).await;
    agent.done("/v1/agent/service/register", web(80, "v1")).await;
    let mut watches = Vec::new();
    for (path, woken_by) in WATCHED {
        let index = agent.get(path).await.index;
        watches.push((path, woken_by, index, watch(&agent, path, index)));
    }

    for deed in [Deed::Splitter, Deed::Port, Deed::Tag] {
        deed.done(&agent).await;
        let woken = watches.iter_mut().filter(|(_, woken_by, ..)| woken_by.contains(&deed));
        for (path, _, index, task) in woken {
            let reply = tokio::time::timeout(Duration::from_secs(60), &mut *task).await;
            let reply = reply.unwrap_or_else(|_| panic!("{deed:?}: {path}")).unwrap();
            assert!(reply.status == 200 && reply.index > *index, "{deed:?}: {path}: {reply:?}");
            *index = reply.index;
            *task = watch(&agent, path, *index);
        }
        // The same content again is no change.
        deed.done(&agent).await;
        agent.done("/v1/agent/reload", "").await;
        // Who was woken by mistake has its answer by now.
        for (path, _, _, task) in &watches {
            assert!(!task.is_finished(), "{deed:?}: {path}");
        }
    }
    for (path, _, index, task) in watches {
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
        last = agent.get("/v1/agent/services").await.index;
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
