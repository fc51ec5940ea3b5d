//! The status as people read it.

use std::fmt::Write;

use crate::ctl::frontend;
use crate::ctl::paint::Paint;
use crate::ctl::table::{Column, Table, bytes, micros};
use crate::document::{Connections, Quantiles, Service, Sockets, Split, Status};

/// Share of a subset's connections, in percent, from which a kind of trouble is worth a word.
const NOTEWORTHY: u64 = 1;

const COLUMNS: [Column; 13] = [
    Column::left("SUBSET"),
    Column::right("WEIGHT"),
    Column::right("ACTUAL"),
    Column::right("PODS"),
    Column::right("OPENED"),
    Column::right("FAILED"),
    Column::right("UNANSWERED"),
    Column::right("RESET s/c"),
    Column::right("ACTIVE"),
    Column::right("CONNECT p50/p99"),
    Column::right("RESPONSE p50/p99"),
    Column::right("BYTES"),
    Column::left("NOTE"),
];

/// The whole text, each line ended.
pub(super) fn text(status: &Status, paint: Paint) -> String {
    let mut lines = head(status, paint);
    lines.extend(services(status, paint));
    if !status.reasons.is_empty() {
        let reasons: Vec<_> =
            status.reasons.iter().map(|(reason, packets)| format!("{reason} {packets}")).collect();
        lines.push(String::new());
        lines.push(format!("Packets not forwarded: {}", reasons.join(", ")));
    }
    if !status.warnings.is_empty() {
        lines.push(String::new());
    }
    lines.extend(status.warnings.iter().map(|warning| {
        let about = if warning.service.is_empty() { "" } else { &warning.service };
        let colon = if about.is_empty() { "" } else { ": " };
        paint.yellow(format_args!("‼ {about}{colon}{}", warning.text))
    }));
    lines.iter().fold(String::new(), |mut text, line| {
        // Writing to a string cannot fail.
        _ = writeln!(text, "{line}");
        text
    })
}

fn head(status: &Status, paint: Paint) -> Vec<String> {
    let ready = if status.ready { paint.green("ready") } else { paint.red("not ready") };
    let source = &status.source;
    let health = match &source.error {
        _ if source.ok => "ok".to_owned(),
        Some(error) => paint.red(format_args!("failing for {} s: {error}", source.stale_seconds)),
        None => paint.red(format_args!("failing for {} s", source.stale_seconds)),
    };
    let interfaces: Vec<_> = status
        .interfaces
        .iter()
        .map(|interface| format!("{} ({}, {})", interface.name, interface.role, interface.hook))
        .collect();
    let interfaces = if interfaces.is_empty() { "none".to_owned() } else { interfaces.join(", ") };
    let mut lines = vec![
        format!("Agent:       {} {ready}, revision {}", status.version, status.revision),
        match &source.address {
            Some(address) => format!("Source:      {} at {address}, {health}", source.kind),
            None => format!("Source:      {}, {health}", source.kind),
        },
        format!("Interfaces:  {interfaces}"),
    ];
    lines.extend(sockets(&status.sockets));
    lines
}

/// Whose sockets are served; nothing where that is the node's own, as ever.
fn sockets(status: &Sockets) -> Option<String> {
    let except = match status.excepted {
        0 => String::new(),
        1 => ", 1 cgroup left out".to_owned(),
        count => format!(", {count} cgroups left out"),
    };
    let namespaces = match status.namespaces {
        Some(1) => ", 1 network namespace of pods".to_owned(),
        Some(count) => format!(", {count} network namespaces of pods"),
        None if except.is_empty() && status.whose != "off" => return None,
        None => String::new(),
    };
    Some(format!("Sockets:     {}{namespaces}{except}", status.whose))
}

/// Each service's line, and under it one for each split; all splits share their columns.
fn services(status: &Status, paint: Paint) -> Vec<String> {
    let services = &status.services;
    let mut table = Table::new(COLUMNS);
    for service in services {
        let opened: u64 = service.splits.iter().map(|split| split.connections.opened).sum();
        for split in &service.splits {
            let cells = cells(service, split, opened);
            table.row(cells.each_ref().map(String::as_str));
        }
    }
    let mut rows = table.lines().into_iter();
    let mut lines = vec![String::new()];
    if services.is_empty() {
        let text = if status.source.ok {
            "No services are configured."
        } else {
            "No services are known; what the tables hold stays in force."
        };
        lines.push(text.to_owned());
        return lines;
    }
    lines.extend(rows.next().map(|head| paint.bold(format_args!("    {head}"))));
    for service in services {
        lines.push(title(service, paint));
        for (split, row) in service.splits.iter().zip(rows.by_ref()) {
            lines.push(match trouble(split) {
                Some(_) => paint.red(format_args!("  ✖ {row}")),
                None => format!("  {} {row}", paint.green('✔')),
            });
        }
    }
    lines
}

