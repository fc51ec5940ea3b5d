//! What a weight change costs in the tables, with a thousand other services loaded.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use canary_common::endpoint::{Address, Endpoint, TCP};
use canary_common::service::WHOLE;
use canary_userspace::compile::{
    Affinity, Desired, DesiredBackend, DesiredService, DesiredSplit, SplitKey,
};
use canary_userspace::datapath::Datapath;
use canary_userspace::entry::TrafficPolicy;
use canary_userspace::kernel::Kernel;
use canary_userspace::settings::{
    Api, Idle, Limits, LogFormat, OutsideReturn, Settings, SocketLb, Source, SourceAddress,
    SourcePorts, UplinkMode,
};

use super::sample::Samples;

/// Services beside the one that changes.
pub(super) const OTHERS: u16 = 1_000;
/// Changes that are measured. As many before them use up most records that were never used, so
/// that the measured ones run out of them, wait for a grace period and use others again.
const CHANGES: u16 = 1_000;

/// Microseconds of each change.
#[derive(Debug, Default)]
pub(super) struct Weights {
    /// The stores, and waiting for a grace period where no record is free.
    pub(super) tables: Samples,
    /// Finding out which stores are needed.
    pub(super) planning: Samples,
}

/// Publishes one change after the other, without a pause in which a grace period could pass.
pub(super) fn measure(bpffs: PathBuf) -> Result<Weights> {
    let mut kernel = Kernel::open(&settings(bpffs)).context("open the datapath")?;
    let mut desired = Desired {
        services: (0..=OTHERS).map(|number| service(number, WHOLE).into()).collect(),
        locals: Vec::new(),
    };
    kernel.publish(&desired)?;
    let mut weights = Weights::default();
    for change in 0..CHANGES.saturating_mul(2) {
        let last = desired.services.last_mut().context("there are services")?;
        *last = service(OTHERS, change % WHOLE).into();
        let revision = kernel.revision();
        ensure!(kernel.publish(&desired)? > revision, "change {change} was not published");
        if change >= CHANGES {
            let us = |time: Duration| time.as_secs_f64() * 1e6;
            weights.tables.add(us(kernel.took().tables));
            weights.planning.add(us(kernel.took().planning));
        }
    }
    Ok(weights)
}

/// Room for the services and few records more, and no interface.
fn settings(bpffs: PathBuf) -> Settings {
    let services = u32::from(OTHERS).saturating_add(100);
    Settings {
        source: Source::Files,
        config_dirs: Vec::new(),
        data_dir: PathBuf::new(),
        socket: PathBuf::new(),
        http: None,
        api: Api::default(),
        pod_interfaces: Vec::new(),
        uplink_interfaces: Vec::new(),
        uplink_mode: UplinkMode::Off,
        socket_lb: SocketLb::Off,
        socket_lb_except: Vec::new(),
        netns_dirs: Vec::new(),
        cgroup: None,
        bpffs,
        node_name: None,
        node_meta: BTreeMap::new(),
        cluster_name: "bench".to_owned(),
        log_format: LogFormat::Text,
        limits: Limits { services, flows: Some(16_384), ..Limits::default() },
        idle: Idle::default(),
        source_ports: SourcePorts::default(),
        source_address: SourceAddress::None,
        outside_return: OutsideReturn::default(),
    }
}

/// A service of two subsets with two instances each.
fn service(number: u16, first: u16) -> DesiredService {
    let name = format!("service-{number:05}");
    let split = |subset: &str, share: u16, third: u8| DesiredSplit {
        key: SplitKey { service: name.clone(), target: name.clone(), subset: subset.to_owned() },
        weight: share,
        share,
        backends: [1, 2]
            .map(|last| DesiredBackend {
                endpoint: at([10, 0, 0, 0], number, third.saturating_add(last)),
                weight: 1,
                healthy: true,
                second: false,
            })
            .to_vec(),
        standby: Vec::new(),
    };
    DesiredService {
        upstream: false,
        braked: false,
        frontends: vec![at([172, 0, 0, 0], number, 1)],
        default_subset: "blue".to_owned(),
        splits: vec![split("blue", first, 0), split("green", WHOLE.saturating_sub(first), 100)],
        histograms: false,
        affinity: Affinity::Flow,
        follows: false,
        internal: TrafficPolicy::Cluster,
        external: TrafficPolicy::Cluster,
        name,
    }
}

fn at([net, ..]: [u8; 4], number: u16, last: u8) -> Endpoint {
    let [high, low] = number.to_be_bytes();
    Endpoint { address: Address::v4([net, high, low, last]), port: [0, 80], protocol: TCP }
}
