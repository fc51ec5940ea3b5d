//! What is in force, as the documents of `/v1/canary` say it.

use std::collections::BTreeMap;
use std::path::Path;

use canary_common::endpoint::Endpoint;
use canary_common::layout::LAYOUT_VERSION;

use super::Agent;
use super::source::Fault;
use crate::catalog::Origin;
use crate::compile::{self, Desired, DesiredLocal, DesiredService, DesiredSplit, Warning};
use crate::datapath::{Counters, Datapath, FlowUsage, Histogram, MapUsage, SocketsStatus};
use crate::document;
use crate::metrics::Measured;
use crate::settings::OutsideReturn;
use crate::source::files::place;
use crate::source::{DEFAULTS, RESOLVER, SPLITTER};

/// Where sockets of pods and of the node reach a service beside its frontends.
fn locals(desired: &Desired, service: &str) -> Vec<document::Local> {
    let of_service = desired.locals.iter().filter(|local| local.service == service);
    let local = |local: &DesiredLocal| {
        let at = compile::socket(&local.at);
        document::Local {
            owner: local.owner.to_string(),
            address: at.ip().to_string(),
            port: at.port(),
            protocol: compile::protocol_name(local.at.protocol).to_owned(),
        }
    };
    of_service.map(local).collect()
}

fn sockets(status: &SocketsStatus) -> document::Sockets {
    let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    document::Sockets {
        whose: status.whose.to_owned(),
        namespaces: status.namespaces.map(wide),
        excepted: wide(status.excepted),
    }
}

impl Agent {
    /// Reads the datapath's counters.
    #[must_use]
    pub fn measure(&self) -> Measured {
        Measured {
            counters: self.engine.datapath().counters(),
            draining: self.engine.datapath().draining(),
            waiting: self.books.topics.waiting(),
        }
    }

