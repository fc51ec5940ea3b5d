//! Every limit, with its unit and what it costs; the agent's settings can change most of them.

/// Splits of one service after merging. The record is 256 bytes for this.
pub const MAX_SPLITS: usize = 16;
/// Services. A record of 256 bytes each, twice; a label of 256 bytes each.
pub const MAX_SERVICES: u32 = 16_384;
/// Frontends, 32 bytes each.
pub const MAX_FRONTENDS: u32 = 65_536;
/// Backends, 32 bytes each.
pub const MAX_BACKENDS: u32 = 131_072;
/// Buckets of the directory of endpoints: 64 bytes and two entries each. A power of two.
pub const MAX_BUCKETS: u32 = 131_072;
/// Endpoints whose two buckets were full.
pub const MAX_OVERFLOW: u32 = 4_096;
/// Maglev slots, 4 bytes each.
pub const MAX_SLOTS: u32 = 1 << 22;
/// Splits with counters: 96 bytes for each possible CPU, and a label of 512 bytes.
pub const MAX_STATISTICS: u32 = 4_096;
/// Splits with histograms: 1,984 bytes for each possible CPU.
pub const MAX_HISTOGRAMS: u32 = 512;
/// Flows a family unless the agent sizes it by the machine's memory.
pub const DEFAULT_FLOWS: u32 = 65_536;
/// Half-open flows are kept apart, in a table this many times smaller.
pub const OPENING_PART: u32 = 8;
/// Flows that somebody else translates, a family.
pub const MAX_FOREIGN: u32 = 65_536;
/// Connect-time picks that are remembered.
pub const MAX_SOCKETS: u32 = 65_536;
/// Interfaces that are watched.
pub const MAX_INTERFACES: u32 = 4_096;

/// Seconds an unanswered flow lives.
pub const OPENING_IDLE: u32 = 60;
/// Seconds an established TCP flow lives without a packet: 2 h 11 min, more than the
/// two hours after which TCP keep-alive speaks.
pub const ESTABLISHED_IDLE: u32 = 7_860;
/// Seconds a flow whose both ends are done is still translated.
pub const CLOSING_IDLE: u32 = 10;
/// Seconds an answered UDP flow lives without a packet.
pub const ANSWERED_UDP_IDLE: u32 = 180;
/// Seconds after which a SYN may start a flow anew although an old one is there.
pub const SYN_REUSE_IDLE: u32 = 60;
/// Seconds for which unknown connections of an interface new to us are taken for older than us.
pub const YOUNG_INTERFACE: u32 = 60;
/// Resets and ICMP errors a CPU sends in a second at most.
pub const REPLIES_PER_SECOND: u32 = 10_000;
