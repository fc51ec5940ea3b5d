//! Prometheus text of what is in force and what was counted.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::compile::SplitKey;
use crate::datapath::{Counters, Histogram};
use crate::document::{Flows, Map, Split, Status};

/// What the datapath has counted, read once for a whole document.
#[derive(Debug, Default)]
pub struct Measured {
    /// Counters by split.
    pub counters: BTreeMap<SplitKey, Counters>,
    /// Live flows of leaving backends by split.
    pub draining: BTreeMap<SplitKey, u64>,
    /// Queries that wait for a change.
    pub waiting: usize,
}

/// The content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders everything that is measured.
#[must_use]
pub fn render(status: &Status, measured: &Measured, maps: &[Map]) -> String {
    let mut text = String::new();
    let page = Page { status, measured, maps };
    // Writing to a string cannot fail.
    _ = page.write(&mut text);
    text
}

struct Page<'a> {
    status: &'a Status,
    measured: &'a Measured,
    maps: &'a [Map],
}

impl<'a> Page<'a> {
    fn write(&self, out: &mut String) -> fmt::Result {
        self.node(out)?;
        self.connects(out)?;
        self.amounts(out)?;
        self.gauges(out)?;
        self.histogram(out, "canary_connect_duration_seconds", CONNECT, |c| &c.connect_us)?;
        self.histogram(out, "canary_first_byte_duration_seconds", FIRST_BYTE, |c| &c.response_us)
    }

    fn node(&self, out: &mut String) -> fmt::Result {
        let Status { version, revision, source, reasons, .. } = self.status;
        head(out, "canary_build_info", "gauge", "The agent's version.")?;
        writeln!(out, "canary_build_info{{version=\"{}\"}} 1", Escaped(version))?;
        head(out, "canary_generation", "gauge", "Revision in force.")?;
        writeln!(out, "canary_generation {revision}")?;
        head(out, "canary_source_ok", "gauge", "1 while the source's last answer could be used.")?;
        writeln!(out, "canary_source_ok{{source=\"{}\"}} {}", source.kind, u8::from(source.ok))?;
        head(out, "canary_source_stale_seconds", "gauge", "Time since its last good answer.")?;
        let stale = source.stale_seconds;
        writeln!(out, "canary_source_stale_seconds{{source=\"{}\"}} {stale}", source.kind)?;
        head(out, "canary_warnings", "gauge", "Warnings in status.")?;
        writeln!(out, "canary_warnings {}", self.status.warnings.len())?;
        head(out, "canary_source_held", "gauge", "1 while an input is held.")?;
        for held in &self.status.source.held {
            writeln!(out, "canary_source_held{{input=\"{}\"}} 1", Escaped(&held.input))?;
        }
        head(out, "canary_brake", "gauge", "1 while a service stands by its brake, unwritten.")?;
        for service in self.status.services.iter().filter(|service| service.brake.is_some()) {
            writeln!(out, "canary_brake{{service=\"{}\"}} 1", Escaped(&service.service))?;
        }
        head(out, "canary_waiting_queries", "gauge", "Queries of the API that wait for a change.")?;
        writeln!(out, "canary_waiting_queries {}", self.measured.waiting)?;
        head(out, "canary_packets_not_forwarded_total", "counter", "Packets by reason.")?;
        for (reason, count) in reasons {
            let reason = Escaped(reason);
            writeln!(out, "canary_packets_not_forwarded_total{{reason=\"{reason}\"}} {count}")?;
        }
        head(out, "canary_map_entries", "gauge", "Entries in use of a table.")?;
        for map in self.maps {
            if let Some(entries) = map.entries {
                writeln!(out, "canary_map_entries{{map=\"{}\"}} {entries}", Escaped(&map.name))?;
            }
        }
        head(out, "canary_map_capacity", "gauge", "Entries that a table holds at most.")?;
        for Map { name, capacity, .. } in self.maps {
            writeln!(out, "canary_map_capacity{{map=\"{}\"}} {capacity}", Escaped(name))?;
        }
        self.maps.iter().filter_map(|map| map.flows.as_ref()).try_for_each(|flows| fill(out, flows))
    }

