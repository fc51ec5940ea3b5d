//! `flows`: the connections that the flow table holds.

use super::args;
use super::args::parameter;
use super::client::{Client, with_query};
use super::console::Console;
use super::failure::Failure;
use super::near::service_hint;
use super::table::{Column, Table};
use crate::document::flows::{Flow, Flows};

/// Entries that are asked for at once: neither side holds more in memory.
const PAGE: u64 = 1_000;

/// Shows the entries that match.
///
/// # Errors
///
/// [`Failure`]; [`Failure::NotFound`] for a service that is not known.
pub async fn run(
    options: &args::Flows,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut left = options.limit;
    let mut from = Some(0);
    let mut is_first = true;
    while let Some(place) = from.filter(|_| left > 0) {
        let asked = page(options, place, left.min(PAGE), client).await;
        let page = match asked {
            Ok(page) => page,
            Err(failure) => {
                return Err(service_hint(failure, options.whose.service.as_deref(), client).await);
            }
        };
        left = left.saturating_sub(u64::try_from(page.flows.len()).unwrap_or(u64::MAX));
        from = page.next;
        if options.json {
            console.raw(&part(&page, is_first, left > 0 && from.is_some())?)?;
        } else if is_first || !page.flows.is_empty() {
            console.raw(&render(&page.flows, is_first))?;
        }
        is_first = false;
    }
    if from.is_some() && !options.json {
        let shown = options.limit;
        console.say(format_args!("more than {shown} match: --limit N shows more of them"))?;
    }
    Ok(())
}

async fn page(
    options: &args::Flows,
    from: u32,
    limit: u64,
    client: &Client,
) -> Result<Flows, Failure> {
    let mut parameters = options.whose.parameters();
    parameters.extend(options.kind.iter().map(|kind| Some(parameter("kind", kind))));
    parameters.extend(options.state.iter().map(|state| Some(parameter("state", state))));
    parameters.extend([Some(format!("from={from}")), Some(format!("limit={limit}"))]);
    client.get(&with_query("/v1/canary/flows", parameters)).await?.ok()?.json()
}

/// A page as a part of the one document, which has the form of the agent's.
fn part(page: &Flows, is_first: bool, goes_on: bool) -> Result<String, Failure> {
    let mut text = if is_first { "{\"flows\": [".to_owned() } else { String::new() };
    let mut is_first = is_first;
    for flow in &page.flows {
        let flow =
            serde_json::to_string(flow).map_err(|error| Failure::Error(error.to_string()))?;
        text.push_str(if is_first { "\n  " } else { ",\n  " });
        text.push_str(&flow);
        is_first = false;
    }
    if !goes_on {
        let next = page.next.map_or_else(|| "null".to_owned(), |next| next.to_string());
        text.extend(["\n], \"next\": ", &next, "}\n"]);
    }
    Ok(text)
}

/// A table, with its head if it is the first.
fn render(flows: &[Flow], has_head: bool) -> String {
    let mut table = Table::new([
        Column::left("KIND"),
        Column::left("STATE"),
        Column::left("CLIENT"),
        Column::left("DESTINATION"),
        Column::left("BACKEND"),
        Column::left("SERVICE"),
        Column::left("SUBSET"),
        Column::right("IDLE"),
    ]);
    for flow in flows {
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let severed = if flow.severed { ", severed" } else { "" };
        let client = match flow.port {
            Some(port) => format!("{} as :{port}", flow.client),
            None => flow.client.clone(),
        };
        table.row([
            &flow.kind,
            &format!("{}{severed}", dash(&flow.state)),
            &client,
            &format!("{}/{}", flow.destination, flow.protocol),
            &dash(&flow.backend),
            &dash(&flow.service),
            &subset(flow),
            &format!("{}s", flow.idle_seconds),
        ]);
    }
    let head = usize::from(!has_head);
    table.lines().into_iter().skip(head).map(|line| line + "\n").collect()
}

