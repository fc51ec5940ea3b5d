//! Walks the flow tables: ends flows that went idle, and tells which backends still have some.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use canary_common::flow::{Flow, FlowKey, FlowWords, Marks};
use canary_common::settings::Settings;
use canary_common::stats::SplitRow;

use super::load::take;
use super::mapped::Mapped;
use super::node;

/// Time between two walks through the half-open flows.
const OPENING_EVERY: Duration = Duration::from_secs(2);
/// Walks through the half-open flows for each through the others, unless somebody leaves.
const OTHERS_EVERY: u32 = 15;

/// What one walk through all flows found alive.
#[derive(Clone, Debug, Default)]
pub struct Alive {
    /// Flows by backend (id and generation).
    pub backends: BTreeMap<(u32, u16), u64>,
    /// Flows by frontend (id and generation).
    pub frontends: BTreeMap<(u32, u16), u64>,
    /// Flows by backend and statistics id.
    pub splits: BTreeMap<(u32, u16), u64>,
    /// Entries by table, those that are over included.
    pub tables: BTreeMap<&'static str, usize>,
}

/// Tables and settings of the thread that walks.
struct Walker {
    opening4: HashMap<MapData, FlowKey<[u8; 4]>, FlowWords>,
    opening6: HashMap<MapData, FlowKey<[u8; 16]>, FlowWords>,
    flows4: HashMap<MapData, FlowKey<[u8; 4]>, FlowWords>,
    flows6: HashMap<MapData, FlowKey<[u8; 16]>, FlowWords>,
    splits: Mapped<SplitRow>,
    settings: Settings,
    hertz: u64,
}

/// The thread that walks, from outside.
#[derive(Debug)]
pub struct Sweep {
    ask: Sender<()>,
    latest: Arc<Mutex<Option<Alive>>>,
}

impl Sweep {
    /// Starts the thread over the flow tables of the object.
    ///
    /// # Errors
    ///
    /// If a table is missing or of another shape.
    pub fn start(
        ebpf: &mut Ebpf,
        splits: Mapped<SplitRow>,
        settings: Settings,
        hertz: u64,
    ) -> Result<Self> {
        let walker = Walker {
            opening4: HashMap::try_from(take(ebpf, "OPENING4")?).context("OPENING4")?,
            opening6: HashMap::try_from(take(ebpf, "OPENING6")?).context("OPENING6")?,
            flows4: HashMap::try_from(take(ebpf, "FLOWS4")?).context("FLOWS4")?,
            flows6: HashMap::try_from(take(ebpf, "FLOWS6")?).context("FLOWS6")?,
            splits,
            settings,
            hertz,
        };
        let (ask, asked) = channel();
        let latest = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&latest);
        thread::Builder::new()
            .name("sweep".to_owned())
            .spawn(move || walker.run(&asked, &shared))
            .context("start the thread that sweeps flows")?;
        Ok(Self { ask, latest })
    }

    /// Asks for a walk through all flows at once.
    pub fn hurry(&self) {
        // The thread ends with the process only.
        _ = self.ask.send(());
    }

    /// What the last walk found, once.
    #[must_use]
    pub fn take(&self) -> Option<Alive> {
        self.latest.lock().ok()?.take()
    }
}

impl Walker {
    fn run(mut self, asked: &Receiver<()>, latest: &Mutex<Option<Alive>>) {
        let mut until_others = 0_u32;
        loop {
            let hurried = match asked.recv_timeout(OPENING_EVERY) {
                Ok(()) => true,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => false,
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
            };
            while asked.try_recv().is_ok() {}
            let all = hurried || until_others == 0;
            until_others = if all { OTHERS_EVERY } else { until_others.saturating_sub(1) };
            match self.walk(all) {
                Ok(alive) if all => {
                    if let Ok(mut latest) = latest.lock() {
                        *latest = Some(alive);
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!("sweep flows: {error:#}"),
            }
        }
    }

    fn walk(&mut self, all: bool) -> Result<Alive> {
        let now = node::now(self.hertz)?;
        let mut alive = Alive::default();
        let row = Row { splits: &self.splits, settings: &self.settings, now };
        let opening4 = sweep(&mut self.opening4, &row, &mut alive)?;
        let opening6 = sweep(&mut self.opening6, &row, &mut alive)?;
        if all {
            let flows4 = sweep(&mut self.flows4, &row, &mut alive)?;
            let flows6 = sweep(&mut self.flows6, &row, &mut alive)?;
            alive.tables = BTreeMap::from([
                ("OPENING4", opening4),
                ("OPENING6", opening6),
                ("FLOWS4", flows4),
                ("FLOWS6", flows6),
            ]);
        }
        Ok(alive)
    }
}

/// What a walk needs beside the table.
struct Row<'a> {
    splits: &'a Mapped<SplitRow>,
    settings: &'a Settings,
    now: u32,
}

/// Walks one table; how many entries it has.
fn sweep<B: Copy + 'static>(
    table: &mut HashMap<MapData, FlowKey<B>, FlowWords>,
    row: &Row<'_>,
    alive: &mut Alive,
) -> Result<usize> {
    let mut over = Vec::new();
    let mut entries = 0_usize;
    for entry in table.iter() {
        // An entry that was recycled during the walk is met again, or is new: the next walk's.
        let Ok((key, words)) = entry else { continue };
        entries = entries.saturating_add(1);
        let flow = Flow::from(words);
        if flow.expired(row.settings, row.now) {
            over.push((key, flow));
            continue;
        }
        if flow.marks().ended() {
            continue;
        }
        count(&mut alive.backends, (flow.backend(), flow.generation()));
        count(&mut alive.frontends, (key.peer, key.generation));
        count(&mut alive.splits, (flow.backend(), flow.statistics()));
    }
    for (key, flow) in over {
        // A packet may have revived it since; then the kernel has stored another second.
        let Ok(words) = table.get(&key, 0) else { continue };
        if !Flow::from(words).expired(row.settings, row.now) || table.remove(&key).is_err() {
            continue;
        }
        end(row.splits, &flow)?;
    }
    Ok(entries)
}

fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

/// Counts the end of a flow that no packet ended.
fn end(splits: &Mapped<SplitRow>, flow: &Flow) -> Result<()> {
    let marks = flow.marks();
    if marks.ended() {
        return Ok(());
    }
    let field = match (marks.has(Marks::ANSWERED), marks.has(Marks::TCP)) {
        (true, _) => offset_of!(SplitRow, expired),
        (false, true) => offset_of!(SplitRow, timed_out),
        (false, false) => return Ok(()),
    };
    let row = u32::from(flow.statistics());
    let count = splits.load_wide(row, field)?;
    splits.store_wide(row, field, count.saturating_add(1))
}
