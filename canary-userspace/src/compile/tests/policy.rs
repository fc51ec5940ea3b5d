//! Policies down to the record that the kernel reads.

use canary_common::draw::flow_hash;
use canary_common::endpoint::Version;
use canary_common::memory::Memory;
use canary_common::service::{AFFINITY_SOURCE, FOLLOW_WEIGHTS, Record, pick};
use canary_common::tables::Tables as _;

use super::*;
use crate::entry::{HashPolicy, LoadBalancer, Policy};
use crate::plan::{Published, Sizes, Write, plan, plan_some};

const SEED: u64 = 7;

fn balanced(lab: Lab, service: &str, policy: Policy, source_ip: bool) -> Lab {
    let mut lab = lab;
    let hash_policies = vec![HashPolicy { source_ip, ..HashPolicy::default() }];
    let entry =
        lab.0.resolvers.entry(service.to_owned()).or_insert_with(|| {
            sourced(Resolver { name: service.to_owned(), ..Resolver::default() })
        });
    Arc::make_mut(entry).value.load_balancer =
        Some(LoadBalancer { policy, hash_policies, ..LoadBalancer::default() });
    lab
}

/// The records that `writes` put in force, and the slots beside them.
fn carried_out(memory: &mut Memory, writes: &[Write]) -> Vec<Record> {
    let mut records = Vec::new();
    for write in writes {
        match write {
            Write::Slots { start, ids } => {
                let start = usize::try_from(*start).unwrap();
                let end = start + ids.len();
                memory.slots.resize(memory.slots.len().max(end), 0);
                memory.slots[start..end].copy_from_slice(ids);
            }
            Write::Record { record, .. } => records.push(**record),
            _ => {}
        }
    }
    records
}

fn client(host: u32, port: u16) -> Endpoint {
    endpoint(Ipv4Addr::from(0x0a01_0000 + host).into(), port, TCP)
}

/// The backend that a client of `record` gets.
fn backend(memory: &Memory, record: &Record, client: Endpoint) -> Option<u32> {
    let by_address = record.flags & AFFINITY_SOURCE != 0;
    let hash = flow_hash(SEED, client, vip(10, TCP), by_address);
    pick(memory, record, Version::V4, hash).unwrap().backend
}

#[test]
fn that_datagrams_follow_reaches_the_record_of_udp_alone() {
    let following = |mut lab: Lab| {
        let name = "payments".to_owned();
        let entry = lab
            .0
            .defaults
            .entry(name.clone())
            .or_insert_with(|| sourced(ServiceDefaults { name, ..ServiceDefaults::default() }));
        let meta = serde_json::json!({"canary/udp-follow-weights": "true"});
        Arc::make_mut(entry).value.other.insert("Meta".to_owned(), meta);
        lab.compile()
    };
    let flags = |desired: &Desired| {
        let (mut published, _) = Published::new(Sizes::default());
        let writes = plan(&mut published, desired).unwrap();
        let records = carried_out(&mut Memory::default(), &writes);
        records.iter().map(|record| record.flags).collect::<Vec<_>>()
    };

    let udp = following(payments().udp("payments"));
    assert_eq!(flags(&udp.desired), [FOLLOW_WEIGHTS]);
    assert_eq!(flags(&payments().udp("payments").compile().desired), [0]);
    let tcp = following(payments());
    assert_eq!(flags(&tcp.desired), [0]);
    let said: Vec<String> = tcp.warnings.iter().map(|warning| warning.text.clone()).collect();
    let text = "meta canary/udp-follow-weights has no effect: the service is not reached by UDP";
    assert!(said.iter().any(|said| said == text), "{said:?}");
    assert!(!udp.warnings.iter().any(|warning| warning.text == text));
}

