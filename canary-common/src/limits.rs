//! Every limit, with its unit and what it costs; the agent's settings can change most of them.

/// Splits of one service after merging. The record is 384 bytes for this.
pub const MAX_SPLITS: usize = 16;
/// Services. A record of 384 bytes each, twice; a label of 256 bytes each.
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
/// Buckets of `FLOWS`, 512 bytes and seven places each, unless the agent sizes it by the machine's
/// memory; a connection takes two places.
pub const DEFAULT_FLOW_BUCKETS: u32 = 16_384;
/// Bytes of the ring of events, of 88 each with its head: room for those of a burst.
pub const EVENTS_BYTES: u32 = 1 << 18;
/// Connect-time picks that come along from an earlier layout: memory is taken for those there are.
pub const MAX_BROUGHT: u32 = 16_384;
/// Connected sockets of datagrams that are known by their cookie, 80 bytes each.
pub const MAX_PEERS: u32 = 16_384;
/// Network namespaces whose sockets are served: memory is taken for those there are.
pub const MAX_NAMESPACES: u32 = 4_096;
/// Loopback addresses of services in all scopes: memory is taken for those there are.
pub const MAX_LOCALS: u32 = 4_096;
/// Cgroups whose sockets are left out.
pub const MAX_EXCEPTED: u32 = 64;
/// Levels of cgroups below the root at which such a one is looked for.
pub const MAX_CGROUP_LEVELS: i32 = 16;
/// Interfaces that are watched.
pub const MAX_INTERFACES: u32 = 4_096;

/// Seconds an unanswered flow lives.
pub const OPENING_IDLE: u32 = 60;
/// Seconds an established TCP flow lives without a packet: 2 h 11 min, more than the
/// two hours after which TCP keep-alive speaks.
pub const ESTABLISHED_IDLE: u32 = 7_860;
/// Seconds a flow whose both ends sent FIN is still translated: as long as conntrack would.
pub const CLOSED_IDLE: u32 = 120;
/// Seconds a flow is still translated that an end has reset.
pub const RESET_IDLE: u32 = 10;
/// Seconds an answered UDP flow lives without a packet that has not lived for [`UDP_LASTS`].
pub const UDP_EXCHANGE_IDLE: u32 = 30;
/// Seconds an answered UDP flow lives without a packet that has.
pub const UDP_STREAM_IDLE: u32 = 180;
/// Seconds after which a UDP flow is a stream.
pub const UDP_LASTS: u32 = 2;
/// Seconds after which a SYN may start a flow anew although an old one is there.
pub const SYN_REUSE_IDLE: u32 = 60;
/// Seconds for which the source port of a closed connection is rather not used again towards the
/// same backend: it may be in `TIME_WAIT` there.
pub const PORT_REUSE_IDLE: u32 = 60;
/// Seconds after which a `return` whose `forward` is not there counts as free: an insert is under
/// way before.
pub const ORPHAN_IDLE: u32 = 2;
/// Seconds for which the fragments of a datagram are known by its first; the kernel gives up
/// reassembly after 30 s (IPv4) and 60 s (IPv6), and the 16 bits of an IPv4 id come again sooner.
pub const FRAGMENT_IDLE: u32 = 15;
/// IPv6 extension headers that are walked.
pub const MAX_EXTENSIONS: usize = 6;
/// Bytes of IPv6 extension headers that are walked.
pub const MAX_EXTENSIONS_LEN: usize = 256;
/// Source ports that are tried for a connection whose own is taken.
pub const PORT_TRIES: u64 = 16;
/// Seconds for which an interface is [`crate::interface::Interface::BLIND`] without conntrack.
pub const BLIND_INTERFACE: u32 = 600;
/// First of the source ports for connections whose own is taken.
pub const FIRST_PORT: u16 = 61_000;
/// The last of them.
pub const LAST_PORT: u16 = 65_535;
/// Resets and ICMP errors a CPU sends in a second at most.
pub const REPLIES_PER_SECOND: u32 = 10_000;
