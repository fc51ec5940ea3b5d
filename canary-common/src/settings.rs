//! What the agent tells the programs once: the only row of `SETTINGS`.

use crate::layout::assert_map_type;
use crate::word::Word;

/// Settings of this node's datapath, and the agent's own few words that must survive it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Settings {
    /// Seed of the flow hash: the same on every node of a cluster.
    pub seed: Word<u64>,
    /// 2^32 / HZ: jiffies times this, shifted right by 32, are seconds.
    pub seconds_per_jiffy: Word<u64>,
    /// Cookie of the agent's network namespace; sockets of others are left alone.
    pub netns: Word<u64>,
    /// Revision in force.
    pub revision: Word<u64>,
    /// Buckets of `ENDPOINTS` minus one.
    pub bucket_mask: Word<u32>,
    /// Idle limits in seconds: half-open, established TCP, ended, answered UDP.
    pub idle: [Word<u32>; 4],
    /// 1 if the kernel's checksum helper knows `BPF_F_IPV6` (Linux 6.16), else 0.
    pub ipv6_checksums: Word<u32>,
    /// Always 0.
    pub reserved: [u32; 2],
}

assert_map_type!(Settings {
    seed: Word<u64>, seconds_per_jiffy: Word<u64>, netns: Word<u64>, revision: Word<u64>,
    bucket_mask: Word<u32>, idle: [Word<u32>; 4], ipv6_checksums: Word<u32>,
    reserved: [u32; 2],
} is 64 bytes);