#[test]
fn source_ip_reaches_the_record_and_picks_depend_on_the_address_alone() {
    let lab = payments()
        .resolver("payments", "blue", BLUE_GREEN)
        .splitter("payments", &[(5000, "", "blue"), (5000, "", "green")]);
    let plain = lab.compile().desired;
    let sticky = balanced(lab, "payments", Policy::Maglev, true).compile().desired;
    let (mut published, _) = Published::new(Sizes::default());
    let mut memory = Memory::default();

    let first = carried_out(&mut memory, &plan(&mut published, &plain).unwrap());
    let changed = plan_some(&mut published, &sticky, &["payments".to_owned()].into()).unwrap();

    // A policy changes with the record, so by one store.
    assert!(matches!(*changed, [Write::Record { .. }, Write::Current { .. }]), "{changed:?}");
    let second = carried_out(&mut memory, &changed);
    assert_eq!((first[0].flags, second[0].flags), (0, AFFINITY_SOURCE));
    let of = |record, host| -> BTreeSet<Option<u32>> {
        (1..200).map(|port| backend(&memory, record, client(host, port))).collect()
    };
    assert_eq!(of(&first[0], 1).len(), 3, "by connection a client gets every backend");
    for host in 0..200 {
        assert_eq!(of(&second[0], host).len(), 1, "client {host}");
    }
    let all: BTreeSet<_> = (0..200).flat_map(|host| of(&second[0], host)).collect();
    assert_eq!(all.len(), 3, "all clients together get every backend");
}

#[test]
fn only_a_policy_that_hashes_keeps_a_client_and_the_first_one_of_a_splitter_wins() {
    let affinity =
        |lab: &Lab, service: &str| lab.compile().desired.service(service).unwrap().affinity;
    let web = |first: (Policy, bool), second: (Policy, bool)| {
        let lab = payments()
            .instance("shop", 4, "1", 11)
            .instance("web", 5, "1", 12)
            .splitter("web", &[(1, "payments", ""), (9999, "shop", "")]);
        let lab = balanced(lab, "payments", first.0, first.1);
        balanced(lab, "shop", second.0, second.1)
    };
    for policy in [Policy::Unset, Policy::Random, Policy::RoundRobin] {
        assert_eq!(
            affinity(&balanced(payments(), "payments", policy, true), "payments"),
            Affinity::Flow
        );
    }
    for policy in [Policy::Maglev, Policy::RingHash] {
        assert_eq!(
            affinity(&balanced(payments(), "payments", policy, true), "payments"),
            Affinity::Source
        );
        assert_eq!(
            affinity(&balanced(payments(), "payments", policy, false), "payments"),
            Affinity::Flow
        );
    }
    let (random, maglev, ring) =
        ((Policy::Random, true), (Policy::Maglev, true), (Policy::RingHash, false));
    assert_eq!(affinity(&web(random, maglev), "web"), Affinity::Source);
    assert_eq!(affinity(&web(maglev, ring), "web"), Affinity::Source);
    assert_eq!(affinity(&web(ring, maglev), "web"), Affinity::Flow);
}

/// How even a pick is: each of `count` instances shall get its part of the hash space.
#[test]
fn instances_of_equal_weight_get_equal_parts_to_one_in_a_hundred() {
    let mut worst_slots = 0.0_f64;
    for count in [2_u16, 3, 5, 10, 20, 50, 100, 250] {
        let lab =
            (0..count).fold(Lab::default(), |lab, host| lab.instance("web", 256 + host, "1", 10));
        let (mut published, _) = Published::new(Sizes::default());
        let mut memory = Memory::default();
        let desired = lab.compile().desired;
        let record = carried_out(&mut memory, &plan(&mut published, &desired).unwrap())[0];

        // What the slots say: how far the luckiest and the unluckiest are from the mean.
        let length = record.lengths[0][0];
        let mut slots: BTreeMap<u32, u32> = BTreeMap::new();
        for slot in 0..length {
            *slots.entry(memory.slot(record.slots[0][0] + slot).unwrap()).or_default() += 1;
        }
        let mean = f64::from(length) / f64::from(count);
        let off = slots.values().map(|n| (f64::from(*n) / mean - 1.0).abs()).fold(0.0, f64::max);
        worst_slots = worst_slots.max(off);

        // What connections see: a chi-square test of 200 for each.
        let flows = u32::from(count) * 200;
        let mut got: BTreeMap<u32, u32> = BTreeMap::new();
        for flow in 0..flows {
            let port = u16::try_from(1024 + flow % 60_000).unwrap();
            let id = backend(&memory, &record, client(flow / 60_000, port)).unwrap();
            *got.entry(id).or_default() += 1;
        }
        let chi: f64 = got.values().map(|n| (f64::from(*n) - 200.0).powi(2) / 200.0).sum();
        let freedom = f64::from(count) - 1.0;
        println!(
            "{count} instances: {length} slots, at most {:.2} % off; chi-square {chi:.1} of {freedom}",
            off * 100.0
        );
        assert_eq!(got.len(), usize::from(count), "all are picked");
        // Four standard deviations above the mean of the distribution, and a little for small ones.
        assert!(chi < freedom + 4.0 * (2.0 * freedom).sqrt() + 8.0, "{count}: {chi}");
    }
    assert!(worst_slots <= 0.01, "{worst_slots}");
}

