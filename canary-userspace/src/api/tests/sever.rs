//! Ending live connections: what is refused, what is found, and what the log has of it.

use super::*;
use crate::compile::SplitKey;
use crate::sever::{Rate, Which};

/// An agent with 90 live connections of blue and 41 of green, and these weights.
async fn start(place: &Place, blue: f64, green: f64) -> Running {
    place.file("resolver.hcl", RESOLVER);
    let live = [("blue", 90), ("green", 41)].map(|(subset, live)| {
        let subset = subset.to_owned();
        (SplitKey { service: "payments".into(), target: "payments".into(), subset }, live)
    });
    place.memory.get().live = live.into();
    let agent = place.start().await;
    agent.done("/v1/config", splitter(blue, green)).await;
    agent
}

fn orders(place: &Place) -> Vec<(Which, Rate)> {
    let inner = place.memory.get();
    inner.orders.iter().map(|(order, _)| (order.which.clone(), order.rate)).collect()
}

#[tokio::test]
async fn connections_without_a_share_are_found_and_the_log_says_who_ended_them() {
    let place = Place::with_payments();
    let agent = start(&place, 100.0, 0.0).await;
    assert_eq!(agent.get("/v1/canary/sever/payments").await.status, 404);

    let path = "/v1/canary/sever/payments";
    let counted = agent.done(&format!("{path}?dry-run"), "").await.json();
    assert_eq!((&counted["found"], &counted["state"]), (&json!(41), &json!("counted")));
    assert_eq!(orders(&place), []);
    let begun = agent.done(path, "").await.json();

    assert_eq!(
        begun,
        json!({"service": "payments", "found": 41, "rate": "10%/s", "per_second": 5, "ended": 0,
            "gone": 0, "left": 41, "state": "running",
            "splits": [{"service": "payments", "subset": "green", "tcp": 41, "udp": 0}]})
    );
    assert_eq!(orders(&place), [(Which::Unwanted, Rate::Percent(10))]);
    assert_eq!(agent.get(path).await.json(), begun);
    let history = agent.get("/v1/canary/history/payments").await.json();
    assert_eq!(history[0]["action"], "sever");
    assert_eq!(history[0]["severed"]["connections"], json!({"green": 41}));
    assert_eq!(history[0]["author"]["via"], "socket");
    assert_eq!(history[0]["revision"], history[1]["revision"], "no entry has changed");
    // It is no change of entries: the one before is what an undo takes back.
    agent.done("/v1/canary/undo/payments", "").await;
    agent.stop().await;
    let agent = place.start().await;
    let all = agent.get("/v1/canary/history/payments").await.json();
    assert_eq!(all[1]["severed"], history[0]["severed"], "{all}");
    assert_eq!(all[0]["action"], "undo");
    agent.stop().await;
}

#[tokio::test]
async fn what_would_come_back_or_is_not_there_is_refused() {
    let place = Place::with_payments();
    let agent = start(&place, 90.0, 10.0).await;

    for (query, status, text) in [
        ("subset=green", 400, "subset \"green\" gets 10 % of new connections"),
        ("subset=gren", 400, "service \"payments\" does not have a subset named \"gren\""),
        ("backend=10.1.0.3:8080", 400, "takes new connections of \"green\""),
        ("backend=10.244.1.9:1", 400, "no backend is known at 10.244.1.9:1"),
        ("backend=10.244.1.9", 400, "backend must be ADDRESS:PORT, not \"10.244.1.9\""),
        ("subset=green&backend=10.1.0.3:8080", 400, "not both"),
        ("rate=0/s", 400, "pace \"0/s\" ends nothing"),
        ("rate=fast", 400, "\"fast\" is no pace, as 10%/s, 50/s and all are"),
    ] {
        let reply = agent.put(&format!("/v1/canary/sever/payments?{query}"), "").await;
        assert_eq!(reply.status, status, "{query}: {reply:?}");
        assert!(reply.text.contains(text), "{query}: {}", reply.text);
    }
    let unknown = agent.put("/v1/canary/sever/payment", "").await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
    for (path, text) in [
        ("rollback/payments?rate=all", "rate is for sever only"),
        ("rollback/payments?rebalance", "rebalance is not for this path: sever is"),
        ("rollback/payments?sever&rate=0%25/s", "ends nothing"),
        ("split/payments?sever", "sever is not for this path: rebalance is"),
    ] {
        let body = if path.starts_with("split") { r#"{"blue": 50, "green": 50}"# } else { "" };
        let reply = agent.put(&format!("/v1/canary/{path}"), body).await;
        assert_eq!(reply.status, 400, "{path}: {reply:?}");
        assert!(reply.text.contains(text), "{path}: {}", reply.text);
    }

    assert_eq!(orders(&place), []);
    assert_eq!(place.memory.shares("payments"), shares(9_000, 1_000));
    agent.stop().await;
}

#[tokio::test]
async fn a_rollback_and_new_weights_end_what_they_say() {
    let place = Place::with_payments();
    let agent = start(&place, 50.0, 50.0).await;

    let look = agent.done("/v1/canary/rollback/payments?sever&dry-run", "").await.json();
    // The shares that it would lead to say who has none.
    assert_eq!(look["severing"]["found"], 41, "{look}");
    assert_eq!(look["severing"]["state"], "counted");
    assert_eq!(place.memory.shares("payments"), shares(5_000, 5_000));
    let weights = r#"{"blue": 90, "green": 10}"#;
    let set = agent.done("/v1/canary/split/payments?rebalance&rate=all", weights).await.json();
    assert_eq!(set["severing"]["per_second"], Value::Null);
    let back = agent.done("/v1/canary/rollback/payments?sever&rate=7/s", "").await.json();
    assert_eq!(
        (&back["severing"]["found"], &back["severing"]["per_second"]),
        (&json!(41), &json!(7))
    );
    let plain = agent.done("/v1/canary/split/payments", r#"{"blue": 1, "green": 99}"#).await.json();

    assert_eq!(plain.get("severing"), None);
    assert_eq!(
        orders(&place),
        [(Which::Surplus, Rate::All), (Which::Shareless, Rate::PerSecond(7))]
    );
    let units: Vec<Vec<u16>> = {
        let inner = place.memory.get();
        let shares = inner.orders.iter().map(|(order, _)| order.shares.iter());
        shares.map(|shares| shares.map(|share| share.units).collect()).collect()
    };
    assert_eq!(units, [vec![9_000, 1_000], vec![10_000]], "those after the change");
    agent.stop().await;
}
