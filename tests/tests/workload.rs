//! The lab and its servers by themselves: pods that speak to pods, without an agent.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use canary_tests::{
    lab::{
        Gate, Lab, Leftovers,
        link::{Checksum, set_checksum_offload, set_mtu},
    },
    workload::{
        Protocol, ServerOptions, connect_many, download::Download, get::request_many, hold::hold,
        http, tutorial::Reply,
    },
};

const TIMEOUT: Duration = Duration::from_secs(2);

#[test]
fn pods_reach_each_other_by_both_families_and_protocols() -> Result<()> {
    Lab::run("reach", |lab| {
        let (client, server) = (lab.pod("client")?, lab.pod("server")?);
        let outside = lab.outside("outside")?;
        lab.rp_filter(true)?;
        let echo = lab.serve(&server.namespace, &ServerOptions::echo("server", 8080))?;

        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for target in [(server.v4, 8080).into(), (server.v6.unwrap(), 8080).into()] {
                for from in [&client.namespace, &outside.namespace, lab.node()] {
                    let answers = connect_many(from, protocol, target, 100, TIMEOUT)?;
                    assert_eq!(answers.of("server"), 100, "{from} {protocol:?} {answers:?}");
                }
            }
        }

        let report = echo.report()?;
        assert_eq!(report.accepted[&client.v4.into()], 100);
        assert_eq!(report.datagrams[&client.v6.unwrap().into()], 100);
        assert_eq!(report.accepted_but(&[client.v4.into(), client.v6.unwrap().into()]), 400);
        Ok(())
    })
}

#[test]
fn ports_of_a_bridge_reach_each_other_without_offload_too() -> Result<()> {
    Lab::run("bridge", |lab| {
        let bridge = lab.bridge("br0", Ipv4Addr::new(10, 244, 9, 1), 24)?;
        let client = lab.bridge_pod(&bridge, "client", Ipv4Addr::new(10, 244, 9, 2))?;
        let server = lab.bridge_pod(&bridge, "server", Ipv4Addr::new(10, 244, 9, 3))?;
        let _echo = lab.serve(&server.namespace, &ServerOptions::echo("server", 8080))?;
        for which in [Checksum::Send, Checksum::Receive] {
            set_checksum_offload(&client.namespace, "eth0", which, false)?;
            set_checksum_offload(lab.node(), &server.interface, which, false)?;
        }
        set_mtu(lab.node(), &server.interface, 1400)?;

        let target = (server.v4, 8080).into();
        let answers = connect_many(&client.namespace, Protocol::Tcp, target, 50, TIMEOUT)?;

        assert_eq!(answers.of("server"), 50, "{answers:?}");
        let none = set_checksum_offload(lab.node(), "none", Checksum::Send, false).unwrap_err();
        assert!(format!("{none:#}").contains("No such device"), "{none:#}");
        Ok(())
    })
}

#[test]
fn thirty_thousand_connections_of_one_client_all_get_an_answer() -> Result<()> {
    Lab::run("many", |lab| {
        let (client, server) = (lab.pod("client")?, lab.pod("server")?);
        let _echo = lab.serve(&server.namespace, &ServerOptions::echo("server", 8080))?;
        let target = (server.v4, 8080).into();

        let answers = connect_many(&client.namespace, Protocol::Tcp, target, 30_000, TIMEOUT)?;

        assert_eq!(answers.of("server"), 30_000, "{answers:?}");
        Ok(())
    })
}

#[test]
fn a_fault_upstream_shows_as_the_tutorial_shows_it() -> Result<()> {
    Lab::run("fault", |lab| {
        let (web, payments) = (lab.pod("web")?, lab.pod("payments")?);
        let target: SocketAddr = (payments.v4, 8080).into();
        let timeout = Duration::from_millis(300);
        let front = ServerOptions {
            name: "web".into(),
            http: Some(9090),
            upstreams: vec![target],
            timeout,
            ..Default::default()
        };
        let _web = lab.serve(&web.namespace, &front)?;
        let mut options =
            ServerOptions { name: "v2".into(), http: Some(8080), ..Default::default() };
        let localhost: SocketAddr = ([127, 0, 0, 1], 9090).into();

        let good = lab.serve(&payments.namespace, &options)?;
        let requests = request_many(&web.namespace, localhost, 4, 50)?;
        assert_eq!((requests.sent, requests.failed), (50, 0), "{requests:?}");
        assert_eq!(good.report()?.accepted[&web.v4.into()], 50);
        assert!(good.report()?.last_syn_ns[&web.v4.into()] > 1_500_000_000_000_000_000);
        let answer = web.namespace.enter(|| http::get(localhost, "/", TIMEOUT))??;
        let reply: Reply = serde_json::from_slice(&answer.body)?;
        assert_eq!((reply.code, reply.upstream_calls[0].name.as_str()), (200, "v2"));
        assert_eq!(reply.ip_addresses, [web.v4.to_string()]);

        good.kill()?;
        options.delay = Duration::from_secs(1);
        let _slow = lab.serve(&payments.namespace, &options)?;
        let answer = web.namespace.enter(|| http::get(localhost, "/", TIMEOUT))??;
        let reply: Reply = serde_json::from_slice(&answer.body)?;
        assert_eq!((answer.status, reply.code, reply.upstream_calls[0].code), (500, 500, -1));
        let error = &reply.upstream_calls[0].error;
        assert!(error.starts_with("Error communicating with upstream service: "), "{error}");
        Ok(())
    })
}

#[test]
fn long_connections_and_downloads_tell_when_they_break() -> Result<()> {
    Lab::run("long", |lab| {
        let (client, server) = (lab.pod("client")?, lab.pod("server")?);
        let options = ServerOptions {
            name: "server".into(),
            http: Some(8080),
            hold: vec![8081],
            ..Default::default()
        };
        let serving = lab.serve(&server.namespace, &options)?;
        let (http, busy) = ((server.v4, 8080).into(), (server.v4, 8081).into());

        let download = Download::start(&client.namespace, http, 10 << 20)?;
        let held = hold(&client.namespace, busy, 10)?;
        canary_tests::lab::wait_for("three rounds", TIMEOUT, || Ok(held.rounds() >= 3))?;
        assert_eq!(held.end()?.len(), 0);
        let done = download.finish()?;
        assert_eq!((done.bytes, done.interrupted), (10 << 20, false));

        let download = Download::start(&client.namespace, http, 100 << 20)?;
        let held = hold(&client.namespace, busy, 10)?;
        serving.kill()?;
        let done = download.finish()?;
        assert!(done.interrupted && done.bytes < 100 << 20, "{done:?}");
        assert_eq!(held.end()?.values().sum::<u64>(), 10);
        Ok(())
    })
}

#[test]
fn a_lab_leaves_nothing_behind() -> Result<()> {
    let _alone = Gate::alone()?;
    let before = Leftovers::snapshot()?;

    let lab = Lab::new("leftovers")?;
    let pod = lab.pod("server")?;
    let _server = lab.serve(&pod.namespace, &ServerOptions::echo("server", 8080))?;
    let ours = |thing: &str| thing.contains(lab.name());
    let made = Leftovers::snapshot()?.since(&before);
    for kind in ["namespace ", "cgroup ", "file ", "mount "] {
        assert!(made.iter().any(|thing| ours(thing) && thing.starts_with(kind)), "{kind} {made:?}");
    }
    let name = lab.name().to_owned();
    drop(lab);

    before.wait_gone(|thing| thing.contains(&name))
}
