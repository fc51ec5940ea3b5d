//! The datapath twice, with equal tables: in the kernel, and in memory.

use std::{
    cell::Cell,
    collections::BTreeMap,
    env, fs,
    mem::offset_of,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::side::Side;
use anyhow::{Context, Result, bail, ensure};
use aya::{
    Ebpf, EbpfLoader, TestRun, TestRunOptions,
    maps::{HashMap, MapData, PerCpuArray, PerCpuValues},
    programs::{SchedClassifier, Xdp},
    util::nr_cpus,
};
use canary_common::{
    addresses,
    backend::{Backend, Frontend},
    directory::Bucket,
    endpoint::{Address, Version},
    flows::{
        self, Client, EVICTIONS, Entry, Flows as _, Hash, Head, Key, Request, Seed, Stored, Values,
    },
    headers::{Carried, Headers},
    hooks::{self, Outcome, Verdict},
    interface::Interface,
    memory::Memory,
    packets::RECEIVER_MAC,
    rare,
    reason::Reason,
    route::Origin,
    segment,
    service::Record,
    settings::Settings,
    stats::{COUNTERS, Counts, EXCHANGES, Histograms, SplitRow, Timing},
    tables,
    wire::ethernet,
};
use canary_userspace::{
    kernel::{
        flows::FlowTable, insert::Inserter, load, mapped::Mapped, program::load_program,
        writer::Writer,
    },
    plan::Write,
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

/// Rows of the small tables.
pub(crate) const ROWS: u32 = 128;
/// Slots of Maglev slices.
const SLOTS: u32 = 4096;
/// Buckets of `FLOWS`, of which a test may use fewer.
pub(crate) const BUCKETS: u32 = 1 << 13;
/// Seed of `FLOWS`.
const FLOW_SEED: u64 = 0x7461_626c_6573_6565;
/// What we send back by an interface bears this word.
const SENT_BACK: u32 = 0x5e47_bac4;
/// Source ports for connections whose own is taken: so few that they are used again and again.
pub(crate) const PORTS: u32 = 48;
const FIRST_PORT: u32 = 61_000;

/// Hardware address of the bridge that the first interface is a port of.
pub(crate) const BRIDGE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];
/// The net to which no route leads, and the one to which it leads by the second interface, which
/// stands for the bridge as well; all others are reached by the first.
pub(crate) const NOWHERE: u8 = 201;
pub(crate) const BY_BRIDGE: u8 = 202;

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
    /// Behind the driver's: in traffic of its own, for it does one thing only.
    FromNetRest,
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
            Self::FromNetRest => "from_net_rest",
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

/// How a packet comes, beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// The interface of the hook: [`Twin::interfaces`].
    pub(crate) by: usize,
    /// On its way out, the interface it came by; `None` for one that the node made.
    pub(crate) came_by: Option<usize>,
    /// Whether it bears the word of what we have sent back.
    pub(crate) is_sent_back: bool,
}

