//! Flows: which backend a client's 5-tuple goes to, and how far it got.

use core::fmt::Debug;
use core::hash::Hash;

use crate::backend::low_half;
use crate::endpoint::{Address, TCP};
use crate::layout::assert_map_type;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::segment::Segment;
use crate::settings::Settings;
use crate::word::Word;

/// IPv4 or IPv6: what differs between them, for steps that are written once.
pub trait Family: Copy + Debug {
    /// An address on the wire.
    type Bytes: Copy + Debug + Eq + Hash + Ord;

    /// The wire form of an address that is known to be of this family.
    fn bytes(address: Address) -> Self::Bytes;

    /// Reads a packet of this family whose IP header is at `l3_at`.
    ///
    /// # Errors
    ///
    /// The [`Reason`] why it cannot be served.
    fn segment<P: Packet + ?Sized>(packet: &P, l3_at: usize) -> Result<Segment, Reason>;
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct V4;

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub struct V6;

impl Family for V4 {
    type Bytes = [u8; 4];

    #[inline(always)]
    fn bytes(address: Address) -> [u8; 4] {
        address.0.last_chunk().copied().unwrap_or_default()
    }

    #[inline(always)]
    fn segment<P: Packet + ?Sized>(packet: &P, l3_at: usize) -> Result<Segment, Reason> {
        Segment::read_v4(packet, l3_at)
    }
}

impl Family for V6 {
    type Bytes = [u8; 16];

    #[inline(always)]
    fn bytes(address: Address) -> [u8; 16] {
        address.0
    }

    #[inline(always)]
    fn segment<P: Packet + ?Sized>(packet: &P, l3_at: usize) -> Result<Segment, Reason> {
        Segment::read_v6(packet, l3_at)
    }
}

/// A flow as its client sees it: key of `OPENING`, `FLOWS` and `FOREIGN`.
///
/// `B` is the family's address form, so there are no holes. The frontend's generation keeps
/// flows of an earlier owner of its id apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct FlowKey<B> {
    /// Client's address, network order.
    pub client: B,
    /// Frontend's id, or, in `RETURNS`, the backend's.
    pub peer: u32,
    /// Client's port, network order.
    pub port: [u8; 2],
    /// Generation of the frontend, or of the backend in `RETURNS`.
    pub generation: u16,
}

/// A flow key of IPv4.
pub type FlowKey4 = FlowKey<[u8; 4]>;
/// A flow key of IPv6.
pub type FlowKey6 = FlowKey<[u8; 16]>;

assert_map_type!(FlowKey4 { client: [u8; 4], peer: u32, port: [u8; 2], generation: u16 } is 12 bytes);
assert_map_type!(FlowKey6 { client: [u8; 16], peer: u32, port: [u8; 2], generation: u16 } is 24 bytes);

/// What is known of a flow: value of `OPENING` and `FLOWS`.
///
/// The table recycles entries under a writer's hands, so each field is one word that is stored
/// whole, and a stray store costs another flow at worst one packet's worth of bookkeeping.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Flow {
    /// The backend's id. Never changes.
    pub backend: Word<u32>,
    /// The backend's generation (high half) and the statistics id (low half). Never changes.
    pub owner: Word<u32>,
    /// Bits of [`Marks`].
    pub marks: Word<u32>,
    /// Second of the client's last packet.
    pub client_seen: Word<u32>,
    /// Second of the backend's last packet.
    pub server_seen: Word<u32>,
    /// Tick of the open question's last payload; 0: none is open. Before the answer to a SYN:
    /// the tick of the SYN.
    pub asked: Word<u32>,
}

assert_map_type!(Flow {
    backend: Word<u32>, owner: Word<u32>, marks: Word<u32>,
    client_seen: Word<u32>, server_seen: Word<u32>, asked: Word<u32>,
} is 24 bytes);

/// What happened in a flow, as bits of its `marks` word. Bits are only ever added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks(pub u32);

impl Marks {
    /// The client sent payload.
    pub const CLIENT_PAYLOAD: u32 = 1;
    /// The client sent FIN.
    pub const CLIENT_FIN: u32 = 1 << 1;
    /// The client sent RST.
    pub const CLIENT_RST: u32 = 1 << 2;
    /// The backend answered: SYN-ACK, or any UDP.
    pub const ANSWERED: u32 = 1 << 8;
    /// The backend sent payload.
    pub const SERVER_PAYLOAD: u32 = 1 << 9;
    /// The backend sent FIN.
    pub const SERVER_FIN: u32 = 1 << 10;
    /// The backend sent RST.
    pub const SERVER_RST: u32 = 1 << 11;
    /// The backend's first payload came after the client's FIN.
    pub const LATE: u32 = 1 << 12;
    /// It is TCP.
    pub const TCP: u32 = 1 << 16;
    /// It was counted as unanswered.
    pub const JUDGED: u32 = 1 << 17;

