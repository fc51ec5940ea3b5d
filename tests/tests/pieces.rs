//! Datagrams in fragments, IPv4 options and IPv6 extension headers, through a virtual address.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::fd::{AsRawFd, RawFd},
};

use anyhow::{Context, Result, ensure};
use canary_common::{
    endpoint::UDP as UDP_NUMBER,
    packets::{Draft, RECEIVER_MAC, SENDER_MAC, endpoint, rare::fragments},
};
use canary_tests::{
    lab::{Agent, AgentOptions, Lab, Pod, tap::Tap, wait_for},
    scenario::{HOLD, Offer, TIMEOUT},
    workload::{Protocol, Server, ServerOptions},
};

const TCP: [Offer; 2] =
    [Offer { service: "hold4", ..HOLD }, Offer { service: "hold6", v6: true, ..HOLD }];

const UDP: [Offer; 2] = [
    Offer { service: "udp4", protocol: Protocol::Udp, ..HOLD },
    Offer { service: "udp6", protocol: Protocol::Udp, v6: true, ..HOLD },
];

/// Bytes of a datagram, many times what a link takes.
const LARGE: usize = 8_000;

/// Where frames that are made by hand come from.
const BY_HAND: Ipv4Addr = Ipv4Addr::new(10, 245, 0, 7);

#[test]
fn large_datagrams_go_there_and_back_by_the_virtual_address() -> Result<()> {
    Lab::run("large", |lab| {
        let far = lab.far(1_500)?;
        let stage = Stage::start(lab, &UDP)?;

        for offer in &UDP {
            for (from, who) in
                [(&stage.client.namespace, "a pod"), (&far.machine.namespace, "outside")]
            {
                for length in [LARGE, 1_473, 65_000] {
                    let answer = from.enter(|| question(offer, length))?.with_context(|| {
                        format!("{length} bytes of {} from {who}", offer.service)
                    })?;
                    let wanted = format!("{}\n", stage.server.name).len() + length;
                    assert_eq!(answer, wanted, "{} from {who}", offer.service);
                    println!("{} from {who}: {length} bytes there, {answer} back", offer.service);
                }
            }
        }
        Ok(())
    })
}

