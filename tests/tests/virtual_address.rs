//! A virtual address by itself: it answers echo requests, and refuses what it does not serve.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{Agent, AgentOptions, Far, Lab, NODE_V4, NODE_V6, Namespace, Pod},
    scenario::{TCP4, TCP6, TIMEOUT, UDP4, UDP6},
    workload::{Answers, Protocol, ServerOptions, connect_many},
};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// A port at which nothing is served.
const CLOSED: u16 = 4_321;

#[test]
fn a_virtual_address_answers_echo_requests() -> Result<()> {
    Lab::run("ping", |lab| {
        let stage = Stage::start(lab)?;

        for offer in [TCP4, TCP6] {
            let to = offer.frontend().ip();
            for (from, who) in stage.all(lab) {
                for length in [0, 8, 1_000] {
                    ping(from, to, length)
                        .with_context(|| format!("{length} bytes to {to} from {who}"))?;
                }
            }
        }
        assert!(lab.status()?.reasons.get("echo").is_some_and(|count| *count >= 18));
        Ok(())
    })
}

#[test]
fn a_virtual_address_refuses_what_it_does_not_serve_at_once() -> Result<()> {
    Lab::run("closed", |lab| {
        let stage = Stage::start(lab)?;
        let before = sent(lab.node(), "eth0")?;

        for offer in [TCP4, TCP6, UDP4, UDP6] {
            for (from, who) in stage.all(lab) {
                let target = SocketAddr::new(offer.frontend().ip(), CLOSED);
                let start = Instant::now();
                let error = from.enter(|| refused_by(offer.protocol, target))?;
                let error = error.err().context("somebody answered")?;
                println!(
                    "{target} {:?} from {who}: {error}, {:?}",
                    offer.protocol,
                    start.elapsed()
                );
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{target} from {who}");
            }
        }

        // Nothing goes round between the node and its router.
        let packets = sent(lab.node(), "eth0")? - before;
        println!("{packets} packets on the uplink");
        assert!(packets < 60, "{packets} packets on the uplink");
        Ok(())
    })
}

#[test]
fn what_is_served_is_served_beside() -> Result<()> {
    Lab::run("beside", |lab| {
        let stage = Stage::start(lab)?;
        for offer in [TCP4, TCP6, UDP4, UDP6] {
            for (from, who) in stage.askers() {
                let answers = connect_many(from, offer.protocol, offer.frontend(), 10, TIMEOUT)?;
                assert_eq!(answers.of("server"), 10, "{} from {who}: {answers:?}", offer.service);
            }
        }
        Ok(())
    })
}

