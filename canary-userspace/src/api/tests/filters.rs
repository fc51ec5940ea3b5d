//! Filters, from what is written to what is answered.

use super::*;

#[tokio::test]
async fn lists_are_filtered_and_what_cannot_be_is_refused() {
    let place = Place::with_payments();
    let agent = place.start().await;
    agent.done("/v1/config", resolver()).await;
    let ids = async |filter: &str| {
        let reply = agent.get(&format!("/v1/agent/services?filter={filter}")).await;
        let json = reply.json();
        json.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };

    assert_eq!(ids("").await, ["payments-blue-1", "payments-blue-2", "payments-green-1"]);
    assert_eq!(ids("Meta.version==3").await, ["payments-green-1"]);
    assert_eq!(ids("ID%20matches%20%60-1$%60").await, ["payments-blue-1", "payments-green-1"]);
    assert_eq!(ids("TaggedAddresses.virtual.Port+!=+80").await, [""; 0]);
    let entries = async |filter: &str| {
        let path = format!("/v1/config/service-resolver?filter={filter}");
        agent.get(&path).await.json().as_array().unwrap().len()
    };
    assert_eq!(entries("Subsets.green.Filter+contains+version").await, 1);
    assert_eq!(entries("DefaultSubset==green").await, 0);

    // Each list by its own names for the same.
    for (list, filter, count) in [
        ("health/service/payments", "Service.Meta.version==3", 1),
        ("health/service/payments", "Node.Node==%22node-2%22+or+Checks+is+not+empty", 0),
        ("health/service/payments", "Service.Address+matches+%60[.][12]$%60", 2),
        ("catalog/service/payments", "ServiceMeta.version==3+and+Node+matches+node", 1),
        ("catalog/nodes", "Node+contains+node", 1),
        ("catalog/nodes", "Meta.zone==a", 0),
        ("health/state/any", "Status==passing", 0),
        ("health/checks/payments", "ServiceName==payments", 0),
        ("health/node/node-1", "Name+is+not+passing", 400),
    ] {
        let reply = agent.get(&format!("/v1/{list}?filter={filter}")).await;
        if count == 400 {
            assert_eq!(reply.status, 400, "{list}: {reply:?}");
            continue;
        }
        assert_eq!(reply.json().as_array().unwrap().len(), count, "{list} {filter}: {reply:?}");
    }

    for (path, text) in [
        (
            "/v1/agent/services?filter=Service.Meta.version==3",
            "Selector \"Service.Meta\" is not valid",
        ),
        (
            "/v1/agent/services?filter=Port==x",
            "Failed to coerce value \"x\" for selector \"Port\": strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (
            "/v1/agent/services?filter=Meta.version==1.2.3",
            "1:18 (17): rule \"number\": Invalid number literal",
        ),
        (
            "/v1/config/service-splitter?filter=Subsets+is+empty",
            "Selector \"Subsets\" is not valid",
        ),
    ] {
        let reply = agent.get(path).await;
        let expected = format!("Failed to create boolean expression evaluator: {text}");
        assert_eq!((reply.status, reply.text), (400, expected), "{path}");
    }
    agent.stop().await;
}

/// Consul takes such an entry too; nothing of it may be silent.
#[tokio::test]
async fn a_filter_that_cannot_be_evaluated_is_accepted_and_told_wherever_one_looks() {
    let place = Place::with_payments();
    let agent = place.start().await;
    let resolver = |filter: &str| {
        let subsets =
            json!({"blue": {"Filter": "Service.Meta.version == 2"}, "green": {"Filter": filter}});
        json!({"Kind": "service-resolver", "Name": "payments", "DefaultSubset": "blue", "Subsets": subsets})
            .to_string()
    };
    agent.done("/v1/config", resolver("Service.Meta.version == 3")).await;
    agent.done("/v1/config", splitter(90.0, 10.0)).await;
    let green = async || {
        let service = agent.get("/v1/canary/status/payments").await.json();
        let splits = service["splits"].as_array().unwrap().clone();
        splits.into_iter().find(|split| split["subset"] == "green").unwrap()["backends"]["total"]
            .clone()
    };
    assert_eq!(green().await, 1);

    for (filter, reason) in [
        (
            "ServiceMeta.version == 3",
            "Selector \"ServiceMeta\" is not valid (did you mean Service.Meta.version?)",
        ),
        (
            "Service.Tags == v3",
            "Invalid match operator \"Equal\" for selector \"Service.Tags\" (a list is asked with `X in LIST`)",
        ),
        (
            "Service.Port == abc",
            "Failed to coerce value \"abc\" for selector \"Service.Port\": strconv.ParseInt: parsing \"abc\": invalid syntax",
        ),
        (
            "Service.ID matches `(`",
            "Failed to compile regular expression \"(\": error parsing regexp: missing closing ): `(`",
        ),
    ] {
        let written = agent.done("/v1/config", resolver(filter)).await;
        let told = |text: &str| text.ends_with(reason) && text.contains("\"green\"");
        assert!(written.warnings.iter().any(|text| told(text)), "{filter}: {written:?}");
        let entry = agent.get("/v1/config/service-resolver/payments").await.json();
        assert_eq!(entry["Subsets"]["green"]["Filter"], filter);
        assert_eq!(green().await, 0, "{filter}");
        let status = agent.status().await;
        let mut warnings = status["warnings"].as_array().unwrap().iter();
        let told = |warning: &Value| {
            warning["service"] == "payments" && told(warning["text"].as_str().unwrap())
        };
        assert!(warnings.any(told), "{filter}: {}", status["warnings"]);
    }

    // What is no expression changes nothing, and Consul's words are all that is said.
    let refused = agent.put("/v1/config", resolver("Service.Meta.version == v3-rc1")).await;
    let text = "Filter for subset \"green\" is not a valid expression: 1:27 (26): no match found, \
                expected: \".\", \"[\", [ \\t\\r\\n], [a-zA-Z0-9_] or EOF";
    assert_eq!((refused.status, refused.text.as_str()), (500, text));
    agent.stop().await;
}