/// `payments`: three quarters to v1 with two instances, a quarter to v2 with one.
fn placed() -> Arc<DesiredService> {
    let lab = Lab::default()
        .instance("payments", 1, "1", 10)
        .instance("payments", 2, "1", 10)
        .instance("payments", 3, "2", 10)
        .resolver(
            "payments",
            "v1",
            &[("v1", "Service.Meta.version == 1"), ("v2", "Service.Meta.version == 2")],
        )
        .splitter("payments", &[(7500, "", "v1"), (2500, "", "v2")]);
    lab.compile().desired.services.remove(0)
}

fn host(endpoint: &Endpoint) -> u8 {
    endpoint.address.last_four()[3]
}

#[test]
fn backends_of_the_node_alone_share_what_the_others_would_get() {
    let service = placed();
    for (here, shares, hosts) in [
        (&[1, 2, 3][..], [7500, 2500], [&[1, 2][..], &[3]]),
        (&[2, 3], [7500, 2500], [&[2], &[3]]),
        (&[1], [10_000, 0], [&[1], &[]]),
        (&[3], [0, 10_000], [&[], &[3]]),
        (&[], [7500, 2500], [&[], &[]]),
    ] {
        let local = service.local(|endpoint| here.contains(&host(endpoint)));

        assert!(local.is_local() && !service.is_local());
        assert_eq!(local.frontends, []);
        for ((split, share), hosts) in local.splits.iter().zip(shares).zip(hosts) {
            assert_eq!(split.share, share, "{here:?}");
            let own: Vec<u8> = split.backends.iter().map(|own| host(&own.endpoint)).collect();
            assert_eq!(own, hosts, "{here:?}");
        }
    }
}

#[test]
fn a_backend_that_leaves_the_node_keeps_its_row_and_its_counters() {
    let service = placed();
    let with = |here: &[u8]| Desired {
        services: vec![
            Arc::clone(&service),
            Arc::new(service.local(|endpoint| here.contains(&host(endpoint)))),
        ],
        ..Desired::default()
    };
    let (mut published, _) = Published::new(Sizes::default());
    plan(&mut published, &with(&[1, 3])).unwrap();
    let counted: Vec<_> = published.counted().map(|(key, id, _)| (key.clone(), id)).collect();

    let writes = plan(&mut published, &with(&[1])).unwrap();

    assert_eq!(published.leaving_backends().count(), 0, "{writes:?}");
    let moves = |write: &Write| matches!(write, Write::Record { .. } | Write::Current { .. });
    assert!(writes.len() == 2 && writes.iter().all(moves), "{writes:?}");
    let again: Vec<_> = published.counted().map(|(key, id, _)| (key.clone(), id)).collect();
    assert_eq!(again, counted);

    let alone = Desired { services: vec![service.clone()], ..Desired::default() };
    plan(&mut published, &alone).unwrap();
    assert_eq!(published.leaving_backends().count(), 0);
    assert_eq!(published.service(&service.local_name()), None);
}