/// The subset, with its service where that is not the one that clients connect to.
fn subset(flow: &Flow) -> String {
    match (&flow.target, flow.subset.as_deref()) {
        (None, _) | (_, None) => "-".to_owned(),
        (Some(target), Some(subset)) => {
            let subset = if subset.is_empty() { "(all)" } else { subset };
            if flow.service.as_ref() == Some(target) {
                subset.to_owned()
            } else {
                format!("{target}/{subset}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::ctl::server::{Reply, Server};
    use crate::ctl::tests::canaryctl;

    fn flow(client: &str) -> Flow {
        Flow {
            kind: "forward".to_owned(),
            state: Some("established".to_owned()),
            protocol: "tcp".to_owned(),
            client: client.to_owned(),
            destination: "10.96.0.10:80".to_owned(),
            backend: Some("10.244.1.3:8080".to_owned()),
            port: None,
            service: Some("web".to_owned()),
            target: Some("web".to_owned()),
            subset: Some("green".to_owned()),
            interface: Some("veth1".to_owned()),
            idle_seconds: 3,
            severed: false,
        }
    }

    fn page(flows: &[Flow], next: Option<u32>) -> Reply {
        let page = Flows { flows: flows.to_vec(), next };
        Reply::new(200, serde_json::to_string(&page).unwrap())
    }

    #[tokio::test]
    async fn pages_follow_one_another_until_the_limit_and_what_is_left_is_said() {
        let [one, two] = ["10.0.0.7:40112", "10.0.0.8:5"].map(flow);
        let translated = Flow {
            port: Some(61_012),
            target: Some("api".to_owned()),
            subset: Some(String::new()),
            ..two
        };
        let server = Server::start([page(&[one], Some(77)), page(&[translated], Some(99))]);

        let line = ["flows", "web", "--client", "10.0.0.0/8", "--state", "opening", "--limit", "2"];
        let ran = canaryctl(&server.address(), &line).await;

        assert_eq!(
            ran.out,
            "KIND     STATE        CLIENT          DESTINATION        BACKEND          SERVICE  SUBSET  IDLE\n\
             forward  established  10.0.0.7:40112  10.96.0.10:80/tcp  10.244.1.3:8080  web      green     3s\n\
             forward  established  10.0.0.8:5 as :61012  10.96.0.10:80/tcp  10.244.1.3:8080  web      api/(all)    3s\n"
        );
        assert_eq!(ran.err, "more than 2 match: --limit N shows more of them\n");
        assert_eq!(
            server.lines(),
            [
                "GET /v1/canary/flows?service=web&client=10.0.0.0%2F8&state=opening&from=0&limit=2",
                "GET /v1/canary/flows?service=web&client=10.0.0.0%2F8&state=opening&from=77&limit=1"
            ]
        );
    }

    #[tokio::test]
    async fn pages_make_one_document() {
        let [one, two] = ["10.0.0.7:1", "10.0.0.8:2"].map(flow);
        let server = Server::start([
            page(slice::from_ref(&one), Some(77)),
            page(slice::from_ref(&two), None),
        ]);

        let ran = canaryctl(&server.address(), &["flows", "--json"]).await;

        let document: Flows = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(document, Flows { flows: vec![one, two], next: None });
    }

    #[tokio::test]
    async fn an_empty_table_has_a_head_and_an_empty_document() {
        let server = Server::start([page(&[], None)]);

        let table = canaryctl(&server.address(), &["flows"]).await;
        let document = canaryctl(&server.address(), &["flows", "--json"]).await;

        assert!(table.out.starts_with("KIND  STATE"), "{}", table.out);
        assert_eq!(table.out.lines().count(), 1);
        assert_eq!(serde_json::from_str::<Flows>(&document.out).unwrap(), Flows::default());
    }

    #[tokio::test]
    async fn words_that_are_none_are_refused_before_anybody_is_asked() {
        let server = Server::start([]);
        for line in [
            ["flows", "--kind", "forwrd"],
            ["flows", "--state", "establishd"],
            ["flows", "--client", "10.0.0"],
            ["flows", "--limit", "0"],
        ] {
            let ran = canaryctl(&server.address(), &line).await;

            assert_eq!(ran.code, 2, "{line:?}: {}", ran.err);
            let word = line.last().unwrap();
            assert!(ran.err.contains(word), "{}", ran.err);
        }
        let near = canaryctl(&server.address(), &["flows", "--kind", "forwrd"]).await;
        assert!(near.err.contains("forward"), "{}", near.err);
        assert!(server.lines().is_empty());
    }
}
