//! Rows that are let go of, and what is written into them after that.

use canary_common::addresses::place;

use super::*;

/// Payments with these pods alone.
fn blue(pods: &[u8]) -> Desired {
    desired(vec![service("payments", &[10], vec![split("payments", "blue", 10_000, pods)])])
}

#[test]
fn a_backend_that_left_drains_until_it_is_forgotten_and_its_row_comes_back() {
    let (mut lab, mut published) = published(SMALL, vec![payments(9000)]);
    lab.apply_all(&plan(&mut published, &blue(&[2])).unwrap());
    assert_eq!(backends_that_are(&lab, State::Draining), BTreeSet::from([pod(1), pod(3)]));
    let leaving: Vec<Leaving> = published.leaving_backends().collect();
    assert_eq!(leaving.len(), 2);

    let writes = published.forget_backend(&pod(1));
    lab.apply_all(&writes);
    assert_eq!(published.forget_backend(&pod(1)), []);
    assert_eq!(published.forget_backend(&pod(2)), [], "it is in force");
    assert_eq!(backends_that_are(&lab, State::Gone), BTreeSet::from([pod(1)]));
    lab.pass_between_graces(&mut published);

    lab.apply_all(&plan(&mut published, &blue(&[2, 7])).unwrap());

    assert_eq!(lab.memory.backends[at(leaving[0].id)].address, pod(7).address.0);
}

/// Something that happens on the way to a free row.
type Step = fn(&mut Lab, &mut Published);

#[test]
fn a_row_is_handed_out_after_grace_a_pass_and_grace_and_no_sooner() {
    let sizes = Sizes { backends: 2, frontends: 1, ..SMALL };
    let next = blue(&[2, 3]);
    let steps: [(&str, Step); 5] = [
        ("nothing", |_, _| {}),
        ("a pass before grace", |lab, published| lab.pass(published)),
        ("grace", |lab, published| lab.grace(published)),
        ("grace again", |lab, published| lab.grace(published)),
        ("a pass that did not come to its end", |_, published| {
            published.begin_pass();
            published.end_pass(false);
        }),
    ];
    let (mut lab, mut published) = published_as(sizes, &blue(&[1, 2]));
    lab.apply_all(&plan(&mut published, &blue(&[2])).unwrap());
    lab.apply_all(&published.forget_backend(&pod(1)));
    assert!(published.waits_for_pass() && !published.needs_pass());

    for (step, take) in steps {
        take(&mut lab, &mut published);
        let blocked = plan(&mut published, &next).unwrap_err();
        assert!(matches!(blocked, Blocked::Pass), "{blocked:?} after {step}");
        assert_eq!(fits(&published, &next).map_err(|error| error.to_string()), Ok(()));
        let names = next.services.iter().map(|service| service.name.clone()).collect();
        fits_some(&mut published, &next, &names).unwrap();
    }
    assert!(published.needs_pass());
    assert_eq!(published.rows_to_end(), (BTreeSet::from([0]), BTreeSet::new()));
    lab.pass(&mut published);
    assert!(matches!(plan(&mut published, &next), Err(Blocked::Grace)));
    lab.grace(&mut published);

    lab.apply_all(&plan(&mut published, &next).unwrap());
    assert_eq!(lab.memory.backends[0].address, pod(3).address.0);
    assert_eq!(published.rows_to_end(), (BTreeSet::new(), BTreeSet::new()));
}

#[test]
fn a_frontends_row_waits_for_a_pass_too() {
    let sizes = Sizes { frontends: 2, ..SMALL };
    let at = |vips: &[u8]| {
        desired(vec![service("payments", vips, vec![split("payments", "", 10_000, &[1])])])
    };
    let (mut lab, mut published) = published_as(sizes, &at(&[10, 11]));
    lab.apply_all(&plan(&mut published, &at(&[11])).unwrap());
    assert_eq!(lab.answer(vip(10)), Some(vec![None; 512]), "one that left refuses");
    assert!(matches!(plan(&mut published, &at(&[11, 12])), Err(Blocked::Full(_))));
    assert_eq!(
        published.leaving_frontends().collect::<Vec<_>>(),
        [Leaving { endpoint: vip(10), id: 0 }]
    );

    lab.apply_all(&published.forget_frontend(&vip(10)));
    assert_eq!(lab.answer(vip(10)), None);
    assert!(matches!(plan(&mut published, &at(&[11, 12])), Err(Blocked::Pass)));
    lab.pass_between_graces(&mut published);

    lab.apply_all(&plan(&mut published, &at(&[11, 12])).unwrap());
    assert!(lab.answer(vip(12)).is_some());
}

