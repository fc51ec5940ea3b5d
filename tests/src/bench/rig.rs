//! The loaded object: sets the next packet, runs a program, takes its time.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::Array;
use aya::programs::{Program, TestRun, TestRunOptions, XdpMode};
use aya::{Ebpf, EbpfLoader};
use canary_userspace::kernel::program::load_program;
use nix::mount::{MsFlags, mount};

use super::case::{Case, Hook, Kind};
use super::probe::Speed;
use super::rounds::{Probe, Sample};
use super::tables;

/// The usual place of bpffs; ours is mounted over it, in a mount namespace of our own.
pub(super) const BPFFS: &str = "/sys/fs/bpf";
/// Interfaces of our own network namespace, one for each program of a case.
const INTERFACES: [&str; 2] = ["bench0", "bench1"];
/// An odd number with well spread bits: the order in which flows take turns.
const STRIDE: u32 = 0x9e37_79b1;
/// Runs before the first one whose key is new: a table's own flows have the numbers below.
const NEW_KEYS: u64 = 1 << 20;
/// The runs whose flows fill the tables, but never come, are from here on.
const UNSEEN: u32 = 1 << 31;
/// Runs of a sample: short, since a neighbour comes and goes within a millisecond.
const RUNS: u32 = 4_000;
/// Samples of a turn.
const SAMPLES: usize = 8;
/// Runs at the beginning of a turn, for another build may have had the caches since.
const WARM_UP: u32 = 32_768;
/// A verdict of the benchmark's programs that says that something failed.
const ABORTED: u32 = 0;

/// The object, with its tables filled for one case.
pub(crate) struct Rig {
    ebpf: Ebpf,
    case: Case,
    /// Runs of a sample.
    runs: u32,
    /// The next sample's first run.
    next: u64,
}

/// Makes interfaces that no packet comes to, and routes that lead back to the one of test runs.
pub(crate) fn make_interfaces() -> Result<()> {
    let [first, second] = INTERFACES;
    let ip = |line: String| -> Result<()> {
        let mut command = Command::new("ip");
        command.args(line.split(' '));
        ensure!(command.status().context("run ip")?.success(), "ip {line}");
        Ok(())
    };
    ip(format!("link add {first} type veth peer name {second}"))?;
    ip("link set lo up".to_owned())?;
    for family in ["ipv4", "ipv6"] {
        let setting = format!("/proc/sys/net/{family}/conf/all/forwarding");
        fs::write(&setting, "1").with_context(|| format!("write {setting}"))?;
    }
    ip("route add 10.0.0.0/8 dev lo".to_owned())?;
    ip("-6 route add fd00::/8 dev lo".to_owned())
}

/// Mounts a bpffs that no other process sees.
pub(crate) fn mount_bpffs() -> Result<()> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("keep mounts private")?;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .with_context(|| format!("mount bpffs at {BPFFS}"))
}

impl Rig {
    /// Loads the case's programs and fills the tables for it; `runs` are those of a sample.
    pub(crate) fn load(object: &Path, case: Case, runs: Option<u32>) -> Result<Self> {
        let pins = Path::new(BPFFS).join(case.name());
        fs::create_dir(&pins).with_context(|| format!("make {}", pins.display()))?;
        let mut loader = EbpfLoader::new();
        loader.default_map_pin_directory(&pins);
        tables::size(&mut loader, case);
        let mut ebpf =
            loader.load_file(object).with_context(|| format!("load {}", object.display()))?;
        // The object keeps them, and the next case of this process begins with none.
        fs::remove_dir_all(&pins).with_context(|| format!("remove {}", pins.display()))?;
        for (name, interface) in [make_of(case), step_of(case)].into_iter().zip(INTERFACES) {
            let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
            if program.fd().is_ok() {
                continue;
            }
            load_program(program).with_context(|| format!("verify {name}"))?;
            if let Program::Xdp(program) = program {
                // A test run adds an XDP program to the kernel's dispatcher and takes it away
                // again, and waits for RCU both times; not so one that is attached.
                program
                    .attach(interface, XdpMode::Skb)
                    .with_context(|| format!("attach {name}"))?;
            }
        }
        tables::fill(&mut ebpf, case, (UNSEEN..u32::MAX).map(|run| run.wrapping_mul(STRIDE)))?;
        let mut rig = Self { ebpf, case, runs: runs.unwrap_or(RUNS), next: 0 };
        if !case.is_reference() {
            rig.check()?;
        }
        if case.kind == Kind::SynFull {
            rig.settle()?;
        }
        Ok(rig)
    }

