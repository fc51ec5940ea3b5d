//! Frontends and backends as the tables hold them.

use crate::layout::assert_map_type;
use crate::word::Word;

/// A virtual address: a row of `FRONTENDS`.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Frontend {
    /// Address as [`crate::endpoint::Address`] has it.
    pub address: [u8; 16],
    /// Port, network order.
    pub port: [u8; 2],
    /// IANA protocol number.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
    /// The service, an index of `CURRENT`.
    pub service: Word<u32>,
    /// [`Frontend::EXTERNAL`] or 0.
    pub flags: Word<u32>,
    /// Counts the owners of this row, so that flows of an earlier one never match; 16 bits.
    pub generation: Word<u32>,
}

assert_map_type!(Frontend {
    address: [u8; 16], port: [u8; 2], protocol: u8, reserved: u8,
    service: Word<u32>, flags: Word<u32>, generation: Word<u32>,
} is 32 bytes);

impl Frontend {
    /// Flag: every backend is a pod of this node, so packets from the network may be served.
    pub const EXTERNAL: u32 = 1;

    /// The generation, as flow keys have it.
    #[inline(always)]
    #[must_use]
    pub fn generation(&self) -> u16 {
        low_half(self.generation.load())
    }
}

/// May a backend take flows?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No: flows that still point here have lost it.
    Gone,
    /// It takes new flows.
    Alive,
    /// It keeps its flows and takes no new one.
    Draining,
}

/// An instance: a row of `BACKENDS`.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Backend {
    /// Address as [`crate::endpoint::Address`] has it.
    pub address: [u8; 16],
    /// Port, network order.
    pub port: [u8; 2],
    /// IANA protocol number.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
    /// State, flags and generation in one word, see [`Backend::status_of`]: they change together.
    pub status: Word<u32>,
    /// Id of the frontend whose flows need no return entry; fixed for a generation.
    pub home: Word<u32>,
    /// The home frontend's generation when that was fixed; 16 bits.
    pub home_generation: Word<u32>,
}

assert_map_type!(Backend {
    address: [u8; 16], port: [u8; 2], protocol: u8, reserved: u8,
    status: Word<u32>, home: Word<u32>, home_generation: Word<u32>,
} is 32 bytes);

impl Backend {
    /// Flag in the status word: flows may have come through another frontend than home.
    pub const HAS_RETURNS: u32 = 1 << 8;

    const STATE: u32 = 0xff;

    /// The status word for a state, flags and a generation.
    #[must_use]
    pub const fn status_of(state: State, flags: u32, generation: u16) -> u32 {
        let [high, low] = generation.to_be_bytes();
        let state = match state {
            State::Gone => 0,
            State::Alive => 1,
            State::Draining => 2,
        };
        u32::from_be_bytes([high, low, 0, 0]) | (flags & 0xff00) | state
    }

    /// State, flags and generation as of one moment.
    #[inline(always)]
    #[must_use]
    pub fn status(&self) -> Status {
        Status(self.status.load())
    }
}

/// A backend's status word, read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// The state.
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> State {
        match self.0 & Backend::STATE {
            1 => State::Alive,
            2 => State::Draining,
            _ => State::Gone,
        }
    }

    /// Whether flows may have come through another frontend than home.
    #[inline(always)]
    #[must_use]
    pub const fn has_returns(self) -> bool {
        self.0 & Backend::HAS_RETURNS != 0
    }

    /// The generation, as flows have it.
    #[inline(always)]
    #[must_use]
    pub const fn generation(self) -> u16 {
        let [high, low, _, _] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

/// The low 16 bits of a word.
#[inline(always)]
pub(crate) const fn low_half(word: u32) -> u16 {
    let [_, _, high, low] = word.to_be_bytes();
    u16::from_be_bytes([high, low])
}
