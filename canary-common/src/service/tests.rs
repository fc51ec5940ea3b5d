use super::*;
use crate::draw::flow_hash;
use crate::endpoint::{Address, Endpoint, TCP};
use crate::memory::Memory;
use proptest::prelude::*;

/// Flows that shares are counted over: every client address of a /8, nearly, in a release
/// build; enough of them in a debug build.
const FLOWS: u32 = if cfg!(debug_assertions) { 200_000 } else { 10_000_000 };

/// The hashes of flows from many addresses, a few ports each, to one frontend.
fn hashes(flows: u32, by_address: bool) -> impl Iterator<Item = u64> {
    let vip = Endpoint { address: Address::v4([10, 96, 0, 1]), port: [0, 80], protocol: TCP };
    (0..flows).map(move |flow| {
        let [a, b, c, d] = (flow / 8).to_be_bytes();
        let [.., port] = (flow % 8).to_be_bytes();
        let address = Address::v4([0x0a ^ a, b, c, d]);
        let client = Endpoint { address, port: [0x9c, port], protocol: TCP };
        flow_hash(0xcbf2_9ce4_8422_2325, client, vip, by_address)
    })
}

/// A record of these shares; each split counts under its place, and has this many backends.
fn record(shares: &[u16], backends: &[u32]) -> (Memory, Record) {
    let mut tables = Memory::default();
    let count = u32::try_from(shares.len()).unwrap();
    let mut record = Record { bounds: bounds(shares), count, ..Record::default() };
    for (split, backends) in backends.iter().enumerate() {
        record.statistics[split] = u16::try_from(split).unwrap();
        record.lengths[0][split] = *backends;
        record.slots[0][split] = u32::try_from(tables.slots.len()).unwrap();
        tables.slots.extend(0..*backends);
    }
    (tables, record)
}

/// Fails unless a count lies within 5 standard deviations of its share.
fn assert_share(count: u64, flows: u32, share: f64, what: &str) {
    let (count, flows) = (f64::from(u32::try_from(count).unwrap()), f64::from(flows));
    let deviation = (flows * share * (1.0 - share)).sqrt();
    let off = (count - flows * share) / deviation;
    assert!(off.abs() <= 5.0, "{what}: {count} of {flows}, {off:.1} deviations off");
}

#[test]
fn shares_are_exact() {
    for shares in [
        [5_000, 5_000].as_slice(),
        &[9_000, 1_000],
        &[9_999, 1],
        &[1, 9_999],
        &[4_000, 2_500, 2_000, 1_499, 1],
    ] {
        // Replicas are not to bend the shares.
        let backends: Vec<u32> = (1..).map(|nth| nth * 3 - 2).take(shares.len()).collect();
        let (tables, record) = record(shares, &backends);
        let mut counts = vec![0_u64; shares.len()];

        for hash in hashes(FLOWS, false) {
            let picked = pick(&tables, &record, Version::V4, hash).unwrap();
            counts[usize::from(picked.statistics)] += 1;
        }

        for (count, share) in counts.iter().zip(shares) {
            let what = format!("{share} of {shares:?}");
            assert_share(*count, FLOWS, f64::from(*share) / 10_000.0, &what);
        }
    }
}

#[test]
fn the_draw_of_a_backend_does_not_depend_on_that_of_its_split() {
    let backends = 7;
    for shares in [[5_000, 5_000], [9_900, 100]] {
        let (tables, record) = record(&shares, &[backends, backends]);
        let mut counts = [[0_u64; 7]; 2];

        for hash in hashes(FLOWS / 4, false) {
            let picked = pick(&tables, &record, Version::V4, hash).unwrap();
            // Both splits' slots hold 0 to 6.
            let backend = usize::try_from(picked.backend.unwrap()).unwrap();
            counts[usize::from(picked.statistics)][backend] += 1;
        }

        for (split, counts) in counts.iter().enumerate() {
            let flows = u32::try_from(counts.iter().sum::<u64>()).unwrap();
            for (backend, count) in counts.iter().enumerate() {
                let what = format!("backend {backend} of split {split} of {shares:?}");
                assert_share(*count, flows, 1.0 / f64::from(backends), &what);
            }
        }
    }
}

