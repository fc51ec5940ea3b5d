use proptest::prelude::*;

use super::*;

/// The frontend of a number: every third one is of IPv6.
fn frontend(number: u8) -> Endpoint {
    if number.is_multiple_of(3) { vip6(number) } else { vip(number) }
}

/// Up to four services over shared pods and frontends of both families, each frontend with one
/// service.
fn states() -> impl Strategy<Value = Desired> {
    let backend = (1..10_u8, 1..4_u32, any::<bool>(), 1..4_u8);
    let split = (0..=10_000_u16, prop::collection::vec(backend, 0..4));
    let one = (any::<bool>(), prop::collection::vec(split, 1..4), any::<bool>());
    let owners = prop::collection::vec(0..6_usize, 6);
    (prop::collection::vec(one, 4), owners).prop_map(|(services, owners)| {
        let services =
            services.into_iter().enumerate().filter_map(|(number, (there, splits, histograms))| {
                let name = format!("service-{number}");
                let frontends: Vec<Endpoint> = (1..)
                    .zip(&owners)
                    .filter(|(_, owner)| **owner == number)
                    .map(|(last, _)| frontend(last))
                    .collect();
                (there && !frontends.is_empty()).then(|| DesiredService {
                    upstream: false,
                    braked: false,
                    splits: splits_of(&name, splits),
                    default_subset: "b".to_owned(),
                    histograms,
                    name,
                    frontends,
                    affinity: Affinity::Flow,
                    follows: false,
                    internal: TrafficPolicy::Cluster,
                    external: TrafficPolicy::Cluster,
                })
            });
        desired(services.collect())
    })
}

/// Last byte, weight, health and families of each: 1 for IPv4, 2 for IPv6, 3 for both.
type Pods = Vec<(u8, u32, bool, u8)>;

fn splits_of(name: &str, splits: Vec<(u16, Pods)>) -> Vec<DesiredSplit> {
    let count = splits.len();
    let mut left = 10_000;
    splits
        .into_iter()
        .zip(["a", "b", "c"])
        .enumerate()
        .map(|(place, ((share, pods), subset))| {
            let share = if place + 1 == count { left } else { share.min(left) };
            left -= share;
            let pods: BTreeMap<u8, _> = pods
                .into_iter()
                .map(|(pod, weight, healthy, of)| (pod, (weight, healthy, of)))
                .collect();
            let mut split = split(name, subset, share, &[]);
            for (last, (weight, healthy, families)) in pods {
                let v4 = (families & 1 != 0).then(|| pod(last));
                let v6 = (families & 2 != 0).then(|| pod6(last));
                for (place, endpoint) in v4.into_iter().chain(v6).enumerate() {
                    let second = place > 0;
                    split.backends.push(DesiredBackend { endpoint, weight, healthy, second });
                }
            }
            split.backends.sort();
            split
        })
        .collect()
}

fn owner(desired: &Desired, frontend: Endpoint) -> Option<&str> {
    let mut services = desired.services.iter();
    services.find(|s| s.frontends.contains(&frontend)).map(|s| s.name.as_str())
}

fn answers(lab: &Lab) -> BTreeMap<Endpoint, Option<Answer>> {
    (1..=6).map(|last| (frontend(last), lab.answer(frontend(last)))).collect()
}

/// Plans `next`, waiting for grace where that is asked for.
fn planned(lab: &mut Lab, published: &mut Published, next: &Desired) -> Vec<Write> {
    for _ in 0..4 {
        match plan(published, next) {
            Ok(writes) => return writes,
            Err(Blocked::Grace) => lab.grace(published),
            Err(Blocked::Pass) => lab.pass_between_graces(published),
            Err(Blocked::Full(error)) => panic!("{error}"),
        }
    }
    panic!("grace freed nothing")
}

/// Whether each answer is that of one whole service, before or after.
fn check_step(now: &Lab, before: &Answers<'_>, after: &Answers<'_>) {
    'frontends: for last in 1..=6 {
        let at = frontend(last);
        let answer = now.answer(at);
        let (old, new) = (owner(before.desired, at), owner(after.desired, at));
        let mut allowed = vec![before.all[&at].clone(), after.all[&at].clone()];
        // One that moves may see its old or new service between its old state and its new one.
        if old != new {
            for (name, answers) in [(old, after), (new, before)] {
                let of = answers.desired.services.iter().find(|s| Some(s.name.as_str()) == name);
                let version = at.address.version();
                // By a frontend of the same family, if the service has one.
                let like = of.map(|service| {
                    let mut own = service.frontends.iter();
                    own.find(|own| own.address.version() == version)
                });
                match like {
                    Some(Some(like)) => allowed.push(answers.all[like].clone()),
                    Some(None) => continue 'frontends,
                    None => {}
                }
            }
        }
        assert!(allowed.contains(&answer), "frontend {last} gives a mixture");
    }
}

struct Answers<'a> {
    desired: &'a Desired,
    all: BTreeMap<Endpoint, Option<Answer>>,
}