    /// Makes sure that the program does to the packet what the case says.
    fn check(&mut self) -> Result<()> {
        let case = self.case;
        let packet = case.packet();
        self.plan(self.next)?;
        let mut after = vec![0; packet.len()];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packet);
        options.data_out = Some(&mut after);
        let verdict = self.run(step_of(case), options)?.0;
        self.forget(self.next, 1)?;
        self.next = self.next.saturating_add(1);
        let transport = case.transport;
        let [_, to] = case.ends();
        let (at, end) = match case.kind {
            Kind::NotOurs => (transport.l4_at().saturating_add(2), to),
            Kind::Restore => (transport.l4_at(), transport.frontend()),
            _ => (transport.l4_at().saturating_add(2), transport.backend()),
        };
        let port = after.get(at..at.saturating_add(2));
        ensure!(
            port == Some(&end.port) && verdict != ABORTED,
            "{}: verdict {verdict}, port {port:?} is not {:?}",
            case.name(),
            end.port
        );
        Ok(())
    }

    /// As many connections as a full table has places come and go: how it was filled is over.
    fn settle(&mut self) -> Result<()> {
        let runs = tables::flow_places(&self.ebpf)?;
        self.plan(self.next)?;
        self.time(step_of(self.case), runs)?;
        self.next = self.next.saturating_add(u64::from(runs));
        Ok(())
    }

    /// A turn: some samples in a row.
    pub(crate) fn turn(&mut self) -> Result<Vec<Sample>> {
        if !self.case.is_new() {
            let runs = WARM_UP.min(self.case.count.saturating_mul(self.runs));
            self.plan(self.next)?;
            self.time(step_of(self.case), runs)?;
            self.next = self.next.saturating_add(u64::from(runs));
        }
        let mut before = self.probe()?;
        let mut samples = Vec::new();
        for _ in 0..SAMPLES {
            let first = self.next;
            self.plan(first)?;
            let ns = self.time(step_of(self.case), self.runs)?;
            let after = self.probe()?;
            self.forget(first, self.runs)?;
            self.next = first.saturating_add(u64::from(self.runs));
            // A floor is what it is.
            let is_floor = self.case.kind == Kind::Floor;
            let made = if is_floor { 0.0 } else { f64::midpoint(before.made, after.made) };
            samples.push(Sample { ns: ns - made, before, after });
            before = after;
        }
        Ok(samples)
    }

    /// How fast additions are, and making the next sample's packets.
    fn probe(&mut self) -> Result<Probe> {
        self.plan(self.next)?;
        let made = self.time(make_of(self.case), self.runs)?;
        Ok(Probe { speed: Speed::probe(), made })
    }

    /// Makes sure that all samples were what the case says.
    pub(crate) fn finish(mut self) -> Result<()> {
        tables::ensure_no_surprise(&mut self.ebpf, self.case)
    }

    fn forget(&mut self, first: u64, runs: u32) -> Result<()> {
        let first = u32::try_from(first.saturating_add(NEW_KEYS)).context("too many samples")?;
        let flows = (first..first.saturating_add(runs)).map(|run| run.wrapping_mul(STRIDE));
        tables::forget(&mut self.ebpf, self.case, flows)
    }

    /// Says what the packets from this run on are; see `Plan` of the programs.
    fn plan(&mut self, first: u64) -> Result<()> {
        let case = self.case;
        let several = u64::from(case.count).saturating_sub(1);
        let (first, mask, targets) = match case.kind {
            _ if case.is_new() => (first.saturating_add(NEW_KEYS), u64::from(u32::MAX), 0),
            Kind::NotOurs => (first, 0, several),
            _ => (first, several, 0),
        };
        let (family, at): (u64, [usize; 8]) = if case.transport.is_v6 {
            (6, [14, 22, 30, 38, 46, 54, 62, 70])
        } else {
            (4, [14, 22, 30, 34, 42, 50, 50, 50])
        };
        let packet = case.packet();
        let [a, b, c, d, e, f, g, h] = at.map(|at| {
            let word = packet.get(at..).and_then(<[u8]>::first_chunk::<8>).copied();
            u64::from_ne_bytes(word.unwrap_or_default())
        });
        let ends = family | u64::from(case.kind == Kind::Restore) << 32;
        let plan = [first, u64::from(STRIDE), mask, targets, ends, a, b, c, d, e, f, g, h];
        let map = self.ebpf.map_mut("PLAN").context("no map PLAN")?;
        Array::<_, [u64; 13]>::try_from(map)?.set(0, plan, 0).context("write PLAN")
    }

    /// Nanoseconds of one run.
    fn time(&mut self, name: &str, runs: u32) -> Result<f64> {
        let packet = self.case.packet();
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packet);
        options.repeat = runs;
        let (verdict, ns) = self.run(name, options)?;
        ensure!(verdict != ABORTED, "{name} failed");
        Ok(ns)
    }

    /// The last run's verdict and, in whole numbers, the kernel's nanoseconds of one run.
    fn run(&mut self, name: &str, options: TestRunOptions<'_>) -> Result<(u32, f64)> {
        let program = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let result = match program {
            Program::Xdp(program) => program.test_run(options),
            Program::SchedClassifier(program) => program.test_run(options),
            other => bail!("{name}: cannot run {:?}", other.prog_type()),
        }
        .with_context(|| format!("run {name}"))?;
        Ok((result.return_value, f64::from(u32::try_from(result.duration.as_nanos())?)))
    }
}

