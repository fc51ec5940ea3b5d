//! What the agent tells the programs once: the only row of `SETTINGS`.

use crate::endpoint::{Address, Version};
use crate::flows::Seed;
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
    /// Seed of `FLOWS`: random at creation, never shown.
    pub flow_seed: Word<u64>,
    /// Buckets of `FLOWS`.
    pub flow_buckets: Word<u32>,
    /// Buckets of `ENDPOINTS` minus one.
    pub bucket_mask: Word<u32>,
    /// Idle limits in seconds, by [`Idle`].
    pub idle: [Word<u32>; 6],
    /// 1 if the kernel's checksum helper knows `BPF_F_IPV6` (Linux 6.16), else 0.
    pub ipv6_checksums: Word<u32>,
    /// First of the source ports for connections whose own is taken.
    pub first_port: Word<u32>,
    /// How many of these there are; 0: no port is ever translated.
    pub ports: Word<u32>,
    /// Random at each boot: what we send back by an interface bears it.
    pub sent_back: Word<u32>,
    /// Bits of the kinds of events that somebody observes; 0: nobody does.
    pub observed: Word<u32>,
    /// Of how many new connections one is told; 0 and 1: every one.
    pub sample: Word<u32>,
    /// The node's own address of IPv4, in memory order: by it a socket is drawn for that has none.
    pub node_v4: Word<u32>,
    /// The node's own address from which backends elsewhere are asked for clients outside, in
    /// memory order; 0 for none.
    pub source_v4: Word<u32>,
    /// As `node_v4` of IPv6, as words in memory order.
    pub node_v6: [Word<u64>; 2],
    /// As `source_v4` of IPv6. The first word is written last, and 0 for none.
    pub source_v6: [Word<u32>; 4],
    /// Bits of [`Settings::ALL`] and the others: whose sockets are served, and what is asked for it.
    pub sockets: Word<u32>,
    /// [`Settings::WRAPS`] or 0: how backends elsewhere are asked for clients outside.
    pub outside: Word<u32>,
    /// Always 0.
    pub reserved: [u32; 4],
}

assert_map_type!(Settings {
    seed: Word<u64>, seconds_per_jiffy: Word<u64>, netns: Word<u64>, revision: Word<u64>,
    flow_seed: Word<u64>, flow_buckets: Word<u32>, bucket_mask: Word<u32>,
    idle: [Word<u32>; 6], ipv6_checksums: Word<u32>, first_port: Word<u32>, ports: Word<u32>,
    sent_back: Word<u32>, observed: Word<u32>, sample: Word<u32>, node_v4: Word<u32>,
    source_v4: Word<u32>, node_v6: [Word<u64>; 2], source_v6: [Word<u32>; 4],
    sockets: Word<u32>, outside: Word<u32>, reserved: [u32; 4],
} is 160 bytes);

/// A state of a flow with an idle limit of its own: an index of [`Settings::idle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Not answered.
    Opening = 0,
    /// TCP that goes on.
    Established = 1,
    /// Both ends sent FIN.
    Closed = 2,
    /// One end sent RST.
    Reset = 3,
    /// UDP that has not lived for two seconds.
    Exchange = 4,
    /// UDP that has.
    Stream = 5,
}

impl Settings {
    /// Sockets of the namespaces in `NAMESPACES` are served too.
    pub const ALL: u32 = 1;
    /// There is something in `LOCALS`.
    pub const LOCALS: u32 = 1 << 1;
    /// There is something in `EXCEPTED`.
    pub const EXCEPTED: u32 = 1 << 2;

    /// Clients' packets go to backends elsewhere within packets of this node's, as they are.
    pub const WRAPS: u32 = 1;

    /// Tells whether backends elsewhere see a client outside itself, and answer it past this node.
    #[inline(always)]
    #[must_use]
    pub fn wraps(&self) -> bool {
        self.outside.load() & Self::WRAPS != 0
    }

    /// The limit of a state, in seconds.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
    pub fn idle(&self, state: Idle) -> u32 {
        self.idle.get(state as usize).map_or(0, Word::load)
    }

    /// The node's own address from which backends elsewhere are asked, if there is one.
    #[inline(always)]
    #[must_use]
    pub fn source(&self, version: Version) -> Option<Address> {
        match version {
            Version::V4 => {
                let word = self.source_v4.load();
                (word != 0).then(|| Address::v4(word.to_ne_bytes()))
            }
            Version::V6 => {
                let [a, b, c, d] = self.source_v6.each_ref().map(Word::load);
                let words = [pair(a, b), pair(c, d)];
                (a != 0).then(|| Address::of_words(words))
            }
        }
    }

    /// Whether a port is one of those that source ports are translated to.
    #[inline(always)]
    #[must_use]
    pub fn is_source_port(&self, port: [u8; 2]) -> bool {
        let port = u32::from(u16::from_be_bytes(port));
        port.wrapping_sub(self.first_port.load()) < self.ports.load()
    }

    /// How `FLOWS` is hashed.
    #[inline(always)]
    #[must_use]
    pub fn flows(&self) -> Seed {
        Seed { seed: self.flow_seed.load(), buckets: self.flow_buckets.load() }
    }
}

/// Two words of 32 bits as one of 64, in memory order.
#[inline(always)]
const fn pair(a: u32, b: u32) -> u64 {
    match [a.to_ne_bytes(), b.to_ne_bytes()].as_flattened().first_chunk() {
        Some(bytes) => u64::from_ne_bytes(*bytes),
        None => 0,
    }
}
