use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use canary_common::endpoint::{TCP, UDP};
use proptest::prelude::*;

use super::*;
use crate::catalog::{Health, Instance, Origin, Registered, Sourced, Weights};
use crate::entry::{Resolver, ServiceDefaults, Split, Splitter, Subset, WHOLE};

mod families;
mod golden;
mod incremental;
mod policy;
mod scale;
mod shares;

/// A snapshot that is put together a line at a time.
#[derive(Clone, Debug, Default)]
struct Lab(Snapshot);

impl Lab {
    /// An instance `10.244.HOST:8080` with a meta version, behind `10.96.0.VIP:80` unless 0.
    fn instance(mut self, service: &str, host: u16, version: &str, vip: u8) -> Self {
        let tagged = (vip != 0).then(|| {
            let address = SocketAddr::from((Ipv4Addr::new(10, 96, 0, vip), 80));
            ("virtual".to_owned(), address)
        });
        let [high, low] = host.to_be_bytes();
        let instance = Instance {
            service: service.to_owned(),
            id: format!("{service}-{host}"),
            address: Some(Ipv4Addr::new(10, 244, high, low).into()),
            port: 8080,
            tags: Vec::new(),
            meta: [("version".to_owned(), version.to_owned())].into(),
            tagged_addresses: tagged.into_iter().collect(),
            weights: Weights::default(),
            checks: Vec::new(),
            upstreams: Box::default(),
        };
        Arc::make_mut(&mut self.0.instances).push(Arc::new(Registered {
            node: Arc::default(),
            checks: Box::default(),
            instance,
            origin: Origin::Store,
            health: Health::Passing,
        }));
        self
    }

    /// Changes the instance that came last.
    fn but(mut self, change: impl FnOnce(&mut Registered)) -> Self {
        let instances = Arc::make_mut(&mut self.0.instances);
        change(Arc::make_mut(instances.last_mut().unwrap()));
        self
    }

    fn resolver(mut self, service: &str, default: &str, subsets: &[(&str, &str)]) -> Self {
        let subsets = subsets
            .iter()
            .map(|(name, filter)| {
                ((*name).to_owned(), Subset { filter: (*filter).to_owned(), only_passing: false })
            })
            .collect();
        let value = Resolver {
            name: service.to_owned(),
            default_subset: default.to_owned(),
            subsets,
            ..Resolver::default()
        };
        self.0.resolvers.insert(service.to_owned(), sourced(value));
        self
    }

    fn splitter(mut self, service: &str, splits: &[(u16, &str, &str)]) -> Self {
        let splits = splits
            .iter()
            .map(|&(weight, service, subset)| Split {
                weight,
                service: service.to_owned(),
                service_subset: subset.to_owned(),
            })
            .collect();
        let value = Splitter { name: service.to_owned(), splits, meta: BTreeMap::new() };
        self.0.splitters.insert(service.to_owned(), sourced(value));
        self
    }

    fn udp(mut self, service: &str) -> Self {
        let value = ServiceDefaults {
            name: service.to_owned(),
            protocol: "udp".to_owned(),
            ..ServiceDefaults::default()
        };
        self.0.defaults.insert(service.to_owned(), sourced(value));
        self
    }

    /// As a source yields it: instances by service and id.
    fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.0.clone();
        Arc::make_mut(&mut snapshot.instances).sort_by(|a, b| {
            (&a.instance.service, &a.instance.id).cmp(&(&b.instance.service, &b.instance.id))
        });
        snapshot
    }

    fn compile(&self) -> Compiled {
        compile(&self.snapshot(), &Claims::new())
    }
}

fn sourced<T>(value: T) -> Arc<Sourced<T>> {
    Arc::new(Sourced { value, origin: Origin::Store })
}

const BLUE_GREEN: &[(&str, &str)] =
    &[("blue", "Service.Meta.version == 2"), ("green", "Service.Meta.version == 3")];

/// The tutorial's payments: two blue, one green.
fn payments() -> Lab {
    Lab::default()
        .instance("payments", 1, "2", 10)
        .instance("payments", 2, "2", 10)
        .instance("payments", 3, "3", 10)
}

fn vip(last: u8, protocol: u8) -> Endpoint {
    endpoint(Ipv4Addr::new(10, 96, 0, last).into(), 80, protocol)
}

/// Shares of a service as `(target/subset, share, backends)`.
fn shares(compiled: &Compiled, service: &str) -> Vec<(String, u16, usize)> {
    let found = compiled.desired.services.iter().find(|s| s.name == service);
    let splits = found.unwrap_or_else(|| panic!("no {service} in {compiled:#?}")).splits.iter();
    splits
        .map(|split| {
            let name = format!("{}/{}", split.key.target, split.key.subset);
            (name, split.share, split.instances().count())
        })
        .collect()
}

fn texts(compiled: &Compiled) -> Vec<String> {
    compiled.warnings.iter().map(|w| format!("{}: {}", w.service, w.text)).collect()
}

