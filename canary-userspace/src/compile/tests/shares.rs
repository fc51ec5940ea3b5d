use super::*;

#[test]
fn a_splitter_has_its_shares_in_file_order_zero_ones_included() {
    let compiled = payments()
        .resolver("payments", "blue", BLUE_GREEN)
        .splitter("payments", &[(0, "", "green"), (10_000, "", "blue")])
        .compile();

    assert_eq!(
        shares(&compiled, "payments"),
        [("payments/green".to_owned(), 0, 1), ("payments/blue".to_owned(), 10_000, 2)]
    );
    assert!(compiled.desired.services[0].histograms);
}

#[test]
fn a_split_without_subset_means_the_default_one_and_equal_targets_add_up() {
    let compiled = payments()
        .resolver("payments", "blue", BLUE_GREEN)
        .splitter("payments", &[(2500, "", ""), (2500, "", "green"), (5000, "", "blue")])
        .compile();

    assert_eq!(
        shares(&compiled, "payments"),
        [("payments/blue".to_owned(), 7500, 2), ("payments/green".to_owned(), 2500, 1)]
    );
}

#[test]
fn a_split_of_another_service_goes_to_its_instances() {
    let compiled = payments()
        .instance("ledger", 8, "1", 0)
        .splitter("payments", &[(6000, "", ""), (4000, "ledger", "")])
        .compile();

    assert_eq!(
        shares(&compiled, "payments"),
        [("payments/".to_owned(), 6000, 3), ("ledger/".to_owned(), 4000, 1)]
    );
    assert_eq!(texts(&compiled), [""; 0]);
}

#[test]
fn a_nested_splitter_multiplies_and_one_with_a_subset_is_bypassed() {
    let lab = payments()
        .instance("web", 8, "1", 11)
        .resolver("payments", "blue", BLUE_GREEN)
        .splitter("payments", &[(7500, "", "blue"), (2500, "", "green")]);
    let nested = lab.clone().splitter("web", &[(6000, "payments", ""), (4000, "", "")]);
    let bypassed = lab.splitter("web", &[(6000, "payments", "green"), (4000, "", "")]);

    assert_eq!(
        shares(&nested.compile(), "web"),
        [
            ("payments/blue".to_owned(), 4500, 2),
            ("payments/green".to_owned(), 1500, 1),
            ("web/".to_owned(), 4000, 1)
        ]
    );
    assert_eq!(
        shares(&bypassed.compile(), "web"),
        [("payments/green".to_owned(), 6000, 1), ("web/".to_owned(), 4000, 1)]
    );
}

#[test]
fn three_levels_are_rounded_once() {
    let compiled = Lab::default()
        .instance("a", 1, "1", 10)
        .splitter("a", &[(1234, "b", ""), (8766, "", "")])
        .splitter("b", &[(5678, "c", ""), (4322, "", "")])
        .splitter("c", &[(9012, "d", ""), (988, "", "")])
        .compile();

    // 12.34 * 56.78 * 90.12 is 6.3144 %; rounding at each level gives 6.32 or 6.31 in Consul.
    // Remainders: d .4395, c .2262, b .3348, a .0: the one missing unit goes to d.
    assert_eq!(
        shares(&compiled, "a")
            .into_iter()
            .map(|(name, share, _)| (name, share))
            .collect::<Vec<_>>(),
        [
            ("d/".to_owned(), 632),
            ("c/".to_owned(), 69),
            ("b/".to_owned(), 533),
            ("a/".to_owned(), 8766)
        ]
    );
}

#[test]
fn splitters_that_lead_to_one_another_are_refused_and_stop_nobody_else() {
    let compiled = payments()
        .instance("main", 7, "1", 11)
        .instance("other", 8, "1", 12)
        .splitter("main", &[(10_000, "other", "")])
        .splitter("other", &[(10_000, "main", "")])
        .compile();

    assert_eq!(
        refusal(&compiled, "main"),
        "detected circular reference: [splitter:main.default.default -> \
         splitter:other.default.default -> splitter:main.default.default]"
    );
    assert!(refusal(&compiled, "other").starts_with("detected circular reference: ["));
    assert_eq!(shares(&compiled, "payments")[0].2, 3);
}

#[test]
fn a_split_of_ones_own_service_is_no_circle() {
    let compiled = payments().splitter("payments", &[(10_000, "payments", "")]).compile();

    assert_eq!(shares(&compiled, "payments"), [("payments/".to_owned(), 10_000, 3)]);
}

#[test]
fn seventeen_targets_are_refused_and_sixteen_are_not() {
    let split = |count: u16| {
        let names: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
        let splits: Vec<(u16, &str, &str)> = names
            .iter()
            .zip(0..)
            .map(|(name, place)| (if place == 0 { 10_000 } else { 0 }, name.as_str(), ""))
            .collect();
        payments().splitter("payments", &splits).compile()
    };

    assert_eq!(shares(&split(16), "payments").len(), 16);
    assert_eq!(
        refusal(&split(20), "payments"),
        "service \"payments\" resolves to 20 targets, this datapath holds 16"
    );
    assert_eq!(split(17).refused.len(), 1);
}

#[test]
fn splitters_that_nest_hand_on_no_more_targets_than_the_datapath_holds() {
    let names: Vec<String> = (0..100).map(|number| format!("s{number:04}")).collect();
    let lab = names.windows(2).fold(payments(), |lab, pair| {
        let own = format!("leaf-{}", pair[0]);
        lab.splitter(&pair[0], &[(5000, &pair[1], ""), (5000, &own, "")])
    });

    let compiled = lab.instance("s0000", 9, "1", 11).compile();

    assert_eq!(
        refusal(&compiled, "s0000"),
        "service \"s0083\" resolves to 17 targets, this datapath holds 16"
    );
}

