//! Frontends and backends as the tables hold them.

use crate::endpoint::{Address, Endpoint};
use crate::layout::assert_map_type;
use crate::word::Word;

/// A virtual address: a row of `FRONTENDS`.
#[derive(Debug, Default)]
#[repr(C, align(8))]
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
    /// Bits of [`Frontend::EXTERNAL`] and the others.
    pub flags: Word<u32>,
    /// The same service with the backends of this node alone, an index of `CURRENT`; 0 where no
    /// policy asks for it.
    pub local: Word<u32>,
}

assert_map_type!(Frontend {
    address: [u8; 16], port: [u8; 2], protocol: u8, reserved: u8,
    service: Word<u32>, flags: Word<u32>, local: Word<u32>,
} is 32 bytes);

impl Frontend {
    /// Flag: packets from the network may be served, for every backend is a pod of this node, or
    /// the node has an address from which it asks those that are not.
    pub const EXTERNAL: u32 = 1;
    /// Flag: pods and processes of this node are given its own backends alone.
    pub const INTERNAL_LOCAL: u32 = 1 << 1;
    /// Flag: clients outside are given backends of this node alone.
    pub const EXTERNAL_LOCAL: u32 = 1 << 2;

    /// The service that clients outside, or those of this node, are given.
    #[inline(always)]
    #[must_use]
    pub fn service_of(&self, is_net: bool) -> u32 {
        let policy = if is_net { Self::EXTERNAL_LOCAL } else { Self::INTERNAL_LOCAL };
        if self.flags.load() & policy == 0 { self.service.load() } else { self.local.load() }
    }

    /// Where clients connect.
    #[inline(always)]
    #[must_use]
    pub const fn endpoint(&self) -> Endpoint {
        Endpoint { address: Address(self.address), port: self.port, protocol: self.protocol }
    }
}

/// Whether a backend takes flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It takes none: flows that still point here have lost it.
    Gone,
    /// It takes new flows.
    Alive,
    /// It leaves: it keeps its TCP flows and takes no new one; datagrams move elsewhere.
    Draining,
    /// It is not healthy: as when it drains, until it is.
    Resting,
}

/// An instance: a row of `BACKENDS`.
///
/// A row is written again only after a grace period, a pass over `FLOWS` that ends what names
/// it, and a second grace period: whoever holds its id reads the backend that the id meant.
#[derive(Debug, Default)]
#[repr(C, align(8))]
pub struct Backend {
    /// Address as [`crate::endpoint::Address`] has it.
    pub address: [u8; 16],
    /// Port, network order.
    pub port: [u8; 2],
    /// IANA protocol number.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
    /// [`Backend::word_of`] its state.
    pub state: Word<u32>,
    /// [`Backend::ELSEWHERE`] or 0.
    pub flags: Word<u32>,
    /// Always 0.
    pub padding: u32,
}

assert_map_type!(Backend {
    address: [u8; 16], port: [u8; 2], protocol: u8, reserved: u8,
    state: Word<u32>, flags: Word<u32>, padding: u32,
} is 32 bytes);

impl Backend {
    /// Flag: it is not on this node, whose hooks would not see its answers to clients outside.
    pub const ELSEWHERE: u32 = 1;

    /// The word that stands for a state in a row.
    #[must_use]
    pub const fn word_of(state: State) -> u32 {
        match state {
            State::Gone => 0,
            State::Alive => 1,
            State::Draining => 2,
            State::Resting => 3,
        }
    }

    /// The state as of this moment.
    #[inline(always)]
    #[must_use]
    pub fn state(&self) -> State {
        match self.state.load() {
            1 => State::Alive,
            2 => State::Draining,
            3 => State::Resting,
            _ => State::Gone,
        }
    }

    /// Whether it is on another node.
    #[inline(always)]
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.flags.load() & Self::ELSEWHERE != 0
    }

    /// Tells whether it is on this node, at an address.
    #[inline(always)]
    #[must_use]
    pub fn is_here_at(&self, address: Address) -> bool {
        self.endpoint().address.words() == address.words() && !self.is_elsewhere()
    }

    /// Where the instance serves.
    #[inline(always)]
    #[must_use]
    pub const fn endpoint(&self) -> Endpoint {
        Endpoint { address: Address(self.address), port: self.port, protocol: self.protocol }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_given_backends_of_the_node_alone_is_what_the_flags_say() {
        let row = Frontend { service: Word::new(7), local: Word::new(9), ..Frontend::default() };
        for (flags, inside, outside) in [
            (0, 7, 7),
            (Frontend::EXTERNAL, 7, 7),
            (Frontend::INTERNAL_LOCAL, 9, 7),
            (Frontend::EXTERNAL | Frontend::EXTERNAL_LOCAL, 7, 9),
            (Frontend::INTERNAL_LOCAL | Frontend::EXTERNAL_LOCAL, 9, 9),
        ] {
            row.flags.store(flags);
            assert_eq!([row.service_of(false), row.service_of(true)], [inside, outside], "{flags}");
        }
    }
}
