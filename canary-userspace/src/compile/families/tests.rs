use std::net::IpAddr;
use std::sync::Arc;

use super::*;
use crate::catalog::{Health, Instance, Origin, Weights};
use crate::compile::{DesiredBackend, SplitKey};

fn instance(address: Option<&str>, tagged: &[(&str, &str)]) -> Registered {
    let tagged = tagged.iter().map(|(name, at)| ((*name).to_owned(), at.parse().unwrap()));
    let instance = Instance {
        service: "payments".to_owned(),
        id: "payments".to_owned(),
        address: address.map(|address| address.parse::<IpAddr>().unwrap()),
        port: 8080,
        tags: Vec::new(),
        meta: [].into(),
        tagged_addresses: tagged.collect(),
        weights: Weights::default(),
        checks: Vec::new(),
        upstreams: Box::default(),
    };
    let (checks, origin) = (Box::default(), Origin::Store);
    Registered { node: Arc::default(), checks, instance, origin, health: Health::Passing }
}

fn serves(address: Option<&str>, tagged: &[(&str, &str)]) -> Vec<String> {
    sockets(&instance(address, tagged)).map(|at| at.to_string()).collect()
}

#[test]
fn an_instance_serves_each_family_at_its_tagged_address_or_at_its_own() {
    let (v4, v6) = (("lan_ipv4", "10.0.0.1:80"), ("lan_ipv6", "[fd00::1]:81"));

    assert_eq!(serves(Some("10.0.0.9"), &[]), ["10.0.0.9:8080"]);
    assert_eq!(serves(Some("fd00::9"), &[]), ["[fd00::9]:8080"]);
    assert_eq!(serves(Some("10.0.0.9"), &[v6]), ["10.0.0.9:8080", "[fd00::1]:81"]);
    assert_eq!(serves(Some("fd00::9"), &[v4]), ["[fd00::9]:8080", "10.0.0.1:80"]);
    assert_eq!(serves(Some("10.0.0.9"), &[v4, v6]), ["10.0.0.1:80", "[fd00::1]:81"]);
    assert_eq!(serves(None, &[v6, v4]), ["10.0.0.1:80", "[fd00::1]:81"]);
    assert_eq!(serves(None, &[]), [""; 0]);
}

#[test]
fn a_tagged_address_of_the_other_family_or_that_none_can_connect_to_is_none() {
    for odd in ["10.0.0.1:80", "[::ffff:10.0.0.1]:80", "[fd00::1]:0", "[::]:80", "[ff02::1]:80"] {
        assert_eq!(serves(Some("10.0.0.9"), &[("lan_ipv6", odd)]), ["10.0.0.9:8080"], "{odd}");
    }
    let others = [("lan", "[fd00::1]:80"), ("wan_ipv6", "[fd00::1]:80")];
    assert_eq!(serves(Some("10.0.0.9"), &others), ["10.0.0.9:8080"]);
}

fn split(subset: &str, share: u16, backends: &[(&str, bool)]) -> DesiredSplit {
    let key = SplitKey {
        service: "payments".to_owned(),
        target: "payments".to_owned(),
        subset: subset.to_owned(),
    };
    let backend = |(ip, healthy): &(&str, bool)| DesiredBackend {
        endpoint: endpoint(ip.parse().unwrap(), 8080, 6),
        weight: 1,
        healthy: *healthy,
        second: false,
    };
    let backends = backends.iter().map(backend).collect();
    DesiredSplit { key, weight: share, share, backends, standby: Vec::new() }
}

fn texts(frontends: &[&str], splits: Vec<DesiredSplit>) -> Vec<String> {
    let service = DesiredService {
        name: "payments".to_owned(),
        frontends: frontends.iter().map(|ip| endpoint(ip.parse().unwrap(), 80, 6)).collect(),
        splits,
        ..DesiredService::default()
    };
    unserved(&service).into_iter().map(|warning| warning.text).collect()
}

#[test]
fn a_share_that_one_family_cannot_get_is_said() {
    let splits = || {
        vec![
            split("blue", 9000, &[("10.0.0.1", true), ("fd00::11", true)]),
            split("green", 1000, &[("10.0.0.2", true), ("fd00::12", false)]),
        ]
    };

    assert_eq!(texts(&["10.96.0.1"], splits()), [""; 0], "nobody comes by IPv6");
    assert_eq!(
        texts(&["10.96.0.1", "fd00::1", "fd00::2"], splits()),
        [
            "10 % of new connections to [fd00::1]:80/tcp and [fd00::2]:80/tcp are refused: they go to \
             subset \"green\", which has no healthy IPv6 backend"
        ]
    );
    let dark = vec![split("", 10_000, &[("10.0.0.1", false)])];
    assert_eq!(texts(&["10.96.0.1", "fd00::1"], dark), [""; 0], "that is said of both families");
    let unshared =
        vec![split("a", 10_000, &[("fd00::3", true)]), split("b", 0, &[("10.0.0.1", true)])];
    assert_eq!(texts(&["fd00::1"], unshared), [""; 0]);
}