#[test]
fn weights_that_do_not_add_up_are_refused_with_consuls_text() {
    let compiled = payments().splitter("payments", &[(9999, "", "")]).compile();

    assert_eq!(
        refusal(&compiled, "payments"),
        "the sum of all split weights must be 100, not 99.989998"
    );
}

#[test]
fn a_chain_as_long_as_a_catalogue_is_followed_without_running_out_of_stack() {
    let names: Vec<String> = (0..3000).map(|number| format!("s{number:04}")).collect();
    let lab = names.windows(2).fold(payments(), |lab, pair| {
        lab.splitter(&pair[0], &[(5000, &pair[1], ""), (5000, "payments", "")])
    });

    let compiled = lab.instance("s0000", 9, "1", 11).compile();

    assert_eq!(
        shares(&compiled, "s0000").iter().map(|s| (s.0.as_str(), s.1)).collect::<Vec<_>>(),
        [("s2999/", 0), ("payments/", 10_000)]
    );
}

#[test]
fn a_name_that_no_label_holds_is_refused() {
    let long = "x".repeat(253);
    let compiled = payments().instance(&long, 9, "1", 11).compile();

    assert!(refusal(&compiled, &long).ends_with("is too long for the tables' labels"));
    assert_eq!(compiled.desired.services.len(), 1);
}

/// Weights of up to 8 splits that add to the whole.
fn weights() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(0..=WHOLE, 0..8).prop_map(|mut cuts| {
        cuts.extend([0, WHOLE]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| pair[1] - pair[0]).collect()
    })
}

/// Five services that split over one another and over subsets, in any way.
fn labs() -> impl Strategy<Value = Lab> {
    let split = (0..6_usize, 0..4_usize);
    let splitter = (weights(), prop::collection::vec(split, 9));
    let instance = (0..5_usize, 1..60_u16, 0..4_u8, 0..8_u8);
    let splitters = prop::collection::vec(prop::option::of(splitter), 5);
    (splitters, prop::collection::vec(instance, 0..30), 0..32_u8).prop_map(
        |(splitters, instances, resolvers)| {
            let names = ["a", "b", "c", "d", "e", ""];
            let subsets = ["", "blue", "green", ""];
            let lab =
                instances.into_iter().fold(Lab::default(), |lab, (service, host, version, vip)| {
                    lab.instance(names[service], host, &version.to_string(), vip)
                });
            let lab = (0..5).filter(|bit| resolvers & (1 << bit) != 0).fold(lab, |lab, bit| {
                lab.resolver(names[bit], if bit % 2 == 0 { "blue" } else { "" }, BLUE_GREEN)
            });
            splitters.into_iter().zip(names).fold(lab, |lab, (splitter, name)| match splitter {
                None => lab,
                Some((weights, targets)) => {
                    let splits: Vec<(u16, &str, &str)> = weights
                        .into_iter()
                        .zip(targets)
                        .map(|(weight, (target, subset))| (weight, names[target], subsets[subset]))
                        .collect();
                    lab.splitter(name, &splits)
                }
            })
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_asked_shares_add_to_the_whole(lab in labs()) {
        let compiled = lab.compile();

        for service in &compiled.desired.services {
            let total: u32 = service.splits.iter().map(|split| u32::from(split.share)).sum();
            prop_assert_eq!(total, 10_000);
            prop_assert!(service.splits.len() <= MAX_TARGETS);
            prop_assert!(!service.frontends.is_empty());
            prop_assert!(service.frontends.is_sorted());
            for split in &service.splits {
                prop_assert!(split.backends.is_sorted_by(|a, b| a.endpoint < b.endpoint));
            }
        }
        let frontends: usize = compiled.desired.services.iter().map(|s| s.frontends.len()).sum();
        prop_assert_eq!(compiled.desired.claims().len(), frontends, "a frontend of two services");
    }

    #[test]
    fn ids_and_the_order_of_registration_change_nothing(lab in labs(), seed in any::<u64>()) {
        let mut other = lab.clone();
        let count = other.0.instances.len().max(1);
        Arc::make_mut(&mut other.0.instances).rotate_left(usize::try_from(seed % 97).unwrap() % count);
        if seed % 2 == 0 {
            Arc::make_mut(&mut other.0.instances).reverse();
        }
        for (number, registered) in Arc::make_mut(&mut other.0.instances).iter_mut().enumerate() {
            Arc::make_mut(registered).instance.id = format!("renamed-{number}");
        }

        prop_assert_eq!(lab.compile().desired, other.compile().desired);
        prop_assert_eq!(lab.compile().refused, other.compile().refused);
    }

    #[test]
    fn the_order_of_splits_in_a_file_moves_no_share(lab in labs()) {
        let mut other = lab.clone();
        for (name, splitter) in &lab.0.splitters {
            let mut splitter = Sourced::clone(splitter);
            splitter.value.splits.reverse();
            other.0.splitters.insert(name.clone(), Arc::new(splitter));
        }

        let sorted = |compiled: &Compiled| {
            let services = &compiled.desired.services;
            services.iter().map(|service| {
                let mut splits: Vec<_> =
                    service.splits.iter().map(|s| (s.key.clone(), s.share)).collect();
                splits.sort();
                splits
            }).collect::<Vec<_>>()
        };
        prop_assert_eq!(sorted(&lab.compile()), sorted(&other.compile()));
    }
}