/// Lets go of what leaves, as a sweep does that finds no flow, if `chance` has it.
fn sweep(lab: &mut Lab, published: &mut Published, chance: u8) {
    let backends: Vec<Leaving> = published.leaving_backends().collect();
    let frontends: Vec<Leaving> = published.leaving_frontends().collect();
    for (number, leaving) in (0..).zip(backends) {
        if chance & (1 << (number % 4)) != 0 {
            lab.apply_all(&published.forget_backend(&leaving.endpoint));
        }
    }
    for (number, leaving) in (0..).zip(frontends) {
        if chance & (16 << (number % 4)) != 0 {
            lab.apply_all(&published.forget_frontend(&leaving.endpoint));
        }
    }
    match chance % 6 {
        0 | 1 => lab.grace(published),
        2 => lab.pass(published),
        3 => lab.pass_between_graces(published),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn after_every_store_a_frontend_gives_its_old_answer_or_its_new_one(
        steps in prop::collection::vec((states(), any::<u8>()), 2..8),
    ) {
        let (mut lab, mut published) = published(SMALL, vec![]);
        let mut before = Desired::default();
        for (next, chance) in steps {
            let writes = planned(&mut lab, &mut published, &next);
            let mut last = copy(&lab);
            last.apply_all(&writes);
            let old = Answers { desired: &before, all: answers(&lab) };
            let new = Answers { desired: &next, all: answers(&last) };
            for write in &writes {
                lab.apply(write);
                check_step(&lab, &old, &new);
            }
            check_desired(&lab, &next);
            sweep(&mut lab, &mut published, chance);
            before = next;
        }
    }

    #[test]
    fn an_agent_killed_at_any_store_finds_its_way(
        steps in prop::collection::vec((states(), any::<u8>(), any::<prop::sample::Index>()), 2..6),
    ) {
        let (mut lab, mut published) = published(SMALL, vec![]);
        for (next, chance, killed) in steps {
            let writes = planned(&mut lab, &mut published, &next);
            let done = killed.index(writes.len() + 1);
            lab.apply_all(&writes[..done]);

            let (adopted, swept) = lab.adopt();
            published = adopted;
            lab.apply_all(&swept);
            lab.check_bits();
            lab.grace(&mut published);
            let rest = planned(&mut lab, &mut published, &next);
            if done == writes.len() {
                prop_assert!(rest.iter().all(|write| !matches!(write, Write::Current { .. })), "{rest:?}");
            }
            lab.apply_all(&rest);

            check_desired(&lab, &next);
            sweep(&mut lab, &mut published, chance);
        }
    }
}

/// Whether the tables say what was asked for.
fn check_desired(lab: &Lab, desired: &Desired) {
    for service in &desired.services {
        for frontend in &service.frontends {
            let answer = lab.answer(*frontend).expect("a frontend in force");
            for split in &service.splits {
                let got = answer.iter().flatten().filter(|(key, _)| *key == split.key).count();
                let want = usize::from(split.share) * 512 / 10_000;
                assert!(got.abs_diff(want) <= 1, "{:?} got {got} of 512, not {want}", split.key);
                let version = frontend.address.version();
                let healthy: BTreeSet<Endpoint> =
                    split.of(version).filter(|b| b.healthy).map(|b| b.endpoint).collect();
                for (key, endpoint) in answer.iter().flatten() {
                    let ours = *key == split.key;
                    assert!(
                        !ours || endpoint.map_or(healthy.is_empty(), |at| healthy.contains(&at))
                    );
                }
            }
        }
    }
    let wanted: BTreeSet<Endpoint> = (desired.services.iter())
        .flat_map(|service| &service.splits)
        .flat_map(|split| split.backends.iter().map(|backend| backend.endpoint))
        .collect();
    let mut kept = backends_that_are(lab, State::Alive);
    kept.append(&mut backends_that_are(lab, State::Resting));
    assert_eq!(kept, wanted);
    for last in 1..=6 {
        let at = frontend(last);
        if owner(desired, at).is_none() {
            assert!(lab.answer(at).is_none_or(|answer| answer.iter().all(Option::is_none)));
        }
    }
}

/// The same tables once more.
fn copy(lab: &Lab) -> Lab {
    let mut copy = Lab::new(lab.sizes);
    for (to, from) in copy.memory.buckets.iter_mut().zip(&lab.memory.buckets) {
        for (to, from) in to.entries.iter_mut().zip(&from.entries) {
            (to.address, to.tail) = (from.address, from.tail);
            to.value.store(from.value.load());
            to.spare.store(from.spare.load());
        }
    }
    for (to, from) in copy.memory.frontends.iter_mut().zip(&lab.memory.frontends) {
        (to.address, to.port, to.protocol) = (from.address, from.port, from.protocol);
        to.service.store(from.service.load());
    }
    for (to, from) in copy.memory.backends.iter_mut().zip(&lab.memory.backends) {
        (to.address, to.port, to.protocol) = (from.address, from.port, from.protocol);
        to.state.store(from.state.load());
    }
    copy.memory.addresses = lab.memory.addresses.clone();
    copy.memory.overflow = lab.memory.overflow.clone();
    copy.memory.current = lab.memory.current.clone();
    copy.memory.records = lab.memory.records.clone();
    copy.memory.slots = lab.memory.slots.clone();
    copy.names = lab.names.clone();
    copy.splits = lab.splits.clone();
    copy.read = lab.read.clone();
    copy.flows = lab.flows.clone();
    copy.held = lab.held.clone();
    copy
}