fn title(service: &Service, paint: Paint) -> String {
    let mut title = paint.bold(&service.service);
    for frontend in &service.frontends {
        // Writing to a string cannot fail.
        _ = write!(title, "  {}", frontend::line(frontend));
    }
    let origins: Vec<_> =
        service.origin.iter().map(|(entry, origin)| format!("{entry}: {origin}")).collect();
    if !origins.is_empty() {
        _ = write!(title, "  ({})", origins.join(", "));
    }
    title
}

fn cells(service: &Service, split: &Split, opened: u64) -> [String; 13] {
    let connections = &split.connections;
    [
        name(service, split),
        format!("{:.2}", split.weight),
        percent(connections.opened, opened).unwrap_or_else(|| "-".to_owned()),
        format!("{}/{}", split.backends.healthy, split.backends.total),
        connections.opened.to_string(),
        failed(connections).to_string(),
        connections.unanswered.to_string(),
        format!("{}/{}", connections.reset_by_server, connections.reset_by_client),
        connections.active.to_string(),
        quantiles(split.connect_us.as_ref()),
        quantiles(split.response_us.as_ref()),
        bytes(split.bytes.to_backend.saturating_add(split.bytes.to_client)),
        trouble(split).unwrap_or_default(),
    ]
}

pub(in crate::ctl) fn name(service: &Service, split: &Split) -> String {
    match (split.service == service.service, split.subset.as_str()) {
        (true, "") => "(all)".to_owned(),
        (true, subset) => subset.to_owned(),
        (false, "") => format!("{}/(all)", split.service),
        (false, subset) => format!("{}/{subset}", split.service),
    }
}

/// What makes a subset unwell: nobody to take its share, or connections that go wrong.
fn trouble(split: &Split) -> Option<String> {
    let connections = &split.connections;
    let mut troubles = Vec::new();
    if split.weight > 0.0 && split.backends.healthy == 0 {
        let none = if split.backends.total == 0 { "no instance" } else { "no healthy instance" };
        troubles.push(none.to_owned());
    }
    let counted = [
        (failed(connections), connections.opened, "failed"),
        (connections.unanswered, connections.opened, "unanswered"),
        (connections.reset_by_server, connections.opened, "reset by server"),
    ];
    for (count, of, what) in counted {
        if count > 0 && count.saturating_mul(100) >= of.saturating_mul(NOTEWORTHY) {
            let share = percent(count, of).unwrap_or_else(|| count.to_string());
            troubles.push(format!("{share} % {what}"));
        }
    }
    (!troubles.is_empty()).then(|| troubles.join(", "))
}

fn failed(connections: &Connections) -> u64 {
    connections.refused.saturating_add(connections.timed_out)
}

/// `part` of `whole` in percent with two decimals, rounded; `None` if there is no whole.
fn percent(part: u64, whole: u64) -> Option<String> {
    let scaled = u128::from(part) * 10_000 + u128::from(whole) / 2;
    let hundredths = scaled.checked_div(u128::from(whole))?;
    Some(format!("{}.{:02}", hundredths / 100, hundredths % 100))
}

