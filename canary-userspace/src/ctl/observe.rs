//! `observe`: what becomes of packets, as it happens.

use serde_json::Value;

use super::args;
use super::args::parameter;
use super::client::{Client, with_query};
use super::console::Console;
use super::ends::ended;
use super::failure::Failure;
use super::near::service_hint;
use super::paint::Paint;
use crate::document::observe::{Event, Lost};

/// Shows events until somebody has seen enough.
///
/// # Errors
///
/// [`Failure`]; [`Failure::NotFound`] for a service that is not known.
pub async fn run(
    options: &args::Observe,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    tokio::select! {
        () = ended() => Ok(()),
        outcome = show(options, client, console) => outcome,
    }
}

async fn show(
    options: &args::Observe,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut lines = match client.lines(&path(options)).await {
        Ok(lines) => lines,
        Err(failure) => {
            return Err(service_hint(failure, options.whose.service.as_deref(), client).await);
        }
    };
    console.hint("what is told begins now; Ctrl-C ends it")?;
    let mut left = options.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(line) = lines.next().await? else {
            return Err(Failure::Error(
                "the agent has ended the stream: it stops, or this \
                side was too slow for half a minute"
                    .to_owned(),
            ));
        };
        let document: Value = serde_json::from_str(&line).map_err(|error| {
            Failure::Error(format!("the agent's line is not understood: {error}"))
        })?;
        let is_lost = document.get("kind").is_some_and(|kind| kind == Lost::KIND);
        if options.json {
            console.data(&line)?;
        } else if is_lost {
            let count = document.get("count").and_then(Value::as_u64).unwrap_or_default();
            console
                .warn([format!("{count} events were lost: there were more than could be told")])?;
        } else {
            let event: Event = serde_json::from_value(document)
                .map_err(|error| Failure::Error(error.to_string()))?;
            console.data(text(&event, console.paint))?;
        }
        left = left.saturating_sub(u64::from(!is_lost));
    }
    Ok(())
}

fn path(options: &args::Observe) -> String {
    let mut parameters = options.whose.parameters();
    parameters.extend(options.kind.iter().map(|kind| Some(parameter("kind", kind))));
    parameters.extend(options.reason.iter().map(|reason| Some(parameter("reason", reason))));
    parameters.push(options.sample.map(|sample| format!("sample={sample}")));
    with_query("/v1/canary/observe", parameters)
}

/// A packet's line: when, what, from where to where, whose, and why.
fn text(event: &Event, paint: Paint) -> String {
    // Of the date everybody knows.
    let time = event.time.split_once('T').map_or(&*event.time, |(_, time)| time);
    let time = time.get(..12).unwrap_or(time);
    let kind = format!("{:<10}", event.kind.to_uppercase());
    let kind = match event.kind.as_str() {
        "connection" => paint.green(kind),
        "passed" => kind,
        "clash" => paint.yellow(kind),
        _ => paint.red(kind),
    };
    let unread = || "?".to_owned();
    let [source, destination] =
        [&event.source, &event.destination].map(|end| end.clone().unwrap_or_else(unread));
    let protocol = event.protocol.as_deref().unwrap_or("?");
    let mut parts = vec![format!("{time}  {kind}  {source} -> {destination}/{protocol}")];
    if let Some(whose) = whose(event) {
        parts.push(whose);
    }
    if let Some(backend) = event.backend.as_ref().filter(|_| event.sender == "client") {
        parts.push(format!("backend {backend}"));
    }
    if let Some(port) = event.port {
        parts.push(format!("port {port} on the other side"));
    }
    if event.kind == "reset" {
        let answered = if event.answered == Some(false) { ", unanswered" } else { "" };
        parts.push(format!("by {}{answered}", event.sender));
    }
    parts.extend(event.reason.clone());
    parts.join("  ")
}