#[test]
fn ports_that_somebody_else_serves_stay_theirs() -> Result<()> {
    Lab::run("theirs", |lab| {
        let stage = Stage::start(lab)?;
        let other = lab.pod("other")?;
        let _serving = lab.serve(&other.namespace, &ServerOptions::echo("other", 8_080))?;
        lab.node().nft(&format!(
            "table ip proxy {{ chain in {{ type nat hook prerouting priority dstnat;
               ip daddr {address} tcp dport {CLOSED} dnat to {to}:8080
               ip daddr {address} udp dport {CLOSED} dnat to {to}:8080
             }}\n}}",
            address = TCP4.frontend().ip(),
            to = other.v4,
        ))?;

        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for (from, who) in stage.askers() {
                let target = SocketAddr::new(TCP4.frontend().ip(), CLOSED);
                let answers = connect_many(from, protocol, target, 10, TIMEOUT)?;
                assert_eq!(answers.of("other"), 10, "{protocol:?} from {who}: {answers:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn the_nodes_own_address_answers_for_itself() -> Result<()> {
    Lab::run("own", |lab| {
        let (client, server) = (lab.pod("client")?, lab.pod("server")?);
        let _serving =
            lab.serve(&server.namespace, &ServerOptions::echo("server", TCP4.pod_port))?;
        let _node = lab.serve(lab.node(), &ServerOptions::echo("node", CLOSED))?;
        let definition = format!(
            "service {{\n name = \"single\"\n id = \"single-1\"\n address = \"{}\"\n port = {}
             tagged_addresses {{
               virtual {{ address = \"{NODE_V4}\" port = 30080 }}
               virtual6 {{ address = \"{NODE_V6}\" port = 30080 }}
             }}\n}}\n",
            server.v4, TCP4.pod_port,
        );
        let options = AgentOptions::default().file("single.hcl", definition);
        let _agent = lab.agent(options)?;

        for address in [IpAddr::V4(NODE_V4), IpAddr::V6(NODE_V6)] {
            ping(&client.namespace, address, 8)?;
            let answers = connect_many(
                &client.namespace,
                Protocol::Tcp,
                (address, CLOSED).into(),
                5,
                TIMEOUT,
            )?;
            assert_eq!(answers.of("node"), 5, "{answers:?}");
        }
        let single = (NODE_V4, 30_080).into();
        let answers: Answers = connect_many(&client.namespace, Protocol::Tcp, single, 5, TIMEOUT)?;
        assert_eq!(answers.of("server"), 5, "{answers:?}");
        assert_eq!(lab.status()?.reasons.get("echo").copied().unwrap_or(0), 0);
        Ok(())
    })
}

/// A pod that asks, one that serves, and a machine outside.
struct Stage<'lab> {
    client: Pod,
    far: Far,
    _serving: canary_tests::workload::Server,
    _agent: Agent<'lab>,
}

impl<'lab> Stage<'lab> {
    fn start(lab: &'lab Lab) -> Result<Self> {
        let far = lab.far(1_500)?;
        let (client, server) = (lab.pod("client")?, lab.pod("server")?);
        let serving =
            lab.serve(&server.namespace, &ServerOptions::echo("server", TCP4.pod_port))?;
        let mut options = AgentOptions::default();
        for offer in [TCP4, TCP6, UDP4, UDP6] {
            options.files.extend(offer.files(&[&server])?);
        }
        let agent = lab.agent(options)?;
        Ok(Self { client, far, _serving: serving, _agent: agent })
    }

    /// The node's own sockets as well, which it does not serve by its connect hooks here.
    fn all<'a>(&'a self, lab: &'a Lab) -> Vec<(&'a Namespace, &'static str)> {
        self.askers().into_iter().chain([(lab.node(), "the node")]).collect()
    }

    fn askers(&self) -> [(&Namespace, &'static str); 2] {
        [(&self.client.namespace, "a pod"), (&self.far.machine.namespace, "outside")]
    }
}

/// Sends an echo request and wants its answer, from the very address.
fn ping(from: &Namespace, to: IpAddr, length: usize) -> Result<()> {
    from.sysctl("net/ipv4/ping_group_range", "0 2147483647")?;
    from.enter(|| -> Result<()> {
        let (family, protocol, kinds) = if to.is_ipv4() {
            (AddressFamily::Inet, SockProtocol::Icmp, [8, 0])
        } else {
            (AddressFamily::Inet6, SockProtocol::IcmpV6, [128, 129])
        };
        let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(TIMEOUT))?;
        let [request, reply] = kinds;
        let mut message = vec![request, 0, 0, 0, 0, 0, 0, 1];
        message.extend((0..=250).cycle().take(length));
        socket.send_to(&message, SocketAddr::new(to, 0))?;
        let mut answer = vec![0; message.len() + 100];
        let (length, sender) = socket.recv_from(&mut answer)?;
        ensure!(sender.ip() == to, "{sender} answers");
        ensure!(length == message.len() && answer.first() == Some(&reply), "{answer:?}");
        ensure!(answer.get(8..length) == message.get(8..), "other bytes than were sent");
        Ok(())
    })?
}

/// The error of a client of a port, within a time.
fn refused_by(protocol: Protocol, target: SocketAddr) -> io::Result<()> {
    if protocol == Protocol::Tcp {
        return TcpStream::connect_timeout(&target, TIMEOUT).map(drop);
    }
    let any: SocketAddr = if target.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.send(b"anybody?")?;
    socket.recv(&mut [0; 100]).map(drop)
}

/// Packets that an interface has sent.
fn sent(namespace: &Namespace, interface: &str) -> Result<u64> {
    let text = namespace.output(std::process::Command::new("ip").args([
        "-n",
        namespace.name(),
        "-j",
        "-s",
        "link",
        "show",
        interface,
    ]))?;
    let link: serde_json::Value =
        serde_json::from_slice(&text.stdout).context("read what ip said")?;
    link.pointer("/0/stats64/tx/packets").and_then(serde_json::Value::as_u64).context("no count")
}
