//! What a pass found.

use std::collections::BTreeMap;

use canary_common::flows::{Head, Kind};
use canary_common::settings::Idle;

use super::age::Facts;

/// Entries by what they are, connections by how far they got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Places in use.
    pub places: u64,
    /// Places there are.
    pub capacity: u64,
    /// Connections: entries of the way forth.
    pub connections: u64,
    /// Those that no backend has answered.
    pub opening: u64,
    /// TCP that goes on.
    pub established: u64,
    /// TCP that has ended.
    pub ended: u64,
    /// UDP that was answered.
    pub udp: u64,
    /// Connections that came without us.
    pub straight: u64,
    /// Connections that conntrack translates.
    pub foreign: u64,
    /// Fragments' datagrams.
    pub fragments: u64,
    /// Entries that are in their second choice.
    pub spilled: u64,
}

impl Fill {
    /// Share of the places that are in use, in percent.
    #[must_use]
    pub fn percent(&self) -> u64 {
        self.places.saturating_mul(100).checked_div(self.capacity).unwrap_or(0)
    }

    /// Entries by what they are: connections by how far they got, and what is none of ours.
    #[must_use]
    pub fn kinds(&self) -> [(&'static str, u64); 7] {
        [
            ("opening", self.opening),
            ("established", self.established),
            ("ended", self.ended),
            ("udp", self.udp),
            ("straight", self.straight),
            ("foreign", self.foreign),
            ("fragment", self.fragments),
        ]
    }

    pub(super) fn add(&mut self, head: Head, facts: Facts) {
        add(&mut self.places, 1);
        let count = match head.kind() {
            Kind::Forward => {
                add(&mut self.connections, 1);
                match facts.state() {
                    Idle::Opening => &mut self.opening,
                    Idle::Established => &mut self.established,
                    Idle::Closed | Idle::Reset => &mut self.ended,
                    Idle::Exchange | Idle::Stream => &mut self.udp,
                }
            }
            Kind::Straight => &mut self.straight,
            Kind::Foreign => &mut self.foreign,
            Kind::Fragment => &mut self.fragments,
            Kind::Return | Kind::Free | Kind::Claimed => return,
        };
        add(count, 1);
    }
}

/// What one pass that counts found alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    /// How full the table is.
    pub fill: Fill,
    /// Live flows by backend, where there are some.
    pub backends: BTreeMap<u32, u64>,
    /// Live flows by frontend, where there are some.
    pub frontends: BTreeMap<u32, u64>,
    /// Live flows by backend and statistics id, of backends that take no new ones.
    pub splits: BTreeMap<(u32, u16), u64>,
    /// Places of what nothing pushes out, by the interface that it came by; 0 for uplinks and
    /// tunnels.
    pub interfaces: BTreeMap<u32, u64>,
}

/// Counts by a number that is below some bound, in memory that is passed over in order.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Vec<u32>,
    /// Of numbers that are beyond what a vector should hold.
    beyond: BTreeMap<u32, u64>,
}

/// Numbers up to which a vector is grown: indices of interfaces go beyond on nodes that live long.
const MOST: usize = 1 << 20;

impl Tally {
    pub(super) fn add(&mut self, number: u32, by: u32) {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        if index >= MOST {
            add(self.beyond.entry(number).or_default(), u64::from(by));
            return;
        }
        if index >= self.counts.len() {
            self.counts.resize(index.saturating_add(1).next_power_of_two(), 0);
        }
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_add(by);
        }
    }

    /// The count of a number.
    pub(super) fn of(&self, number: u32) -> u64 {
        let dense = usize::try_from(number).ok().and_then(|index| self.counts.get(index));
        dense.map_or_else(
            || self.beyond.get(&number).copied().unwrap_or(0),
            |count| u64::from(*count),
        )
    }

    /// The counts that are not 0.
    pub(super) fn counted(self) -> BTreeMap<u32, u64> {
        let dense = (0_u32..).zip(self.counts).filter(|(_, count)| *count > 0);
        dense.map(|(number, count)| (number, u64::from(count))).chain(self.beyond).collect()
    }
}

pub(super) fn add(count: &mut u64, by: u64) {
    *count = count.saturating_add(by);
}
