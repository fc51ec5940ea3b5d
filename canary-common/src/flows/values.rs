//! What an entry holds beside its key.

use super::key::TAIL;
use super::{both, high, low};

/// What an entry holds beside its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Whose counters the connection moves.
    pub statistics: u16,
    /// Bits of [`Values::TIMED`] and the others.
    pub flags: u8,
    /// The backend's id.
    pub backend: u32,
    /// `Forward`, `Straight`: index of the interface the client's packets come by, 0 for the
    /// group of uplinks and tunnels.
    pub interface: u32,
    /// `Forward`: the source port the backend sees; `Return`: the client's own. Network order.
    pub port: [u8; 2],
    /// The frontend's id.
    pub frontend: u32,
    /// Place of the entry of the other direction.
    pub partner: u32,
    /// `Forward`: the second it began. `Return`: the tick of the open question, 0 for none.
    pub mark: u32,
}

impl Values {
    /// Times are taken: the split has histograms.
    pub const TIMED: u8 = 1;
    /// The client's source port is translated.
    pub const TRANSLATED: u8 = 1 << 1;
    /// The client dialled the backend itself: only its port is translated.
    pub const DIRECT: u8 = 1 << 2;
    /// Datagrams of a service whose datagrams follow its weights.
    pub const FOLLOWS: u8 = 1 << 3;
    /// `Forward` and `Return`: the backend is elsewhere and sees this node's address for a client
    /// outside. The client's own address and port are in the key of the `Return`'s partner.
    // The bit of `PASSES`: no kind has both.
    pub const MASKED: u8 = 1 << 4;
    /// `Forward` and `Return`, beside [`Values::MASKED`]: the client's packets go to the backend as
    /// they are, within packets of this node's, and its answers go past this node.
    // The bit of `RESTORES`: no kind has both.
    pub const WRAPPED: u8 = 1 << 5;
    /// Flags of connections that no split's counters know: of those another node counts as well.
    pub const UNCOUNTED: u8 = Self::DIRECT | Self::WRAPPED;
    /// `Fragment`: its datagram is sent on past the node's stack; with [`Values::PASSES`] within
    /// packets of this node's.
    // The bit of `FOLLOWS`: no kind has both.
    pub const AWAY: u8 = 1 << 3;
    /// `Fragment`: its datagram passes as it is.
    pub const PASSES: u8 = 1 << 4;
    /// `Fragment`: of an answer, whose source is replaced.
    pub const RESTORES: u8 = 1 << 5;
    /// `Fragment`: its datagram goes back to the pod that sent it.
    pub const TURNS: u8 = 1 << 6;
    /// It is in its second choice.
    pub const SPILLED: u8 = 1 << 7;

    /// The last four words of a body; the key's part of the first is `tail`.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self, tail: u64) -> [u64; 4] {
        let [a, b] = self.statistics.to_ne_bytes();
        let rest = u64::from_ne_bytes([0, 0, 0, 0, 0, a, b, self.flags]);
        let [c, d] = self.port;
        [
            tail & TAIL | rest,
            both(self.backend, self.interface),
            both(u32::from_ne_bytes([c, d, 0, 0]), self.frontend),
            both(self.partner, self.mark),
        ]
    }

    /// What the last four words of a body say.
    #[inline(always)]
    #[must_use]
    pub const fn of([first, second, third, fourth]: [u64; 4]) -> Self {
        let [.., a, b, flags] = first.to_ne_bytes();
        let [c, d, ..] = low(third).to_ne_bytes();
        Self {
            statistics: u16::from_ne_bytes([a, b]),
            flags,
            backend: low(second),
            interface: high(second),
            port: [c, d],
            frontend: high(third),
            partner: low(fourth),
            mark: high(fourth),
        }
    }

    /// Whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}
