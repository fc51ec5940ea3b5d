//! The datapath twice, with equal tables: in the kernel, and in memory.

use std::{
    collections::BTreeMap,
    env, fs,
    mem::offset_of,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod, TestRun, TestRunOptions,
    maps::{HashMap, MapData, PerCpuArray, PerCpuValues},
    programs::{ProgramError, SchedClassifier, Xdp},
    util::nr_cpus,
};
use canary_common::{
    backend::{Backend, Frontend},
    directory::Bucket,
    endpoint::Endpoint,
    flow::{Family, Flow, FlowKey, FlowWords, V4, V6},
    forward::Origin,
    hooks::{self, Outcome, Verdict},
    memory::{Flows, Memory},
    reason::Reason,
    segment::Version,
    service::Record,
    settings::Settings,
    stats::{COUNTERS, Counts},
    wire::ethernet,
};
use canary_userspace::{
    kernel::{load, writer::Writer},
    plan::Write,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Rows of the small tables.
pub(crate) const ROWS: u32 = 128;
/// Rows of the flow tables: more than any test has flows, so that none is ever recycled.
const FLOWS: u32 = 1 << 16;
/// Slots of Maglev slices.
const SLOTS: u32 = 4096;

/// `TCX_NEXT`, `TC_ACT_REDIRECT`, `TC_ACT_SHOT`.
const TC_VERDICTS: [u32; 3] = [u32::MAX, 7, 2];
/// `XDP_PASS`, `XDP_TX`, `XDP_DROP`.
const XDP_VERDICTS: [u32; 3] = [2, 3, 1];

/// Where packets are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hook {
    FromPod,
    ToPod,
    FromNet,
    ToNet,
    FromNetXdp,
}

impl Hook {
    pub(crate) const ALL: [Self; 5] =
        [Self::FromPod, Self::ToPod, Self::FromNet, Self::ToNet, Self::FromNetXdp];
    /// The ones towards frontends.
    pub(crate) const INBOUND: [Self; 3] = [Self::FromPod, Self::FromNet, Self::FromNetXdp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::ToPod => "to_pod",
            Self::FromNet => "from_net",
            Self::ToNet => "to_net",
            Self::FromNetXdp => "from_net_xdp",
        }
    }

    /// The hook that answers of what came in here go through.
    pub(crate) fn back(self) -> Self {
        if self == Self::FromPod { Self::ToPod } else { Self::ToNet }
    }
}

/// What came out of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// What the program returns.
    pub(crate) verdict: u32,
    /// The packet then.
    pub(crate) packet: Vec<u8>,
}

/// A bpffs of its own, gone with this.
struct Bpffs(PathBuf);

impl Bpffs {
    fn mount() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("canary-twin-{}-{number}", process::id()));
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        let mounted = mount(Some("bpf"), &path, Some("bpf"), MsFlags::empty(), None::<&str>);
        if let Err(error) = mounted {
            fs::remove_dir(&path)?;
            return Err(error).context("mount a bpffs: is this root?");
        }
        Ok(Self(path))
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let unmounted = umount2(&self.0, MntFlags::MNT_DETACH).map_err(Into::into);
        if let Err(error) = unmounted.and_then(|()| fs::remove_dir(&self.0)) {
            println!("left behind: {}: {error}", self.0.display());
        }
    }
}

/// Both datapaths.
pub(crate) struct Twin {
    pub(crate) memory: Memory,
    writer: Writer,
    ebpf: Ebpf,
    stats: PerCpuArray<MapData, Counts>,
    reasons: PerCpuArray<MapData, u64>,
    refusals: PerCpuArray<MapData, [u32; 2]>,
    interfaces: HashMap<MapData, u32, u32>,
    tables: FlowMaps,
    /// Packets by reason, as the host counted them.
    told: BTreeMap<Reason, u64>,
    // Last: it goes when nothing uses it any more.
    _bpffs: Bpffs,
}

