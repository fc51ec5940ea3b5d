//! Instances of two families down to what the tables say.

use canary_common::endpoint::Version;

use super::*;
use crate::catalog::Pairs;
use crate::foresee::{foresee, tests::Written};

/// Gives the instance that came last an IPv6 address beside its own.
fn both(registered: &mut Registered) {
    let Some(IpAddr::V4(own)) = registered.instance.address else { return };
    let address = SocketAddr::from((own.to_ipv6_compatible(), 8080));
    registered.instance.tagged_addresses.extend([("lan_ipv6".to_owned(), address)]);
}

fn vip6(registered: &mut Registered) {
    let address: SocketAddr = "[fd00::10]:80".parse().unwrap();
    registered.instance.tagged_addresses.extend([("virtual_ipv6".to_owned(), address)]);
}

/// Two blue instances of both families, a green one of IPv4 alone, behind frontends of both.
fn mixed() -> Lab {
    Lab::default()
        .instance("payments", 1, "2", 10)
        .but(both)
        .but(vip6)
        .instance("payments", 2, "2", 10)
        .but(both)
        .instance("payments", 3, "3", 10)
        .resolver("payments", "blue", BLUE_GREEN)
        .splitter("payments", &[(9000, "", "blue"), (1000, "", "green")])
}

#[test]
fn an_instance_of_two_families_is_two_backends_and_counts_once() {
    let compiled = mixed().but(|r| r.health = Health::Warning).compile();

    let splits = &compiled.desired.services[0].splits;
    let counts: Vec<[usize; 3]> = splits
        .iter()
        .map(|split| {
            let [v4, v6] = [Version::V4, Version::V6].map(|version| split.of(version).count());
            [split.instances().count(), v4, v6]
        })
        .collect();
    assert_eq!(counts, [[2, 2, 2], [1, 1, 0]]);
    assert_eq!(
        texts(&compiled),
        ["payments: 10 % of new connections to [fd00::10]:80/tcp are refused: they go to subset \
             \"green\", which has no healthy IPv6 backend"]
    );
}

#[test]
fn what_is_said_of_a_family_goes_with_its_frontend_and_its_lack() {
    let mut lab = mixed();
    let name = Names::from(["payments".to_owned()]);
    let mut compiler = Compiler::new(&lab.snapshot(), &Claims::new());
    assert_eq!(texts(compiler.compiled()).len(), 1);

    lab = lab.but(both);
    compiler.update(&lab.snapshot(), &name);
    assert_eq!(texts(compiler.compiled()), [""; 0]);

    lab = lab.but(|r| r.instance.tagged_addresses = Pairs::default());
    compiler.update(&lab.snapshot(), &name);
    assert_eq!(texts(compiler.compiled()).len(), 1);
    Arc::make_mut(&mut Arc::make_mut(&mut lab.0.instances)[0]).instance.tagged_addresses =
        Pairs::default();
    compiler.update(&lab.snapshot(), &name);
    assert_eq!(texts(compiler.compiled()), [""; 0], "nobody comes by IPv6 any more");
}

#[test]
fn a_flow_is_foreseen_in_the_family_of_its_frontend() {
    let rows = Written::of(&mixed().compile().desired);
    let v6: Endpoint = endpoint("fd00::10".parse().unwrap(), 80, TCP);
    let mut refused = 0;

    for port in 1..500 {
        let client = endpoint("fd00::99".parse().unwrap(), port, TCP);
        let flow = foresee(&rows, client, v6).unwrap().unwrap();
        match flow.backend {
            Some(backend) => assert_eq!(backend.address.version(), Version::V6),
            None => refused += 1,
        }
        assert_eq!(flow.backend.is_none(), flow.splits[flow.drawn].0.subset == "green");
        let client = endpoint(Ipv4Addr::new(10, 1, 0, 1).into(), port, TCP);
        let flow = foresee(&rows, client, vip(10, TCP)).unwrap().unwrap();
        assert_eq!(flow.backend.unwrap().address.version(), Version::V4);
    }
    assert!((20..90).contains(&refused), "{refused} of 499 are a tenth");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_client_is_drawn_a_backend_of_the_other_family(
        instances in prop::collection::vec((0..3_u8, any::<bool>(), any::<bool>(), 0..3_u8), 1..12),
        weight in 0..=10_000_u16,
    ) {
        let mut lab = Lab::default();
        for (host, (families, green, vips, health)) in (1..).zip(instances) {
            let version = if green { "3" } else { "2" };
            lab = lab.instance("payments", host, version, if vips { 10 } else { 0 });
            lab = if families > 0 { lab.but(both) } else { lab };
            // Of IPv6 alone.
            if families > 1 {
                lab = lab.but(|r| {
                    let own = r.instance.tagged_addresses.get("lan_ipv6").map(SocketAddr::ip);
                    r.instance.address = own;
                });
            }
            lab = if host % 2 == 0 { lab.but(vip6) } else { lab };
            let health = [Health::Passing, Health::Passing, Health::Critical][usize::from(health)];
            lab = lab.but(|r| r.health = health);
        }
        let lab = lab
            .resolver("payments", "blue", BLUE_GREEN)
            .splitter("payments", &[(weight, "", "blue"), (WHOLE - weight, "", "green")]);
        let desired = lab.compile().desired;
        let rows = Written::of(&desired);
        for service in &desired.services {
            for frontend in &service.frontends {
                let version = frontend.address.version();
                for port in 1..100 {
                    let ip = match version {
                        Version::V4 => "10.1.0.1",
                        Version::V6 => "fd00::99",
                    };
                    let client = endpoint(ip.parse().unwrap(), port, TCP);
                    let flow = foresee(&rows, client, *frontend).unwrap().unwrap();
                    let (key, _) = &flow.splits[flow.drawn];
                    let split = service.splits.iter().find(|split| split.key == *key).unwrap();
                    let mut could = split.of(version).filter(|backend| backend.healthy);
                    match flow.backend {
                        Some(backend) => prop_assert!(could.any(|one| one.endpoint == backend)),
                        None => prop_assert!(could.next().is_none()),
                    }
                }
            }
        }
    }
}
