//! Where each endpoint is in `ENDPOINTS`: two choices of buckets of two, then the overflow.

use canary_common::directory::{Occupant, buckets};
use canary_common::endpoint::Endpoint;

use super::Write;
use super::kept::Kept;

/// A place of a bucket that was written at least once.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The key it holds, in use or not.
    key: Endpoint,
    state: Use,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Its value is not 0.
    Taken,
    /// Its value is 0, and a reader may have compared the key before that.
    Freed,
    /// As `Freed`, and a grace period runs.
    Waiting,
    /// Nobody looks at it: another key may be written.
    Free,
}

/// The agent's picture of the directory.
#[derive(Clone, Debug)]
pub(super) struct Places {
    mask: u32,
    buckets: Kept<u32, [Option<Place>; 2]>,
    overflow: Kept<Endpoint, ()>,
    overflow_limit: usize,
    /// Endpoints in the overflow by the first of their buckets.
    flags: Kept<u32, u32>,
}

impl Places {
    /// An empty directory of `mask + 1` buckets.
    pub(super) fn new(mask: u32, overflow_limit: u32) -> Self {
        Self {
            mask,
            buckets: Kept::default(),
            overflow: Kept::default(),
            overflow_limit: usize::try_from(overflow_limit).unwrap_or(usize::MAX),
            flags: Kept::default(),
        }
    }

    /// From here on changes can be taken back.
    pub(super) fn record(&mut self) {
        self.buckets.record();
        self.overflow.record();
        self.flags.record();
    }

    /// What was changed since [`Self::record`] stays, or with `back` is taken back.
    pub(super) fn end(&mut self, back: bool) {
        self.buckets.end(back);
        self.overflow.end(back);
        self.flags.end(back);
    }

    /// Makes lookups of `endpoint` find `occupant`; `false` if there is no room.
    ///
    /// The last write is the one that makes it appear.
    #[must_use]
    pub(super) fn put(
        &mut self,
        endpoint: Endpoint,
        occupant: Occupant,
        writes: &mut Vec<Write>,
    ) -> bool {
        let value = occupant.to_value();
        let choices = buckets(endpoint, self.mask);
        // A reader stops at the key in a bucket, so an old entry with this key must be the one.
        if let Some((bucket, entry)) = self.find(endpoint) {
            self.set(bucket, entry, Place { key: endpoint, state: Use::Taken });
            writes.push(Write::EndpointValue { bucket, entry, value });
            return true;
        }
        if self.overflow.contains_key(&endpoint) {
            writes.push(Write::Overflow { endpoint, value });
            return true;
        }
        if let Some((bucket, entry)) = self.emptiest(choices) {
            self.set(bucket, entry, Place { key: endpoint, state: Use::Taken });
            writes.push(Write::EndpointKey { bucket, entry, endpoint });
            writes.push(Write::EndpointValue { bucket, entry, value });
            return true;
        }
        if self.overflow.all().len() >= self.overflow_limit {
            return false;
        }
        self.overflow.insert(endpoint, ());
        writes.push(Write::Overflow { endpoint, value });
        let [first, _] = choices;
        if self.flag(first) == 1 {
            writes.push(Write::OverflowFlag { bucket: first, on: true });
        }
        true
    }

    /// Makes lookups of `endpoint` find nothing.
    pub(super) fn remove(&mut self, endpoint: Endpoint, writes: &mut Vec<Write>) {
        if self.overflow.remove(&endpoint).is_some() {
            writes.push(Write::Overflow { endpoint, value: 0 });
            let [first, _] = buckets(endpoint, self.mask);
            let left = self.flags.get(&first).map_or(0, |count| count.saturating_sub(1));
            self.flags.insert(first, left);
            if left == 0 {
                self.flags.remove(&first);
                writes.push(Write::OverflowFlag { bucket: first, on: false });
            }
        } else if let Some((bucket, entry)) = self.find(endpoint) {
            self.set(bucket, entry, Place { key: endpoint, state: Use::Freed });
            writes.push(Write::EndpointValue { bucket, entry, value: 0 });
        }
    }

    /// The most endpoints there can be, were they spread evenly.
    pub(super) fn capacity(&self) -> u32 {
        self.mask.saturating_add(1).saturating_mul(2)
    }

    /// Begins a grace period for all that was removed before.
    pub(super) fn seal(&mut self) {
        self.advance(Use::Freed, Use::Waiting);
    }

    /// Ends it.
    pub(super) fn graced(&mut self) {
        self.advance(Use::Waiting, Use::Free);
    }

    /// Whether something waits for grace.
    pub(super) fn waits(&self) -> bool {
        let mut places = self.buckets.all().values().flatten().flatten();
        places.any(|place| matches!(place.state, Use::Freed | Use::Waiting))
    }

    /// Takes over an entry that tables read back hold, in use or with an old key.
    pub(super) fn adopt(&mut self, bucket: u32, entry: u8, key: Endpoint, used: bool) {
        let state = if used { Use::Taken } else { Use::Free };
        self.set(bucket, entry, Place { key, state });
    }

    /// Takes over an endpoint that tables read back hold in the overflow.
    pub(super) fn adopt_overflow(&mut self, endpoint: Endpoint) {
        let [first, _] = buckets(endpoint, self.mask);
        if self.overflow.insert(endpoint, ()).is_none() {
            self.flag(first);
        }
    }

    /// Whether lookups that start at `bucket` must go on to the overflow.
    pub(super) fn overflows(&self, bucket: u32) -> bool {
        self.flags.get(&bucket).is_some_and(|count| *count > 0)
    }