/// The tables that the datapath owns.
struct FlowMaps {
    flows4: [HashMap<MapData, FlowKey<[u8; 4]>, FlowWords>; 2],
    flows6: [HashMap<MapData, FlowKey<[u8; 16]>, FlowWords>; 2],
    returns4: HashMap<MapData, FlowKey<[u8; 4]>, [u32; 2]>,
    returns6: HashMap<MapData, FlowKey<[u8; 16]>, [u32; 2]>,
    foreign4: HashMap<MapData, FlowKey<[u8; 4]>, u32>,
    foreign6: HashMap<MapData, FlowKey<[u8; 16]>, u32>,
}

impl Twin {
    /// Both, with empty tables and clocks that stand still.
    pub(crate) fn new() -> Result<Self> {
        let bpffs = Bpffs::mount()?;
        let mut ebpf = load_object(&bpffs.0)?;
        let writer = load::writer(&mut ebpf)?;
        let tables = FlowMaps::take(&mut ebpf)?;
        let mut twin = Self {
            memory: Memory::default(),
            writer,
            stats: PerCpuArray::try_from(load::take(&mut ebpf, "STATS")?)?,
            reasons: PerCpuArray::try_from(load::take(&mut ebpf, "REASONS")?)?,
            refusals: PerCpuArray::try_from(load::take(&mut ebpf, "REFUSALS")?)?,
            interfaces: HashMap::try_from(load::take(&mut ebpf, "INTERFACES")?)?,
            tables,
            ebpf,
            told: BTreeMap::new(),
            _bpffs: bpffs,
        };
        twin.prepare()?;
        Ok(twin)
    }

    fn prepare(&mut self) -> Result<()> {
        let memory = &mut self.memory;
        memory.buckets = (0..ROWS).map(|_| Bucket::default()).collect();
        memory.frontends = (0..ROWS).map(|_| Frontend::default()).collect();
        memory.backends = (0..ROWS).map(|_| Backend::default()).collect();
        memory.current = vec![0; ROWS as usize];
        memory.records = vec![Record::default(); ROWS as usize];
        memory.slots = vec![0; SLOTS as usize];
        let seed = 0x005e_ed0f_ca9a_4711;
        let idle = [60, 7_860, 10, 180];
        memory.settings.bucket_mask.store(ROWS - 1);
        memory.settings.seed.store(seed);
        for (word, limit) in memory.settings.idle.iter().zip(idle) {
            word.store(limit);
        }
        let settings = &self.writer.settings;
        settings.store(0, offset_of!(Settings, bucket_mask), ROWS - 1)?;
        settings.store_wide(0, offset_of!(Settings, seed), seed)?;
        for (place, limit) in idle.into_iter().enumerate() {
            settings.store(0, offset_of!(Settings, idle) + 4 * place, limit)?;
        }
        self.set_clock(0)
    }

    /// Makes it about this second on both sides: to a few seconds in the kernel, whose clock
    /// stands still at 0.
    pub(crate) fn set_clock(&mut self, second: u32) -> Result<()> {
        // Jiffies begin 300 s before they overflow 32 bits: their high half is 1, or soon is.
        let scale = u64::from(second);
        let at = offset_of!(Settings, seconds_per_jiffy);
        self.writer.settings.store_wide(0, at, scale)?;
        self.memory.now.set(second);
        Ok(())
    }

    /// Whether the interface is new to both.
    pub(crate) fn set_young(&mut self, is_young: bool) -> Result<()> {
        // A test run's interface is the loopback.
        const LOOPBACK: u32 = 1;
        self.memory.young.set(is_young);
        if is_young {
            self.interfaces.insert(LOOPBACK, self.memory.now.get(), 0)?;
        } else {
            self.interfaces.remove(&LOOPBACK)?;
        }
        Ok(())
    }

    /// Whether too many refusals were sent already.
    pub(crate) fn set_silent(&mut self, is_silent: bool) -> Result<()> {
        self.memory.silent.set(is_silent);
        let number = if is_silent { u32::MAX / 2 } else { 0 };
        let cpus = nr_cpus().map_err(|(what, error)| error_of(what, error))?;
        let values = PerCpuValues::try_from(vec![[self.memory.now.get(), number]; cpus])?;
        self.refusals.set(0, values, 0)?;
        Ok(())
    }

