//! The loaded object: sets the next packet, runs a program, takes its time.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::Array;
use aya::programs::{Program, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use nix::mount::{MsFlags, mount};

use super::Costs;
use super::case::{Case, Hook, Kind};
use super::tables;

/// The usual place of bpffs; ours is mounted over it, in a mount namespace of our own.
pub(super) const BPFFS: &str = "/sys/fs/bpf";
/// Entries of the flow tables: room for the flows of two services.
const FLOWS: u32 = 262_144;
/// Entries of the table of half-open flows, and of the one that inserts are compared in.
const OPENING: u32 = 65_536;
/// An odd number with well spread bits: the order in which flows take turns.
const STRIDE: u64 = 0x9e37_79b1;
/// Runs before the first one whose key is new: the tables' own flows have the numbers below.
const NEW_KEYS: u64 = 1 << 20;
/// The runs that fill the tables are far from both.
const WARM_UP: u64 = 1 << 31;
/// A verdict of the benchmark's programs that says that something failed.
const ABORTED: u32 = 0;

/// The object, with its tables filled.
pub(crate) struct Rig {
    ebpf: Ebpf,
    flows: u32,
}

/// Mounts a bpffs that nobody else sees.
pub(crate) fn mount_bpffs() -> Result<()> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("keep mounts private")?;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .with_context(|| format!("mount bpffs at {BPFFS}"))
}

impl Rig {
    /// Loads the object and fills its tables for so many flows.
    pub(crate) fn load(object: &Path, flows: u32) -> Result<Self> {
        let pins = Path::new(BPFFS).join(format!("bench-{flows}"));
        fs::create_dir(&pins).with_context(|| format!("make {}", pins.display()))?;
        let mut loader = EbpfLoader::new();
        loader.default_map_pin_directory(&pins);
        for map in ["FLOWS4", "FLOWS6", "BENCH_HASH", "BENCH_LRU"] {
            loader.map_max_entries(map, FLOWS);
        }
        for map in ["OPENING4", "OPENING6", "BENCH_INSERT"] {
            loader.map_max_entries(map, OPENING);
        }
        let mut ebpf =
            loader.load_file(object).with_context(|| format!("load {}", object.display()))?;
        for (name, program) in ebpf.programs_mut() {
            match program {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                other => bail!("{name}: no loader for {:?}", other.prog_type()),
            }
            .with_context(|| format!("verify {name}"))?;
        }
        tables::fill(&mut ebpf, flows)?;
        let mut rig = Self { ebpf, flows };
        // The tables of new flows are full from here on: each insert takes the place of another.
        let everything = OPENING.saturating_mul(2);
        rig.plan(&[0; 64], 0, 0, u64::from(u32::MAX), WARM_UP)?;
        rig.time("lru_insert", &[0; 64], everything)?;
        for case in Case::all() {
            if case.kind == Kind::Syn {
                rig.plan_case(case, WARM_UP)?;
                rig.time(step_of(case), &case.packet(), everything)?;
            }
        }
        Ok(rig)
    }

