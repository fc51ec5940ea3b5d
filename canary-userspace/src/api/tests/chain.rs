//! Chains: what is refused between entries, where connections go, and both documents of it.

use super::*;

/// A resolver in Consul's JSON.
fn resolver_of(name: &str, rest: &Value) -> String {
    let mut entry = json!({"Kind": "service-resolver", "Name": name});
    entry.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    entry.to_string()
}

fn subsets() -> Value {
    json!({"v1": {"Filter": "Service.Meta.version == 1"}, "v2": {"Filter": "Service.Meta.version == 2"}})
}

/// Web and shop: an instance of each version, behind an address each.
fn place() -> Place {
    let place = Place::new();
    let services = [("web", 1, 1), ("web", 2, 2), ("shop", 3, 1), ("shop", 4, 2)];
    let text: String = services
        .map(|(name, host, version)| service(name, &version.to_string(), host, version))
        .concat();
    // Two services at one virtual address would be told of each other.
    let text = text.replacen("10.96.0.10", "10.96.0.11", 2);
    place.file("services.hcl", &text);
    place
}

/// Where new connections of a service go, by the last bytes of their addresses.
fn healthy(place: &Place, service: &str) -> Vec<(u16, Vec<u8>)> {
    let inner = place.memory.get();
    let service = inner.published.service(service).unwrap();
    let of_split = |split: &crate::compile::DesiredSplit| {
        let healthy = split.backends.iter().filter(|backend| backend.healthy);
        (split.share, healthy.map(|backend| backend.endpoint.address.0[15]).collect())
    };
    service.splits.iter().map(of_split).collect()
}

#[tokio::test]
async fn what_another_entry_refers_to_can_neither_be_deleted_nor_changed_away() {
    let place = place();
    let agent = place.start().await;
    let missing = r#"service "shop" does not have a subset named "v2""#;
    let redirect =
        resolver_of("web", &json!({"Redirect": {"Service": "shop", "ServiceSubset": "v2"}}));
    let failover = resolver_of(
        "web",
        &json!({"Failover": {"*": {"Targets": [{"Service": "shop", "ServiceSubset": "v2"}]}}}),
    );
    let nested = json!({"Kind": "service-splitter", "Name": "web",
        "Splits": [{"Weight": 100, "Service": "shop", "ServiceSubset": "v2"}]})
    .to_string();

    for reference in [redirect, failover, nested] {
        let early = agent.put("/v1/config", reference.clone()).await;
        assert_eq!((early.status, early.text.as_str()), (500, missing), "{reference}");
        agent.done("/v1/config", resolver_of("shop", &json!({"Subsets": subsets()}))).await;
        agent.done("/v1/config", reference.clone()).await;
        let before = agent.everything(&place).await;

        let deleted = agent.delete("/v1/config/service-resolver/shop").await;
        let emptied = agent.put("/v1/config", resolver_of("shop", &json!({}))).await;

        assert_eq!((deleted.status, deleted.text.as_str()), (500, missing), "{reference}");
        assert_eq!((emptied.status, emptied.text.as_str()), (500, missing), "{reference}");
        assert_eq!(agent.everything(&place).await, before, "{reference}");
        for path in ["service-splitter/web", "service-resolver/web", "service-resolver/shop"] {
            assert_eq!(agent.delete(&format!("/v1/config/{path}")).await.status, 200);
        }
    }
    agent.stop().await;
}

#[tokio::test]
async fn circles_are_refused_with_their_way() {
    let place = place();
    let agent = place.start().await;
    agent.done("/v1/config", resolver_of("web", &json!({"Redirect": {"Service": "shop"}}))).await;

    let circle = agent
        .put("/v1/config", resolver_of("shop", &json!({"Redirect": {"Service": "web"}})))
        .await;

    assert_eq!(circle.status, 500);
    assert_eq!(
        circle.text,
        "detected circular resolver redirect: [shop.default.default.dc1 -> \
         web.default.default.dc1 -> shop.default.default.dc1]"
    );
    agent.stop().await;
}