    /// Performs a store on both sides.
    pub(crate) fn perform(&mut self, write: &Write) -> Result<()> {
        self.writer.perform(write)?;
        let memory = &mut self.memory;
        match write {
            Write::Backend { id, endpoint, home, home_generation } => {
                let row = memory.backends.get_mut(*id as usize).context("no such backend")?;
                (row.address, row.port) = (endpoint.address.0, endpoint.port);
                row.protocol = endpoint.protocol;
                row.home.store(*home);
                row.home_generation.store(u32::from(*home_generation));
            }
            Write::BackendStatus { id, status } => {
                memory.backends[*id as usize].status.store(*status);
            }
            Write::EndpointKey { bucket, entry, endpoint } => {
                let entry = &mut memory.buckets[*bucket as usize].entries[usize::from(*entry)];
                (entry.address, entry.tail) = (endpoint.address.words(), endpoint.tail());
            }
            Write::EndpointValue { bucket, entry, value } => {
                let entry = &memory.buckets[*bucket as usize].entries[usize::from(*entry)];
                entry.value.store(*value);
            }
            Write::Slots { start, ids } => {
                let start = *start as usize;
                memory.slots[start..start + ids.len()].copy_from_slice(ids);
            }
            Write::Record { index, record } => memory.records[*index as usize] = **record,
            Write::Current { service, record } => memory.current[*service as usize] = *record,
            Write::Frontend { id, endpoint, generation, service } => {
                let row = memory.frontends.get_mut(*id as usize).context("no such frontend")?;
                (row.address, row.port) = (endpoint.address.0, endpoint.port);
                row.protocol = endpoint.protocol;
                row.service.store(*service);
                row.generation.store(u32::from(*generation));
            }
            other => bail!("no test needs {other:?}"),
        }
        Ok(())
    }

    /// Serves packets from the network for a frontend, too.
    pub(crate) fn serve_the_network(&mut self, frontend: u32) -> Result<()> {
        let at = offset_of!(Frontend, flags);
        self.writer.frontends.store(frontend, at, Frontend::EXTERNAL)?;
        self.memory.frontends[frontend as usize].flags.store(Frontend::EXTERNAL);
        Ok(())
    }

    /// Leaves a flow to somebody else.
    pub(crate) fn set_foreign(
        &mut self,
        client: Endpoint,
        frontend: u32,
        generation: u16,
    ) -> Result<()> {
        let port = client.port;
        if client.address.as_v4().is_some() {
            let client = V4::bytes(client.address);
            let key = FlowKey { client, peer: frontend, port, generation };
            self.memory.flows4.foreign.borrow_mut().insert(key);
            self.tables.foreign4.insert(key, 0, 0)?;
        } else {
            let client = V6::bytes(client.address);
            let key = FlowKey { client, peer: frontend, port, generation };
            self.memory.flows6.foreign.borrow_mut().insert(key);
            self.tables.foreign6.insert(key, 0, 0)?;
        }
        Ok(())
    }

    /// Runs a packet in memory.
    pub(crate) fn on_host(&mut self, hook: Hook, packet: &[u8]) -> (Run, Outcome) {
        let mut bytes = packet.to_vec();
        let outcome = hook_on_host(hook, &mut bytes, &self.memory);
        if let Some(reason) = outcome.reason {
            *self.told.entry(reason).or_default() += 1;
        }
        let verdicts = if hook == Hook::FromNetXdp { XDP_VERDICTS } else { TC_VERDICTS };
        let [pass, back, drop] = verdicts;
        let verdict = match outcome.verdict {
            Verdict::Pass => pass,
            Verdict::Back => back,
            Verdict::Drop => drop,
        };
        (Run { verdict, packet: bytes }, outcome)
    }