    /// Makes sure that the program does to the packet what the case says.
    pub(crate) fn check(&mut self, case: Case) -> Result<()> {
        let packet = case.packet();
        self.plan_case(case, 0)?;
        let mut after = vec![0; packet.len()];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packet);
        options.data_out = Some(&mut after);
        let program = self.ebpf.program_mut(step_of(case)).context("no such program")?;
        let result = match program {
            Program::Xdp(program) => program.test_run(options),
            Program::SchedClassifier(program) => program.test_run(options),
            other => bail!("cannot run {:?}", other.prog_type()),
        }
        .with_context(|| case.name())?;
        let transport = case.transport;
        let (at, end) = match case.kind {
            Kind::Established | Kind::Syn => {
                (transport.l4_at().saturating_add(2), transport.backend())
            }
            Kind::NotOurs => {
                let [_, to] = case.ends();
                (transport.l4_at().saturating_add(2), to)
            }
            Kind::Restore => (transport.l4_at(), transport.frontend()),
        };
        let port = after.get(at..at.saturating_add(2));
        ensure!(
            port == Some(&end.port) && result.return_value != ABORTED,
            "{}: verdict {}, port {port:?} is not {:?}",
            case.name(),
            result.return_value,
            end.port
        );
        Ok(())
    }

    /// The cost of a case: the whole program without making the packet.
    pub(crate) fn net(&mut self, case: Case, first: u64, runs: u32) -> Result<f64> {
        let packet = case.packet();
        let make = match case.hook {
            Hook::Xdp => "xdp_make",
            Hook::Tcx => "tc_make",
        };
        self.plan_case(case, first)?;
        let without = self.time(make, &packet, runs)?;
        self.plan_case(case, first)?;
        let with = self.time(step_of(case), &packet, runs)?;
        Ok(with - without)
    }

    /// A round of what cases are compared with.
    pub(crate) fn costs(&mut self, costs: &mut Costs, first: u64, runs: u32) -> Result<()> {
        let frame = [0; 64];
        costs.xdp_floor.add(self.time("xdp_floor", &frame, runs)?);
        costs.tc_floor.add(self.time("tc_floor", &frame, runs)?);
        let mask = self.mask();
        self.plan(&frame, 0, 0, mask, first)?;
        let key = self.time("key_make", &frame, runs)?;
        for (program, samples) in
            [("hash_lookup", &mut costs.hash_lookup), ("lru_lookup", &mut costs.lru_lookup)]
        {
            self.plan(&frame, 0, 0, mask, first)?;
            samples.add(self.time(program, &frame, runs)? - key);
        }
        // Keys that were never used: the order of access of packets that start flows.
        let first = first.saturating_add(NEW_KEYS);
        for (program, samples) in
            [("hash_miss", &mut costs.hash_miss), ("lru_insert", &mut costs.lru_insert)]
        {
            self.plan(&frame, 0, 0, u64::from(u32::MAX), first)?;
            samples.add(self.time(program, &frame, runs)? - key);
        }
        Ok(())
    }

    fn mask(&self) -> u64 {
        u64::from(self.flows).saturating_sub(1)
    }

    fn plan_case(&mut self, case: Case, first: u64) -> Result<()> {
        let (family, side) =
            (if case.transport.is_v6 { 6 } else { 4 }, u32::from(case.kind == Kind::Restore));
        let (mask, first) = match case.kind {
            Kind::Syn => (u64::from(u32::MAX), first.saturating_add(NEW_KEYS)),
            _ => (self.mask(), first),
        };
        self.plan(&case.packet(), family, side, mask, first)
    }

    /// Says what the next packets are; see `Plan` of the programs.
    fn plan(&mut self, packet: &[u8], family: u32, side: u32, mask: u64, first: u64) -> Result<()> {
        let at: [usize; 8] = if family == 6 {
            [14, 22, 30, 38, 46, 54, 62, 70]
        } else {
            [14, 22, 30, 34, 42, 50, 50, 50]
        };
        let [a, b, c, d, e, f, g, h] = at.map(|at| {
            let word = packet.get(at..).and_then(<[u8]>::first_chunk::<8>).copied();
            u64::from_ne_bytes(word.unwrap_or_default())
        });
        let ends = u64::from(family) | u64::from(side) << 32;
        let plan = [first, STRIDE, mask, ends, a, b, c, d, e, f, g, h];
        let map = self.ebpf.map_mut("PLAN").context("no map PLAN")?;
        Array::<_, [u64; 12]>::try_from(map)?.set(0, plan, 0).context("write PLAN")
    }

    /// Nanoseconds of one run.
    fn time(&mut self, name: &str, packet: &[u8], runs: u32) -> Result<f64> {
        let program = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.repeat = runs;
        let result = match program {
            Program::Xdp(program) => program.test_run(options),
            Program::SchedClassifier(program) => program.test_run(options),
            other => bail!("{name}: cannot run {:?}", other.prog_type()),
        }
        .with_context(|| format!("run {name}"))?;
        ensure!(result.return_value != ABORTED, "{name} failed");
        // The kernel gives whole nanoseconds of one run.
        Ok(f64::from(u32::try_from(result.duration.as_nanos())?))
    }
}

fn step_of(case: Case) -> &'static str {
    match (case.hook, case.kind) {
        (Hook::Xdp, _) => "xdp_inbound",
        (Hook::Tcx, Kind::Restore) => "tc_outbound",
        (Hook::Tcx, _) => "tc_inbound",
    }
}