impl Way {
    /// By the first interface, and in by it.
    pub(crate) const USUAL: Self = Self { by: 0, came_by: Some(0), is_sent_back: false };
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

/// Two interfaces in a network namespace of this thread's own, and routes; their indices.
fn make_interfaces() -> Result<[u32; 2]> {
    unshare(CloneFlags::CLONE_NEWNET).context("leave the network namespace: is this root?")?;
    let [a, b, c, d, e, f] = RECEIVER_MAC;
    let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    let ends = format!("twin0 address {mac} type veth peer name twin1 address {mac}");
    let lines = [
        format!("link add {ends}"),
        "link set lo up".to_owned(),
        "link set twin0 up".to_owned(),
        "link set twin1 up".to_owned(),
        "route add 10.0.0.0/8 dev twin0".to_owned(),
        "-6 route add fd00::/8 dev twin0".to_owned(),
        format!("route add 10.{BY_BRIDGE}.0.0/16 dev twin1"),
        format!("-6 route add fd00:{BY_BRIDGE}::/32 dev twin1"),
        format!("route add unreachable 10.{NOWHERE}.0.0/16"),
        format!("-6 route add unreachable fd00:{NOWHERE}::/32"),
    ];
    for line in lines {
        let done = Command::new("ip").args(line.split(' ')).status().context("run ip")?;
        ensure!(done.success(), "ip {line}");
    }
    for family in ["ipv4", "ipv6"] {
        let setting = format!("/proc/sys/net/{family}/conf/all/forwarding");
        fs::write(&setting, "1").with_context(|| format!("write {setting}"))?;
    }
    Ok([index("twin0")?, index("twin1")?])
}

fn index(name: &str) -> Result<u32> {
    nix::net::if_::if_nametoindex(name).with_context(|| format!("find {name}"))
}

/// Both datapaths.
pub(crate) struct Twin {
    pub(crate) memory: Memory,
    writer: Writer,
    ebpf: Ebpf,
    stats: PerCpuArray<MapData, Counts>,
    exchanges: PerCpuArray<MapData, [u64; EXCHANGES]>,
    histograms: PerCpuArray<MapData, Histograms>,
    reasons: PerCpuArray<MapData, u64>,
    evictions: PerCpuArray<MapData, [u64; EVICTIONS]>,
    refusals: PerCpuArray<MapData, [u32; 2]>,
    rows: HashMap<MapData, u32, Row>,
    virtuals: HashMap<MapData, [u8; 16], u32>,
    table: FlowTable,
    /// Indices of the interfaces.
    pub(crate) interfaces: [u32; 2],
    /// Packets by reason, as the host counted them.
    told: BTreeMap<Reason, u64>,
    clock: Clock,
    // Last: it goes when nothing uses it any more.
    bpffs: Bpffs,
}

/// A row of `INTERFACES`.
type Row = [u32; 4];

/// The kernel's clock: jiffies, and when they were read.
struct Clock(Cell<(u64, Instant)>);

impl Clock {
    fn new() -> Result<Self> {
        Ok(Self(Cell::new((read_jiffies()?, Instant::now()))))
    }

