//! The only room that talks to the kernel: BPF objects, tables and interfaces.

pub mod adopt;
pub mod attach;
pub mod conntrack;
pub mod counters;
pub mod doctor;
mod foresee;
pub mod grace;
pub mod interfaces;
mod leave;
pub mod links;
pub mod load;
pub mod locality;
pub mod mapped;
pub mod netlink;
pub mod node;
pub mod object;
mod pinned;
pub mod pins;
mod seed;
pub mod sweep;
pub mod usage;
pub mod writer;

use std::collections::BTreeMap;
use std::mem;
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use canary_common::endpoint::Endpoint;
use canary_common::settings::Settings as Row;
use canary_common::word::Word;

use self::attach::Attachments;
use self::conntrack::Foreign;
use self::counters::PerCpu;
use self::grace::Grace;
use self::links::Links;
use self::load::Places;
use self::locality::Locality;
use self::pins::{Lock, Pins};
use self::sweep::{Alive, Sweep};
use self::usage::Usage;
use self::writer::Writer;
use crate::compile::{Claims, Desired, Names, SplitKey, Warning};
use crate::datapath::{Counters, Datapath, InterfaceStatus, MapUsage, PublishError};
use crate::foresee::Foreseen;
use crate::plan::{Blocked, Published, Write, fits, plan, plan_some};
use crate::settings::Settings;

/// A leaving backend or frontend with live flows is kept for so long at most.
const LEAVING_AT_MOST: Duration = Duration::from_secs(3600);
/// Time between two walks through the flows while something is leaving.
const LEAVING_EVERY: Duration = Duration::from_secs(1);

/// How long a publication took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// Finding out which stores it needs.
    pub planning: Duration,
    /// The stores, and waiting for a grace period where nothing was free.
    pub tables: Duration,
}

/// The datapath in the kernel.
pub struct Kernel {
    writer: Writer,
    published: Published,
    grace: Grace,
    sweep: Sweep,
    flows: foresee::Flows,
    attachments: Attachments,
    per_cpu: PerCpu,
    usage: Usage,
    locality: Locality,
    foreign: Foreign,
    alive: Alive,
    revision: u64,
    /// Planned stores that failed or were not come to: no plan has them again.
    owed: Vec<Write>,
    took: Took,
    /// Since when each leaving row (backend or not, id, generation) is known to leave.
    leaving: BTreeMap<(bool, u32, u16), Instant>,
    walked: Instant,
    _lock: Lock,
}

impl Kernel {
    /// Loads or adopts tables and programs, and attaches them to the interfaces there are.
    ///
    /// # Errors
    ///
    /// If another agent runs, rights are missing, or the kernel refuses something.
    pub fn open(settings: &Settings) -> Result<Self> {
        let lock = Pins::lock(&settings.bpffs)?;
        let places = Places::prepare(&settings.bpffs)?;
        let mut ebpf = load::load(&places, &settings.limits)?;
        let usage = Usage::of(&ebpf)?;
        let mut writer = load::writer(&mut ebpf)?;
        let hertz = node::hertz()?;
        let row = tell(&writer, settings, hertz)?;
        let mut grace = Grace::start(load::take(&mut ebpf, "GRACE")?)?;
        let sizes = adopt::sizes(&writer, usage.capacity("OVERFLOW"), usage.capacity("HISTOGRAMS"));
        for write in Published::new(sizes).1 {
            writer.perform(&write)?;
        }
        let (mut published, sweeping) = adopt::adopt(&writer, sizes)?;
        for write in sweeping {
            writer.perform(&write)?;
        }
        // Nothing leads to what counts as free here; a packet may still see it.
        published.begin_grace();
        grace.begin();
        grace.wait()?;
        published.end_grace();
        let revision = writer.settings.load_wide(0, offset_of!(Row, revision))?;
        let splits = mapped::Mapped::from_ebpf(&ebpf, "SPLITS")?;
        let flows = foresee::Flows::open(&ebpf, hertz)?;
        let sweep = Sweep::start(&mut ebpf, splits, row, hertz)?;
        let per_cpu = PerCpu::take(&mut ebpf)?;
        let foreign = Foreign::take(&mut ebpf, hertz)?;
        let since = attach::Since::take(&mut ebpf, hertz)?;
        let attachments = Attachments::open(Links::new(ebpf, places.links), since, settings)?;
        Ok(Self {
            writer,
            published,
            grace,
            sweep,
            flows,
            attachments,
            per_cpu,
            usage,
            locality: Locality::default(),
            foreign,
            alive: Alive::default(),
            revision,
            owed: Vec::new(),
            took: Took::default(),
            leaving: BTreeMap::new(),
            walked: Instant::now(),
            _lock: lock,
        })
    }

