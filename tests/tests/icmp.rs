//! ICMP errors about connections through a virtual address: who sends too much, or to nobody, is
//! told so, and by whom it has heard of.

#![expect(clippy::print_stdout, reason = "what took how long is told for those that pass, too")]

use std::{
    io::{self, ErrorKind, Read, Write},
    iter,
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use canary_tests::{
    lab::{AgentOptions, Lab, Namespace, Pod},
    scenario::{HOLD, Offer, TIMEOUT},
    workload::{Protocol, ServerOptions, client::greet},
};

/// What a link on the way takes.
const MTU: u32 = 1_300;

/// Bytes that are sent both ways.
const BULK: usize = 1 << 20;

const TCP: [Offer; 2] =
    [Offer { service: "hold4", ..HOLD }, Offer { service: "hold6", v6: true, ..HOLD }];

const UDP: [Offer; 2] = [
    Offer { service: "udp4", protocol: Protocol::Udp, ..HOLD },
    Offer { service: "udp6", protocol: Protocol::Udp, v6: true, ..HOLD },
];

#[test]
fn a_path_that_takes_less_is_found_towards_a_backend() -> Result<()> {
    Lab::run("mtu-to", |lab| {
        let far = lab.far(MTU)?;
        let client = lab.pod("client")?;
        let _server = hold(lab, &far.machine)?;
        let _agent = lab.agent(offering(&TCP, &far.machine)?)?;

        for offer in &TCP {
            bulk(&client.namespace, offer, "a pod")?;
        }
        Ok(())
    })
}

#[test]
fn a_path_that_takes_less_is_found_towards_a_client() -> Result<()> {
    Lab::run("mtu-from", |lab| {
        let far = lab.far(MTU)?;
        let server = lab.pod("server")?;
        let _server = hold(lab, &server)?;
        let _agent = lab.agent(offering(&TCP, &server)?)?;

        for offer in &TCP {
            bulk(&far.machine.namespace, offer, "outside")?;
        }
        Ok(())
    })
}

#[test]
fn a_path_that_takes_less_is_found_with_a_translated_port() -> Result<()> {
    Lab::run("mtu-port", |lab| {
        let far = lab.far(MTU)?;
        let client = lab.pod("client")?;
        let _server = hold(lab, &far.machine)?;
        let _agent = lab.agent(offering(&TCP, &far.machine)?)?;

        for offer in &TCP {
            // Straight to the backend, then by the virtual address from the same port.
            let straight = offer.backend(&far.machine).context("both families")?;
            let own = client.address_like(straight.ip())?;
            let (first, second) = client.namespace.enter(|| -> io::Result<_> {
                let from = SocketAddr::new(own, 40_404);
                Ok((connect_from(from, straight)?, connect_from(from, offer.frontend())?))
            })??;

            there_and_back(&second, BULK).with_context(|| format!("{offer:?}"))?;

            there_and_back(&first, 1).context("the straight one")?;
        }
        Ok(())
    })
}

#[test]
fn a_closed_port_of_datagrams_is_told_at_once() -> Result<()> {
    Lab::run("closed-udp", |lab| {
        let far = lab.far(1_500)?;
        let (client, server) = (lab.pod("client")?, lab.pod("server")?);
        let _agent = lab.agent(offering(&UDP, &server)?)?;

        for offer in &UDP {
            for (from, who) in [(&client.namespace, "a pod"), (&far.machine.namespace, "outside")] {
                let start = Instant::now();
                let error = ask(from, offer)?.err().context("somebody answered")?;
                println!("{} from {who}: {error} after {:?}", offer.service, start.elapsed());
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{} {who}", offer.service);
            }
        }
        Ok(())
    })
}

#[test]
fn a_backend_without_a_route_is_told_at_once() -> Result<()> {
    Lab::run("no-route", |lab| {
        let client = lab.pod("client")?;
        lab.node()
            .ip(&["route add unreachable 10.250.0.0/16", "route add unreachable fd00:250::/32"])?;
        let nowhere = Pod {
            v4: Ipv4Addr::new(10, 250, 0, 9),
            v6: Some(Ipv6Addr::new(0xfd00, 0x250, 0, 0, 0, 0, 0, 9)),
            name: "nowhere".to_owned(),
            ..client.clone()
        };
        let _agent = lab.agent(offering(&TCP, &nowhere)?)?;

        for offer in TCP.iter().chain(&TCP) {
            // Over IPv6 it takes a second, straight to the backend as well: the kernel leaves an
            // error alone that comes while connect() holds the socket, and the next SYN gets
            // another. Over IPv4 the kernel soon sends no more of them, so there is no control.
            let straight = offer.backend(&nowhere).filter(|_| offer.v6);
            for to in iter::once(offer.frontend()).chain(straight) {
                let start = Instant::now();
                let result = client
                    .namespace
                    .enter(|| TcpStream::connect_timeout(&to, TIMEOUT).map(drop))?;
                let error = result.err().context("somebody answered")?;
                println!("{to}: {error} after {:?}", start.elapsed());
                // The kernel's words for the two families' messages.
                let wanted = if offer.v6 {
                    ErrorKind::NetworkUnreachable
                } else {
                    ErrorKind::HostUnreachable
                };
                assert_eq!(error.kind(), wanted, "{to}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_route_that_ends_in_a_loop_is_told_by_the_router_itself() -> Result<()> {
    Lab::run("ttl", |lab| {
        let far = lab.far(1_500)?;
        let client = lab.pod("client")?;
        let _agent = lab.agent(offering(&TCP, &far.machine)?)?;

        let [v4, _] = &TCP;
        let error =
            client.namespace.enter(|| -> io::Result<()> { connect_with_ttl(2, v4.frontend()) })?;

        println!("two hops: {error:?}");
        // `EHOSTUNREACH` is what the kernel makes of an exceeded time.
        assert_eq!(error.err().map(|error| error.kind()), Some(ErrorKind::HostUnreachable));
        Ok(())
    })
}

/// Services of one pod.
fn offering(offers: &[Offer], pod: &Pod) -> Result<AgentOptions> {
    let mut options = AgentOptions::default();
    for offer in offers {
        options.files.extend(offer.files(&[pod])?);
    }
    Ok(options)
}

/// A server that sends back what it gets.
fn hold(lab: &Lab, pod: &Pod) -> Result<canary_tests::workload::Server> {
    let hold = vec![HOLD.pod_port];
    lab.serve(
        &pod.namespace,
        &ServerOptions { name: pod.name.clone(), hold, ..ServerOptions::default() },
    )
}

/// Sends a bulk through a virtual address and wants it back.
fn bulk(from: &Namespace, offer: &Offer, who: &str) -> Result<()> {
    let start = Instant::now();
    let (stream, _) = from.enter(|| greet(offer.frontend(), TIMEOUT))??;
    there_and_back(&stream, BULK)
        .with_context(|| format!("{BULK} bytes of {} from {who}", offer.service))?;
    println!("{} from {who}: {BULK} bytes there and back in {:?}", offer.service, start.elapsed());
    Ok(())
}

/// Connects from an address and port that another connection may have.
fn connect_from(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
        sockopt,
    };
    use std::os::fd::AsRawFd;
    let family = if from.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from))?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?;
    let mut stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
    }
    Ok(stream)
}

/// Connects by packets that may go so many hops.
fn connect_with_ttl(hops: i32, to: SocketAddr) -> io::Result<()> {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
    };
    use std::os::fd::AsRawFd;
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::Ipv4Ttl, &hops)?;
    Ok(connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?)
}

/// Sends `length` bytes and receives them meanwhile.
fn there_and_back(stream: &TcpStream, length: usize) -> Result<()> {
    // A period that divides no power of two, so that pieces out of place show.
    let sent: Vec<u8> = (0..=250).cycle().take(length).collect();
    let received = thread::scope(|scope| -> Result<Vec<u8>> {
        let writer = scope.spawn(|| -> io::Result<()> {
            let mut stream = stream;
            stream.write_all(&sent)?;
            stream.shutdown(Shutdown::Write)
        });
        let mut received = Vec::with_capacity(length);
        let mut reader = stream;
        reader.read_to_end(&mut received)?;
        writer.join().ok().context("the sender panicked")??;
        Ok(received)
    })?;
    ensure!(received == sent, "{} bytes came back, others than were sent", received.len());
    Ok(())
}

/// Asks once by a datagram; what came back, or the error.
fn ask(from: &Namespace, offer: &Offer) -> Result<io::Result<Vec<u8>>> {
    from.enter(|| {
        let socket = offer.datagrams()?;
        socket.send(b"anybody?")?;
        let mut answer = vec![0; 100];
        let length = socket.recv(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    })
}
