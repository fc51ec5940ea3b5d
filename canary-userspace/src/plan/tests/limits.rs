use std::sync::Arc;
use std::time::Instant;

use super::*;

/// What is full, once `services` are to follow on `before`.
fn full(sizes: Sizes, before: Vec<DesiredService>, after: Vec<DesiredService>) -> String {
    let (_, mut published) = published(sizes, before.clone());
    let names = Names::from(["payments", "web"].map(str::to_owned));
    let some = fits_some(&mut published, &desired(after.clone()), &names).unwrap_err();
    assert_eq!(
        some.to_string(),
        fits(&published, &desired(after.clone())).unwrap_err().to_string()
    );
    fits_some(&mut published, &desired(before.clone()), &names).unwrap();

    let blocked = plan(&mut published, &desired(after)).unwrap_err();

    assert_eq!(published.desired(), &desired(before), "something was changed all the same");
    match blocked {
        Blocked::Full(error) => error.to_string(),
        Blocked::Grace => "grace".to_owned(),
        Blocked::Pass => "pass".to_owned(),
    }
}

#[test]
fn a_full_table_is_named_and_nothing_is_stored() {
    let web = service("web", &[11], vec![split("web", "", 10_000, &[4, 5])]);
    let both = || vec![payments(9000), web.clone()];
    let before = || vec![payments(9000)];

    let text = full(Sizes { services: 2, ..SMALL }, before(), both());
    assert_eq!(
        text,
        "service web: SERVICES is full, this node holds 2; raise `limits.services`, stop the \
         agent, run `canaryctl detach` and start it anew"
    );
    let text = full(Sizes { frontends: 1, ..SMALL }, before(), both());
    assert!(text.starts_with("service web: FRONTENDS is full, this node holds 1;"), "{text}");
    let text = full(Sizes { backends: 4, ..SMALL }, before(), both());
    assert!(text.starts_with("service web: BACKENDS is full, this node holds 4;"), "{text}");
    let text = full(Sizes { slots: 300, ..SMALL }, before(), both());
    assert!(text.starts_with("service web: SLOTS is full, this node holds 300;"), "{text}");
    let text = full(Sizes { statistics: 3, ..SMALL }, before(), both());
    assert!(text.starts_with("service web: STATS is full, this node holds 3;"), "{text}");
    let text = full(Sizes { buckets: 1, overflow: 3, ..SMALL }, before(), both());
    assert!(text.starts_with("service web: ENDPOINTS is full"), "{text}");
}

#[test]
fn histograms_that_ran_out_stop_nothing() {
    let (lab, published) = published(Sizes { histograms: 1, ..SMALL }, vec![payments(9000)]);

    let granted = lab.splits.values().filter(|(_, histogram)| histogram.is_some()).count();
    assert_eq!(granted, 1);
    assert_eq!(published.counted().count(), 2);
}

#[test]
fn records_that_ran_out_wait_for_grace_and_are_never_overwritten() {
    let sizes = Sizes { services: 2, ..SMALL };
    let (mut lab, mut published) = published(sizes, vec![payments(9000)]);
    let mut waited = 0;

    for step in 0..20 {
        let next = desired(vec![payments(1000 + step)]);
        let writes = match plan(&mut published, &next) {
            Ok(writes) => writes,
            Err(Blocked::Grace) => {
                waited += 1;
                assert_ne!(published.desired(), &next);
                lab.grace(&mut published);
                plan(&mut published, &next).unwrap()
            }
            Err(blocked) => panic!("{blocked:?}"),
        };
        assert_eq!(writes.len(), 2, "{writes:?}");
        lab.apply_all(&writes);
    }

    assert!(waited > 5, "four records cannot do for twenty changes");
}

#[test]
fn a_change_that_only_its_own_leavings_would_make_room_for_is_refused_and_waits_for_nothing() {
    let two = |first: u8| {
        let blue = split("payments", "blue", 10_000, &[first, first + 1]);
        service("payments", &[10], vec![blue])
    };

    let text = full(Sizes { slots: 300, ..SMALL }, vec![two(1)], vec![two(2)]);

    assert!(text.starts_with("service payments: SLOTS is full"), "{text}");
}

