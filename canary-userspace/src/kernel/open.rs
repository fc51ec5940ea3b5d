//! Opens the datapath: from nothing, or from what an earlier agent left.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use aya::{Ebpf, Pod};
use aya_log::EbpfLogger;
use canary_common::settings::Settings as Row;

use super::attach::Attachments;
use super::conntrack::Reader;
use super::counters::PerCpu;
use super::events::Events;
use super::flows::FlowTable;
use super::foreign::Foreign;
use super::grace::Grace;
use super::insert::Inserter;
use super::links::Links;
use super::load::Places;
use super::locality::Locality;
use super::locals::Locals;
use super::look::Looker;
use super::mapped::Mapped;
use super::names::TableNames;
use super::namespaces::Namespaces;
use super::pins::Pins;
use super::sockets::Sockets;
use super::sweep::{Alive, Sweep};
use super::upgrade::{Upgrade, bring_picks, bring_row};
use super::usage::Usage;
use super::virtuals::Virtuals;
use super::writer::Writer;
use super::{Kernel, Took, adopt, attached, conntrack, foreign, load, node, resent, sweep, tell};
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
        let mut writer = bring_row(&places.maps, load::writer(&mut ebpf)?)?;
        let hertz = node::hertz()?;
        let flows: Mapped<_> = Mapped::from_ebpf(&ebpf, "FLOWS")?;
        let masks = [writer.endpoints.rows().saturating_sub(1), flows.rows()];
        tell::tell(&writer.settings, settings, hertz, masks)?;
        let seed = writer.settings.load_wide(0, offset_of!(Row, flow_seed))?;
        let flows = Arc::new(FlowTable::new(flows, seed)?);
        let mut log = EbpfLogger::init(&mut ebpf).context("hear what programs say")?;
        let looker = looker(&mut ebpf, &flows, hertz)?;
        let mut grace = Grace::start(load::take(&mut ebpf, "GRACE")?)?;
        let published = adopted(&mut writer, &mut grace, &usage)?;
        let revision = writer.settings.load_wide(0, offset_of!(Row, revision))?;
        let sweep = swept(&ebpf, &flows, settings, hertz)?;
        let mut per_cpu = PerCpu::take(&mut ebpf)?;
        let table = attached::Table::take(&mut ebpf)?;
        let locality = placed(&mut ebpf, settings)?;
        let (namespaces, locals, sockets) = for_sockets(&mut ebpf, settings)?;
        let brought_sockets = bring_picks(&places.maps, hash(&mut ebpf, "BROUGHT")?)?;
        let links = Links::new(ebpf, places.links);
        let upgraded = (upgrade.as_ref(), revision);
        let (foreign, attachments) = attached(links, table, settings, upgraded, &mut per_cpu)?;
        let mut kernel = Self {
            writer,
            published,
            grace,
            sweep,
            flows,
            looker,
            attachments,
            per_cpu,
            usage,
            locality,
            foreign,
            alive: Alive::default(),
            revision,
            owed: Vec::new(),
            took: Took::default(),
            hear_programs: Box::new(move || log.flush()),
            leaving: BTreeMap::new(),
            walked: Instant::now(),
            severed: BTreeMap::new(),
            passed: Instant::now(),
            hertz,
            sockets,
            namespaces,
            locals,
            pods: BTreeMap::new(),
            brought_sockets,
            upgrade,
            brought: None,
            _lock: lock,
        };
        kernel.end_upgrade()?;
        Ok(kernel)
    }

    /// Removes the tables of an earlier layout where ours serve already: the last start ended
    /// before they were removed.
    fn end_upgrade(&mut self) -> Result<()> {
        self.namespaces.look(self.attachments.pods());
        if self.revision > 0
            && let Some(upgrade) = self.upgrade.take()
        {
            self.take_over(&upgrade, &[])?;
        }
        Ok(())
    }
}

/// What the hooks of sockets need.
fn for_sockets(ebpf: &mut Ebpf, settings: &Settings) -> Result<(Namespaces, Locals, Sockets)> {
    let namespaces = Namespaces::start(ebpf, settings)?;
    let locals = Locals::new(hash(ebpf, "LOCALS")?, settings.socket_lb)?;
    let sockets = Sockets::start(ebpf, namespaces.clone())?;
    Ok((namespaces, locals, sockets))
}

/// Attaches to the interfaces there are, once the programs of earlier tables are loaded; what
/// conntrack knows is asked by the same programs.
fn attached(
    mut links: Links,
    table: attached::Table,
    settings: &Settings,
    (upgrade, revision): (Option<&Upgrade>, u64),
    per_cpu: &mut PerCpu,
) -> Result<(Foreign, Attachments)> {
    per_cpu.hears_resent(resent::attached(&mut links));
    let foreign = heard(links.inserter()?)?;
    upgrade.into_iter().flat_map(Upgrade::programs).for_each(|program| links.load(&program));
    let forwards = upgrade.is_none() || revision > 0;
    Ok((foreign, Attachments::open(links, table, settings, forwards)?))
}

/// A hash of the object.
fn hash<K: Pod, V: Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<HashMap<MapData, K, V>> {
    HashMap::try_from(load::take(ebpf, name)?).context(name)
}

/// Finds out where addresses are.
fn placed(ebpf: &mut Ebpf, settings: &Settings) -> Result<Locality> {
    let virtuals = Virtuals::new(hash(ebpf, "VIRTUALS")?);
    Ok(Locality::new(virtuals, settings.source_address, settings.outside_return))
}

/// Looks into the flow table and the ring of events beside the agent's own work.
fn looker(ebpf: &mut Ebpf, flows: &Arc<FlowTable>, hertz: u64) -> Result<Arc<Looker>> {
    let names = Arc::new(TableNames::of(ebpf)?);
    let events = Events::take(ebpf, Arc::clone(&names))?;
    Ok(Arc::new(Looker { flows: Arc::clone(flows), names, events, hertz }))
}

/// Learns from conntrack which connections somebody else translates.
fn heard(inserter: Inserter) -> Result<Foreign> {
    Ok(Foreign::new(Box::new(Reader::start(conntrack::DEFAULT_LIMIT)?), Box::new(inserter)))
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
fn adopted(writer: &mut Writer, grace: &mut Grace, usage: &Usage) -> Result<Published> {
    let sizes = adopt::sizes(writer, usage.capacity("OVERFLOW"), usage.capacity("HISTOGRAMS"));
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