    /// Runs a packet in the kernel.
    pub(crate) fn in_kernel(&self, hook: Hook, packet: &[u8]) -> Result<Run> {
        let mut bytes = vec![0; packet.len() + 64];
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut bytes),
            ..TestRunOptions::default()
        };
        let program = self.ebpf.program(hook.name()).context("no such program")?;
        let result = if hook == Hook::FromNetXdp {
            <&Xdp>::try_from(program)?.test_run(options)
        } else {
            <&SchedClassifier>::try_from(program)?.test_run(options)
        };
        let result = result.with_context(|| format!("run {} bytes", packet.len()))?;
        bytes.truncate(result.data_size_out as usize);
        Ok(Run { verdict: result.return_value, packet: bytes })
    }

    /// Everything the programs counted and stored, held against the host's.
    pub(crate) fn compare_tables(&self) -> Result<()> {
        for reason in Reason::ALL {
            let kernel: u64 = self.reasons.get(&reason.slot(), 0)?.iter().sum();
            let host = self.told.get(reason).copied().unwrap_or(0);
            ensure!(kernel == host, "{}: {kernel} in the kernel, {host} here", reason.word());
        }
        let host = self.memory.counts.borrow();
        for statistics in 0..ROWS {
            let kernel = self.counts(statistics)?;
            for (counter, count) in host.iter().filter(|((id, _), _)| u32::from(*id) == statistics)
            {
                let (_, counter) = counter;
                let (kernel, host) = (kernel[counter.index()], *count);
                ensure!(kernel == host, "{counter:?} of {statistics}: {kernel}, {host} here");
            }
            let (kernel, host) = (
                kernel.iter().sum::<u64>(),
                host.iter().filter(|((id, _), _)| u32::from(*id) == statistics).map(|(_, n)| n),
            );
            ensure!(kernel == host.sum::<u64>(), "counters of {statistics}");
        }
        self.tables.compare(&self.memory)
    }

    /// What a split counted, over all CPUs.
    pub(crate) fn counts(&self, statistics: u32) -> Result<[u64; COUNTERS]> {
        let mut sums = [0; COUNTERS];
        for counts in self.stats.get(&statistics, 0)?.iter() {
            for (sum, count) in sums.iter_mut().zip(counts.values) {
                *sum += count;
            }
        }
        Ok(sums)
    }
}

fn error_of(what: &str, error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("{what}: {error}")
}

/// The built object, its programs loaded.
fn load_object(pins: &Path) -> Result<Ebpf> {
    let path = env::var_os("CANARY_BPF_OBJECT")
        .context("CANARY_BPF_OBJECT names no BPF object: use cargo xtask test")?;
    let object = fs::read(&path).with_context(|| format!("read {}", Path::new(&path).display()))?;
    let mut loader = EbpfLoader::new();
    loader.default_map_pin_directory(pins);
    for table in ["ENDPOINTS", "FRONTENDS", "BACKENDS", "CURRENT", "SERVICES", "STATS"] {
        loader.map_max_entries(table, ROWS);
    }
    loader.map_max_entries("SLOTS", SLOTS);
    for table in ["OPENING4", "OPENING6", "FLOWS4", "FLOWS6"] {
        loader.map_max_entries(table, FLOWS);
    }
    let mut ebpf = loader.load(&object).context("load the BPF object")?;
    for hook in Hook::ALL {
        let program = ebpf.program_mut(hook.name()).context("no such program")?;
        let loaded: Result<(), ProgramError> = if hook == Hook::FromNetXdp {
            <&mut Xdp>::try_from(program)?.load()
        } else {
            <&mut SchedClassifier>::try_from(program)?.load()
        };
        loaded.with_context(|| format!("load {}", hook.name()))?;
    }
    Ok(ebpf)
}

fn hook_on_host(hook: Hook, packet: &mut Vec<u8>, memory: &Memory) -> Outcome {
    match hooks::version(packet, ethernet::LEN) {
        Ok(Version::V4) => family_on_host::<V4>(hook, packet, memory),
        Ok(Version::V6) => family_on_host::<V6>(hook, packet, memory),
        Err(outcome) => outcome,
    }
}