#[test]
fn a_draining_backend_that_comes_back_keeps_its_row() {
    let (mut lab, mut published) = published(SMALL, vec![payments(9000)]);
    lab.apply_all(&plan(&mut published, &blue(&[2])).unwrap());
    let leaving: Vec<Leaving> = published.leaving_backends().collect();

    lab.apply_all(&plan(&mut published, &desired(vec![payments(9000)])).unwrap());

    assert_eq!(published.leaving_backends().count(), 0);
    let row = &lab.memory.backends[at(leaving[0].id)];
    assert_eq!((row.state(), row.endpoint()), (State::Alive, leaving[0].endpoint));
}

#[test]
fn one_that_comes_back_after_it_was_forgotten_gets_another_row() {
    let (mut lab, mut published) = published(SMALL, vec![payments(9000)]);
    lab.apply_all(&plan(&mut published, &blue(&[2])).unwrap());
    let leaving: Vec<Leaving> = published.leaving_backends().collect();
    for Leaving { endpoint, .. } in &leaving {
        lab.apply_all(&published.forget_backend(endpoint));
    }

    lab.apply_all(&plan(&mut published, &desired(vec![payments(9000)])).unwrap());

    for Leaving { endpoint, id } in leaving {
        let found = find(&lab.memory, SMALL.buckets - 1, endpoint);
        assert!(found.is_some() && found != Some(Occupant::Backend(id)), "{found:?}");
    }
    lab.pass_between_graces(&mut published);
    assert!(lab.answer(vip(10)).is_some(), "the bits stay");
}

#[test]
fn bits_are_set_before_an_endpoint_appears_and_cleared_when_its_row_is_free() {
    let mut lab = Lab::new(SMALL);
    let (mut published, _) = Published::new(SMALL);
    let writes = plan(&mut published, &desired(vec![payments(9000)])).unwrap();
    for (address, bit) in [(vip(10).address, FRONTEND), (pod(1).address, BACKEND)] {
        let row = place(address).row;
        let mask = bit << place(address).shift;
        let set = writes.iter().position(
            |write| matches!(write, Write::Addresses { row: r, set, .. } if *r == row && set & mask != 0),
        );
        let key = writes.iter().position(
            |write| matches!(write, Write::EndpointKey { endpoint, .. } if endpoint.address == address),
        );
        assert!(set.is_some() && set < key, "{set:?} {key:?}");
    }
    lab.apply_all(&writes);

    lab.apply_all(&plan(&mut published, &desired(vec![])).unwrap());
    for last in 1..4 {
        lab.apply_all(&published.forget_backend(&pod(last)));
    }
    lab.apply_all(&published.forget_frontend(&vip(10)));
    let seen = |lab: &Lab| {
        [(vip(10), FRONTEND), (pod(1), BACKEND), (pod(2), BACKEND), (pod(3), BACKEND)]
            .map(|(at, bit)| bits(&lab.memory, at.address) & bit != 0)
    };
    lab.grace(&mut published);
    assert_eq!(seen(&lab), [true; 4]);
    lab.pass(&mut published);
    assert_eq!(seen(&lab), [true; 4]);
    lab.grace(&mut published);
    assert_eq!(seen(&lab), [false; 4]);
    assert!(lab.memory.addresses.borrow().values().all(|word| *word == 0));
}

#[test]
fn an_agent_that_starts_anew_waits_for_a_pass_too_and_clears_bits_of_nobody() {
    let sizes = Sizes { backends: 2, frontends: 1, ..SMALL };
    let (mut lab, mut published) = published_as(sizes, &blue(&[1, 2]));
    lab.apply_all(&plan(&mut published, &blue(&[2])).unwrap());
    lab.apply_all(&published.forget_backend(&pod(1)));
    let nobody = Address::v4([192, 0, 2, 1]);
    lab.memory.set_bits(nobody, FRONTEND | BACKEND);

    let (mut adopted, swept) = lab.adopt();
    lab.apply_all(&swept);
    lab.grace(&mut adopted);

    assert_eq!(bits(&lab.memory, nobody) & (FRONTEND | BACKEND), 0);
    assert_ne!(bits(&lab.memory, pod(1).address) & BACKEND, 0, "flows may name it");
    assert!(matches!(plan(&mut adopted, &blue(&[2, 3])), Err(Blocked::Pass)));
    lab.apply_all(&plan(&mut adopted, &blue(&[2])).unwrap());
    lab.pass(&mut adopted);
    lab.grace(&mut adopted);
    assert_eq!(bits(&lab.memory, pod(1).address) & BACKEND, 0);
    lab.apply_all(&plan(&mut adopted, &blue(&[2, 3])).unwrap());
}
