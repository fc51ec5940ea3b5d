//! Watches a pod's own interface for SYNs, to know when the last one came.

use std::{
    io::IoSliceMut,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, OwnedFd},
    thread,
};

use anyhow::{Context, Result};
use nix::{
    cmsg_space,
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol,
            SockType, recvmsg, setsockopt, socket, sockopt,
        },
        time::TimeSpec,
    },
};

use super::control::Counters;

/// `PACKET_HOST` of `linux/if_packet.h`: a packet that came for this host.
const PACKET_HOST: u8 = 0;

/// Notes when SYNs to `port` come, by their sender.
///
/// # Errors
///
/// Without the right to see packets.
pub fn watch(port: u16, counters: &Counters) -> Result<()> {
    // `SOCK_DGRAM` starts each packet at its IP header.
    let socket = socket(
        AddressFamily::Packet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .context("open a packet socket")?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("ask for timestamps")?;
    let counters = counters.clone();
    thread::spawn(move || {
        while let Ok(seen) = next(&socket, port) {
            if let Some((client, at_ns)) = seen {
                counters.syn(client, at_ns);
            }
        }
    });
    Ok(())
}

/// Waits for the next packet; tells its sender and time if it is a SYN to `port`.
fn next(socket: &OwnedFd, port: u16) -> nix::Result<Option<(IpAddr, u64)>> {
    let mut packet = [0; 128];
    let mut space = cmsg_space!(TimeSpec);
    let (length, incoming, time) = {
        let mut buffers = [IoSliceMut::new(&mut packet)];
        let message = recvmsg::<LinkAddr>(
            socket.as_raw_fd(),
            &mut buffers,
            Some(&mut space),
            MsgFlags::empty(),
        )?;
        let time = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(time) => Some(time),
            _ => None,
        });
        let incoming = message.address.is_some_and(|from| from.pkttype() == PACKET_HOST);
        (message.bytes, incoming, time)
    };
    let sender = packet.get(..length).and_then(|packet| syn_sender(packet, port));
    Ok(sender.filter(|_| incoming).zip(time.and_then(nanoseconds)))
}

/// Who sent a packet, if it is an IPv4 TCP SYN to `port`.
fn syn_sender(packet: &[u8], port: u16) -> Option<IpAddr> {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let first = *packet.first()?;
    let tcp = packet.get(usize::from(first & 0x0f) * 4..)?;
    let is_tcp = first >> 4 == 4 && *packet.get(9)? == 6;
    let flags = *tcp.get(13)?;
    let is_ours = tcp.get(2..4)? == port.to_be_bytes().as_slice();
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    (is_tcp && is_ours && flags & SYN != 0 && flags & ACK == 0)
        .then(|| IpAddr::V4(Ipv4Addr::from(source)))
}

fn nanoseconds(time: TimeSpec) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec()).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(time.tv_nsec()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_syn_to_the_port_counts() {
        let mut packet = [0; 40];
        packet[0] = 0x45;
        packet[9] = 6;
        packet[12..16].copy_from_slice(&[10, 244, 1, 2]);
        packet[22..24].copy_from_slice(&8080_u16.to_be_bytes());
        packet[33] = 0x02;

        assert_eq!(syn_sender(&packet, 8080), Some([10, 244, 1, 2].into()));
        assert_eq!(syn_sender(&packet, 8081), None);
        assert_eq!(syn_sender(&packet[..33], 8080), None);
        packet[33] = 0x12;
        assert_eq!(syn_sender(&packet, 8080), None);
    }
}