    /// Both ends are done with it, or one gave it up.
    #[inline(always)]
    #[must_use]
    pub const fn ended(self) -> bool {
        let fins = Self::CLIENT_FIN | Self::SERVER_FIN;
        self.0 & (Self::CLIENT_RST | Self::SERVER_RST) != 0 || self.0 & fins == fins
    }

    /// Whether a bit is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

impl Flow {
    /// A new flow.
    #[must_use]
    #[inline(always)]
    pub fn start(
        backend: u32,
        generation: u16,
        statistics: u16,
        protocol: u8,
        now: u32,
        tick: u32,
    ) -> Self {
        let [a, b] = generation.to_be_bytes();
        let [c, d] = statistics.to_be_bytes();
        Self {
            backend: Word::new(backend),
            owner: Word::new(u32::from_be_bytes([a, b, c, d])),
            marks: Word::new(if protocol == TCP { Marks::TCP } else { 0 }),
            client_seen: Word::new(now),
            server_seen: Word::new(0),
            asked: Word::new(tick),
        }
    }

    /// Its backend's id.
    #[inline(always)]
    #[must_use]
    pub fn backend(&self) -> u32 {
        self.backend.load()
    }

    /// Its backend's generation.
    #[inline(always)]
    #[must_use]
    pub fn generation(&self) -> u16 {
        let [a, b, _, _] = self.owner.load().to_be_bytes();
        u16::from_be_bytes([a, b])
    }

    /// Whose counters it moves.
    #[inline(always)]
    #[must_use]
    pub fn statistics(&self) -> u16 {
        low_half(self.owner.load())
    }

    /// What happened in it.
    #[inline(always)]
    #[must_use]
    pub fn marks(&self) -> Marks {
        Marks(self.marks.load())
    }

    /// Second of the last packet either way.
    #[inline(always)]
    #[must_use]
    pub fn last_seen(&self) -> u32 {
        let client = self.client_seen.load();
        let server = self.server_seen.load();
        if client > server { client } else { server }
    }

    /// Notes a packet of the client; stores only when the second is another.
    #[inline(always)]
    pub fn client_was_seen(&self, now: u32) {
        if self.client_seen.load() != now {
            self.client_seen.store(now);
        }
    }

    /// Notes a packet of the backend; stores only when the second is another.
    #[inline(always)]
    pub fn server_was_seen(&self, now: u32) {
        if self.server_seen.load() != now {
            self.server_seen.store(now);
        }
    }

    /// Whether it has been idle for longer than its state allows.
    #[inline(always)]
    #[must_use]
    pub fn expired(&self, settings: &Settings, now: u32) -> bool {
        let marks = self.marks();
        let [opening, established, closing, answered_udp] = &settings.idle;
        let limit = if marks.ended() {
            closing
        } else if !marks.has(Marks::ANSWERED) {
            opening
        } else if marks.has(Marks::TCP) {
            established
        } else {
            answered_udp
        };
        self.idle(now) > limit.load()
    }

    /// Seconds since the last packet.
    #[inline(always)]
    #[must_use]
    pub fn idle(&self, now: u32) -> u32 {
        now.saturating_sub(self.last_seen())
    }

    /// A copy of it as it is.
    #[inline(always)]
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = |word: &Word<u32>| Word::new(word.load());
        Self {
            backend: copy(&self.backend),
            owner: copy(&self.owner),
            marks: copy(&self.marks),
            client_seen: copy(&self.client_seen),
            server_seen: copy(&self.server_seen),
            asked: copy(&self.asked),
        }
    }
}

/// A [`Flow`] as the agent reads it: a copy, word by word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct FlowWords(pub [u32; 6]);

const _: () = assert!(size_of::<FlowWords>() == size_of::<Flow>(), "the same row");

impl From<FlowWords> for Flow {
    fn from(
        FlowWords([backend, owner, marks, client_seen, server_seen, asked]): FlowWords,
    ) -> Self {
        Self {
            backend: Word::new(backend),
            owner: Word::new(owner),
            marks: Word::new(marks),
            client_seen: Word::new(client_seen),
            server_seen: Word::new(server_seen),
            asked: Word::new(asked),
        }
    }
}

/// A pick at connect time: value of `SOCKETS`, by socket cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SocketPick {
    /// The frontend the program connected to.
    pub frontend: u32,
    /// The frontend's generation; 16 bits.
    pub frontend_generation: u32,
    /// The backend it was sent to.
    pub backend: u32,
    /// Whose counters moved.
    pub statistics: u32,
}

assert_map_type!(SocketPick {
    frontend: u32, frontend_generation: u32, backend: u32, statistics: u32,
} is 16 bytes);