#[test]
fn an_endpoint_may_turn_from_frontend_to_backend_and_back() {
    let web = |pods: &[u8]| service("web", &[11], vec![split("web", "", 10_000, pods)]);
    let mut over_vip = web(&[2]);
    over_vip.splits[0].backends.push(backend(vip(10)));
    let (mut lab, mut published) = published(SMALL, vec![payments(9000), web(&[2])]);
    let states = [vec![over_vip], vec![payments(9000), web(&[2])]];

    for state in states.into_iter().cycle().take(6) {
        let state = desired(state);
        let writes = plan(&mut published, &state).unwrap();
        for write in &writes {
            lab.apply(write);
            assert!(lab.answer(vip(11)).is_some());
            lab.answer(vip(10));
        }
        assert_eq!(lab.answer(vip(10)).is_some(), state.services.len() == 2);
        lab.grace(&mut published);
    }
}

#[test]
fn what_is_the_same_costs_nothing() {
    let (_, mut published) = published(SMALL, vec![payments(9000)]);

    assert_eq!(plan(&mut published, &desired(vec![payments(9000)])).unwrap(), []);
}

#[test]
fn a_canary_takes_from_the_default_subset_alone() {
    let (mut lab, mut published) = published(SMALL, vec![payments(9500)]);
    let before = lab.answer(vip(10)).unwrap();
    lab.apply_all(&plan(&mut published, &desired(vec![payments(7500)])).unwrap());
    let after = lab.answer(vip(10)).unwrap();

    let subset = |one: &Option<(SplitKey, Option<Endpoint>)>| one.clone().unwrap().0.subset;
    let back =
        before.iter().zip(&after).filter(|(b, a)| subset(b) == "green" && subset(a) == "blue");
    assert_eq!(back.count(), 0);
    assert_eq!(after.iter().filter(|one| subset(one) == "green").count(), 128);
    assert_eq!(counts(&after)[&Some(pod(3))], 128);
}

/// Services of ten pods each in two subsets, as many as two bytes number.
fn many(count: u16, blue: u16) -> Desired {
    let services = (0..count).map(|number| {
        let name = format!("service-{number:05}");
        let [high, low] = number.to_be_bytes();
        let at = |host: u8| endpoint(Ipv4Addr::new(10, high, low, host).into(), 8080, TCP);
        let split_of = |subset: &str, share: u16, hosts: std::ops::Range<u8>| {
            let mut split = split(&name, subset, share, &[]);
            split.backends = hosts.map(|host| backend(at(host))).collect();
            split
        };
        let splits = vec![split_of("blue", blue, 1..6), split_of("green", 10_000 - blue, 6..11)];
        DesiredService { frontends: vec![at(100)], ..service(&name, &[], splits) }
    });
    desired(services.collect())
}

#[test]
fn a_thousand_services_are_planned_soon_and_a_weight_at_once() {
    let (mut published, _) = Published::new(Sizes::default());
    let first = many(1000, 9000);
    let mut other = first.clone();
    let split = Arc::make_mut(&mut other.services[500]);
    split.splits[0].share = 5000;
    split.splits[1].share = 5000;
    let mut pod_gone = other.clone();
    Arc::make_mut(&mut pod_gone.services[500]).splits[0].backends.pop();

    let start = Instant::now();
    let all = plan(&mut published, &first).unwrap().len();
    let (whole, start) = (start.elapsed(), Instant::now());
    let weight = plan(&mut published, &other).unwrap().len();
    let (one, start) = (start.elapsed(), Instant::now());
    let pod = plan(&mut published, &pod_gone).unwrap().len();
    println!(
        "1000 services of 10: {all} stores in {whole:?}; a weight: {weight} in {one:?}; \
         a pod less: {pod} in {:?}",
        start.elapsed()
    );

    assert_eq!(weight, 2);
    assert_eq!(pod, 4, "slots, record, current, draining");
}