    fn advance(&mut self, from: Use, to: Use) {
        let at = |places: &[Option<Place>; 2]| places.iter().flatten().any(|p| p.state == from);
        let buckets = self.buckets.all().iter().filter(|(_, places)| at(places));
        for bucket in buckets.map(|(bucket, _)| *bucket).collect::<Vec<_>>() {
            let places = self.buckets.get_mut(&bucket).into_iter().flatten().flatten();
            places.filter(|place| place.state == from).for_each(|place| place.state = to);
        }
    }

    /// Counts one more endpoint in the overflow whose first bucket is this one.
    fn flag(&mut self, bucket: u32) -> u32 {
        let count = self.flags.get(&bucket).map_or(1, |count| count.saturating_add(1));
        self.flags.insert(bucket, count);
        count
    }

    fn set(&mut self, bucket: u32, entry: u8, place: Place) {
        let mut places = self.buckets.get(&bucket).copied().unwrap_or_default();
        if let Some(slot) = places.get_mut(usize::from(entry)) {
            *slot = Some(place);
        }
        self.buckets.insert(bucket, places);
    }

    fn find(&self, endpoint: Endpoint) -> Option<(u32, u8)> {
        buckets(endpoint, self.mask).into_iter().find_map(|bucket| {
            let places = self.buckets.get(&bucket)?;
            let holds = |place: &Option<Place>| place.is_some_and(|place| place.key == endpoint);
            let entry = places.iter().position(holds)?;
            Some((bucket, u8::try_from(entry).ok()?))
        })
    }

    /// The lowest free place of the emptier bucket, the first one where both are alike.
    fn emptiest(&self, choices: [u32; 2]) -> Option<(u32, u8)> {
        let free = choices.map(|bucket| {
            let places = self.buckets.get(&bucket).copied().unwrap_or_default();
            let free = places.map(|place| place.is_none_or(|place| place.state == Use::Free));
            (bucket, free)
        });
        let [first, second] = free;
        let count = |(_, free): &(u32, [bool; 2])| free.iter().filter(|free| **free).count();
        let (bucket, free) = if count(&second) > count(&first) { second } else { first };
        let entry = free.iter().position(|free| *free)?;
        Some((bucket, u8::try_from(entry).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use canary_common::directory::{Bucket, OverflowKey, find};
    use canary_common::endpoint::TCP;
    use canary_common::memory::Memory;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::compile::endpoint;

    /// Carries out a store, a key in its three steps; calls `look` after each.
    fn apply(memory: &mut Memory, write: &Write, mut look: impl FnMut(&Memory)) {
        match write {
            Write::EndpointKey { bucket, entry, endpoint } => {
                let at = usize::try_from(*bucket).unwrap();
                let steps: [(Option<u64>, Option<u64>, u32); 4] = [
                    (None, None, 0),
                    (Some(endpoint.address.words()[0]), None, 0),
                    (None, Some(endpoint.address.words()[1]), 0),
                    (None, None, endpoint.tail()),
                ];
                for (first, second, tail) in steps {
                    let row = &mut memory.buckets[at].entries[usize::from(*entry)];
                    row.tail = tail;
                    row.address[0] = first.unwrap_or(row.address[0]);
                    row.address[1] = second.unwrap_or(row.address[1]);
                    look(memory);
                }
            }
            Write::EndpointValue { bucket, entry, value } => {
                let at = usize::try_from(*bucket).unwrap();
                memory.buckets[at].entries[usize::from(*entry)].value.store(*value);
            }
            Write::Overflow { endpoint, value: 0 } => {
                memory.overflow.remove(&OverflowKey::of(*endpoint));
            }
            Write::Overflow { endpoint, value } => {
                memory.overflow.insert(OverflowKey::of(*endpoint), *value);
            }
            Write::OverflowFlag { bucket, on } => {
                let at = usize::try_from(*bucket).unwrap();
                memory.buckets[at].entries[0].spare.store(u32::from(*on));
            }
            other => panic!("{other} is none of the directory's"),
        }
        look(memory);
    }

    fn at(host: u8) -> Endpoint {
        endpoint(Ipv4Addr::new(10, 0, 0, host).into(), 80, TCP)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_endpoint_is_found_or_not_after_every_store(
            steps in prop::collection::vec((0..12_u8, 0..4_u8), 1..60),
        ) {
            let mut memory = Memory { buckets: (0..4).map(|_| Bucket::default()).collect(), ..Memory::default() };
            let mut places = Places::new(3, 6);
            let mut model: BTreeMap<Endpoint, Occupant> = BTreeMap::new();
            for (number, (host, what)) in (0..).zip(steps) {
                let mut writes = Vec::new();
                let mut next = model.clone();
                match what {
                    0 => {
                        places.remove(at(host), &mut writes);
                        next.remove(&at(host));
                    }
                    1 => places.seal(),
                    2 => places.graced(),
                    _ if places.put(at(host), Occupant::Backend(number), &mut writes) => {
                        next.insert(at(host), Occupant::Backend(number));
                    }
                    _ => prop_assert!(model.len() >= 6, "full at {}", model.len()),
                }
                for write in &writes {
                    apply(&mut memory, write, |memory| {
                        for host in 0..12 {
                            let found = find(memory, 3, at(host));
                            let (old, new) = (model.get(&at(host)), next.get(&at(host)));
                            assert!(found.as_ref() == old || found.as_ref() == new, "{host}: {found:?} after {write}");
                        }
                    });
                }
                for host in 0..12 {
                    prop_assert_eq!(find(&memory, 3, at(host)), next.get(&at(host)).copied());
                }
                model = next;
            }
        }
    }
}
