//! A packet, as far as every step needs to know it.

use canary_common::addresses;
use canary_common::endpoint::Version;
use canary_common::route::Origin;
use canary_common::wire::ethernet;

use crate::maps;

/// What a step needs to know of a packet, as bits of a number.
#[derive(Clone, Copy)]
pub(crate) struct About(u32);

impl About {
    const IS_V6: u32 = 1;
    const HAS_L2: u32 = 1 << 1;
    const IS_POD: u32 = 1 << 2;
    /// It is the first fragment of its datagram.
    const IS_FIRST: u32 = 1 << 3;
    /// Its sender cannot be told anything.
    const IS_MUTE: u32 = 1 << 4;
    /// It is on its way out.
    const IS_OUT: u32 = 1 << 5;
    /// It is behind a hook in the driver.
    const IS_BEHIND: u32 = 1 << 6;
    /// It is still the driver's.
    const IS_FRAME: u32 = 1 << 7;
    /// It came within a packet of another node.
    const IS_ARRIVED: u32 = 1 << 8;
    /// The bits of `ADDRESSES` follow.
    const BITS: u32 = 9;

    #[inline(always)]
    pub(crate) fn new(version: Version, l2: usize, origin: Origin, bits: u64) -> Self {
        let v6 = if version == Version::V6 { Self::IS_V6 } else { 0 };
        let has_l2 = if l2 == 0 { 0 } else { Self::HAS_L2 };
        let origin = match origin {
            Origin::Pod => Self::IS_POD,
            Origin::Net => 0,
            Origin::Behind => Self::IS_BEHIND,
        };
        Self(v6 | has_l2 | origin | maps::low(bits) << Self::BITS)
    }

    /// The same of a packet on its way out.
    #[inline(always)]
    pub(crate) const fn out(self) -> Self {
        Self(self.0 | Self::IS_OUT)
    }

    /// The same of a packet that is still the driver's.
    #[inline(always)]
    pub(crate) const fn in_driver(self) -> Self {
        Self(self.0 | Self::IS_FRAME)
    }

    /// The same of a segment behind headers that were walked.
    #[inline(always)]
    pub(crate) const fn walked(self, is_first: bool, is_mute: bool) -> Self {
        let first = if is_first { Self::IS_FIRST } else { 0 };
        let mute = if is_mute { Self::IS_MUTE } else { 0 };
        Self(self.0 | first | mute)
    }

    /// The same of what came within it, which is for a frontend.
    #[inline(always)]
    pub(crate) fn arrived(self) -> Self {
        let kept = self.0 & (Self::IS_V6 | Self::HAS_L2);
        Self(kept | Self::IS_ARRIVED | maps::low(addresses::FRONTEND) << Self::BITS)
    }

    #[inline(always)]
    pub(crate) const fn is_arrived(self) -> bool {
        self.0 & Self::IS_ARRIVED != 0
    }

    /// Tells whether it came within another, or may be around one, behind a hook in the driver: no
    /// other to a backend is looked at there.
    #[inline(always)]
    pub(crate) fn is_within(self) -> bool {
        self.is_arrived() || self.bits() & addresses::BACKEND != 0
    }

    /// The packet that this word, of the scratch row, is about.
    #[inline(always)]
    pub(crate) const fn of_word(word: u32) -> Self {
        Self(word)
    }

    /// As one word.
    #[inline(always)]
    pub(crate) const fn to_word(self) -> u32 {
        self.0
    }

    /// The bits of its address in `ADDRESSES`.
    #[inline(always)]
    pub(crate) fn bits(self) -> u64 {
        u64::from(self.0 >> Self::BITS)
    }

    #[inline(always)]
    pub(crate) fn is_to_frontend(self) -> bool {
        self.bits() & addresses::FRONTEND != 0
    }

    #[inline(always)]
    pub(crate) const fn is_mute(self) -> bool {
        self.0 & Self::IS_MUTE != 0
    }

    #[inline(always)]
    pub(crate) const fn is_first(self) -> bool {
        self.0 & Self::IS_FIRST != 0
    }

    #[inline(always)]
    pub(crate) const fn is_out(self) -> bool {
        self.0 & Self::IS_OUT != 0
    }

    /// Whether it may be the answer of a backend elsewhere.
    #[inline(always)]
    pub(crate) fn may_be_answer(self) -> bool {
        self.bits() & addresses::NODE != 0
    }

    #[inline(always)]
    pub(crate) const fn is_frame(self) -> bool {
        self.0 & Self::IS_FRAME != 0
    }

    #[inline(always)]
    pub(crate) const fn version(self) -> Version {
        if self.0 & Self::IS_V6 == 0 { Version::V4 } else { Version::V6 }
    }

    #[inline(always)]
    pub(crate) const fn l2(self) -> usize {
        if self.0 & Self::HAS_L2 == 0 { 0 } else { ethernet::LEN }
    }

    #[inline(always)]
    pub(crate) const fn origin(self) -> Origin {
        match self.0 & (Self::IS_POD | Self::IS_BEHIND) {
            0 => Origin::Net,
            Self::IS_POD => Origin::Pod,
            _ => Origin::Behind,
        }
    }
}
