//! Writes while a Consul is followed: they go through to it, and are in force when acknowledged.

use super::*;

/// The writes that the Consul has seen.
fn writes(fake: &Fake) -> Vec<String> {
    let asked = fake.asked().into_iter().map(|(line, _)| line);
    asked.filter(|line| !line.starts_with("GET")).collect()
}

async fn followed() -> (Fake, Place, Running) {
    let fake = consul().await;
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;
    (fake, place, agent)
}

fn modify_index(fake: &Fake, kind: &str, name: &str) -> u64 {
    fake.change(|world| world.entry(kind, name).unwrap()["ModifyIndex"].as_u64().unwrap())
}

#[tokio::test]
async fn a_write_goes_to_consul_and_is_in_force_when_it_is_acknowledged() {
    let (fake, place, agent) = followed().await;

    let reply = agent.done("/v1/config", splitter(75.0, 25.0)).await;

    assert_eq!(reply.text, "true");
    assert_eq!(place.memory.shares("payments"), shares(7500, 2500));
    assert_eq!(writes(&fake), ["PUT /v1/config"]);
    let entry = agent.get("/v1/config/service-splitter/payments").await.json();
    assert_eq!(entry["ModifyIndex"], modify_index(&fake, "service-splitter", "payments"));

    let gone = agent.delete("/v1/config/service-splitter/payments").await;
    assert_eq!((gone.status, gone.text.as_str()), (200, "{}"));
    assert_eq!(place.memory.shares("payments"), [("blue".to_owned(), 10_000)]);
    agent.stop().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_before_consul_hears_of_it() {
    let (fake, place, agent) = followed().await;
    let before = place.memory.get().published.clone();

    let bad = splitter(75.0, 25.0).replace("green", "red");
    let subset = agent.put("/v1/config", bad).await;
    let sum = agent.put("/v1/config", splitter(75.0, 20.0)).await;
    let needed = agent.delete("/v1/config/service-resolver/payments").await;

    assert_eq!(subset.text, "service \"payments\" does not have a subset named \"red\"");
    assert!(sum.text.contains("must be 100, not 95"), "{sum:?}");
    assert!(needed.text.contains("does not have a subset named"), "{needed:?}");
    assert_eq!([subset.status, sum.status, needed.status], [500; 3]);
    assert_eq!(writes(&fake), [""; 0]);
    assert_eq!(place.memory.get().published, before);
    assert_eq!(agent.status().await["warnings"], json!([]));
    agent.stop().await;
}

#[tokio::test]
async fn what_consul_refuses_is_answered_with_its_status_and_words() {
    let (fake, _place, agent) = followed().await;
    fake.change(|world| world.set_token("secret"));

    let denied = agent.put("/v1/config", splitter(75.0, 25.0)).await;
    assert_eq!((denied.status, denied.text.as_str()), (403, "ACL not found"));

    let head = [("x-consul-token", "secret")];
    let allowed = agent.ask_with("PUT", "/v1/config", &splitter(75.0, 25.0), &head).await;
    // It is in Consul, and the agent itself may not read it any more.
    assert_eq!((allowed.status, allowed.text.as_str()), (200, "true"), "{allowed:?}");
    let asked = fake.asked();
    let (line, token) = asked.iter().rev().find(|(line, _)| line.starts_with("PUT")).unwrap();
    assert_eq!((line.as_str(), token.as_str()), ("PUT /v1/config", "secret"));
    let written = fake.change(|world| world.entry("service-splitter", "payments").unwrap().clone());
    assert_eq!(written["Splits"][1]["Weight"], 25);
    agent.stop().await;
}

#[tokio::test]
async fn weights_are_set_against_the_index_that_is_known() {
    let (fake, place, agent) = followed().await;
    let index = modify_index(&fake, "service-splitter", "payments");

    let reply = agent.done("/v1/canary/split/payments", r#"{"blue":60,"green":40}"#).await.json();

    assert_eq!(place.memory.shares("payments"), shares(6000, 4000));
    assert_eq!(reply["weights"][0], json!({"subset": "blue", "before": 90.0, "after": 60.0}));
    let (before, after) = (reply["revision_before"].as_u64(), reply["revision"].as_u64());
    assert_eq!(after, before.map(|revision| revision + 1));
    assert_eq!(writes(&fake), [format!("PUT /v1/config?cas={index}")]);

    agent.done("/v1/canary/rollback/payments", "").await;
    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
    agent.done("/v1/canary/undo/payments", "").await;
    assert_eq!(place.memory.shares("payments"), shares(6000, 4000));

    let stale = agent.put(&format!("/v1/config?cas={index}"), splitter(50.0, 50.0)).await;
    assert_eq!((stale.status, stale.text.as_str()), (200, "false"));
    assert_eq!(place.memory.shares("payments"), shares(6000, 4000));
    agent.stop().await;
}

#[tokio::test]
async fn history_tells_who_changed_it_here_and_who_in_consul() {
    let (fake, place, agent) = followed().await;
    agent.done("/v1/canary/split/payments", r#"{"blue":60,"green":40}"#).await;
    split(&fake, 50.0, 50.0);
    until_shares(&place, 5000, 5000).await;

    let history = agent.get("/v1/canary/history?service=payments").await.json();

    let text = history.to_string();
    assert!(text.contains("\"split-set\"") && text.contains("\"follow\""), "{text}");
    assert!(text.contains("\"via\":\"source\"") && text.contains("\"via\":\"socket\""), "{text}");
    agent.stop().await;
}

#[tokio::test]
async fn two_writers_lose_no_change() {
    let (fake, place, agent) = followed().await;
    // The other one's write is there, and on its way here.
    fake.change(|world| {
        world.put(json!({"Kind": "service-splitter", "Name": "payments", "Splits": [
            {"Weight": 30, "ServiceSubset": "blue"}, {"Weight": 70, "ServiceSubset": "green"}],
            "Meta": {"by": "another"}}));
    });

    agent.done("/v1/canary/split/payments", r#"{"blue":80,"green":20}"#).await;

    assert_eq!(place.memory.shares("payments"), shares(8000, 2000));
    let entry = fake.change(|world| world.entry("service-splitter", "payments").unwrap().clone());
    assert_eq!(entry["Meta"]["by"], "another", "{entry}");
    agent.stop().await;
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_says_what_would_move() {
    let (fake, place, agent) = followed().await;

    let reply = agent.done("/v1/canary/split/payments?dry-run", r#"{"blue":60,"green":40}"#).await;

    assert_eq!(reply.json()["weights"][1]["after"], 40.0);
    assert_eq!(writes(&fake), [""; 0]);
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    split(&fake, 70.0, 30.0);
    until_shares(&place, 7000, 3000).await;
    agent.stop().await;
}

#[tokio::test]
async fn services_are_registered_with_consul_and_not_here() {
    let (fake, _place, agent) = followed().await;

    let web = json!({"Name": "web", "ID": "w", "Address": "10.1.0.50", "Port": 1});
    let reply = agent.put("/v1/agent/service/register", web.to_string()).await;

    assert_eq!(reply.status, 405, "{reply:?}");
    assert!(reply.text.contains("register them there"), "{reply:?}");
    assert_eq!(writes(&fake), [""; 0]);
    agent.stop().await;
}

#[tokio::test]
async fn a_write_that_does_not_come_back_is_said_to_be_written() {
    let (fake, place, agent) = followed().await;
    // Writes are taken, and answers to questions are the old ones.
    fake.change(World::freeze);

    let reply = agent.put("/v1/config", splitter(75.0, 25.0)).await;

    assert_eq!((reply.status, reply.text.as_str()), (200, "true"));
    assert!(reply.warnings.iter().any(|text| text.contains("is written to consul")), "{reply:?}");
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    agent.stop().await;
}

/// An agent that follows another agent's API, which stands in for a Consul of ours.
#[tokio::test]
async fn an_agent_follows_another_one_and_writes_through_it() {
    let first = Place::with_payments();
    let leader = first.start().await;
    leader.done("/v1/config", resolver()).await;
    leader.done("/v1/config", splitter(90.0, 10.0)).await;
    let second = Place::new();
    settings(&second, &format!("addresses = \"unix://{}\"", leader.socket.display()));
    let agent = second.try_start().await;
    until_shares(&second, 9000, 1000).await;

    leader.done("/v1/config", splitter(60.0, 40.0)).await;
    until_shares(&second, 6000, 4000).await;
    agent.done("/v1/canary/split/payments", r#"{"blue":20,"green":80}"#).await;
    assert_eq!(first.memory.shares("payments"), shares(2000, 8000));
    assert_eq!(second.memory.shares("payments"), shares(2000, 8000));

    leader.stop().await;
    until_ok(&agent, false).await;
    assert_eq!(second.memory.shares("payments"), shares(2000, 8000));
    let refused = agent.put("/v1/config", splitter(50.0, 50.0)).await;
    assert_eq!(refused.status, 503, "{refused:?}");

    let leader = first.start().await;
    leader.done("/v1/config", splitter(10.0, 90.0)).await;
    until_shares(&second, 1000, 9000).await;
    until_ok(&agent, true).await;
    leader.stop().await;
    agent.stop().await;
}

#[tokio::test]
async fn a_rollback_acts_while_consul_is_away_and_reaches_it_later() {
    let (fake, place, agent) = followed().await;
    fake.misbehave(Mischief::Status(500, "No cluster leader"));
    until_ok(&agent, false).await;

    let back = agent.done("/v1/canary/rollback/payments", "").await.json();

    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
    let told = back["warnings"].to_string();
    assert!(told.contains("consul still says 90/10") && told.contains("tried again"), "{back}");
    let status = agent.get("/v1/canary/status/payments").await.json();
    assert_eq!(status["brake"]["subset"], "blue", "{status}");
    agent.stop().await;
    // Its own row in the store, where a reboot empties the tables.
    *place.memory.get() = crate::agent::memory::Inner::default();
    let agent = place.try_start().await;
    fake.misbehave(Mischief::None);
    until_shares(&place, 10_000, 0).await;
    let status = agent.get("/v1/canary/status/payments").await.json();
    assert_eq!(status["brake"]["subset"], "blue", "{status}");
    let warnings = agent.status().await["warnings"].to_string();
    assert!(warnings.contains("run `canaryctl rollback payments --to blue`"), "{warnings}");

    agent.done("/v1/canary/rollback/payments", "").await;
    until("the entry is heard", async || {
        agent.get("/v1/canary/status/payments").await.json().get("brake").is_none()
    })
    .await;
    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));
    let splits = fake.change(|world| world.entry("service-splitter", "payments").unwrap().clone());
    assert_eq!(splits["Splits"][0]["Weight"], 100.0);
    // Whoever writes it anew ends nothing: there is no brake left.
    split(&fake, 50.0, 50.0);
    until_shares(&place, 5000, 5000).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_rollback_that_consul_could_not_take_is_written_with_the_same_token_once_it_can() {
    let (fake, place, agent) = followed().await;
    fake.misbehave(Mischief::Status(500, "No cluster leader"));
    agent.done("/v1/canary/rollback/payments", "").await;
    assert_eq!(place.memory.shares("payments"), shares(10_000, 0));

    fake.misbehave(Mischief::None);

    until("it is written", async || {
        agent.get("/v1/canary/status/payments").await.json().get("brake").is_none()
    })
    .await;
    let splits = fake.change(|world| world.entry("service-splitter", "payments").unwrap().clone());
    assert_eq!(splits["Splits"][0]["Weight"], 100.0);
    agent.stop().await;
}