    fn jiffies(&self) -> Result<u64> {
        if self.0.get().1.elapsed() > Duration::from_secs(1) {
            self.0.set((read_jiffies()?, Instant::now()));
        }
        Ok(self.0.get().0)
    }
}

fn read_jiffies() -> Result<u64> {
    let timers = fs::read_to_string("/proc/timer_list").context("read /proc/timer_list")?;
    let line = timers.lines().find_map(|line| line.strip_prefix("jiffies: "));
    Ok(line.context("no jiffies in /proc/timer_list")?.trim().parse()?)
}

impl Twin {
    /// Both, with empty tables and clocks that stand still.
    pub(crate) fn new() -> Result<Self> {
        let bpffs = Bpffs::mount()?;
        let interfaces = make_interfaces()?;
        let mut ebpf = load_object(&bpffs.0)?;
        let table = FlowTable::new(Mapped::from_ebpf(&ebpf, "FLOWS")?, FLOW_SEED)?;
        let writer = load::writer(&mut ebpf)?;
        let mut twin = Self {
            memory: Memory::default(),
            writer,
            stats: PerCpuArray::try_from(load::take(&mut ebpf, "STATS")?)?,
            exchanges: PerCpuArray::try_from(load::take(&mut ebpf, "EXCHANGES")?)?,
            histograms: PerCpuArray::try_from(load::take(&mut ebpf, "HISTOGRAMS")?)?,
            reasons: PerCpuArray::try_from(load::take(&mut ebpf, "REASONS")?)?,
            evictions: PerCpuArray::try_from(load::take(&mut ebpf, "EVICTIONS")?)?,
            refusals: PerCpuArray::try_from(load::take(&mut ebpf, "REFUSALS")?)?,
            rows: HashMap::try_from(load::take(&mut ebpf, "INTERFACES")?)?,
            virtuals: HashMap::try_from(load::take(&mut ebpf, "VIRTUALS")?)?,
            table,
            interfaces,
            ebpf,
            told: BTreeMap::new(),
            clock: Clock::new()?,
            bpffs,
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
        memory.flows = (0..BUCKETS).map(|_| flows::Bucket::default()).collect();
        let seed = 0x005e_ed0f_ca9a_4711;
        let idle = [60, 7_860, 120, 10, 30, 180];
        memory.settings.bucket_mask.store(ROWS - 1);
        memory.settings.seed.store(seed);
        memory.settings.flow_seed.store(FLOW_SEED);
        memory.settings.first_port.store(FIRST_PORT);
        memory.settings.sent_back.store(SENT_BACK);
        for (word, limit) in memory.settings.idle.iter().zip(idle) {
            word.store(limit);
        }
        let settings = &self.writer.settings;
        settings.store(0, offset_of!(Settings, bucket_mask), ROWS - 1)?;
        settings.store_wide(0, offset_of!(Settings, seed), seed)?;
        settings.store_wide(0, offset_of!(Settings, flow_seed), FLOW_SEED)?;
        settings.store(0, offset_of!(Settings, first_port), FIRST_PORT)?;
        settings.store(0, offset_of!(Settings, sent_back), SENT_BACK)?;
        for (place, limit) in idle.into_iter().enumerate() {
            settings.store(0, offset_of!(Settings, idle) + 4 * place, limit)?;
        }
        self.set_ports(PORTS)?;
        self.set_buckets(BUCKETS)?;
        self.set_flags(0)?;
        self.set_clock(1_000)
    }

    /// Makes it this second on both sides, or the next one that the kernel can be told: its
    /// jiffies times a whole number, shifted, are to stay the same for a while.
    pub(crate) fn set_clock(&mut self, second: u32) -> Result<()> {
        // A minute at least.
        const WHILE: u64 = 60_000;
        let jiffies = self.clock.jiffies()?;
        let scale_of = |second: u32| (u64::from(second) << 32).div_ceil(jiffies);
        let second = (second..=second.saturating_add(1 << 20)).find(|second| {
            let at = |jiffies: u64| (jiffies.wrapping_mul(scale_of(*second))) >> 32;
            [jiffies, jiffies + WHILE].iter().all(|jiffies| at(*jiffies) == u64::from(*second))
        });
        let second = second.context("no such second")?;
        self.memory.now.set(second);
        let at = offset_of!(Settings, seconds_per_jiffy);
        self.writer.settings.store_wide(0, at, scale_of(second))
    }

    pub(crate) fn pass_time(&mut self, seconds: u32) -> Result<()> {
        self.set_clock(self.memory.now.get() + seconds)
    }

    /// What both know of all interfaces beside that they are pods'.
    pub(crate) fn set_flags(&mut self, flags: u32) -> Result<()> {
        let flags = flags | Interface::POD;
        self.memory.interface.flags.store(flags);
        let [first, second] = self.interfaces;
        let [a, b, c, d, e, f] = BRIDGE_MAC;
        let mac = [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, 0, 0])];
        self.rows.insert(first, [flags, second, mac[0], mac[1]], 0)?;
        self.rows.insert(second, [flags, 0, 0, 0], 0)?;
        // XDP runs have the loopback.
        let [a, b, c, d, e, f] = RECEIVER_MAC;
        let own = [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, 0, 0])];
        self.rows.insert(1, [flags, 0, own[0], own[1]], 0)?;
        Ok(())
    }

    /// How many source ports there are for connections whose own is taken.
    pub(crate) fn set_ports(&mut self, ports: u32) -> Result<()> {
        self.memory.settings.ports.store(ports);
        self.writer.settings.store(0, offset_of!(Settings, ports), ports)
    }

    /// Uses so many buckets of `FLOWS`, which is emptied.
    pub(crate) fn set_buckets(&mut self, buckets: u32) -> Result<()> {
        self.memory.settings.flow_buckets.store(buckets);
        self.writer.settings.store(0, offset_of!(Settings, flow_buckets), buckets)?;
        self.each_bucket(BUCKETS, |tables, bucket| {
            let bodies = bucket.bodies.iter().flat_map(|body| &body.words);
            for word in bucket.heads.iter().chain(bodies).chain([&bucket.own]) {
                tables.store(word, 0);
            }
        })
    }

    /// Locks all buckets as an insert does, or unlocks them.
    pub(crate) fn set_locked(&self, is_locked: bool) -> Result<()> {
        let by = if is_locked { 1 } else { u64::MAX };
        let buckets = self.memory.settings.flow_buckets.load();
        self.each_bucket(buckets, |tables, bucket| tables.add(&bucket.own, by))
    }

    fn sides(&self) -> [Side<'_>; 2] {
        [Side::Host(&self.memory), Side::Kernel(&self.table)]
    }

    fn each_bucket(&self, count: u32, work: impl Fn(Side<'_>, &flows::Bucket)) -> Result<()> {
        for number in 0..count {
            for tables in self.sides() {
                work(tables, tables.flows(number).context("no such bucket")?);
            }
        }
        Ok(())
    }

    /// Stores an entry on both sides, as the agent does.
    pub(crate) fn insert(&self, request: &Request) -> Result<Stored> {
        let by = self.memory.settings.flows();
        let [host, kernel] = self.sides().map(|tables| flows::insert(&tables, request, by));
        ensure!(host == kernel, "{kernel:?} in the kernel, {host:?} here");
        Ok(host)
    }

    /// Stores an entry in the kernel's table alone.
    pub(crate) fn insert_in_kernel(&self, request: &Request) -> Stored {
        flows::insert(&self.table, request, self.memory.settings.flows())
    }

    /// Whether the kernel's table has an entry of a tuple.
    pub(crate) fn has(&self, key: &Key, client: Client, by: Seed) -> bool {
        flows::find(&self.table, key, Hash::of(key, client, by), client).is_some()
    }

    /// Marks the entries of a client's flow on both sides, as the agent does that ends it.
    pub(crate) fn sever(&self, key: &Key) -> Result<bool> {
        let hash = Hash::of(key, Client::IsSource, self.memory.settings.flows());
        let sever = |tables: Side<'_>| {
            let Some(entry) = flows::find(&tables, key, hash, Client::IsSource) else {
                return false;
            };
            let back = flows::partner(&tables, &entry);
            flows::mark(&tables, &entry, Head::SEVERED, 0);
            back.is_there() && flows::mark(&tables, &back, Head::SEVERED, 0).is_some()
        };
        let [host, kernel] = self.sides().map(sever);
        ensure!(host == kernel, "severed in the kernel: {kernel}, here: {host}");
        Ok(host)
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

    /// Whether an address exists only virtually.
    pub(crate) fn set_virtual(&mut self, address: Address, is_virtual: bool) -> Result<()> {
        if is_virtual {
            self.memory.virtuals.insert(address);
            self.virtuals.insert(address.0, 1, 0)?;
        } else if self.memory.virtuals.remove(&address) {
            self.virtuals.remove(&address.0)?;
        }
        Ok(())
    }

    /// Takes times of a split: histograms of the same number.
    pub(crate) fn time(&mut self, statistics: u16) -> Result<()> {
        self.memory.timed.insert(statistics);
        let at = offset_of!(SplitRow, histogram);
        self.writer.splits.store(u32::from(statistics), at, u32::from(statistics) + 1)
    }

    /// Performs a store on both sides.
    pub(crate) fn perform(&mut self, write: &Write) -> Result<()> {
        self.writer.perform(write)?;
        let memory = &mut self.memory;
        match write {
            Write::Addresses { row, set, clear } => {
                let mut words = memory.addresses.borrow_mut();
                let word = words.entry(*row).or_default();
                *word = *word & !clear | set;
            }
            Write::Backend { id, endpoint } => {
                let row = memory.backends.get_mut(*id as usize).context("no such backend")?;
                (row.address, row.port) = (endpoint.address.0, endpoint.port);
                row.protocol = endpoint.protocol;
            }
            Write::BackendState { id, state } => {
                memory.backends[*id as usize].state.store(*state);
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
            Write::Frontend { id, endpoint, service } => {
                let row = memory.frontends.get_mut(*id as usize).context("no such frontend")?;
                (row.address, row.port) = (endpoint.address.0, endpoint.port);
                row.protocol = endpoint.protocol;
                row.service.store(*service);
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

    /// The own address from which backends elsewhere are asked, or none.
    pub(crate) fn set_source(&mut self, version: Version, source: Option<Address>) -> Result<()> {
        let Address(bytes) = source.unwrap_or(Address([0; 16]));
        let (words, _) = bytes.as_chunks::<4>();
        let words: Vec<u32> = words.iter().map(|word| u32::from_ne_bytes(*word)).collect();
        let (ours, theirs) = (&self.memory.settings, &self.writer.settings);
        match version {
            Version::V4 => {
                ours.source_v4.store(words[3]);
                theirs.store(0, offset_of!(Settings, source_v4), words[3])?;
            }
            Version::V6 => {
                for (place, word) in words.into_iter().enumerate() {
                    ours.source_v6[place].store(word);
                    theirs.store(0, offset_of!(Settings, source_v6) + 4 * place, word)?;
                }
            }
        }
        Ok(())
    }

    /// Has clients' packets go to backends elsewhere within others, or not.
    pub(crate) fn set_wraps(&mut self, wraps: bool) -> Result<()> {
        let word = if wraps { Settings::WRAPS } else { 0 };
        self.memory.settings.outside.store(word);
        self.writer.settings.store(0, offset_of!(Settings, outside), word)
    }

    /// Whether a backend is elsewhere.
    pub(crate) fn set_elsewhere(&mut self, backend: u32, is_elsewhere: bool) -> Result<()> {
        let flags = if is_elsewhere { Backend::ELSEWHERE } else { 0 };
        self.writer.backends.store(backend, offset_of!(Backend, flags), flags)?;
        self.memory.backends[backend as usize].flags.store(flags);
        Ok(())
    }

    /// What `make_interfaces` has told the kernel of the ways to these addresses. No neighbour is
    /// known, so the hook in the driver sends nothing on.
    pub(crate) fn tell_ways(&self, hook: Hook, addresses: &[Address]) {
        let way = |address: &Address| match (hook, out(*address)) {
            (Hook::FromNetXdp, _) => tables::Way::Later,
            (_, Some(_)) => tables::Way::Open,
            (_, None) => tables::Way::Closed,
        };
        let ways = addresses.iter().map(|address| (*address, way(address)));
        *self.memory.ways.borrow_mut() = ways.collect();
    }

    /// Runs a packet in memory.
    pub(crate) fn on_host(&mut self, hook: Hook, way: Way, packet: &[u8]) -> (Run, Outcome) {
        let mut bytes = packet.to_vec();
        let outcome = if is_seen(hook, way, packet) {
            self.memory.index.set(self.interfaces[way.by]);
            self.tell_routes(hook, way, packet);
            hook_on_host(hook, way, &mut bytes, &self.memory)
        } else {
            Outcome { verdict: Verdict::Pass, reason: Some(Reason::NotOurs) }
        };
        // The hook in front has counted what passes, but for packets around others.
        let is_counted = hook != Hook::FromNetRest
            || outcome.verdict != Verdict::Pass
            || is_around_another(packet);
        if let Some(reason) = outcome.reason
            && reason.is_counted()
            && is_counted
        {
            *self.told.entry(reason).or_default() += 1;
        }
        let verdicts = if hook == Hook::FromNetXdp { XDP_VERDICTS } else { TC_VERDICTS };
        let [pass, back, drop] = verdicts;
        let verdict = match outcome.verdict {
            Verdict::Pass => pass,
            Verdict::Back | Verdict::Away => back,
            Verdict::Drop => drop,
        };
        (Run { verdict, packet: bytes }, outcome)
    }

    /// What `make_interfaces` has told the kernel of the routes, for the packet's source.
    fn tell_routes(&self, hook: Hook, way: Way, packet: &[u8]) {
        let is_inbound = Hook::INBOUND.contains(&hook) || hook == Hook::FromNetRest;
        let by = if is_inbound { Some(way.by) } else { way.came_by };
        let mut elsewhere = self.memory.elsewhere.borrow_mut();
        elsewhere.clear();
        let source = match packet.get(12..14) {
            Some([8, 0]) => {
                packet.get(26..30).and_then(<[u8]>::first_chunk).copied().map(Address::v4)
            }
            Some([0x86, 0xdd]) => {
                packet.get(22..38).and_then(<[u8]>::first_chunk).copied().map(Address)
            }
            _ => None,
        };
        let (Some(source), Some(by)) = (source, by) else { return };
        // The first is a port of the bridge that the second stands for.
        let leads = match out(source) {
            Some(out) => out == by || (by, out) == (0, 1),
            None => false,
        };
        if !leads {
            elsewhere.insert(source);
        }
    }

    /// Runs a packet in the kernel.
    pub(crate) fn in_kernel(&self, hook: Hook, way: Way, packet: &[u8]) -> Result<Run> {
        let mut bytes = vec![0; packet.len() + 64];
        let mut context = [0_u8; 68];
        let mut put = |at: usize, word: u32| {
            context[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        };
        // `ingress_ifindex`, `ifindex` and `cb[0]` of `__sk_buff`.
        put(36, way.came_by.map_or(0, |by| self.interfaces[by]));
        put(40, self.interfaces[way.by]);
        put(48, if way.is_sent_back { SENT_BACK } else { 0 });
        let mut options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut bytes),
            ..TestRunOptions::default()
        };
        let program = self.ebpf.program(hook.name()).context("no such program")?;
        let result = if hook == Hook::FromNetXdp {
            <&Xdp>::try_from(program)?.test_run(options)
        } else {
            options.ctx_in = Some(&context);
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
        let evictions = self.memory.evictions.each_ref().map(Cell::get);
        ensure!(self.evictions()? == evictions, "{:?}, {evictions:?} here", self.evictions()?);
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
            self.compare_exchanges(statistics)?;
            self.compare_times(statistics)?;
        }
        for row in 0..addresses::ROWS {
            let kernel = self.writer.addresses.load_wide(row, 0)?;
            let host = self.memory.addresses.borrow().get(&row).copied().unwrap_or(0);
            ensure!(kernel == host, "bits of row {row}: {kernel:x}, {host:x} here");
        }
        self.compare_flows()
    }

    /// What packets showed of a split.
    fn compare_exchanges(&self, statistics: u32) -> Result<()> {
        let mut kernel = [0; EXCHANGES];
        for counts in self.exchanges.get(&statistics, 0)?.iter() {
            for (sum, count) in kernel.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        let mut host = [0; EXCHANGES];
        for ((id, exchange), count) in self.memory.exchanges.borrow().iter() {
            if u32::from(*id) == statistics {
                host[exchange.index()] += count;
            }
        }
        ensure!(kernel == host, "exchanges of {statistics}: {kernel:?}, {host:?} here");
        Ok(())
    }

    /// How many times were taken; how long they are is each side's own.
    fn compare_times(&self, statistics: u32) -> Result<()> {
        let host = self.memory.times.borrow();
        let mut kernel = [0_u64; 2];
        for histograms in self.histograms.get(&statistics, 0)?.iter() {
            kernel[0] += histograms.connect.iter().sum::<u64>();
            kernel[1] += histograms.response.iter().sum::<u64>();
        }
        for (kernel, timing) in kernel.into_iter().zip([Timing::Connect, Timing::Response]) {
            let host =
                host.iter().filter(|(id, kind, _)| u32::from(*id) == statistics && *kind == timing);
            let host = u64::try_from(host.count())?;
            ensure!(kernel == host, "{timing:?} of {statistics}: {kernel} times, {host} here");
        }
        Ok(())
    }

    /// What inserts of packets and of [`Self::inserter`] pushed out, over all CPUs.
    pub(crate) fn evictions(&self) -> Result<[u64; EVICTIONS]> {
        let mut sums = [0; EVICTIONS];
        for slots in self.evictions.get(&0, 0)?.iter() {
            for (sum, count) in sums.iter_mut().zip(slots) {
                *sum += count;
            }
        }
        Ok(sums)
    }

    /// Packets that the programs did not forward for a reason.
    pub(crate) fn reason(&self, reason: Reason) -> Result<u64> {
        Ok(self.reasons.get(&reason.slot(), 0)?.iter().sum())
    }

    /// The program that inserts for the agent.
    pub(crate) fn inserter(&mut self) -> Result<Inserter> {
        let pin = self.bpffs.0.join("put_flow");
        let program = self.ebpf.program_mut("put_flow").context("no such program")?;
        load_program(program)?;
        let program: &mut SchedClassifier = program.try_into()?;
        program.pin(&pin)?;
        let again = SchedClassifier::from_pin(&pin)?;
        fs::remove_file(&pin)?;
        Ok(Inserter::new(again))
    }

    /// Places of the kernel's table that are in use.
    pub(crate) fn in_use(&self) -> usize {
        let buckets = (0..self.memory.settings.flow_buckets.load()).filter_map(|number| {
            let bucket = self.table.flows(number)?;
            Some(bucket.heads.iter().filter(|head| self.table.load(head) & 7 << 20 != 0).count())
        });
        buckets.sum()
    }

    /// Every word of `FLOWS`: the same entries at the same places, for seed and size are the same.
    pub(crate) fn compare_flows(&self) -> Result<()> {
        for number in 0..self.memory.settings.flow_buckets.load() {
            let [host, kernel] = self.sides().map(|tables| Copied::of(tables, number));
            ensure!(
                kernel == host,
                "bucket {number}:\n{kernel:02x?} in the kernel\n{host:02x?} here"
            );
        }
        Ok(())
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

/// A bucket as it was: its own word, the heads, and keys and values of what lives.
#[derive(Debug, Default, PartialEq, Eq)]
struct Copied {
    own: u64,
    heads: Vec<u64>,
    entries: Vec<(Key, Values)>,
}

impl Copied {
    fn of(tables: Side<'_>, number: u32) -> Self {
        let Some(bucket) = tables.flows(number) else { return Self::default() };
        let entries = (0..7).filter_map(|place| flows::find_at(&tables, number << 3 | place));
        Self {
            own: tables.load(&bucket.own),
            heads: bucket.heads.iter().map(|head| tables.load(head)).collect(),
            entries: entries
                .map(|entry| (flows::key_of(&tables, &entry), without_tick(&entry)))
                .collect(),
        }
    }
}

/// The ticks of an open question are each side's own; that there is one is not.
fn without_tick(entry: &Entry<'_>) -> Values {
    let mark = match entry.head.kind() {
        flows::Kind::Return => entry.values.mark.min(1),
        _ => entry.values.mark,
    };
    Values { mark, ..entry.values }
}

/// Which interface the route to an address leads to.
fn out(address: Address) -> Option<usize> {
    let net = match address.as_v4() {
        Some([10, net, ..]) => Some(net),
        Some(_) => None,
        None => match address.0 {
            // The nets of IPv6 are written as they are in decimal.
            [0xfd, 0, high, low, ..] => {
                let digits = format!("{:x}", u16::from_be_bytes([high, low]));
                Some(digits.parse().unwrap_or(0))
            }
            [0xfd, ..] => Some(0),
            _ => None,
        },
    }?;
    match net {
        NOWHERE => None,
        BY_BRIDGE => Some(1),
        _ => Some(0),
    }
}

/// Whether a program looks at the packet at all.
fn is_seen(hook: Hook, way: Way, packet: &[u8]) -> bool {
    match hook {
        // The plain case does not look; the scene of others' frames has none of it.
        Hook::FromNetXdp => packet.get(..6) == Some(&RECEIVER_MAC),
        Hook::FromPod | Hook::FromNet | Hook::FromNetRest => {
            let to = packet.get(..6);
            to == Some(&RECEIVER_MAC) || way.by == 0 && to == Some(&BRIDGE_MAC)
        }
        Hook::ToPod | Hook::ToNet => !(way.is_sent_back && way.came_by == Some(way.by)),
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
    let small = [
        "ENDPOINTS",
        "FRONTENDS",
        "BACKENDS",
        "CURRENT",
        "SERVICES",
        "SPLITS",
        "STATS",
        "HISTOGRAMS",
    ];
    for table in small {
        loader.map_max_entries(table, ROWS);
    }
    loader.map_max_entries("SLOTS", SLOTS / 2);
    loader.map_max_entries("FLOWS", BUCKETS);
    let mut ebpf = loader.load(&object).context("load the BPF object")?;
    for hook in Hook::ALL.into_iter().chain([Hook::FromNetRest]) {
        let program = ebpf.program_mut(hook.name()).context("no such program")?;
        load_program(program).with_context(|| format!("load {}", hook.name()))?;
    }
    Ok(ebpf)
}

fn is_around_another(packet: &[u8]) -> bool {
    let packet = &packet.to_vec();
    let headers = segment::version(packet, ethernet::LEN)
        .and_then(|version| Headers::read(packet, ethernet::LEN, version));
    headers.is_ok_and(|headers| headers.carried() == Carried::Packet)
}

fn hook_on_host(hook: Hook, way: Way, packet: &mut Vec<u8>, memory: &Memory) -> Outcome {
    let l2 = ethernet::LEN;
    // One that the node made, or that goes out where it came in, may be nobody's.
    let is_doubted = way.came_by.is_none_or(|by| by == way.by);
    if !Hook::INBOUND.contains(&hook)
        && is_doubted
        && let Some(outcome) = rare::unserved(packet, memory, l2)
    {
        return outcome;
    }
    if hook == Hook::FromNetXdp && is_around_another(packet) {
        // It is the hook's behind.
        return Outcome { verdict: Verdict::Pass, reason: Some(Reason::NotOurs) };
    }
    match hook {
        Hook::FromPod => hooks::inbound(packet, memory, l2, Origin::Pod),
        Hook::FromNet | Hook::FromNetXdp => hooks::inbound(packet, memory, l2, Origin::Net),
        Hook::FromNetRest => hooks::inbound(packet, memory, l2, Origin::Behind),
        Hook::ToPod | Hook::ToNet => hooks::outbound(packet, memory, l2),
    }
}
