//! Waiting until no packet can still see what was unpublished.

use anyhow::{Context, Result};
use aya::maps::{Array, ArrayOfMaps, MapData};

use super::worker::Worker;

/// A thread that waits for grace periods: each costs 8 to 16 ms, which no publication waits for
/// unless it needs what the period frees.
#[derive(Debug)]
pub struct Grace {
    worker: Worker<()>,
}

impl Grace {
    /// Starts the thread over the map that is stored into.
    ///
    /// # Errors
    ///
    /// If the map is of another kind or the kernel refuses.
    pub fn start(map: aya::maps::Map) -> Result<Self> {
        let mut outer: ArrayOfMaps<MapData, Array<MapData, u32>> =
            ArrayOfMaps::try_from(map).context("GRACE is no array of maps")?;
        let inner = Array::<MapData, u32>::create(1, 0).context("create a map")?;
        let worker = Worker::start("grace", "thread of grace periods", move |asked, finish| {
            while let Ok(()) = asked.recv() {
                // The kernel returns from this store only after `synchronize_rcu`, which every BPF
                // program that runs holds up.
                let stored = outer.set(0, &inner, 0).context("wait for a grace period");
                if finish.send(stored).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { worker })
    }

    /// Begins a grace period, if none is on.
    ///
    /// Returns whether one began.
    pub fn begin(&mut self) -> bool {
        self.worker.begin(())
    }

    /// Whether the period that began is over by now; once.
    ///
    /// # Errors
    ///
    /// If the kernel refused; nothing may be reused then.
    pub fn is_over(&mut self) -> Result<bool> {
        self.worker.is_over()
    }

    /// Waits for the period that began.
    ///
    /// # Errors
    ///
    /// If the kernel refused; nothing may be reused then.
    pub fn wait(&mut self) -> Result<()> {
        self.worker.wait()
    }
}