    fn connects(&self, out: &mut String) -> fmt::Result {
        head(out, "canary_connects_total", "counter", "Connections by their first answer.")?;
        for (labels, split) in self.splits() {
            let counts = &split.connections;
            for (result, count) in [
                ("ok", counts.established),
                ("refused", counts.refused),
                ("timeout", counts.timed_out),
            ] {
                writeln!(out, "canary_connects_total{{{labels},result=\"{result}\"}} {count}")?;
            }
        }
        head(out, "canary_connects_opened_total", "counter", "Connections started.")?;
        for (labels, split) in self.splits() {
            let count = split.connections.opened;
            writeln!(out, "canary_connects_opened_total{{{labels}}} {count}")?;
        }
        head(out, "canary_unanswered_total", "counter", "Ended without an answer to payload.")?;
        for (labels, split) in self.splits() {
            let count = split.connections.unanswered;
            writeln!(out, "canary_unanswered_total{{{labels}}} {count}")?;
        }
        head(out, "canary_closed_total", "counter", "Established, then ended by both sides.")?;
        for (labels, split) in self.splits() {
            writeln!(out, "canary_closed_total{{{labels}}} {}", split.connections.closed)?;
        }
        Ok(())
    }

    fn amounts(&self, out: &mut String) -> fmt::Result {
        head(out, "canary_resets_total", "counter", "Established, then reset, by whom.")?;
        for (labels, split) in self.splits() {
            let counts = &split.connections;
            for (side, count) in
                [("client", counts.reset_by_client), ("server", counts.reset_by_server)]
            {
                writeln!(out, "canary_resets_total{{{labels},side=\"{side}\"}} {count}")?;
            }
        }
        head(out, "canary_retransmits_total", "counter", "Sent once more.")?;
        for (labels, split) in self.splits() {
            let count = split.retransmits.syn;
            writeln!(out, "canary_retransmits_total{{{labels},kind=\"syn\"}} {count}")?;
            if let Some(count) = split.retransmits.segments {
                writeln!(out, "canary_retransmits_total{{{labels},kind=\"segment\"}} {count}")?;
            }
        }
        head(out, "canary_http_responses_total", "counter", "HTTP/1 answers by class.")?;
        for (labels, split) in self.splits() {
            for (class, count) in split.http.iter().flatten() {
                writeln!(
                    out,
                    "canary_http_responses_total{{{labels},code_class=\"{class}\"}} {count}"
                )?;
            }
        }
        head(out, "canary_bytes_total", "counter", "Payload; rx is from clients.")?;
        for (labels, split) in self.splits() {
            for (direction, count) in
                [("rx", split.bytes.to_backend), ("tx", split.bytes.to_client)]
            {
                writeln!(out, "canary_bytes_total{{{labels},direction=\"{direction}\"}} {count}")?;
            }
        }
        Ok(())
    }

    fn gauges(&self, out: &mut String) -> fmt::Result {
        head(out, "canary_connections_open", "gauge", "Established and not ended.")?;
        for (labels, split) in self.splits() {
            writeln!(out, "canary_connections_open{{{labels}}} {}", split.connections.active)?;
        }
        head(out, "canary_endpoints", "gauge", "Backends by state.")?;
        for (labels, split) in self.splits() {
            let backends = &split.backends;
            let unhealthy = backends.total.saturating_sub(backends.healthy);
            for (state, count) in [
                ("healthy", backends.healthy),
                ("unhealthy", unhealthy),
                ("draining", backends.draining),
            ] {
                writeln!(out, "canary_endpoints{{{labels},state=\"{state}\"}} {count}")?;
            }
        }
        head(out, "canary_subset_weight_ratio", "gauge", "Share of new connections, 0 to 1.")?;
        for (labels, split) in self.splits() {
            let ratio = split.weight / 100.0;
            writeln!(out, "canary_subset_weight_ratio{{{labels},kind=\"programmed\"}} {ratio}")?;
        }
        Ok(())
    }