fn refusal(compiled: &Compiled, service: &str) -> String {
    let found = compiled.refused.iter().find(|refused| refused.service == service);
    found.unwrap_or_else(|| panic!("{service} is not refused: {compiled:#?}")).text.clone()
}

#[test]
fn without_entries_all_instances_share_evenly() {
    let compiled = payments().compile();

    assert_eq!(shares(&compiled, "payments"), [("payments/".to_owned(), 10_000, 3)]);
    assert_eq!(compiled.desired.services[0].frontends, [vip(10, TCP)]);
    assert!(!compiled.desired.services[0].histograms);
    assert_eq!(texts(&compiled), [""; 0]);
}

#[test]
fn an_instance_without_a_virtual_address_is_a_backend_all_the_same() {
    let compiled = payments().instance("payments", 4, "2", 0).compile();

    assert_eq!(shares(&compiled, "payments"), [("payments/".to_owned(), 10_000, 4)]);
}

#[test]
fn a_resolver_alone_sends_all_to_its_default_subset() {
    let compiled = payments().resolver("payments", "blue", BLUE_GREEN).compile();

    assert_eq!(shares(&compiled, "payments"), [("payments/blue".to_owned(), 10_000, 2)]);
    assert_eq!(compiled.desired.services[0].default_subset, "blue");
}

#[test]
fn a_resolver_without_default_sends_to_all() {
    let compiled = payments().resolver("payments", "", BLUE_GREEN).compile();

    assert_eq!(shares(&compiled, "payments"), [("payments/".to_owned(), 10_000, 3)]);
}

#[test]
fn a_service_of_udp_has_udp_frontends_and_backends() {
    let compiled = payments().udp("payments").compile();

    let service = &compiled.desired.services[0];
    assert_eq!(service.frontends, [vip(10, UDP)]);
    assert!(service.splits[0].backends.iter().all(|b| b.endpoint.protocol == UDP));
}

#[test]
fn a_frontend_stays_with_the_service_that_has_it() {
    let lab = payments().instance("accounts", 9, "1", 10);
    let held = Claims::from([(vip(10, TCP), "payments".to_owned())]);

    let fresh = lab.compile();
    let kept = compile(&lab.snapshot(), &held);

    assert_eq!(fresh.desired.services[0].name, "accounts");
    assert_eq!(
        texts(&fresh),
        [
            "payments: frontend 10.96.0.10:80/tcp is claimed by \"accounts\" and \"payments\": it stays with \"accounts\""
        ]
    );
    assert_eq!(kept.desired.services.len(), 1);
    assert_eq!(kept.desired.claims(), held);
    assert_eq!(kept.warnings.iter().next().unwrap().service, "accounts");
}

#[test]
fn a_claim_ends_with_the_instances_that_made_it() {
    let held = Claims::from([(vip(10, TCP), "accounts".to_owned())]);

    let compiled = compile(&payments().snapshot(), &held);

    assert_eq!(compiled.desired.services[0].name, "payments");
}

#[test]
fn a_frontend_where_an_instance_serves_is_refused() {
    let lab = payments().instance("web", 7, "1", 11).but(|registered| {
        let address = SocketAddr::from((Ipv4Addr::new(10, 244, 0, 1), 8080));
        registered.instance.tagged_addresses.extend([("virtual_v2".to_owned(), address)]);
    });

    let compiled = lab.compile();

    assert_eq!(compiled.desired.services[1].frontends, [vip(11, TCP)]);
    assert_eq!(
        texts(&compiled),
        ["web: frontend 10.244.0.1:8080/tcp is refused: an instance serves there"]
    );
}

#[test]
fn a_virtual_address_that_none_can_connect_to_is_ignored() {
    let lab = payments().but(|registered| {
        let address = SocketAddr::from((Ipv4Addr::new(10, 96, 0, 12), 0));
        registered.instance.tagged_addresses.extend([("virtual".to_owned(), address)]);
    });

    let compiled = lab.compile();

    assert_eq!(compiled.desired.services[0].frontends, [vip(10, TCP)]);
    assert_eq!(
        texts(&compiled),
        ["payments: 10.96.0.12:0/tcp cannot be a frontend: \"virtual\" is ignored"]
    );
}

#[test]
fn health_decides_weights_and_who_takes_new_flows() {
    let weights = Weights { passing: 200, warning: 0 };
    let compiled = payments()
        .but(|r| r.instance.weights = weights)
        .instance("payments", 4, "2", 10)
        .but(|r| (r.instance.weights, r.health) = (weights, Health::Warning))
        .instance("payments", 5, "2", 10)
        .but(|r| r.health = Health::Critical)
        .compile();

    let backends = &compiled.desired.services[0].splits[0].backends;
    let seen: Vec<(u32, bool)> = backends.iter().map(|b| (b.weight, b.healthy)).collect();
    assert_eq!(seen, [(1, true), (1, true), (128, true), (1, false), (1, false)]);
}

