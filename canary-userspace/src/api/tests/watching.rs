//! What is asked of the flow table and of packets, and how that is handed on.

use canary_common::event::Kind as EventKind;
use canary_common::flows::Kind;
use canary_common::reason::Reason;
use canary_common::settings::Idle;

use super::*;
use crate::document::flows::Flow;
use crate::document::observe::Event;
use crate::observe::Seen;
use crate::seen::Wanted;

#[tokio::test]
async fn a_page_of_flows_is_of_what_was_asked() {
    let place = Place::with_payments();
    let agent = place.start().await;
    let flow = Flow { kind: "forward".to_owned(), ..Flow::default() };
    place.memory.get().flows = vec![flow];

    let path = "/v1/canary/flows?service=payments&subset=blue&kind=forward&kind=straight\
                &state=opening&client=10.0.0.0/8&from=77&limit=5";
    let reply = agent.get(path).await;

    assert_eq!(reply.json()["flows"][0]["kind"], "forward");
    assert_eq!(reply.json()["next"], Value::Null);
    let (wanted, from, limit) = place.memory.get().flows_asked.clone().unwrap();
    assert_eq!((from, limit), (77, 5));
    assert_eq!(wanted.kinds, [Kind::Forward, Kind::Straight]);
    assert_eq!(wanted.states, [Idle::Opening]);
    assert_eq!(wanted.whose.service.as_deref(), Some("payments"));
    assert_eq!(wanted.whose.subset.as_deref(), Some("blue"));
    assert_eq!(wanted.whose.client, Some("10.0.0.0/8".parse().unwrap()));
    agent.get("/v1/canary/flows").await;
    let asked = place.memory.get().flows_asked.clone().unwrap();
    assert_eq!(asked, (Wanted::default(), 0, 1_000), "a page has an end");
    agent.stop().await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_in_words() {
    let place = Place::with_payments();
    let agent = place.start().await;

    for (query, status, text) in [
        ("flows?service=payment", 404, "no service is known as \"payment\""),
        ("flows?kind=forwards", 400, "kind must be one of forward, return, straight"),
        ("flows?state=open", 400, "state must be one of opening, established"),
        ("flows?client=10.0.0", 400, "client must be ADDRESS, ADDRESS/LENGTH or ADDRESS:PORT"),
        ("flows?limit=0", 400, "limit must be a number from 1 to 10000, not \"0\""),
        ("flows?limit=10001", 400, "limit must be a number from 1 to 10000"),
        ("flows?from=-1", 400, "from must be a number from 0 to 4294967295"),
        ("observe?service=payment", 404, "no service is known as \"payment\""),
        ("observe?kind=drop", 400, "kind must be one of connection, clash, reset, refused"),
        ("observe?reason=not-ours", 400, "reason must be one of not-tcp-or-udp, fragment"),
        ("observe?sample=0", 400, "sample must be a number from 1 to"),
    ] {
        let reply = agent.get(&format!("/v1/canary/{query}")).await;

        assert_eq!(reply.status, status, "{query}: {reply:?}");
        assert!(reply.text.starts_with(text), "{query}: {reply:?}");
    }
    assert_eq!(place.memory.get().flows_asked, None);
    assert!(place.memory.get().hub.is_none());
    agent.stop().await;
}

#[tokio::test]
async fn events_come_as_they_happen_and_end_with_their_reader() {
    let place = Place::with_payments();
    let agent = place.start().await;
    let stream = UnixStream::connect(&agent.socket).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let path = "/v1/canary/observe?reason=no-port&service=payments";
    let request = Request::builder().uri(path).header("host", "agent");
    let request = request.header("accept-encoding", "gzip").body(Full::new(Bytes::new())).unwrap();

    let response = sender.send_request(request).await.unwrap();
    let hub = place.memory.get().hub.clone().unwrap();
    let seen = |reason, time: &str| Seen {
        kind: EventKind::Refused,
        reason: Some(reason),
        client: None,
        split: None,
        service: Some("payments".to_owned()),
        draw: 0,
        event: Event { time: time.to_owned(), ..Event::default() },
    };
    hub.tell(&seen(Reason::NoBackend, "1"));
    hub.tell(&seen(Reason::NoPort, "2"));
    hub.lose(3);

    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    assert!(!response.headers().contains_key("content-encoding"), "packing would hold it back");
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let lines: Vec<Value> = String::from_utf8(first.into())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0], json!({"kind": "lost", "count": 3}));
    assert_eq!(lines[1]["time"], "2");
    assert_eq!(lines.len(), 2);
    hub.tell(&seen(Reason::NoPort, "4"));
    let next = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(next.starts_with(b"{\"time\":\"4\""), "{next:?}");
    drop((body, sender));
    driver.abort();
    while !hub.is_empty() {
        tokio::task::yield_now().await;
    }
    agent.stop().await;
}