    fn histogram(
        &self,
        out: &mut String,
        name: &str,
        help: &str,
        of: impl Fn(&Counters) -> &Option<Histogram>,
    ) -> fmt::Result {
        head(out, name, "histogram", help)?;
        for (key, counters) in &self.measured.counters {
            let Some(histogram) = of(counters) else { continue };
            let labels = Labels::of(key);
            let mut below = 0_u64;
            for (bound, count) in &histogram.buckets {
                below = below.saturating_add(*count);
                let bound = Seconds(*bound);
                writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}")?;
            }
            writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {below}")?;
            writeln!(out, "{name}_sum{{{labels}}} {}", Seconds(histogram.sum_us))?;
            writeln!(out, "{name}_count{{{labels}}} {below}")?;
        }
        Ok(())
    }

    fn splits(&self) -> impl Iterator<Item = (Labels<'a>, &'a Split)> {
        self.status.services.iter().flat_map(|service| {
            service.splits.iter().map(|split| {
                let labels = Labels {
                    service: &service.service,
                    target: &split.service,
                    subset: &split.subset,
                };
                (labels, split)
            })
        })
    }
}

/// What fills the flow table, and what became of inserts.
fn fill(out: &mut String, flows: &Flows) -> fmt::Result {
    head(out, "canary_flows", "gauge", "Connections that are known, by what they are.")?;
    for (kind, count) in &flows.kinds {
        writeln!(out, "canary_flows{{kind=\"{kind}\"}} {count}")?;
    }
    head(out, "canary_flows_fill_percent", "gauge", "Share of FLOWS that is in use.")?;
    writeln!(out, "canary_flows_fill_percent {}", flows.percent)?;
    head(out, "canary_flows_spilled", "gauge", "Entries of FLOWS in their second choice.")?;
    writeln!(out, "canary_flows_spilled {}", flows.spilled)?;
    head(out, "canary_flows_evicted_total", "counter", "Pushed out of FLOWS, by what it was.")?;
    for (what, count) in &flows.evicted {
        writeln!(out, "canary_flows_evicted_total{{what=\"{what}\"}} {count}")?;
    }
    head(out, "canary_flows_refused_total", "counter", "Inserts into FLOWS without room.")?;
    writeln!(out, "canary_flows_refused_total {}", flows.refused)?;
    head(out, "canary_flows_crowded", "gauge", "1 for an interface that holds half of FLOWS.")?;
    for interface in &flows.crowded {
        let interface = Escaped(interface);
        writeln!(out, "canary_flows_crowded{{interface=\"{interface}\"}} 1")?;
    }
    Ok(())
}

const CONNECT: &str = "Time from SYN to SYN-ACK.";
const FIRST_BYTE: &str = "Time from a question's last payload to its answer's first.";

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// The labels of a split.
struct Labels<'a> {
    service: &'a str,
    target: &'a str,
    subset: &'a str,
}

impl<'a> Labels<'a> {
    fn of(SplitKey { service, target, subset }: &'a SplitKey) -> Self {
        Self { service, target, subset }
    }
}

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [service, target, subset] = [self.service, self.target, self.subset].map(Escaped);
        write!(f, "service=\"{service}\",target=\"{target}\",subset=\"{subset}\"")
    }
}

/// A label's value, escaped as the text format wants it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

/// Microseconds, shown as exact seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_are_escaped() {
        assert_eq!(Escaped("a\"b\\c\nd").to_string(), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn microseconds_are_exact_seconds() {
        assert_eq!(Seconds(1_500_001).to_string(), "1.500001");
        assert_eq!(Seconds(40).to_string(), "0.000040");
    }
}