fn make_of(case: Case) -> &'static str {
    match (case.hook, case.kind) {
        (Hook::Xdp, Kind::Floor) => "xdp_floor",
        (Hook::Tcx, Kind::Floor) => "tc_floor",
        (_, kind) if kind.is_of_flows() || kind.is_of_tuples() => "tuple_make",
        _ if case.is_reference() => "key_make",
        (Hook::Xdp, _) => "xdp_make",
        (Hook::Tcx, _) => "tc_make",
    }
}

fn step_of(case: Case) -> &'static str {
    match (case.hook, case.kind) {
        (Hook::Xdp, Kind::Floor) => "xdp_floor",
        (Hook::Tcx, Kind::Floor) => "tc_floor",
        (_, Kind::Hash) => "hash_lookup",
        (_, Kind::HashMiss) => "hash_miss",
        (_, Kind::Lru) => "lru_lookup",
        (_, Kind::LruInsert) => "lru_insert",
        (_, Kind::FlowsLookup) => "flows_lookup",
        (_, Kind::FlowsMiss) => "flows_miss",
        (_, Kind::FlowsInsert | Kind::FlowsFull) => "flows_insert",
        (_, Kind::TupleLookup) => "tuple_lookup",
        (_, Kind::TupleMiss) => "tuple_miss",
        (_, Kind::TupleInsert | Kind::TupleFull) => "tuple_insert",
        (Hook::Xdp, _) => "xdp_inbound",
        (Hook::Tcx, Kind::Restore) => "tc_outbound",
        (Hook::Tcx, _) => "tc_inbound",
    }
}
