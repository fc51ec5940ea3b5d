//! What a socket that is not connected remembers of the datagrams it sent.

use super::pick::{Pick, Picked};
use crate::endpoint::Endpoint;
use crate::flows::Flows;
use crate::layout::assert_map_type;
use crate::word::Word;

/// Picks of one socket. A socket that speaks to more backends at once loses the oldest: their
/// answers come from the backend's own address then.
pub(super) const PLACES: usize = 16;

/// Value of `DATAGRAMS`, in the socket's own memory.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Datagrams {
    /// How many picks were stored: the place of the next is the remainder.
    pub stored: Word<u64>,
    /// The picks.
    pub picks: [Pick; PLACES],
}

assert_map_type!(Datagrams { stored: Word<u64>, picks: [Pick; PLACES] } is 1032 bytes);

impl Datagrams {
    /// The pick by which new datagrams to a frontend go.
    #[inline(always)]
    pub fn to<T: Flows + ?Sized>(&self, tables: &T, frontend: Endpoint) -> Option<&Pick> {
        self.picks.iter().find(|pick| pick.leads_to(tables, frontend))
    }

    /// The pick used last of those that lead to a backend.
    #[inline(always)]
    pub fn from<T: Flows + ?Sized>(&self, tables: &T, backend: Endpoint) -> Option<&Pick> {
        let (mut found, mut latest) = (PLACES, 0_u32);
        // Verifier: of rounds that differ by a number alone the later ones are known to be well,
        // of pointers to places every one is looked at.
        for (place, pick) in self.picks.iter().enumerate() {
            if !pick.is_of(tables, backend) {
                continue;
            }
            let tick = pick.tick(tables);
            if found == PLACES || tick.wrapping_sub(latest) <= u32::MAX >> 1 {
                (found, latest) = (place, tick);
            }
        }
        if found == PLACES { None } else { self.picks.get(found & (PLACES - 1)) }
    }

    /// Stores what was picked at a second and a tick, in the place of the oldest.
    #[inline(always)]
    pub fn store<T: Flows + ?Sized>(&self, tables: &T, picked: &Picked, now: u32, tick: u32) {
        let mut number = tables.load(&self.stored);
        // Each of several threads gets a place of its own; one that is always second shares it,
        // and its answers may come from the backend's own address.
        for _ in 0..4 {
            if tables.exchange(&self.stored, number, number.wrapping_add(1)) {
                break;
            }
            number = tables.load(&self.stored);
        }
        let [place, ..] = number.to_le_bytes();
        if let Some(pick) = self.picks.get(usize::from(place) & (PLACES - 1)) {
            pick.set(tables, picked, now, tick);
        }
    }

    /// Forgets every pick that leads to a backend.
    #[inline(always)]
    pub fn forget<T: Flows + ?Sized>(&self, tables: &T, backend: Endpoint) {
        for pick in &self.picks {
            if pick.is_of(tables, backend) {
                pick.clear(tables);
            }
        }
    }
}