#[test]
fn more_canary_moves_flows_from_stable_alone_and_none_back() {
    let hashes: Vec<u64> = hashes(FLOWS / 50, false).collect();
    let mut before: Option<Vec<u16>> = None;
    for canary in (0..=10_000).step_by(97).chain([10_000]) {
        let (tables, record) = record(&[10_000 - canary, canary], &[3, 2]);
        let now: Vec<u16> = hashes
            .iter()
            .map(|hash| pick(&tables, &record, Version::V4, *hash).unwrap().statistics)
            .collect();

        for (old, new) in before.iter().flatten().zip(&now) {
            assert!(new >= old, "a flow went back to stable at {canary}");
        }
        before = Some(now);
    }
    assert!(before.unwrap().iter().all(|split| *split == 1));
}

#[test]
fn by_address_all_flows_of_a_client_get_the_same() {
    let all: Vec<u64> = hashes(80_000, true).collect();

    for of_client in all.chunks(8) {
        assert!(of_client.iter().all(|hash| *hash == of_client[0]));
    }
    let mut clients: Vec<u64> = all.into_iter().step_by(8).collect();
    clients.sort_unstable();
    clients.dedup();
    assert_eq!(clients.len(), 10_000);
}

#[test]
fn the_hash_is_the_same_on_every_node_and_version() {
    let end = |ip, port| Endpoint { address: Address::v4(ip), port, protocol: TCP };
    let hash =
        |seed| flow_hash(seed, end([10, 0, 0, 1], [1, 2]), end([10, 96, 0, 1], [0, 80]), false);

    assert_eq!([hash(0), hash(1)], GOLDEN_HASHES);
}

/// Moving these moves every flow of every cluster at an upgrade.
const GOLDEN_HASHES: [u64; 2] = [16_984_973_276_222_931_212, 3_313_976_683_095_579_617];

#[test]
fn a_split_without_a_backend_is_picked_and_says_so() {
    let (tables, record) = record(&[10_000], &[0]);

    let picked = pick(&tables, &record, Version::V4, u64::MAX).unwrap();

    assert_eq!(picked, Picked { statistics: 0, backend: None, follows: false });
}

#[test]
fn a_client_is_given_a_backend_of_its_own_family_or_none() {
    let (tables, mut record) = record(&[10_000], &[1]);
    (record.slots[0][0], record.slots[1][0]) = (4, 6);
    let drawn = |record: &Record, version| pick(&tables, record, version, 0).unwrap().backend;
    assert_eq!(drawn(&record, Version::V6), None, "the split has none there");

    record.lengths[1][0] = 1;

    assert_eq!(drawn(&record, Version::V4), Some(4));
    assert_eq!(drawn(&record, Version::V6), Some(6));
}

#[test]
fn a_record_that_is_empty_or_contradicts_itself_gives_none() {
    let (tables, mut record) = record(&[5_000, 5_000], &[1, 1]);
    assert_eq!(pick(&tables, &Record::default(), Version::V4, 0), None);

    record.count = 1;

    assert_eq!(pick(&tables, &record, Version::V4, u64::MAX), None);
    assert!(pick(&tables, &record, Version::V4, 0).is_some());
}

proptest! {
    /// Whatever the shares, each hash is in exactly one split, and the last bound is the end.
    #[test]
    fn thresholds_are_total(cuts in prop::collection::btree_set(1_u16..10_000, 0..15), hash in any::<u64>()) {
        let mut cuts: Vec<u16> = cuts.into_iter().collect();
        cuts.push(10_000);
        let mut last = 0;
        let shares: Vec<u16> = cuts
            .iter()
            .map(|cut| {
                let share = cut - last;
                last = *cut;
                share
            })
            .collect();
        let (tables, record) = record(&shares, &vec![1; shares.len()]);

        prop_assert_eq!(record.bounds[shares.len() - 1], u32::MAX);
        prop_assert!(record.bounds[..shares.len()].is_sorted_by(|low, high| low < high));
        prop_assert!(pick(&tables, &record, Version::V4, hash).is_some());
        // A share of one in 10,000 is 2^32 / 10,000 hashes, to one.
        let mut low = 0_u64;
        for (bound, share) in record.bounds.iter().zip(&shares) {
            let width = u64::from(*bound) + 1 - low;
            let exact = (u64::from(*share) << 32) / 10_000;
            prop_assert!(width.abs_diff(exact) <= 1, "{} of {}", width, share);
            low = u64::from(*bound) + 1;
        }
    }
}
