//! A change compiled by itself gives what compiling everything gives.

use super::*;
use crate::catalog::Health;
use crate::entry::{Failover, FailoverTarget, HashPolicy, LoadBalancer, Policy, Redirect};

/// Few names, so that most edits meet.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned)
}

fn subset() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "", "v1", "v2"]).prop_map(str::to_owned)
}

fn failover_target() -> impl Strategy<Value = FailoverTarget> {
    (name(), subset())
        .prop_map(|(service, service_subset)| FailoverTarget { service, service_subset })
}

fn resolver() -> impl Strategy<Value = Resolver> {
    let redirect = prop::option::weighted(0.2, (name(), subset()));
    let failover = prop::option::weighted(
        0.3,
        (prop::sample::select(vec!["*", "v1"]), prop::collection::vec(failover_target(), 1..3)),
    );
    let source_ip = prop::option::weighted(0.3, any::<bool>());
    (0..4_u8, any::<bool>(), redirect, failover, source_ip).prop_map(
        |(subsets, only_passing, redirect, failover, source_ip)| {
            let subset = |version: u8| Subset {
                filter: format!("Service.Meta.version == {version}"),
                only_passing,
            };
            let all = [("v1", subset(1)), ("v2", subset(2))];
            Resolver {
                default_subset: if subsets == 3 { "v1".to_owned() } else { String::new() },
                subsets: (all.into_iter().filter(|_| subsets > 0))
                    .map(|(name, subset)| (name.to_owned(), subset))
                    .collect(),
                redirect: redirect
                    .map(|(service, service_subset)| Redirect { service, service_subset }),
                failover: failover
                    .map(|(key, targets)| (key.to_owned(), Failover::Targets(targets)))
                    .into_iter()
                    .collect(),
                load_balancer: source_ip.map(|source_ip| LoadBalancer {
                    policy: Policy::Maglev,
                    hash_policies: vec![HashPolicy { source_ip, ..HashPolicy::default() }],
                    ..LoadBalancer::default()
                }),
                ..Resolver::default()
            }
        },
    )
}

fn splitter() -> impl Strategy<Value = Splitter> {
    let weights = prop::sample::select(vec![vec![10_000], vec![9000, 1000], vec![3333, 0, 6667]]);
    (weights, prop::collection::vec((name(), subset()), 3), any::<bool>()).prop_map(
        |(weights, targets, redistribute)| Splitter {
            splits: (weights.into_iter().zip(targets))
                .map(|(weight, (service, service_subset))| Split {
                    weight,
                    service,
                    service_subset,
                })
                .collect(),
            meta: (redistribute.then(|| ("on_empty".to_owned(), "redistribute".to_owned())))
                .into_iter()
                .collect(),
            ..Splitter::default()
        },
    )
}

