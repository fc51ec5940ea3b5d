//! What the agent tells the programs once: the only row of `SETTINGS`.

use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::layout::assert_map_type;

/// Settings of this node's datapath, and the agent's own few words that must survive it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Settings {
    /// Seed of the flow hash: the same on every node of a cluster.
    pub seed: AtomicU64,
    /// 2^32 / HZ: jiffies times this, shifted right by 32, are seconds.
    pub seconds_per_jiffy: AtomicU64,
    /// Cookie of the agent's network namespace; sockets of others are left alone.
    pub netns: AtomicU64,
    /// Revision in force.
    pub revision: AtomicU64,
    /// Buckets of `ENDPOINTS` minus one.
    pub bucket_mask: AtomicU32,
    /// Idle limits in seconds: half-open, established TCP, ended, answered UDP.
    pub idle: [AtomicU32; 4],
    /// Always 0.
    pub reserved: [u32; 3],
}

assert_map_type!(Settings {
    seed: AtomicU64, seconds_per_jiffy: AtomicU64, netns: AtomicU64, revision: AtomicU64,
    bucket_mask: AtomicU32, idle: [AtomicU32; 4], reserved: [u32; 3],
} is 64 bytes);