    /// The whole status.
    #[must_use]
    pub fn status(&self, measured: &Measured) -> document::Status {
        let interface = |interface: crate::datapath::InterfaceStatus| document::Interface {
            name: interface.name,
            role: interface.role.to_owned(),
            hook: interface.hook.to_owned(),
        };
        let reasons = self.engine.datapath().reasons().into_iter().filter(|(_, count)| *count > 0);
        let mut services: Vec<_> =
            self.services().map(|service| self.report(service, measured)).collect();
        services.sort_by(|a, b| a.service.cmp(&b.service));
        document::Status {
            ready: self.engine.datapath().revision() > 0,
            revision: self.engine.datapath().revision(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            layout: LAYOUT_VERSION,
            source: self.source_report(),
            interfaces: self.engine.datapath().interfaces().into_iter().map(interface).collect(),
            sockets: sockets(&self.engine.datapath().sockets()),
            services,
            reasons: reasons.map(|(reason, count)| (reason.to_owned(), count)).collect(),
            warnings: self.all_warnings().into_iter().map(warning).collect(),
        }
    }

    /// The status of one service; `None` if it has neither frontends nor entries.
    #[must_use]
    pub fn service_status(&self, name: &str) -> Option<document::Service> {
        let service = self.services().find(|service| service.name == name)?;
        Some(self.report(service, &self.measure()))
    }

    /// The tables' sizes.
    #[must_use]
    pub fn maps(&self) -> Vec<document::Map> {
        let map = |MapUsage { name, kind, entries, capacity, bytes, flows }| document::Map {
            name,
            kind,
            entries,
            capacity,
            bytes,
            flows: flows.map(flow_usage),
        };
        self.engine.datapath().maps().into_iter().map(map).collect()
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &DesiredService> {
        self.engine.now().services().map(|service| &**service)
    }

    fn source_report(&self) -> document::Source {
        let held = self.holds.fault().map(|(text, since)| Fault { text, since });
        let fault = self.source.fault().or(held);
        let frozen = self.engine.frozen();
        document::Source {
            kind: self.source.kind().to_owned(),
            address: self.source.address(),
            ok: fault.is_none() && frozen.is_none(),
            stale_seconds: fault.as_ref().map_or(0, |fault| fault.since.elapsed().as_secs()),
            error: fault.map(|fault| fault.text).or_else(|| frozen.cloned()),
            held: self.holds.reports(),
        }
    }

    fn report(&self, service: &DesiredService, measured: &Measured) -> document::Service {
        let origins = [("resolver", RESOLVER), ("splitter", SPLITTER), ("defaults", DEFAULTS)];
        let origin = origins.into_iter().filter_map(|(word, kind)| {
            let origin = self.origin(&(kind.to_owned(), service.name.clone()))?;
            Some((word.to_owned(), origin_name(&origin)))
        });
        document::Service {
            service: service.name.clone(),
            frontends: frontends(service, self.engine.datapath()),
            locals: locals(&self.engine.now().compiled().desired, &service.name),
            origin: origin.collect(),
            splits: self.split_reports(service, measured),
            brake: self.brake_report(&service.name),
        }
    }

    /// The splits of a service; under the brake each with the weight that is written beside it.
    fn split_reports(&self, service: &DesiredService, measured: &Measured) -> Vec<document::Split> {
        let braked = self.engine.state().brake(&service.name).is_some_and(|brake| brake.owed);
        let written = if braked { self.splits(&service.name).unwrap_or_default() } else { vec![] };
        let report = |split: &DesiredSplit| {
            let is_it = |weight: &&document::Weight| {
                weight.service == split.key.target && weight.subset == split.key.subset
            };
            let written = written.iter().find(is_it).map(|weight| weight.weight);
            document::Split { written, ..split_report(split, measured) }
        };
        service.splits.iter().map(report).collect()
    }

    /// What a change of `service` must say that is stored, and not in force.
    pub(super) fn late_warning(&self, service: &str) -> Option<Warning> {
        let text = format!("stored; not in force yet: {}", self.engine.late()?);
        Some(Warning { service: service.to_owned(), text })
    }

    /// Everything people should know, by service.
    pub(super) fn all_warnings(&self) -> Vec<Warning> {
        let node = |text: String| Warning { service: String::new(), text };
        let hidden = self.engine.state().hidden().map(|(service, what, origin)| Warning {
            service,
            text: format!("{what} of {} is shadowed by the store", place(origin)),
        });
        let late = self.engine.late().into_iter();
        let late = late.map(|error| node(format!("the tables are behind what is wanted: {error}")));
        let mut warnings: Vec<Warning> = (self.engine.now().compiled().warnings.iter())
            .chain(self.engine.state().file_warnings())
            .cloned()
            .chain(hidden)
            .chain(
                self.engine
                    .state()
                    .check_remarks()
                    .map(|(service, text)| Warning { service, text }),
            )
            .chain(self.source.warnings())
            .chain(self.engine.warnings())
            .chain(self.brake_warnings())
            .collect();
        warnings.sort_by(|a, b| (&a.service, &a.text).cmp(&(&b.service, &b.text)));
        let notices = self.notices.iter().map(|notice| node(notice.to_string()));
        notices.chain(late).chain(self.engine.datapath().warnings()).chain(warnings).collect()
    }
}

/// The virtual addresses of a service.
pub(super) fn frontends(
    service: &DesiredService,
    datapath: &dyn Datapath,
) -> Vec<document::Frontend> {
    let frontend = |frontend: &Endpoint| {
        let socket = compile::socket(frontend);
        let outside = datapath.outside_of(frontend);
        document::Frontend {
            address: socket.ip().to_string(),
            port: socket.port(),
            protocol: compile::protocol_name(frontend.protocol).to_owned(),
            source: outside.map(|outside| outside.source.to_string()),
            direct_return: outside.is_some_and(|of| of.returns == OutsideReturn::Ipip),
            internal_traffic_policy: service.internal.word().to_owned(),
            external_traffic_policy: service.external.word().to_owned(),
        }
    };
    service.frontends.iter().map(frontend).collect()
}

fn split_report(split: &DesiredSplit, measured: &Measured) -> document::Split {
    let counted = measured.counters.get(&split.key).cloned().unwrap_or_default();
    let healthy = split.instances().filter(|backend| backend.healthy).count();
    document::Split {
        service: split.key.target.clone(),
        subset: split.key.subset.clone(),
        weight: f64::from(split.weight) / 100.0,
        backends: document::Backends {
            total: number(split.instances().count()),
            healthy: number(healthy),
            draining: measured.draining.get(&split.key).copied().unwrap_or(0),
        },
        connections: connections(&counted),
        bytes: document::Bytes {
            to_backend: counted.bytes_to_backend,
            to_client: counted.bytes_to_client,
        },
        connect_us: counted.connect_us.as_ref().map(quantiles),
        response_us: counted.response_us.as_ref().map(quantiles),
        retransmits: document::Retransmits {
            syn: counted.syn_retransmits,
            segments: counted.segment_retransmits,
        },
        written: None,
        http: counted.http.filter(|answers| answers.iter().any(|count| *count > 0)).map(http),
    }
}

/// HTTP answers by class.
fn http(answers: [u64; 5]) -> BTreeMap<String, u64> {
    (1..).zip(answers).map(|(class, count)| (format!("{class}xx"), count)).collect()
}

fn connections(counted: &Counters) -> document::Connections {
    let ended = [counted.closed, counted.reset_by_server, counted.reset_by_client];
    let active = ended.into_iter().fold(counted.established, u64::saturating_sub);
    document::Connections {
        opened: counted.opened,
        established: counted.established,
        refused: counted.refused,
        timed_out: counted.timed_out,
        unanswered: counted.unanswered,
        reset_by_server: counted.reset_by_server,
        reset_by_client: counted.reset_by_client,
        closed: counted.closed,
        active,
    }
}

fn quantiles(histogram: &Histogram) -> document::Quantiles {
    document::Quantiles {
        count: histogram.count(),
        p50: histogram.quantile(500),
        p99: histogram.quantile(990),
    }
}

pub(super) fn warning(Warning { service, text }: Warning) -> document::Warning {
    document::Warning { service, text }
}

fn flow_usage(usage: FlowUsage) -> document::Flows {
    let named = |counts: Vec<(&str, u64)>| {
        counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    };
    let FlowUsage { percent, connections, kinds, spilled, evicted, refused, crowded } = usage;
    let (kinds, evicted) = (named(kinds), named(evicted));
    document::Flows { percent, connections, kinds, spilled, evicted, refused, crowded }
}

fn origin_name(origin: &Origin) -> String {
    match origin {
        Origin::File { path, .. } => {
            let name = Path::new(path).file_name().unwrap_or(path.as_ref());
            format!("file {}", name.to_string_lossy())
        }
        Origin::Store => "store".to_owned(),
        Origin::Followed(kind) => (*kind).to_owned(),
    }
}

/// A count of things in memory.
fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