fn family_on_host<F: Family>(hook: Hook, packet: &mut Vec<u8>, memory: &Memory) -> Outcome
where
    Memory: canary_common::tables::FlowTables<F>,
{
    let l2 = ethernet::LEN;
    match hook {
        Hook::FromPod => hooks::inbound::<F, _, _>(packet, memory, l2, Origin::Pod),
        Hook::FromNet | Hook::FromNetXdp => {
            hooks::inbound::<F, _, _>(packet, memory, l2, Origin::Net)
        }
        Hook::ToPod | Hook::ToNet => hooks::outbound::<F, _, _>(packet, memory, l2),
    }
}

impl FlowMaps {
    fn take(ebpf: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            flows4: [map(ebpf, "OPENING4")?, map(ebpf, "FLOWS4")?],
            flows6: [map(ebpf, "OPENING6")?, map(ebpf, "FLOWS6")?],
            returns4: map(ebpf, "RETURNS4")?,
            returns6: map(ebpf, "RETURNS6")?,
            foreign4: map(ebpf, "FOREIGN4")?,
            foreign6: map(ebpf, "FOREIGN6")?,
        })
    }

    fn compare(&self, memory: &Memory) -> Result<()> {
        compare_flows(&self.flows4, &memory.flows4).context("flows of IPv4")?;
        compare_flows(&self.flows6, &memory.flows6).context("flows of IPv6")?;
        let host =
            memory.flows4.returns.borrow().iter().map(|(key, value)| (*key, *value)).collect();
        ensure!(all(&self.returns4)? == host, "returns of IPv4");
        let host =
            memory.flows6.returns.borrow().iter().map(|(key, value)| (*key, *value)).collect();
        ensure!(all(&self.returns6)? == host, "returns of IPv6");
        let keys: BTreeMap<_, _> = all(&self.foreign4)?;
        ensure!(keys.into_keys().eq(sorted(&memory.flows4)), "foreign flows of IPv4");
        let keys: BTreeMap<_, _> = all(&self.foreign6)?;
        ensure!(keys.into_keys().eq(sorted(&memory.flows6)), "foreign flows of IPv6");
        Ok(())
    }
}

fn map<K: Pod, V: Pod>(ebpf: &mut Ebpf, name: &str) -> Result<HashMap<MapData, K, V>> {
    HashMap::try_from(load::take(ebpf, name)?).with_context(|| name.to_owned())
}

fn sorted<F: Family>(flows: &Flows<F>) -> Vec<FlowKey<F::Bytes>> {
    let mut keys: Vec<_> = flows.foreign.borrow().iter().copied().collect();
    keys.sort();
    keys
}

fn all<K: Pod + Ord, V: Pod>(map: &HashMap<MapData, K, V>) -> Result<BTreeMap<K, V>> {
    Ok(map.iter().collect::<Result<_, _>>()?)
}

/// Backend, owner and marks of every flow; the times differ, for the clocks do.
fn compare_flows<F: Family>(
    kernel: &[HashMap<MapData, FlowKey<F::Bytes>, FlowWords>; 2],
    host: &Flows<F>,
) -> Result<()>
where
    FlowKey<F::Bytes>: Pod,
{
    let words = |flow: &Flow| [flow.backend(), flow.owner.load(), flow.marks().0];
    for (kernel, host) in kernel.iter().zip([&host.opening, &host.established]) {
        let kernel: BTreeMap<_, _> =
            all(kernel)?.into_iter().map(|(key, flow)| (key, words(&Flow::from(flow)))).collect();
        let host: BTreeMap<_, _> =
            host.borrow().iter().map(|(key, flow)| (*key, words(flow))).collect();
        for (key, flow) in &host {
            let there = kernel.get(key);
            ensure!(there == Some(flow), "{key:?}: {there:?} in the kernel, {flow:?} here");
        }
        ensure!(kernel.len() == host.len(), "{} flows, {} here", kernel.len(), host.len());
    }
    Ok(())
}