#[tokio::test]
async fn files_are_told_where_a_redirect_leads_nowhere_in_whatever_order_they_are_read() {
    let place = place();
    place.file("a.hcl", "kind = \"service-resolver\"\nname = \"web\"\nredirect { service = \"shop\" service_subset = \"v2\" }\n");
    place.file("b.hcl", "kind = \"service-resolver\"\nname = \"shop\"\nsubsets { v2 { filter = \"Service.Meta.version == 2\" } }\n");
    let agent = place.start().await;
    assert_eq!(healthy(&place, "web"), [(10_000, vec![4])]);

    place.file("b.hcl", "kind = \"service-resolver\"\nname = \"shop\"\n");
    let refused = agent.put("/v1/agent/reload", "").await;

    let text = "a.hcl:2:8: service \"shop\" does not have a subset named \"v2\"";
    assert!(refused.text.ends_with(text), "{}", refused.text);
    assert_eq!(healthy(&place, "web"), [(10_000, vec![4])]);
    agent.stop().await;
}

#[tokio::test]
async fn failover_moves_new_connections_and_back_and_counters_stay_those_of_the_leaf() {
    let place = place();
    let agent = place.start().await;
    agent
        .done("/v1/config", resolver_of("web", &json!({"Failover": {"*": {"Service": "shop"}}})))
        .await;
    assert_eq!(healthy(&place, "web"), [(10_000, vec![1, 2])]);

    // A check that nobody answers: critical from the start.
    let register = |host: u8, ill: bool| {
        let checks =
            if ill { json!([{"TCP": "127.0.0.1:1", "Interval": "60s"}]) } else { json!([]) };
        json!({"Name": "web", "ID": format!("web-{host}"), "Address": format!("10.1.0.{host}"),
            "Port": 8080, "Meta": {"version": host.to_string()}, "Checks": checks,
            "TaggedAddresses": {"virtual": {"Address": "10.96.0.11", "Port": 80}}})
        .to_string()
    };
    agent.done("/v1/agent/service/register", register(1, true)).await;
    assert_eq!(healthy(&place, "web"), [(10_000, vec![2])], "one is left");
    agent.done("/v1/agent/service/register", register(2, true)).await;

    assert_eq!(healthy(&place, "web"), [(10_000, vec![3, 4])]);
    let explain = agent.get("/v1/canary/explain/web").await.json();
    let used: Vec<_> = explain["leaves"][0]["levels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["in_use"].clone())
        .collect();
    assert_eq!(used, [json!(false), json!(true)]);
    assert_eq!(explain["leaves"][0]["service"], "web");
    let said =
        "100 % of new connections fail over to all instances of \"shop\": no instance is healthy";
    assert_eq!(explain["warnings"][0]["text"], said);
    let key = place.memory.get().published.service("web").unwrap().splits[0].key.clone();
    assert_eq!((key.target.as_str(), key.subset.as_str()), ("web", ""));

    let path = "/v1/agent/service/register?replace-existing-checks=true";
    agent.done(path, register(2, false)).await;
    assert_eq!(healthy(&place, "web"), [(10_000, vec![2])], "back at once");
    agent.stop().await;
}

#[tokio::test]
async fn a_share_that_is_given_on_keeps_its_weight_in_status() {
    let place = place();
    let agent = place.start().await;
    agent.done("/v1/config", resolver_of("web", &json!({"Subsets": {
        "v1": {"Filter": "Service.Meta.version == 1"}, "v9": {"Filter": "Service.Meta.version == 9"}}})))
        .await;
    let splitter = |meta: &Value| {
        json!({"Kind": "service-splitter", "Name": "web", "Meta": meta,
            "Splits": [{"Weight": 90, "ServiceSubset": "v1"}, {"Weight": 10, "ServiceSubset": "v9"}]})
        .to_string()
    };

    let refused = agent.done("/v1/config", splitter(&json!({}))).await;
    assert_eq!(healthy(&place, "web"), [(9000, vec![1]), (1000, vec![])]);
    let given = agent.done("/v1/config", splitter(&json!({"on_empty": "redistribute"}))).await;
    assert_eq!(healthy(&place, "web"), [(10_000, vec![1]), (0, vec![])]);

    let (nobody, others) =
        ("10 % of new connections are refused: ", "10 % of new connections go to the other splits");
    assert!(refused.warnings.iter().any(|text| text.starts_with(nobody)), "{refused:?}");
    assert!(given.warnings.iter().any(|text| text.starts_with(others)), "{given:?}");
    let status = agent.get("/v1/canary/status/web").await.json();
    assert_eq!(status["splits"][1]["weight"], 10.0);
    let explain = agent.get("/v1/canary/explain/web").await.json();
    assert_eq!(explain["on_empty"], "redistribute");
    let leaf = |n: usize| {
        let leaf = &explain["leaves"][n];
        (leaf["weight"].as_f64().unwrap(), leaf["share"].as_f64().unwrap(), leaf["refused"].clone())
    };
    assert_eq!((leaf(0), leaf(1)), ((90.0, 100.0, json!(false)), (10.0, 0.0, json!(false))));
    agent.stop().await;
}

#[tokio::test]
async fn explain_says_of_each_instance_why_it_is_in_a_subset_or_not() {
    let place = place();
    let agent = place.start().await;
    agent
        .done(
            "/v1/config",
            resolver_of("web", &json!({"DefaultSubset": "v1", "Subsets": subsets()})),
        )
        .await;

    let explain = agent.get("/v1/canary/explain/web").await.json();

    let level = &explain["leaves"][0]["levels"][0];
    assert_eq!((&level["subset"], &level["in_use"]), (&json!("v1"), &json!(true)));
    assert_eq!(level["filter"], "Service.Meta.version == 1");
    let instances: Vec<_> = level["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["id"].as_str().unwrap(),
                one["member"].as_bool().unwrap(),
                one["why"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        instances,
        [
            ("web-1", true, "Service.Meta.version == 1 is true: it is \"1\""),
            ("web-2", false, "Service.Meta.version == 1 is false: it is \"2\""),
        ]
    );
    assert_eq!(level["instances"][0]["address"], "10.1.0.1:8080");
    let unknown = agent.get("/v1/canary/explain/wep").await;
    assert_eq!(
        (unknown.status, unknown.text.as_str()),
        (404, "no service is known as \"wep\" (did you mean \"web\"?)")
    );
    agent.stop().await;
}

#[tokio::test]
async fn the_discovery_chain_is_consuls_and_that_of_a_name_nobody_knows_the_default_one() {
    let place = place();
    let agent = place.start().await;
    agent
        .done(
            "/v1/config",
            resolver_of("web", &json!({"Subsets": subsets(), "ConnectTimeout": "15s"})),
        )
        .await;
    let split = json!({"Kind": "service-splitter", "Name": "web",
        "Splits": [{"Weight": 100, "ServiceSubset": "v1"}, {"Weight": 0, "ServiceSubset": "v2"}]});
    let written = agent.done("/v1/config", split.to_string()).await;

    let reply = agent.get("/v1/discovery-chain/web").await;
    let unknown = agent.get("/v1/discovery-chain/nobody").await.json();

    assert_eq!(reply.index, written.index);
    let chain = &reply.json()["Chain"];
    assert_eq!(chain["StartNode"], "splitter:web.default.default");
    assert_eq!(
        chain["Nodes"]["splitter:web.default.default"]["Splits"],
        json!([
            {"Definition": {"Weight": 100, "ServiceSubset": "v1"}, "Weight": 100,
             "NextNode": "resolver:v1.web.default.default.dc1"},
            {"Definition": {"Weight": 0, "ServiceSubset": "v2"},
             "NextNode": "resolver:v2.web.default.default.dc1"},
        ])
    );
    assert_eq!(
        chain["Nodes"]["resolver:v1.web.default.default.dc1"]["Resolver"],
        json!({"ConnectTimeout": "15s", "Target": "v1.web.default.default.dc1"})
    );
    assert_eq!(
        chain["Targets"]["v2.web.default.default.dc1"]["Subset"],
        json!({"Filter": "Service.Meta.version == 2"})
    );
    assert_eq!(unknown["Chain"]["Default"], true);
    assert_eq!(unknown["Chain"]["StartNode"], "resolver:nobody.default.default.dc1");
    assert_eq!(
        unknown["Chain"]["Nodes"]["resolver:nobody.default.default.dc1"]["Resolver"]["Default"],
        true
    );
    agent.stop().await;
}