/// `SERVICE`, `SERVICE/SUBSET`, or with the service that it was sent to.
fn whose(event: &Event) -> Option<String> {
    let service = event.service.as_ref()?;
    let Some(target) = &event.target else { return Some(service.clone()) };
    let subset = match event.subset.as_deref() {
        None | Some("") => String::new(),
        Some(subset) => format!("/{subset}"),
    };
    Some(if service == target {
        format!("{service}{subset}")
    } else {
        format!("{service} -> {target}{subset}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::server::{Reply, Server};
    use crate::ctl::tests::canaryctl;

    fn clash() -> Event {
        Event {
            time: "2026-11-30T14:02:11.204512Z".to_owned(),
            kind: "clash".to_owned(),
            sender: "client".to_owned(),
            protocol: Some("tcp".to_owned()),
            source: Some("10.1.2.9:40112".to_owned()),
            destination: Some("10.96.0.10:80".to_owned()),
            service: Some("web".to_owned()),
            target: Some("web".to_owned()),
            subset: Some("green".to_owned()),
            backend: Some("10.244.1.3:8080".to_owned()),
            port: Some(61_012),
            answered: Some(false),
            ..Event::default()
        }
    }

    #[test]
    fn a_line_says_when_what_whose_and_why() {
        let plain = |event: &Event| text(event, Paint::default());
        let reset =
            Event { kind: "reset".to_owned(), sender: "backend".to_owned(), port: None, ..clash() };
        let refused = Event {
            kind: "refused".to_owned(),
            reason: Some("no-backend".to_owned()),
            target: None,
            subset: None,
            backend: None,
            port: None,
            answered: None,
            ..clash()
        };
        let elsewhere = Event { target: Some("api".to_owned()), ..clash() };
        let unread = Event {
            kind: "dropped".to_owned(),
            reason: Some("stray".to_owned()),
            time: "x".to_owned(),
            ..Event::default()
        };

        assert_eq!(
            plain(&clash()),
            "14:02:11.204  CLASH       10.1.2.9:40112 -> 10.96.0.10:80/tcp  web/green  \
             backend 10.244.1.3:8080  port 61012 on the other side"
        );
        assert_eq!(
            plain(&reset),
            "14:02:11.204  RESET       10.1.2.9:40112 -> 10.96.0.10:80/tcp  web/green  \
             by backend, unanswered"
        );
        assert_eq!(
            plain(&refused),
            "14:02:11.204  REFUSED     10.1.2.9:40112 -> 10.96.0.10:80/tcp  web  no-backend"
        );
        assert!(plain(&elsewhere).contains("  web -> api/green  "), "{}", plain(&elsewhere));
        assert_eq!(plain(&unread), "x  DROPPED     ? -> ?/?  stray");
        assert!(text(&refused, Paint { on: true }).contains("\x1b[31mREFUSED"));
    }

    #[tokio::test]
    async fn lines_are_shown_as_they_come_and_lost_ones_are_told() {
        let json = |event: &Event| serde_json::to_string(event).unwrap();
        let lost = serde_json::to_string(&Lost::new(23)).unwrap();
        let body = format!("{}\n{lost}\n{}\n", json(&clash()), json(&clash()));
        let server = Server::start([Reply::new(200, body.clone())]);

        let line = ["observe", "web", "--reason", "no-port", "--sample", "100", "--count", "2"];
        let ran = canaryctl(&server.address(), &line).await;
        let document = canaryctl(&server.address(), &["observe", "--json", "--count", "2"]).await;

        assert_eq!(ran.out.lines().count(), 2, "{}", ran.out);
        let told = "WARNING: 23 events were lost: there were more than could be told\n";
        assert_eq!((ran.err.as_str(), ran.code), (told, 0));
        assert_eq!(document.out, body);
        assert_eq!(
            server.lines(),
            [
                "GET /v1/canary/observe?service=web&reason=no-port&sample=100",
                "GET /v1/canary/observe"
            ]
        );
    }

    #[tokio::test]
    async fn an_agent_that_ends_the_stream_is_an_error() {
        let server = Server::start([Reply::new(200, "")]);

        let ran = canaryctl(&server.address(), &["observe"]).await;

        assert_eq!(ran.code, 1);
        assert!(ran.err.starts_with("the agent has ended the stream"), "{}", ran.err);
    }

    #[tokio::test]
    async fn what_is_not_known_is_refused_with_what_was_meant() {
        let ready = r#"{"ready":true,"revision":3,"version":"0.1.0","layout":2,
            "source":{"kind":"files","ok":true,"stale_seconds":0},"interfaces":[],
            "services":[{"service":"payments","frontends":[],"origin":{},"splits":[]}],
            "reasons":{},"warnings":[]}"#;
        let missing = "no service is known as \"payment\"";
        let server = Server::start([Reply::new(404, missing), Reply::new(200, ready)]);

        let ran = canaryctl(&server.address(), &["observe", "payment"]).await;
        let reason = canaryctl(&server.address(), &["observe", "--reason", "no-prt"]).await;
        let kind = canaryctl(&server.address(), &["observe", "--kind", "droped"]).await;

        assert_eq!(ran.code, 3);
        assert_eq!(ran.err, format!("{missing} (did you mean \"payments\"?)\n"));
        assert_eq!((reason.code, kind.code), (2, 2));
        assert!(reason.err.contains("no-port"), "{}", reason.err);
        assert!(kind.err.contains("dropped"), "{}", kind.err);
    }
}
