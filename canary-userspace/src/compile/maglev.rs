//! Maglev slices: which backend of a split a hash goes to.
//!
//! The table of the Maglev paper (Eisenbud and others, NSDI 2016, section 3.4), with turns in
//! proportion to weights. All that goes in are endpoints and weights, so every node fills the
//! same table.

use canary_common::endpoint::Endpoint;

/// Slots for each backend, at least: shares within a split are true to about a hundredth.
const SLOTS_PER_BACKEND: u32 = 100;

/// Seeds of the two draws that make a backend's permutation of the slots.
const OFFSET_SEED: u64 = 0x6361_6e61_7279_2d31;
const SKIP_SEED: u64 = 0x6361_6e61_7279_2d32;

/// Slots of the slice of a split of `backends`, healthy or not; 0 where it needs none.
///
/// The smallest prime of at least 100 for each backend, their number rounded up to a power of
/// two: another length moves nearly every hash, and so a backend that comes or goes seldom
/// changes it.
#[must_use]
pub fn slot_count(backends: usize) -> u32 {
    let Ok(backends) = u32::try_from(backends) else { return 0 };
    if backends < 2 {
        return 0;
    }
    let Some(rounded) = backends.checked_next_power_of_two() else { return 0 };
    rounded.checked_mul(SLOTS_PER_BACKEND).map_or(0, next_prime)
}

/// Fills a slice of `slot_count` slots, a prime, with indices into `backends`.
///
/// Every backend gets a slot if there are enough, and slots in proportion to its weight beyond
/// that. The order of `backends` does not matter. Empty if there is no backend or no slot.
#[must_use]
pub fn slice(backends: &[(Endpoint, u32)], slot_count: u32) -> Vec<u32> {
    let heaviest = backends.iter().map(|&(_, weight)| weight).max().unwrap_or(0);
    if heaviest == 0 || slot_count < 2 {
        return Vec::new();
    }
    let mut turns: Vec<Turn> = Turn::sorted(backends, slot_count, heaviest);
    let mut slots = vec![u32::MAX; usize::try_from(slot_count).unwrap_or(0)];
    let mut free = slots.len();
    while free > 0 {
        for turn in &mut turns {
            if !turn.is_due(heaviest) {
                continue;
            }
            if free == 0 {
                break;
            }
            turn.take(&mut slots);
            free -= 1;
        }
    }
    slots
}

/// A backend while slots are dealt out.
struct Turn {
    index: u32,
    weight: u32,
    /// What it has saved up: a slot costs as much as the heaviest backend earns in a round.
    credit: u32,
    /// The next slot it wants.
    place: u32,
    /// From one slot it wants to the next, modulo the number of slots.
    skip: u32,
    slot_count: u32,
}

impl Turn {
    /// A turn for each backend that weighs something, in the order of their endpoints.
    fn sorted(backends: &[(Endpoint, u32)], slot_count: u32, heaviest: u32) -> Vec<Self> {
        let mut order: Vec<(u32, &(Endpoint, u32))> =
            (0..).zip(backends).filter(|(_, (_, weight))| *weight > 0).collect();
        order.sort_by_key(|&(index, (endpoint, _))| (endpoint, index));
        let turns = order.into_iter().map(|(index, (endpoint, weight))| Self {
            index,
            weight: *weight,
            // The first round serves everybody.
            credit: heaviest,
            place: draw(endpoint, OFFSET_SEED, slot_count),
            skip: draw(endpoint, SKIP_SEED, slot_count - 1) + 1,
            slot_count,
        });
        turns.collect()
    }

    /// Whether it has the credit for a slot, which is then paid; each round earns its weight.
    fn is_due(&mut self, heaviest: u32) -> bool {
        let due = self.credit >= heaviest;
        if due {
            self.credit -= heaviest;
        }
        self.credit += self.weight;
        due
    }

    /// Takes the next free slot of its permutation.
    fn take(&mut self, slots: &mut [u32]) {
        for _ in 0..self.slot_count {
            let place = self.place;
            self.place = match place.checked_add(self.skip) {
                Some(next) if next < self.slot_count => next,
                _ => self.skip - (self.slot_count - place),
            };
            let slot = usize::try_from(place).ok().and_then(|place| slots.get_mut(place));
            if let Some(slot) = slot.filter(|slot| **slot == u32::MAX) {
                *slot = self.index;
                return;
            }
        }
    }
}

/// A number below `bound` that only `endpoint` and `seed` decide.
fn draw(endpoint: &Endpoint, seed: u64, bound: u32) -> u32 {
    let bytes = endpoint.address.0.iter().chain(&endpoint.port).chain([&endpoint.protocol]);
    let hash = bytes.fold(mix(seed), |hash, byte| mix(hash ^ u64::from(*byte)));
    let below = hash.checked_rem(u64::from(bound)).unwrap_or(0);
    u32::try_from(below).unwrap_or(0)
}

/// The finaliser of `SplitMix64`: every bit of the input moves every bit of the output.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The smallest prime that is at least `from`; 0 if 32 bits hold none.
fn next_prime(from: u32) -> u32 {
    (from.max(2)..=u32::MAX).find(|&number| is_prime(number)).unwrap_or(0)
}

fn is_prime(number: u32) -> bool {
    let factors = (2..=number.isqrt()).find(|factor| number.is_multiple_of(*factor));
    number >= 2 && factors.is_none()
}

#[cfg(test)]
mod tests;
