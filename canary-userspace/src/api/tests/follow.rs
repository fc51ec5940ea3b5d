//! An agent that follows a Consul: what it says is in force, and what it cannot say stays.

mod through;

use std::time::Instant;

use super::*;
use crate::source::consul::fake::{Fake, Mischief, World, row};

/// Time for everything that is waited for.
const SOON: Duration = Duration::from_secs(60);

/// An agent that follows `fakes`, with more settings for the block.
fn following(fakes: &[&Fake], more: &str) -> Place {
    let place = Place::new();
    follow(&place, fakes, more);
    place
}

fn follow(place: &Place, fakes: &[&Fake], more: &str) {
    let addresses: Vec<String> = fakes.iter().map(|fake| fake.address.to_string()).collect();
    settings(place, &format!("addresses = {addresses:?}\n{more}"));
}

fn settings(place: &Place, block: &str) {
    let text = format!("source = \"consul\"\nconsul {{\nwait = \"1s\"\n{block}\n}}\n");
    fs::write(place.dir.path().join("agent.hcl"), text).unwrap();
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Blue twice, green once.
fn payments() -> Vec<Value> {
    vec![
        row("payments", "blue-1", 1, "2", "passing"),
        row("payments", "blue-2", 2, "2", "passing"),
        row("payments", "green-1", 3, "3", "passing"),
    ]
}

/// A Consul with the splits of `payments` in it.
async fn consul() -> Fake {
    let fake = Fake::start().await;
    fake.change(fill);
    fake
}

fn fill(world: &mut World) {
    world.put(value(&resolver()));
    world.put(value(&splitter(90.0, 10.0)));
    world.register("payments", payments());
}

fn split(fake: &Fake, blue: f64, green: f64) {
    fake.change(|world| world.put(value(&splitter(blue, green))));
}

/// Waits until `holds`, and says how long that took.
async fn until(what: &str, holds: impl AsyncFn() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < SOON, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    start.elapsed()
}

async fn until_shares(place: &Place, blue: u16, green: u16) -> Duration {
    until(&format!("{blue} and {green}"), async || {
        place.memory.shares("payments") == shares(blue, green)
    })
    .await
}

async fn until_ok(agent: &Running, ok: bool) -> Value {
    until(&format!("source ok: {ok}"), async || agent.status().await["source"]["ok"] == ok).await;
    agent.status().await
}

fn healthy(status: &Value) -> Vec<u64> {
    let splits = status["services"][0]["splits"].as_array().unwrap();
    splits.iter().map(|split| split["backends"]["healthy"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn entries_and_health_of_consul_are_in_force_with_its_indices() {
    let fake = consul().await;
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;

    let status = agent.status().await;
    assert_eq!(status["ready"], true);
    assert_eq!(status["revision"], 1, "the first answers are one revision");
    assert_eq!(
        status["source"],
        json!({"kind": "consul", "address": format!("http://{}", fake.address), "ok": true,
            "stale_seconds": 0})
    );
    let service = &status["services"][0];
    assert_eq!(service["origin"], json!({"resolver": "consul", "splitter": "consul"}));
    assert_eq!(service["frontends"][0]["address"], "10.96.0.10");
    assert_eq!(healthy(&status), [2, 1]);
    let entry = agent.get("/v1/config/service-splitter/payments").await.json();
    let index = fake.change(|world| {
        world.entry("service-splitter", "payments").unwrap()["ModifyIndex"].clone()
    });
    assert_eq!(entry["ModifyIndex"], index);
    let metrics = agent.get("/metrics").await.text;
    assert!(metrics.contains("canary_source_stale_seconds{source=\"consul\"} 0"), "{metrics}");
    agent.stop().await;
}

#[tokio::test]
async fn what_changes_in_consul_changes_here() {
    let fake = consul().await;
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;

    let mut slowest = Duration::ZERO;
    for green in 1..=30_u8 {
        split(&fake, f64::from(100 - green), f64::from(green));
        let green = u16::from(green) * 100;
        slowest = slowest.max(until_shares(&place, 10_000 - green, green).await);
    }
    // A change takes some milliseconds; only the bucket that limits a storm may add to them.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");

    let mut rows = payments();
    rows[0]["Checks"][1]["Status"] = "critical".into();
    fake.change(|world| world.register("payments", rows));
    until("one is critical", async || healthy(&agent.status().await) == [1, 1]).await;

    fake.change(|world| world.delete("service-splitter", "payments"));
    until("all to blue", async || place.memory.shares("payments") == [("blue".to_owned(), 10_000)])
        .await;
    agent.stop().await;
}

#[tokio::test]
async fn a_consul_that_misbehaves_changes_nothing_and_recovers_at_once() {
    let fake = consul().await;
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;

    for (mischief, text) in [
        (Mischief::Status(500, "No cluster leader"), "answered 500 (No cluster leader)"),
        (Mischief::Status(429, "rate limit"), "answered 429"),
        (Mischief::Status(403, "Permission denied"), "answered 403 (Permission denied)"),
        (Mischief::Status(301, "elsewhere"), "answered 301"),
        (Mischief::Body("<html>maintenance</html>"), "is not what Consul says"),
        (Mischief::Body(""), "is not what Consul says"),
        (
            Mischief::Body("[{\"Kind\":\"mesh\",\"Name\":\"mesh\"}]"),
            "is not what Consul says|has \"mesh\"",
        ),
        (Mischief::CutOff, "body|before message completed"),
        (Mischief::Endless, "longer than"),
        (Mischief::NoIndex, "no X-Consul-Index"),
        (Mischief::Filtered, "may not read"),
    ] {
        let before = place.memory.get().published.clone();
        let revision = place.memory.get().revision;
        fake.misbehave(mischief.clone());
        let status = until_ok(&agent, false).await;
        let error = status["source"]["error"].as_str().unwrap().to_owned();
        assert!(text.split('|').any(|text| error.contains(text)), "{mischief:?}: {error}");
        split(&fake, 50.0, 50.0);
        // Asked again and again, it says the same again and again.
        let asked = fake.asked().len();
        until("asked again", async || fake.asked().len() > asked + 6).await;
        assert_eq!(place.memory.get().published, before, "{mischief:?}");
        assert_eq!(place.memory.get().revision, revision, "{mischief:?}");
        assert_eq!(agent.status().await["ready"], true);

        fake.misbehave(Mischief::None);
        let took = until_shares(&place, 5000, 5000).await;
        until_ok(&agent, true).await;
        assert!(took < Duration::from_secs(6), "{mischief:?}: {took:?}");
        split(&fake, 90.0, 10.0);
        until_shares(&place, 9000, 1000).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn an_index_that_is_stuck_or_goes_backwards_hides_no_change() {
    let fake = consul().await;
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;

    fake.misbehave(Mischief::Stuck(12));
    split(&fake, 70.0, 30.0);
    until_shares(&place, 7000, 3000).await;
    let asked = fake.asked().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = fake.asked().len() - asked;
    assert!(asked <= 5 * 6, "{asked} questions in 3 s over 5 lists that say nothing new");

    fake.misbehave(Mischief::None);
    fake.change(World::set_back);
    split(&fake, 60.0, 40.0);
    until_shares(&place, 6000, 4000).await;
    split(&fake, 65.0, 35.0);
    until_shares(&place, 6500, 3500).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_consul_that_dies_and_comes_back_anew_is_followed_again() {
    let fake = consul().await;
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;
    let address = fake.address;

    drop(fake);
    until("it is said", async || {
        agent.status().await["source"]["error"].to_string().contains("refused")
    })
    .await;
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));

    let fake = Fake::start_at(address).await;
    fake.change(|world| {
        fill(world);
        world.put(value(&splitter(20.0, 80.0)));
    });
    until_shares(&place, 2000, 8000).await;
    until_ok(&agent, true).await;
    agent.stop().await;
}

#[tokio::test]
async fn without_consul_a_restart_goes_on_with_what_it_said_last() {
    let fake = consul().await;
    let mut place = following(&[&fake], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;
    agent.stop().await;
    let address = fake.address;
    drop(fake);

    // Nothing is pinned: the machine was started anew too.
    place.memory = Memory::default();
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;
    let status = agent.status().await;
    assert_eq!((&status["ready"], &status["source"]["ok"]), (&json!(true), &json!(false)));
    assert_eq!(healthy(&status), [2, 1]);

    let fake = Fake::start_at(address).await;
    fake.change(|world| {
        fill(world);
        world.put(value(&splitter(80.0, 20.0)));
    });
    until_shares(&place, 8000, 2000).await;
    until_ok(&agent, true).await;
    agent.stop().await;
}

#[tokio::test]
async fn without_any_earlier_state_the_agent_waits_for_consul() {
    let fake = consul().await;
    let address = fake.address;
    let place = following(&[&fake], "");
    drop(fake);
    let agent = place.try_start().await;
    let status = until_ok(&agent, false).await;
    assert_eq!((&status["ready"], &status["revision"]), (&json!(false), &json!(0)));

    let socket = format!("unix://{}", agent.socket.display());
    let ran = crate::ctl::tests::canaryctl(&socket, &["status", "--wait", "--timeout", "3s"]).await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("not ready") && ran.err.contains("refused"), "{}", ran.err);
    assert_eq!(place.memory.get().revision, 0);

    let fake = Fake::start_at(address).await;
    fake.change(fill);
    until_shares(&place, 9000, 1000).await;
    let ran = crate::ctl::tests::canaryctl(&socket, &["status", "--wait", "--timeout", "3s"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains(&format!("consul at http://{address}, ok")), "{}", ran.out);
    agent.stop().await;
}

#[tokio::test]
async fn an_entry_that_cannot_be_served_leaves_its_service_and_the_others_alone() {
    let fake = consul().await;
    fake.change(|world| {
        world.put(json!({"Kind": "service-resolver", "Name": "web"}));
        let mut row = row("web", "web-1", 9, "1", "passing");
        row["Service"]["TaggedAddresses"]["virtual"]["Address"] = "10.96.0.11".into();
        world.register("web", vec![row]);
    });
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;

    // One that is no valid entry, and one that does not fit the other entries.
    for splits in [
        json!([{"Weight": 60, "ServiceSubset": "blue"}]),
        json!([{"Weight": 60, "ServiceSubset": "blue"}, {"Weight": 40, "ServiceSubset": "red"}]),
    ] {
        let bad = json!({"Kind": "service-splitter", "Name": "payments", "Splits": splits});
        let redirect = json!({"Kind": "service-resolver", "Name": "web", "DefaultSubset": "one",
            "Subsets": {"one": {"Filter": "Service.Meta.version == 1"}}});
        fake.change(|world| {
            world.put(bad);
            world.put(redirect);
        });
        until("web goes on", async || place.memory.shares("web") == [("one".to_owned(), 10_000)])
            .await;
        until("payments is named", async || {
            let status = agent.status().await;
            let warnings = status["warnings"].as_array().unwrap().clone();
            warnings.iter().any(|warning| {
                let text = warning["text"].as_str().unwrap();
                warning["service"] == "payments"
                    && text.contains("refused")
                    && text.contains("stays")
            })
        })
        .await;
        assert_eq!(place.memory.shares("payments"), shares(9000, 1000));

        split(&fake, 90.0, 10.0);
        fake.change(|world| world.put(json!({"Kind": "service-resolver", "Name": "web"})));
        until("all is well", async || {
            place.memory.shares("web") == [(String::new(), 10_000)]
                && agent.status().await["warnings"] == json!([])
        })
        .await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_service_that_does_not_fit_leaves_the_others_alone() {
    let fake = consul().await;
    let place = following(&[&fake], "");
    place.memory.get().limit = Some(1);
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;

    fake.change(|world| {
        world.put(json!({"Kind": "service-resolver", "Name": "web"}));
        let mut row = row("web", "web-1", 9, "1", "passing");
        row["Service"]["TaggedAddresses"]["virtual"]["Address"] = "10.96.0.11".into();
        world.register("web", vec![row]);
    });
    until("it is said", async || {
        let status = agent.status().await;
        let warnings = status["warnings"].to_string();
        warnings.contains("web") && warnings.contains("raise `limits.services`")
    })
    .await;
    split(&fake, 80.0, 20.0);
    until_shares(&place, 8000, 2000).await;

    place.memory.get().limit = None;
    split(&fake, 70.0, 30.0);
    until_shares(&place, 7000, 3000).await;
    assert_eq!(place.memory.shares("web"), [(String::new(), 10_000)]);
    assert_eq!(agent.status().await["warnings"], json!([]));
    agent.stop().await;
}

#[tokio::test]
async fn a_reload_reads_the_token_again_and_takes_nothing_away() {
    let fake = consul().await;
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;

    let reply = agent.put("/v1/agent/reload", "").await;

    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    agent.stop().await;
}

#[tokio::test]
async fn a_share_goes_to_a_new_service_only_once_its_instances_are_known() {
    let fake = consul().await;
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;

    fake.change(|world| {
        world.hold(&["payments-next"]);
        world.register("payments-next", vec![row("payments-next", "n", 7, "4", "passing")]);
        world.put(json!({"Kind": "service-splitter", "Name": "payments", "Splits": [
            {"Weight": 50, "ServiceSubset": "blue"}, {"Weight": 50, "Service": "payments-next"}]}));
    });
    until("it is said", async || {
        agent.status().await["warnings"].to_string().contains("waits for the instances")
    })
    .await;
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));

    fake.change(|world| world.hold(&[]));
    until("the next one", async || {
        place.memory.shares("payments") == [("blue".to_owned(), 5000), (String::new(), 5000)]
    })
    .await;
    assert_eq!(healthy(&agent.status().await), [2, 1]);
    agent.stop().await;
}

#[tokio::test]
async fn services_without_entries_are_followed_where_they_are_named() {
    let fake = consul().await;
    fake.change(|world| {
        let mut row = row("named", "n", 9, "1", "passing");
        row["Service"]["TaggedAddresses"]["virtual"]["Address"] = "10.96.0.12".into();
        world.register("named", vec![row]);
        world.register(
            "other",
            vec![crate::source::consul::fake::row("other", "o", 8, "1", "passing")],
        );
    });
    let place = following(&[&fake], "services = [\"named\"]");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;

    assert_eq!(place.memory.shares("named"), [(String::new(), 10_000)]);
    let asked = fake.asked();
    let about = |name: &str| asked.iter().any(|(line, _)| line.contains(&format!("/{name}?")));
    assert!(about("named") && about("payments") && !about("other"), "{asked:?}");
    agent.stop().await;
}

#[tokio::test]
async fn the_next_address_is_asked_when_one_fails_and_stays() {
    let (first, second) = (consul().await, consul().await);
    split(&second, 30.0, 70.0);
    let place = following(&[&first, &second], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;

    first.misbehave(Mischief::Status(500, "No cluster leader"));
    until_shares(&place, 3000, 7000).await;
    let status = until_ok(&agent, true).await;
    assert_eq!(status["source"]["address"], format!("http://{}", second.address));

    first.misbehave(Mischief::None);
    split(&second, 40.0, 60.0);
    until_shares(&place, 4000, 6000).await;
    let status = agent.status().await;
    assert_eq!(status["source"]["address"], format!("http://{}", second.address));
    agent.stop().await;
}

#[tokio::test]
async fn a_new_token_in_the_file_is_used_once_the_old_one_is_refused() {
    let fake = consul().await;
    fake.change(|world| world.set_token("one"));
    let place = Place::new();
    let file = place.dir.path().join("token");
    fs::write(&file, "one\n").unwrap();
    follow(&place, &[&fake], &format!("token_file = {:?}", file.display().to_string()));
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;

    fake.change(|world| world.set_token("two"));
    let status = until_ok(&agent, false).await;
    assert!(status["source"]["error"].as_str().unwrap().contains("ACL not found"), "{status}");
    fs::write(&file, "two\n").unwrap();
    split(&fake, 50.0, 50.0);
    until_shares(&place, 5000, 5000).await;
    until_ok(&agent, true).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_socket_and_tls_with_both_certificates_lead_to_consul_too() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::pki_types::PrivateKeyDer;

    let fake = consul().await;
    let place = Place::new();
    let socket = place.dir.path().join("consul.sock");
    fake.listen_unix(&socket);
    settings(&place, &format!("addresses = \"unix://{}\"", socket.display()));
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;
    agent.stop().await;

    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server, server_key) = signed("server.dc7.consul");
    let (client, client_key) = signed("agent");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca_cert.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        roots.into(),
        std::sync::Arc::clone(&provider),
    );
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![server.der().clone()],
            PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let address = fake.listen_tls(config).await;
    let file = |name: &str, text: String| {
        let path = place.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let ca = file("ca.pem", ca_cert.pem());
    let (cert, key) = (file("c.pem", client.pem()), file("k.pem", client_key.serialize_pem()));
    let mut block = format!("addresses = \"https://{address}\"\nca_file = {ca:?}\n");
    // Without the name the certificate is another one's.
    settings(&place, &format!("{block}client_cert = {cert:?}\nclient_key = {key:?}"));
    split(&fake, 80.0, 20.0);
    let agent = place.try_start().await;
    let status = until_ok(&agent, false).await;
    assert!(status["source"]["error"].as_str().unwrap().contains("ertificate"), "{status}");
    agent.stop().await;

    block += "tls_server_name = \"server.dc7.consul\"\n";
    settings(&place, &format!("{block}client_cert = {cert:?}\nclient_key = {key:?}"));
    let agent = place.try_start().await;
    until_shares(&place, 8000, 2000).await;
    agent.stop().await;
}

/// Five services, each with a resolver and an instance.
fn five(world: &mut World) {
    for number in 1..=5_u8 {
        let name = format!("s{number}");
        let resolver = json!({"Kind": "service-resolver", "Name": name});
        world.put(resolver);
        let mut one = row(&name, &format!("{name}-1"), number, "2", "passing");
        one["Service"]["TaggedAddresses"]["virtual"]["Address"] =
            json!(format!("10.96.0.{number}"));
        world.register(&name, vec![one]);
    }
}

fn wipe(world: &mut World) {
    for number in 1..=5_u8 {
        let name = format!("s{number}");
        world.delete("service-resolver", &name);
        world.register(&name, Vec::new());
    }
    world.set_back();
}

fn services(place: &Place) -> usize {
    place.memory.get().published.services.len()
}

#[tokio::test]
async fn a_consul_that_was_wiped_takes_nothing_away_until_it_is_accepted() {
    let fake = Fake::start().await;
    fake.change(five);
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until("all are served", async || services(&place) == 5).await;

    fake.change(wipe);
    let held = async || agent.status().await["source"]["held"].as_array().map_or(0, Vec::len);
    until("it is held", async || held().await == 1).await;
    assert_eq!(services(&place), 5);
    let status = agent.status().await;
    assert_eq!(status["source"]["ok"], false, "{status}");
    let reason = status["source"]["held"][0]["reason"].to_string();
    assert!(reason.contains("5 of 5 services lost all"), "{reason}");
    agent.stop().await;
    // What it said before is what a reboot begins with, and it is held again.
    *place.memory.get() = crate::agent::memory::Inner::default();
    let agent = place.try_start().await;
    let held = async || agent.status().await["source"]["held"].as_array().map_or(0, Vec::len);
    until("it is held again", async || held().await == 1).await;
    assert_eq!(services(&place), 5);

    // It comes back, and the hold ends by itself.
    fake.change(five);
    until("it is believed again", async || held().await == 0).await;
    assert_eq!(services(&place), 5);

    fake.change(wipe);
    until("it is held", async || held().await == 1).await;
    let list = agent.status().await["source"]["held"][0].clone();
    assert!(list["removals"].to_string().contains("service-resolver/s1"), "{list}");
    let digest = list["digest"].as_str().unwrap();
    assert_eq!(agent.put("/v1/canary/accept?digest=00", "").await.status, 409);
    agent.done(&format!("/v1/canary/accept?digest={digest}"), "").await;
    assert_eq!(services(&place), 0);
    until("nothing is held", async || held().await == 0).await;
    agent.stop().await;
}

#[tokio::test]
async fn one_service_that_goes_and_all_of_a_few_are_ordinary() {
    let fake = Fake::start().await;
    fake.change(five);
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until("all are served", async || services(&place) == 5).await;

    fake.change(|world| {
        world.delete("service-resolver", "s1");
        world.register("s1", Vec::new());
    });

    until("it is gone", async || services(&place) == 4).await;
    assert_eq!(agent.status().await["source"].get("held"), None);
    agent.stop().await;
    let fake = consul().await;
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;
    fake.change(|world| {
        world.delete("service-splitter", "payments");
        world.delete("service-resolver", "payments");
        world.register("payments", Vec::new());
    });
    until("the only one is gone", async || services(&place) == 0).await;
    agent.stop().await;
}

#[tokio::test]
async fn rights_that_were_lost_while_no_agent_ran_take_nothing_away() {
    let fake = consul().await;
    let place = following(&[&fake], "");
    let agent = place.try_start().await;
    until_shares(&place, 9000, 1000).await;
    agent.stop().await;
    *place.memory.get() = crate::agent::memory::Inner::default();
    fake.misbehave(Mischief::Filtered);

    let agent = place.try_start().await;

    until_shares(&place, 9000, 1000).await;
    until("it is said", async || {
        let warnings = agent.status().await["warnings"].to_string();
        warnings.contains("the token may not read all of the instances of")
    })
    .await;
    let asked = fake.asked().len();
    until("asked again", async || fake.asked().len() > asked + 6).await;
    assert_eq!(place.memory.shares("payments"), shares(9000, 1000));
    // The rights are back, and what it says counts.
    fake.misbehave(Mischief::None);
    split(&fake, 50.0, 50.0);
    until_shares(&place, 5000, 5000).await;
    agent.stop().await;
}
