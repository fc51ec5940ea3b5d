//! Opens the datapath: from nothing, or from what an earlier agent left.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::HashMap;
use canary_common::settings::Settings as Row;

use super::attach::Attachments;
use super::conntrack::Reader;
use super::counters::PerCpu;
use super::flows::FlowTable;
use super::foreign::Foreign;
use super::grace::Grace;
use super::links::Links;
use super::load::Places;
use super::locality::Locality;
use super::mapped::Mapped;
use super::pins::Pins;
use super::sweep::{Alive, Sweep};
use super::upgrade::Upgrade;
use super::usage::Usage;
use super::writer::Writer;
use super::{Kernel, Took, adopt, attached, conntrack, foreign, load, node, sweep, tell};
use crate::plan::Published;
use crate::settings::Settings;

impl Kernel {
    /// Loads or adopts tables and programs, and attaches them to the interfaces there are.
    ///
    /// # Errors
    ///
    /// If another agent runs, rights are missing, or the kernel refuses something.
    pub fn open(settings: &Settings) -> Result<Self> {
        let lock = Pins::lock(&settings.bpffs)?;
        node::check_ports(settings.source_ports)?;
        let places = Places::prepare(&settings.bpffs)?;
        let upgrade = Upgrade::find(&settings.bpffs, &places.links)?;
        let mut ebpf = load::load(&places, &settings.limits)?;
        let usage = Usage::of(&ebpf)?;
        let mut writer = load::writer(&mut ebpf)?;
        let hertz = node::hertz()?;
        let flows: Mapped<_> = Mapped::from_ebpf(&ebpf, "FLOWS")?;
        let masks = [writer.endpoints.rows().saturating_sub(1), flows.rows()];
        tell::tell(&writer.settings, settings, hertz, masks)?;
        let seed = writer.settings.load_wide(0, offset_of!(Row, flow_seed))?;
        let flows = Arc::new(FlowTable::new(flows, seed)?);
        let mut grace = Grace::start(load::take(&mut ebpf, "GRACE")?)?;
        let sizes = adopt::sizes(&writer, usage.capacity("OVERFLOW"), usage.capacity("HISTOGRAMS"));
        let published = adopted(&mut writer, &mut grace, sizes)?;
        let revision = writer.settings.load_wide(0, offset_of!(Row, revision))?;
        let sweep = swept(&ebpf, &flows, settings, hertz)?;
        let per_cpu = PerCpu::take(&mut ebpf)?;
        let table = attached::Table::take(&mut ebpf)?;
        let sockets = HashMap::try_from(load::take(&mut ebpf, "SOCKETS")?).context("SOCKETS")?;
        let mut links = Links::new(ebpf, places.links);
        let inserter = links.inserter()?;
        upgrade.iter().flat_map(Upgrade::programs).for_each(|program| links.load(&program));
        let forwards = upgrade.is_none() || revision > 0;
        let attachments = Attachments::open(links, table, settings, forwards)?;
        let foreign =
            Foreign::new(Box::new(Reader::start(conntrack::DEFAULT_LIMIT)?), Box::new(inserter));
        let mut kernel = Self {
            writer,
            published,
            grace,
            sweep,
            flows,
            attachments,
            per_cpu,
            usage,
            locality: Locality::new(settings.source_address),
            foreign,
            alive: Alive::default(),
            revision,
            owed: Vec::new(),
            took: Took::default(),
            leaving: BTreeMap::new(),
            walked: Instant::now(),
            passed: Instant::now(),
            hertz,
            sockets,
            upgrade,
            brought: None,
            _lock: lock,
        };
        if kernel.revision > 0 {
            // Ours serve already: the last start ended before the old ones were removed.
            if let Some(upgrade) = kernel.upgrade.take() {
                kernel.take_over(&upgrade, &[])?;
            }
        }
        Ok(kernel)
    }
}

/// Begins to age the flow table.
fn swept(ebpf: &Ebpf, flows: &Arc<FlowTable>, settings: &Settings, hertz: u64) -> Result<Sweep> {
    let tables = sweep::Tables {
        table: Arc::clone(flows),
        splits: Mapped::from_ebpf(ebpf, "SPLITS")?,
        backends: Mapped::from_ebpf(ebpf, "BACKENDS")?,
        limits: settings.idle.by_state(),
        hertz,
    };
    Sweep::start(tables, Box::new(foreign::Lookups::default()))
}

/// The picture of the tables that are there, after what it sweeps and a grace period.
fn adopted(writer: &mut Writer, grace: &mut Grace, sizes: crate::plan::Sizes) -> Result<Published> {
    for write in Published::new(sizes).1 {
        writer.perform(&write)?;
    }
    let (mut published, sweeping) = adopt::adopt(writer, sizes)?;
    for write in sweeping {
        writer.perform(&write)?;
    }
    // Nothing leads to what counts as free here; a packet may still see it.
    published.begin_grace();
    grace.begin();
    grace.wait()?;
    for write in published.end_grace() {
        writer.perform(&write)?;
    }
    Ok(published)
}