/// What becomes of one name, or of one instance.
#[derive(Clone, Debug)]
enum Step {
    Resolver(String, Option<Box<Resolver>>),
    Splitter(String, Option<Splitter>),
    Udp(String, bool),
    Instance { service: String, number: u16, there: bool, version: u8, health: Health, vip: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let health = prop::sample::select(vec![
        Health::Passing,
        Health::Passing,
        Health::Warning,
        Health::Critical,
    ]);
    prop_oneof![
        2 => (name(), prop::option::weighted(0.8, resolver().prop_map(Box::new)))
            .prop_map(|(name, resolver)| Step::Resolver(name, resolver)),
        2 => (name(), prop::option::weighted(0.8, splitter()))
            .prop_map(|(name, splitter)| Step::Splitter(name, splitter)),
        1 => (name(), any::<bool>()).prop_map(|(name, there)| Step::Udp(name, there)),
        5 => (name(), 0..6_u16, prop::bool::weighted(0.8), 1..3_u8, health, 0..4_u8).prop_map(
            |(service, number, there, version, health, vip)| {
                Step::Instance { service, number, there, version, health, vip }
            }
        ),
    ]
}

impl Step {
    /// Performs the step; gives the name it is about.
    fn perform(self, lab: &mut Lab) -> String {
        match self {
            Self::Resolver(name, None) => {
                lab.0.resolvers.remove(&name);
                name
            }
            Self::Resolver(name, Some(resolver)) => {
                let value = Resolver { name: name.clone(), ..*resolver };
                lab.0.resolvers.insert(name.clone(), sourced(value));
                name
            }
            Self::Splitter(name, None) => {
                lab.0.splitters.remove(&name);
                name
            }
            Self::Splitter(name, Some(splitter)) => {
                let value = Splitter { name: name.clone(), ..splitter };
                lab.0.splitters.insert(name.clone(), sourced(value));
                name
            }
            Self::Udp(name, false) => {
                lab.0.defaults.remove(&name);
                name
            }
            Self::Udp(name, true) => {
                *lab = std::mem::take(lab).udp(&name);
                name
            }
            Self::Instance { service, number, there, version, health, vip } => {
                let id = format!("{service}-{number}");
                Arc::make_mut(&mut lab.0.instances).retain(|other| other.instance.id != id);
                if there {
                    let version = version.to_string();
                    *lab = std::mem::take(lab).instance(&service, number, &version, vip).but(|r| {
                        r.health = health;
                        // One of its addresses is where another instance may serve.
                        if vip == 3 {
                            let at = SocketAddr::from((Ipv4Addr::new(10, 244, 0, 1), 8080));
                            r.instance.tagged_addresses.extend([("virtual-6".to_owned(), at)]);
                        }
                    });
                }
                service
            }
        }
    }
}

/// The services that two states have differently.
fn differing(a: &Desired, b: &Desired) -> Names {
    let names = a.services.iter().chain(&b.services).map(|service| service.name.clone());
    names.filter(|name| a.service(name) != b.service(name)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_change_gives_what_compiling_everything_gives(
        steps in prop::collection::vec((prop::collection::vec(step(), 1..4), any::<bool>()), 1..14),
    ) {
        let mut lab = Lab::default();
        let mut compiler = Compiler::new(&lab.snapshot(), &Claims::new());
        let mut in_force = Desired::default();
        for (edits, refused) in steps {
            let before = lab.clone();
            let names: Names = edits.into_iter().map(|step| step.perform(&mut lab)).collect();
            let snapshot = lab.snapshot();

            let changed = compiler.update(&snapshot, &names);

            prop_assert_eq!(compiler.compiled(), &compile(&snapshot, &in_force.claims()));
            prop_assert_eq!(changed, differing(&in_force, &compiler.compiled().desired));
            if refused || !compiler.compiled().refused.is_empty() {
                // As the agent takes back what it could not put in force.
                lab = before;
                compiler.update(&lab.snapshot(), &names);
                let again = compile(&lab.snapshot(), &in_force.claims());
                prop_assert_eq!(compiler.compiled(), &again);
                prop_assert_eq!(&compiler.compiled().desired, &in_force);
            } else {
                compiler.in_force();
                in_force.clone_from(&compiler.compiled().desired);
            }
        }
    }

    #[test]
    fn whatever_is_written_shares_add_up_and_other_names_change_nothing_but_names(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut lab = Lab::default();
        for step in steps {
            step.perform(&mut lab);
        }

        let compiled = lab.compile();
        let renamed = renamed(&lab).compile();

        for service in compiled.desired.services.iter().chain(&compiled.idle) {
            let total = |of: fn(&DesiredSplit) -> u16| -> u32 {
                service.splits.iter().map(|split| u32::from(of(split))).sum()
            };
            prop_assert_eq!(total(|split| split.weight), 10_000);
            prop_assert_eq!(total(|split| split.share), 10_000);
            let chain = discovery_chain(&lab.snapshot(), &service.name).unwrap();
            prop_assert!(chain.chain.nodes.contains_key(&chain.chain.start_node));
            let explain = explain(&lab.snapshot(), &service.name);
            prop_assert_eq!(explain.leaves.len(), service.splits.len());
            for (leaf, split) in explain.leaves.iter().zip(&service.splits) {
                let taken = split.backends.iter().any(|backend| backend.healthy);
                prop_assert_eq!(leaf.levels.iter().any(|level| level.in_use), taken);
                prop_assert_eq!(leaf.refused, !taken && split.share > 0);
            }
        }
        prop_assert_eq!(compiled.refused.len(), renamed.refused.len());
        let mut desired = compiled.desired.clone();
        for service in desired.services.iter_mut().map(Arc::make_mut) {
            service.name = other_name(&service.name);
            for split in &mut service.splits {
                let SplitKey { service, target, .. } = &mut split.key;
                (*service, *target) = (other_name(service), other_name(target));
            }
        }
        prop_assert_eq!(desired, renamed.desired);
    }
}

/// Another name, in the same order among all: of equal remainders the first name gets the rest.
fn other_name(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("{name}{name}-other") }
}

fn renamed(lab: &Lab) -> Lab {
    let rename = |name: &mut String| *name = other_name(name);
    let mut other = Lab(Snapshot::default());
    for (name, sourced) in &lab.0.resolvers {
        let mut entry = Sourced::clone(sourced);
        rename(&mut entry.value.name);
        if let Some(redirect) = &mut entry.value.redirect {
            rename(&mut redirect.service);
        }
        for failover in entry.value.failover.values_mut() {
            match failover {
                Failover::One(target) => rename(&mut target.service),
                Failover::Targets(all) => all.iter_mut().for_each(|t| rename(&mut t.service)),
            }
        }
        other.0.resolvers.insert(other_name(name), Arc::new(entry));
    }
    for (name, sourced) in &lab.0.splitters {
        let mut entry = Sourced::clone(sourced);
        rename(&mut entry.value.name);
        entry.value.splits.iter_mut().for_each(|split| rename(&mut split.service));
        other.0.splitters.insert(other_name(name), Arc::new(entry));
    }
    for name in lab.0.defaults.keys() {
        other = other.udp(&other_name(name));
    }
    other.0.instances.clone_from(&lab.0.instances);
    for registered in Arc::make_mut(&mut other.0.instances).iter_mut().map(Arc::make_mut) {
        rename(&mut registered.instance.service);
    }
    other
}