#[test]
fn an_entry_whose_name_nobody_registered_names_the_likely_one() {
    let compiled = Lab::default()
        .instance("payment", 1, "2", 10)
        .resolver("payments", "blue", BLUE_GREEN)
        .splitter("payments", &[(5000, "", "blue"), (5000, "", "green")])
        .compile();

    assert_eq!(
        texts(&compiled),
        ["payments: no instance is registered as \"payments\" (did you mean \"payment\"?)"]
    );
    assert_eq!(compiled.desired.services.len(), 1);
}

#[test]
fn a_far_name_is_no_suggestion() {
    let compiled = payments().resolver("web", "", &[]).compile();

    assert_eq!(texts(&compiled), ["web: no instance is registered as \"web\""]);
}

#[test]
fn a_share_that_nobody_can_take_is_said() {
    let lab = payments()
        .but(|r| r.health = Health::Critical)
        .resolver("payments", "blue", BLUE_GREEN)
        .splitter("payments", &[(9950, "", "blue"), (50, "", "green")]);
    let dark = lab.clone().splitter("payments", &[(10_000, "", "blue"), (0, "", "green")]);

    assert_eq!(
        texts(&lab.compile()),
        [
            "payments: 0.5 % of new connections are refused: they go to subset \"green\", whose one backend is unhealthy"
        ]
    );
    assert_eq!(texts(&dark.compile()), [""; 0]);
}

#[test]
fn a_filter_that_cannot_be_used_empties_its_subset_alone() {
    let subsets = &[("blue", "Service.Meta.version == 2"), ("green", "Service.Nope == 3")];
    let compiled = payments()
        .resolver("payments", "blue", subsets)
        .splitter("payments", &[(9000, "", "blue"), (1000, "", "green")])
        .compile();

    assert_eq!(
        shares(&compiled, "payments"),
        [("payments/blue".to_owned(), 9000, 2), ("payments/green".to_owned(), 1000, 0)]
    );
    assert_eq!(
        texts(&compiled),
        [
            "payments: 10 % of new connections are refused: they go to subset \"green\", which has no backend",
            "payments: subset \"green\" has no instances, its filter is unusable: Selector \"Service.Nope\" is not valid"
        ]
    );
}

#[test]
fn two_instances_at_one_endpoint_count_once() {
    let compiled = payments()
        .instance("payments", 3, "3", 10)
        .but(|r| r.instance.id = "twin".into())
        .compile();

    assert_eq!(shares(&compiled, "payments")[0].2, 3);
    assert_eq!(
        texts(&compiled),
        [
            "payments: instances \"payments-3\" and \"twin\" both serve at 10.244.0.3:8080/tcp; it counts once"
        ]
    );
}

#[test]
fn entries_without_a_virtual_address_are_said_to_be_idle() {
    let lab =
        Lab::default().instance("payments", 1, "2", 0).resolver("payments", "blue", BLUE_GREEN);
    let target =
        lab.clone().instance("web", 2, "1", 1).splitter("web", &[(10_000, "payments", "")]);

    assert_eq!(
        texts(&lab.compile()),
        [
            "payments: no instance has a tagged address \"virtual\": nothing connects to this service"
        ]
    );
    assert_eq!(texts(&target.compile()), [""; 0]);
}

/// A thousand services of ten instances, two subsets each.
fn thousand() -> Lab {
    (0..1000_u16).fold(Lab::default(), |lab, number| {
        let name = format!("service-{number}");
        let lab = (0..10).fold(lab, |lab, copy| {
            let version = if copy < 5 { "2" } else { "3" };
            let vip = SocketAddr::from((Ipv4Addr::from(0x0a60_0000 + u32::from(number)), 80));
            lab.instance(&name, number * 10 + copy, version, 0)
                .but(|r| r.instance.tagged_addresses.extend([("virtual".to_owned(), vip)]))
        });
        lab.resolver(&name, "blue", BLUE_GREEN)
            .splitter(&name, &[(9000, "", "blue"), (1000, "", "green")])
    })
}

#[test]
fn a_thousand_services_compile_soon() {
    let lab = thousand();

    let start = Instant::now();
    let compiled = lab.compile();
    let compiling = start.elapsed();
    let start = Instant::now();
    let slots: usize = compiled
        .desired
        .services
        .iter()
        .flat_map(|service| &service.splits)
        .map(|split| {
            let backends: Vec<_> = split.backends.iter().map(|b| (b.endpoint, b.weight)).collect();
            maglev::slice(&backends, maglev::slot_count(backends.len())).len()
        })
        .sum();
    println!(
        "1000 services of 10: compiled in {compiling:?}, {slots} slots in {:?}",
        start.elapsed()
    );

    assert_eq!(compiled.desired.services.len(), 1000);
    assert_eq!(texts(&compiled), [""; 0]);
    assert_eq!(slots, 2000 * 809);
}