    /// How long the last publication took that changed something.
    #[must_use]
    pub fn took(&self) -> Took {
        self.took
    }

    /// The stores that `plan` wants, after a grace period if they need one, and the time that
    /// planning them took.
    fn planned(
        &mut self,
        mut plan: impl FnMut(&mut Published) -> Result<Vec<Write>, Blocked>,
    ) -> Result<(Vec<Write>, Duration), PublishError> {
        let mut planning = Duration::ZERO;
        loop {
            let start = Instant::now();
            let writes = plan(&mut self.published);
            planning = planning.saturating_add(start.elapsed());
            match writes {
                Ok(writes) => return Ok((writes, planning)),
                Err(Blocked::Full(error)) => return Err(error),
                Err(Blocked::Grace) => self.wait_for_grace()?,
            }
        }
    }

    /// Waits until all that was freed before this call is free.
    fn wait_for_grace(&mut self) -> Result<()> {
        // One that is on may have begun before something was freed: take another.
        self.grace.wait()?;
        self.published.end_grace();
        self.published.begin_grace();
        self.grace.begin();
        self.grace.wait()?;
        self.published.end_grace();
        Ok(())
    }

    /// Carries out what was planned at `start`. Whatever fails, the plan stands: what it lacks is
    /// done first by the next.
    fn carry_out(
        &mut self,
        desired: &Desired,
        (writes, planning): (Vec<Write>, Duration),
        start: Instant,
    ) -> Result<u64, PublishError> {
        self.owed.extend(writes);
        let writes = mem::take(&mut self.owed);
        let done = self.try_carry_out(desired, &writes, planning, start);
        if done.is_err() {
            // A store that was done already may be done again.
            self.owed = writes;
        }
        done
    }

    fn try_carry_out(
        &mut self,
        desired: &Desired,
        writes: &[Write],
        planning: Duration,
        start: Instant,
    ) -> Result<u64, PublishError> {
        if writes.is_empty() && self.revision > 0 {
            return Ok(self.revision);
        }
        // New weights alone do not move anybody.
        let moves = |write: &Write| !matches!(write, Write::Record { .. } | Write::Current { .. });
        let somebody_moves = writes.iter().any(moves);
        if somebody_moves {
            self.locality.withdraw(
                desired,
                &self.published,
                &self.writer,
                &mut self.attachments,
            )?;
        }
        self.foreign.note(writes)?;
        self.perform(writes).context("write the tables")?;
        // Those that began between the two looks.
        self.foreign.note(writes)?;
        if somebody_moves {
            self.locality.settle(&self.published, &self.writer, &mut self.attachments)?;
        }
        self.revision = self.revision.saturating_add(1);
        self.writer.settings.store_wide(0, offset_of!(Row, revision), self.revision)?;
        self.took = Took { planning, tables: start.elapsed().saturating_sub(planning) };
        Ok(self.revision)
    }

    fn perform(&mut self, writes: &[Write]) -> Result<()> {
        writes.iter().try_for_each(|write| self.writer.perform(write))
    }

    fn pass_grace(&mut self) -> Result<()> {
        if self.grace.is_over()? {
            self.published.end_grace();
        }
        if self.published.waits_for_grace() && self.grace.begin() {
            self.published.begin_grace();
        }
        Ok(())
    }
}

