//! Big frames, bulks of data, and frames in pieces.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr},
    thread,
};

use anyhow::{Context, Result};
use canary_common::{
    endpoint::{Endpoint, TCP, UDP},
    packets::{Draft, RECEIVER_MAC, SENDER_MAC, check, endpoint},
    wire::tcp::{ACK, RST, SYN},
};
use canary_tests::{
    lab::{Lab, Namespace, link::set_mtu, policy::Policy, tap::Tap, wait_for},
    scenario::{HOLD, Offer, Scenario, Subset, TCP4, TIMEOUT, UDP4},
    workload::client::greet,
};

/// Where frames in pieces come from.
const PIECEMEAL: Ipv4Addr = Ipv4Addr::new(10, 245, 0, 7);

/// Where the IP header, and behind it that of TCP or UDP, begins in a frame.
const L3_AT: usize = 14;
const L4_AT: usize = L3_AT + 20;

#[test]
fn jumbo_frames_and_bulks_arrive_whole_both_ways() -> Result<()> {
    Lab::run("jumbo", |lab| {
        let outside = lab.outside("outside")?;
        let scenario = Scenario::start(lab, &[Subset { name: "blue", pods: 1 }])?;
        let blue = &scenario.backend("blue-1")?.pod;
        let client = &scenario.client;

        for mtu in [9000, 6014, 1500] {
            for (namespace, interface) in [
                (lab.node(), client.interface.as_str()),
                (&client.namespace, "eth0"),
                (lab.node(), &blue.interface),
                (&blue.namespace, "eth0"),
                (lab.node(), "eth0"),
                (&outside.namespace, "eth0"),
            ] {
                set_mtu(namespace, interface, mtu)?;
            }
            for from in [&client.namespace, &outside.namespace] {
                there_and_back(from, HOLD.frontend(), 16 << 20)
                    .with_context(|| format!("from {from}, MTU {mtu}"))?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_frame_with_nothing_but_its_ethernet_header_in_front_is_served() -> Result<()> {
    const QUESTIONS: [usize; 8] = [1, 2, 17, 101, 1472, 2049, 4096, 6000];
    const PIECES: [usize; 3] = [1, 2, 16];
    Lab::run("pieces", |lab| {
        let scenario = Scenario::start(lab, &[Subset { name: "blue", pods: 1 }])?;
        let blue = &scenario.backend("blue-1")?.pod;
        set_mtu(lab.node(), &blue.interface, 9000)?;
        set_mtu(&blue.namespace, "eth0", 9000)?;
        let interface = "vethtap0";
        let tap = Tap::create(lab.node(), interface, RECEIVER_MAC)?;
        let hardware = SENDER_MAC.map(|byte| format!("{byte:02x}")).join(":");
        lab.node().ip(&[
            format!("route add {PIECEMEAL}/32 dev {interface}"),
            format!("neighbour add {PIECEMEAL} lladdr {hardware} dev {interface}"),
        ])?;
        wait_for("the tap to be served", TIMEOUT, || {
            Ok(lab.status()?.interfaces.iter().any(|served| served.name == interface))
        })?;
        let _only = Policy::scattered_only(lab.node(), interface)?;
        let before = [opened(lab, UDP4)?, opened(lab, TCP4)?];

        let mut port = 40_000;
        for length in QUESTIONS {
            for pieces in PIECES {
                port += 1;
                let [from, to] = ends(port, UDP4, UDP);
                let question: Vec<u8> = (0..=250).cycle().take(length).collect();
                tap.send(&Draft::new(from, to).payload(&question).build(), pieces)?;
                let answer = answer(&tap, UDP4, port)
                    .with_context(|| format!("{length} bytes in {pieces} pieces"))?;
                assert_eq!(&answer[L4_AT + 8..], b"blue-1\n", "{length} bytes, {pieces} pieces");
            }
        }
        for pieces in PIECES {
            port += 1;
            let [from, to] = ends(port, TCP4, TCP);
            let number = 0xffff_ffff;
            tap.send(&Draft::new(from, to).flags(SYN).sequence(number).build(), pieces)?;
            let answer =
                answer(&tap, TCP4, port).with_context(|| format!("a SYN in {pieces} pieces"))?;
            assert_eq!(answer[L4_AT + 13], SYN | ACK, "{pieces} pieces");
            assert_eq!(answer[L4_AT + 8..][..4], number.wrapping_add(1).to_be_bytes());
            let end = Draft::new(from, to).flags(RST).sequence(number.wrapping_add(1));
            tap.send(&end.build(), pieces)?;
        }

        let asked = u64::try_from(QUESTIONS.len() * PIECES.len())?;
        assert_eq!(opened(lab, UDP4)? - before[0], asked);
        assert_eq!(opened(lab, TCP4)? - before[1], u64::try_from(PIECES.len())?);
        Ok(())
    })
}

/// The client's end at `port` and the virtual end of an offer.
fn ends(port: u16, offer: Offer, protocol: u8) -> [Endpoint; 2] {
    [(PIECEMEAL, port).into(), offer.frontend()].map(|end| endpoint(end, protocol))
}

/// Connections that the only split of an offer has opened.
fn opened(lab: &Lab, offer: Offer) -> Result<u64> {
    let service = lab.service(offer.service)?;
    Ok(service.splits.first().context("no split")?.connections.opened)
}

/// What comes to the client's `port`, checked for where it comes from and for its sums.
fn answer(tap: &Tap, offer: Offer, port: u16) -> Result<Vec<u8>> {
    let frame = tap.receive(TIMEOUT, |frame| {
        frame.get(L3_AT + 16..L4_AT) == Some(&PIECEMEAL.octets())
            && frame.get(L4_AT + 2..L4_AT + 4) == Some(&port.to_be_bytes())
    })?;
    let source: [u8; 4] = bytes(&frame, L3_AT + 12)?;
    let from = SocketAddr::from((source, u16::from_be_bytes(bytes(&frame, L4_AT)?)));
    assert_eq!(from, offer.frontend());
    assert_eq!(bytes(&frame, 0)?, SENDER_MAC);
    assert_eq!(check(&frame, true), Ok(()));
    Ok(frame)
}

/// The `N` bytes of a frame from `at` on.
fn bytes<const N: usize>(frame: &[u8], at: usize) -> Result<[u8; N]> {
    frame.get(at..).and_then(<[u8]>::first_chunk).copied().context("the frame is cut")
}

/// Sends `length` bytes and receives them meanwhile.
fn there_and_back(from: &Namespace, target: SocketAddr, length: usize) -> Result<()> {
    // A period that divides no power of two, so that pieces out of place show.
    let sent: Vec<u8> = (0..=250).cycle().take(length).collect();
    let (stream, _) = from.enter(|| greet(target, TIMEOUT))??;
    let received = thread::scope(|scope| -> Result<Vec<u8>> {
        let writer = scope.spawn(|| -> std::io::Result<()> {
            (&stream).write_all(&sent)?;
            stream.shutdown(Shutdown::Write)
        });
        let mut received = Vec::with_capacity(length);
        (&stream).read_to_end(&mut received)?;
        writer.join().ok().context("the sender panicked")??;
        Ok(received)
    })?;
    assert_eq!(received.len(), sent.len());
    assert!(received == sent, "other bytes than were sent");
    Ok(())
}
