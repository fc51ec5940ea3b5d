//! What a world's flow table holds.

use super::{FLOW_BUCKETS, World};
use crate::endpoint::Endpoint;
use crate::flows::{self, Client, Entry, Hash, Head, Key, Values, find, find_at, key_of};
use crate::word::Word;

impl World {
    /// Every entry of the flow table.
    pub(crate) fn entries(&self) -> Vec<(Key, Entry<'_>)> {
        let places = (0..FLOW_BUCKETS).flat_map(|bucket| (0..7).map(move |at| bucket << 3 | at));
        let entries = places.filter_map(|place| find_at(&self.tables, place));
        entries.map(|entry| (key_of(&self.tables, &entry), entry)).collect()
    }

    /// How many entries of a kind there are.
    pub(crate) fn entries_of(&self, kind: flows::Kind) -> usize {
        self.entries().iter().filter(|(_, entry)| entry.head.kind() == kind).count()
    }

    /// Flows that were not answered, and flows that were; each has both its entries.
    pub(crate) fn flows(&self) -> [usize; 2] {
        let mut flows = [0; 2];
        for (_, entry) in self.entries() {
            if entry.head.kind() == flows::Kind::Forward {
                let back = flows::partner(&self.tables, &entry);
                assert!(back.is_there(), "a way forth without a way back");
                flows[usize::from(back.head.has(Head::ANSWERED))] += 1;
            }
        }
        flows
    }

    /// The entry of a tuple.
    pub(crate) fn entry(&self, from: Endpoint, to: Endpoint, client: Client) -> Option<Entry<'_>> {
        let key = Key::new(from, to);
        let hash = Hash::of(&key, client, self.tables.settings.flows());
        find(&self.tables, &key, hash, client)
    }

    /// The entry of the client's flow through the frontend.
    pub(crate) fn forth(&self) -> Option<Entry<'_>> {
        self.entry(self.client, self.vip, Client::IsSource)
    }

    /// The entry of a backend's tuple towards the client with its own port.
    pub(crate) fn back(&self, backend: Endpoint) -> Option<Entry<'_>> {
        self.entry(backend, self.client, Client::IsDestination)
    }

    /// What the table holds of the client's flow through the frontend.
    pub(crate) fn values(&self) -> Values {
        self.forth().expect("the client has a flow").values
    }

    /// The backend of the client's flow through the frontend; `None` if there is no such flow.
    pub(crate) fn backend(&self) -> Option<u32> {
        self.forth().map(|entry| entry.values.backend)
    }

    /// Frees everything, as if there had been no packet yet.
    pub(crate) fn forget(&self) {
        for bucket in &self.tables.flows {
            bucket.own.store(0);
            bucket.heads.iter().for_each(|head| head.store(0));
        }
    }

    /// Everything that packets change, to compare: the flow table, the counters and the times.
    pub(crate) fn content(&self) -> impl PartialEq + core::fmt::Debug {
        let mut words: Vec<u64> = Vec::new();
        for bucket in &self.tables.flows {
            // But for the number of inserts that there were.
            words.push(bucket.own.load() & !0xffff_fffe);
            words.extend(bucket.heads.iter().map(Word::load));
            words.extend(bucket.bodies.iter().flat_map(|body| &body.words).map(Word::load));
        }
        let mut counts: Vec<_> =
            self.tables.counts.borrow().iter().map(|(of, count)| (*of, *count)).collect();
        counts.sort_unstable();
        let mut bits: Vec<_> =
            self.tables.addresses.borrow().iter().map(|(row, bits)| (*row, *bits)).collect();
        bits.sort_unstable();
        (
            words,
            counts,
            bits,
            self.tables.times.borrow().iter().map(|it| (it.0, it.2)).collect::<Vec<_>>(),
        )
    }
}