#[test]
fn packets_with_options_and_extension_headers_are_served() -> Result<()> {
    Lab::run("options", |lab| {
        let far = lab.far(1_500)?;
        let stage = Stage::start(lab, &[TCP, UDP].concat())?;

        for (offer, datagrams) in TCP.iter().zip(&UDP) {
            for (from, who) in
                [(&stage.client.namespace, "a pod"), (&far.machine.namespace, "outside")]
            {
                from.enter(|| stream_with_options(offer))?
                    .with_context(|| format!("{} from {who}", offer.service))?;
                from.enter(|| datagram_with_options(datagrams))?
                    .with_context(|| format!("{} from {who}", datagrams.service))?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_fragment_before_its_first_is_dropped_and_counted() -> Result<()> {
    Lab::run("early", |lab| {
        let stage = Stage::start(lab, &UDP)?;
        let interface = "vethtap0";
        let tap = Tap::create(lab.node(), interface, RECEIVER_MAC)?;
        let hardware = SENDER_MAC.map(|byte| format!("{byte:02x}")).join(":");
        lab.node().ip(&[
            format!("route add {BY_HAND}/32 dev {interface}"),
            format!("neighbour add {BY_HAND} lladdr {hardware} dev {interface}"),
        ])?;
        wait_for("the tap to be served", TIMEOUT, || {
            Ok(lab.status()?.interfaces.iter().any(|served| served.name == interface))
        })?;
        let [v4, _] = &UDP;
        let [from, to] =
            [(BY_HAND, 40_000).into(), v4.frontend()].map(|end| endpoint(end, UDP_NUMBER));
        let packet = Draft::new(from, to).payload(&[7; 200]).build();
        let pieces = fragments(&packet, 0x77, 64);

        // The last of them comes first: it is lost, and with it the datagram.
        let (last, others) = pieces.split_last().context("several")?;
        for piece in [last].into_iter().chain(others) {
            tap.send(piece, 1)?;
        }
        // The next datagram is whole, and what is answered tells that all came before it.
        for piece in fragments(&Draft::new(from, to).payload(b"hello there").build(), 0x78, 8) {
            tap.send(&piece, 1)?;
        }
        let answer = tap.receive(TIMEOUT, |frame| {
            frame.get(30..34) == Some(&BY_HAND.octets())
                && frame.get(36..38) == Some(&40_000_u16.to_be_bytes())
        })?;

        let line = format!("{}\nhello there", stage.server.name);
        assert_eq!(answer.get(42..), Some(line.as_bytes()));
        let datagrams = stage.serving.report()?.datagrams;
        assert_eq!(datagrams.values().sum::<u64>(), 1, "one datagram has no last piece");
        assert_eq!(lab.status()?.reasons.get("fragment-early"), Some(&1));
        Ok(())
    })
}

/// A pod that asks and one that sends back what it gets.
struct Stage<'lab> {
    client: Pod,
    server: Pod,
    serving: Server,
    _agent: Agent<'lab>,
}

impl<'lab> Stage<'lab> {
    fn start(lab: &'lab Lab, offers: &[Offer]) -> Result<Self> {
        let (client, server) = (lab.pod("client")?, lab.pod("server")?);
        let hold = vec![HOLD.pod_port];
        let options = ServerOptions { name: server.name.clone(), hold, ..ServerOptions::default() };
        let serving = lab.serve(&server.namespace, &options)?;
        let mut options = AgentOptions::default();
        for offer in offers {
            options.files.extend(offer.files(&[&server])?);
        }
        let agent = lab.agent(options)?;
        offers.iter().try_for_each(|offer| lab.wait_healthy(offer.service, 1).map(drop))?;
        Ok(Self { client, server, serving, _agent: agent })
    }
}

/// Asks by a datagram of this length; the length of the answer, whose bytes are the question's.
fn question(offer: &Offer, length: usize) -> Result<usize> {
    let socket = offer.datagrams()?;
    // A period that divides no power of two, so that pieces out of place show.
    let question: Vec<u8> = (0..=250).cycle().take(length).collect();
    socket.send(&question)?;
    let mut answer = vec![0; 65_535];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    ensure!(answer.ends_with(&question), "other bytes than were sent");
    Ok(length)
}

fn datagram_with_options(offer: &Offer) -> Result<()> {
    let socket = offer.datagrams()?;
    set_options(socket.as_raw_fd(), offer.v6)?;
    for length in [10, LARGE] {
        let question: Vec<u8> = (0..=250).cycle().take(length).collect();
        socket.send(&question)?;
        let mut answer = vec![0; 65_535];
        let length = socket.recv(&mut answer).with_context(|| format!("{length} bytes"))?;
        ensure!(answer.get(..length).is_some_and(|answer| answer.ends_with(&question)));
    }
    Ok(())
}

fn stream_with_options(offer: &Offer) -> Result<()> {
    let (mut stream, _) = greet_with_options(offer).context("connect")?;
    let question: Vec<u8> = (0..=250).cycle().take(100_000).collect();
    let mut answer = vec![0; question.len()];
    std::thread::scope(|scope| -> io::Result<()> {
        let mut writer = stream.try_clone()?;
        let question = &question;
        let writing = scope.spawn(move || writer.write_all(question));
        stream.read_exact(&mut answer)?;
        writing.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
    })?;
    ensure!(answer == question, "other bytes than were sent");
    Ok(())
}

/// Connects by packets that all bear options, the SYN too.
fn greet_with_options(offer: &Offer) -> io::Result<(TcpStream, String)> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
    let family = if offer.v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    set_options(fd.as_raw_fd(), offer.v6)?;
    let mut stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    connect(stream.as_raw_fd(), &SockaddrStorage::from(offer.frontend()))?;
    let mut name = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
        name.extend(byte);
    }
    Ok((stream, String::from_utf8_lossy(&name).into_owned()))
}

/// Has a socket's packets bear four IPv4 options that say nothing, or an IPv6 header of options
/// for the destination that pads.
fn set_options(socket: RawFd, v6: bool) -> io::Result<()> {
    let v4_options: &[u8] = &[1, 1, 1, 0];
    let v6_options: &[u8] = &[0, 0, 1, 4, 0, 0, 0, 0];
    let (level, name, value) = if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, v6_options)
    } else {
        (libc::IPPROTO_IP, libc::IP_OPTIONS, v4_options)
    };
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "no safe wrapper of these options is among the dependencies")]
    // SAFETY: the kernel reads `length` bytes of a value that outlives the call.
    let result = unsafe { libc::setsockopt(socket, level, name, value.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
