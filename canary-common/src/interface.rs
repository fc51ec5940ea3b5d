//! What the programs know of an interface: a row of `INTERFACES`, by index.

use crate::layout::assert_map_type;
use crate::word::Word;

/// An interface we are attached to.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Interface {
    /// Bits of [`Interface::YOUNG`] and the others.
    pub flags: Word<u32>,
    /// The bridge that it is a port of; 0 for none.
    pub bridge: Word<u32>,
    /// The hardware address that frames for this node bear: the bridge's, where it is a port of
    /// one, else its own. The first four bytes, then the other two and two of 0, in memory order.
    pub mac: [Word<u32>; 2],
}

assert_map_type!(Interface {
    flags: Word<u32>, bridge: Word<u32>, mac: [Word<u32>; 2],
} is 16 bytes);

impl Interface {
    /// Conntrack has not been read since we are attached: connections that are not known are
    /// older than we are, and the source port of a new one is always translated.
    pub const YOUNG: u32 = 1;
    /// There is no conntrack to read, and we have not been attached for long: as with
    /// [`Interface::YOUNG`], source ports are translated while any are free. But nobody translates
    /// addresses without conntrack, so a connection that is not known is one of ours that was lost.
    pub const BLIND: u32 = 1 << 1;
    /// Its clients hold half of the places of `FLOWS` with what nothing pushes out: it gets no more.
    pub const CROWDED: u32 = 1 << 2;
    /// It is a pod's: what comes by it is believed only where its route leads back.
    pub const POD: u32 = 1 << 3;

    /// Whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, flag: u32) -> bool {
        self.flags.load() & flag != 0
    }

    /// Whether a frame to this hardware address is for this node.
    #[inline(always)]
    #[must_use]
    pub fn is_own(&self, [a, b, c, d, e, f]: [u8; 6]) -> bool {
        let [first, second] = &self.mac;
        first.load() == u32::from_ne_bytes([a, b, c, d])
            && second.load() == u32::from_ne_bytes([e, f, 0, 0])
    }
}