/// Writes the programs' settings; returns a copy of what they see.
fn tell(writer: &Writer, settings: &Settings, hertz: u64) -> Result<Row> {
    let table = &writer.settings;
    let idle = [
        settings.idle.opening,
        settings.idle.established,
        settings.idle.closing,
        settings.idle.answered_udp,
    ];
    for (place, seconds) in idle.into_iter().enumerate() {
        table.store(0, offset_of!(Row, idle).saturating_add(place.saturating_mul(4)), seconds)?;
    }
    table.store_wide(0, offset_of!(Row, seed), seed::of(&settings.cluster_name))?;
    table.store_wide(0, offset_of!(Row, seconds_per_jiffy), node::seconds_per_jiffy(hertz))?;
    table.store_wide(0, offset_of!(Row, netns), node::netns_cookie()?)?;
    table.store(0, offset_of!(Row, ipv6_checksums), u32::from(node::knows_ipv6_checksums()))?;
    let mask = writer.endpoints.rows().saturating_sub(1);
    table.store(0, offset_of!(Row, bucket_mask), mask)?;
    Ok(Row { idle: idle.map(Word::new), ..Row::default() })
}

impl Datapath for Kernel {
    fn publish(&mut self, desired: &Desired) -> Result<u64, PublishError> {
        let start = Instant::now();
        let planned = self.planned(|published| plan(published, desired))?;
        self.carry_out(desired, planned, start)
    }

    fn publish_some(&mut self, desired: &Desired, names: &Names) -> Result<u64, PublishError> {
        let start = Instant::now();
        let planned = self.planned(|published| plan_some(published, desired, names))?;
        self.carry_out(desired, planned, start)
    }

    fn check(&self, desired: &Desired) -> Result<(), PublishError> {
        fits(&self.published, desired)
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn claims(&self) -> Claims {
        self.published.claims()
    }

    fn counters(&self) -> BTreeMap<SplitKey, Counters> {
        self.per_cpu.counters(&self.published, &self.writer.splits)
    }

    fn foresee(&self, client: Endpoint, frontend: Endpoint) -> Result<Option<Foreseen>> {
        let (writer, published, flows) = (&self.writer, &self.published, &self.flows);
        crate::foresee::foresee(&foresee::Live { writer, published, flows }, client, frontend)
    }

    fn draining(&self) -> BTreeMap<SplitKey, u64> {
        let keys: BTreeMap<u16, &SplitKey> =
            self.published.counted().map(|(key, id, _)| (id, key)).collect();
        let mut draining = BTreeMap::new();
        for leaving in self.published.leaving_backends() {
            let of_backend = self.alive.splits.range((leaving.id, 0)..=(leaving.id, u16::MAX));
            for ((_, statistics), flows) in of_backend {
                if let Some(key) = keys.get(statistics) {
                    let count: &mut u64 = draining.entry((*key).clone()).or_default();
                    *count = count.saturating_add(*flows);
                }
            }
        }
        draining
    }

    fn reasons(&self) -> Vec<(&'static str, u64)> {
        self.per_cpu.reasons()
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        self.attachments.interfaces()
    }

    fn maps(&self) -> Vec<MapUsage> {
        let mut in_use = self.published.rows_in_use();
        in_use.extend(self.alive.tables.iter().map(|(name, flows)| (*name, *flows)));
        self.usage.read(&in_use)
    }

    fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.attachments.warnings();
        warnings.extend_from_slice(self.locality.warnings());
        if !Path::new(node::BTF).exists() {
            let text = format!(
                "{} is missing: what this kernel can do is not known in full, and the oldest way is \
                 taken; use one built with CONFIG_DEBUG_INFO_BTF=y",
                node::BTF
            );
            warnings.push(Warning { service: String::new(), text });
        }
        warnings
    }

    fn tick(&mut self) {
        let mut followed = Ok(());
        if self.attachments.follow() {
            self.locality.forget();
            followed = self.locality.settle(&self.published, &self.writer, &mut self.attachments);
        }
        let rest = [followed, self.pass_grace(), self.let_go()];
        for error in rest.into_iter().filter_map(Result::err) {
            tracing::error!("{error:#}");
        }
    }

    fn events(&self) -> Option<OwnedFd> {
        self.attachments.as_fd().try_clone_to_owned().ok()
    }
}