pub(in crate::ctl) fn quantiles(quantiles: Option<&Quantiles>) -> String {
    let one = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), micros);
    quantiles.map_or_else(
        || "-".to_owned(),
        |values| format!("{} / {}", one(values.p50), one(values.p99)),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_subset_that_does_not_answer_is_marked() {
        let text = text(&status(), Paint::default());

        assert_eq!(
            text,
            "\
Agent:       0.1.0 ready, revision 12
Source:      files, ok
Interfaces:  veth1 (pod, tcx), eth0 (uplink, xdp)

    SUBSET        WEIGHT  ACTUAL  PODS  OPENED  FAILED  UNANSWERED  RESET s/c  ACTIVE  CONNECT p50/p99  RESPONSE p50/p99     BYTES  NOTE
currency  10.96.0.11:80/tcp
  ✖ (all)         100.00       -   0/1       0       0           0        0/0       0                -                 -       0 B  no healthy instance
payments  10.96.0.10:80/tcp  [fd00::10]:80/tcp  (resolver: store, splitter: file payments_splitter.hcl)
  ✔ blue           90.00   90.00   2/2     900       0           3        0/2       3     60us / 140us     800us / 2.1ms  97.6 KiB
  ✖ green          10.00   10.00   1/1     100       1          40        0/0       0     65us / 150us                 -   8.0 KiB  1.00 % failed, 40.00 % unanswered
  ✔ currency/new    0.00    0.00   0/0       0       0           0        0/0       0                -                 -       0 B

Packets not forwarded: flow-lost 3

‼ payments: the subset \"green\" is slow
‼ eth1 is gone
"
        );
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let painted = text(&status(), Paint { on: true });

        assert!(painted.contains("\x1b[31m  ✖ green"), "{painted}");
        assert!(painted.contains("\x1b[33m‼ eth1 is gone\x1b[0m"), "{painted}");
        assert!(!text(&status(), Paint::default()).contains('\x1b'));
    }

    #[test]
    fn an_agent_without_services_says_so() {
        let mut status = status();
        status.services.clear();
        assert!(text(&status, Paint::default()).contains("No services are configured."));
        status.source.ok = false;
        status.source.stale_seconds = 7;
        status.source.error = Some("a.hcl:1:2: wrong".to_owned());

        let text = text(&status, Paint::default());

        assert!(text.contains("No services are known; what the tables hold"), "{text}");
        assert!(text.contains("Source:      files, failing for 7 s: a.hcl:1:2: wrong"), "{text}");
    }

    fn status() -> Status {
        let connections = |opened, refused, unanswered, reset_by_client, active| {
            json!({"opened": opened, "established": opened, "refused": refused, "timed_out": 0,
                "unanswered": unanswered, "reset_by_server": 0, "reset_by_client": reset_by_client,
                "closed": 0, "active": active})
        };
        let split = |service,
                     subset,
                     weight,
                     backends,
                     connections,
                     bytes: [u64; 2],
                     times: [_; 2]| {
            let [healthy, total]: [u64; 2] = backends;
            let [connect, response] = times;
            json!({"service": service, "subset": subset, "weight": weight,
                "backends": {"total": total, "healthy": healthy, "draining": 0},
                "connections": connections, "bytes": {"to_backend": bytes[0], "to_client": bytes[1]},
                "connect_us": connect, "response_us": response, "http": null})
        };
        let none = || [json!(null), json!(null)];
        let document = json!({
            "ready": true, "revision": 12, "version": "0.1.0", "layout": 1,
            "source": {"kind": "files", "ok": true, "stale_seconds": 0},
            "interfaces": [{"name": "veth1", "role": "pod", "hook": "tcx"},
                {"name": "eth0", "role": "uplink", "hook": "xdp"}],
            "services": [
                {"service": "currency", "origin": {},
                    "frontends": [{"address": "10.96.0.11", "port": 80, "protocol": "tcp"}],
                    "splits": [split("currency", "", 100.0, [0, 1], connections(0, 0, 0, 0, 0), [0, 0], none())]},
                {"service": "payments",
                    "origin": {"resolver": "store", "splitter": "file payments_splitter.hcl"},
                    "frontends": [{"address": "10.96.0.10", "port": 80, "protocol": "tcp"},
                        {"address": "fd00::10", "port": 80, "protocol": "tcp"}],
                    "splits": [
                        split("payments", "blue", 90.0, [2, 2], connections(900, 0, 3, 2, 3), [50_000, 50_000],
                            [json!({"count": 900, "p50": 60, "p99": 140}),
                             json!({"count": 900, "p50": 800, "p99": 2100})]),
                        split("payments", "green", 10.0, [1, 1], connections(100, 1, 40, 0, 0), [8192, 0],
                            [json!({"count": 99, "p50": 65, "p99": 150}), json!(null)]),
                        split("currency", "new", 0.0, [0, 0], connections(0, 0, 0, 0, 0), [0, 0], none())]}],
            "reasons": {"flow-lost": 3},
            "warnings": [{"service": "payments", "text": "the subset \"green\" is slow"},
                {"service": "", "text": "eth1 is gone"}]});
        serde_json::from_value(document).unwrap()
    }
}
