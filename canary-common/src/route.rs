//! Where a packet goes, and its rewriting.

use crate::endpoint::{Address, Endpoint, Version};
use crate::packet::Packet;
use crate::reason::Reason;
use crate::refuse;
use crate::segment::{Segment, Side};
use crate::wire::ethernet;

/// Source of an IPv4 packet that a pod sends to itself through a frontend. Link-local, since a
/// pod's own stack takes no packet from its own or a loopback address.
pub const HAIRPIN_V4: Address = Address::v4([169, 254, 42, 1]);
/// The same for IPv6: a unique local address.
pub const HAIRPIN_V6: Address =
    Address([0xfd, 0x63, 0x61, 0x6e, 0x61, 0x72, 0x79, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// Where packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pod of this node.
    Pod,
    /// The network.
    Net,
    /// The network, behind a hook in the driver that has done all but send on what is for the
    /// hook behind it.
    Behind,
}

impl Origin {
    /// Whether it is the network.
    #[inline(always)]
    #[must_use]
    pub const fn is_net(self) -> bool {
        !matches!(self, Self::Pod)
    }
}

/// What becomes of a packet that was rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It goes on to where its new destination is.
    On,
    /// It goes back to the interface it came from.
    Back,
}

/// Where a client's packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The backend.
    pub to: Endpoint,
    /// The source port that the backend sees.
    pub port: [u8; 2],
    /// The backend is elsewhere and sees this node as its client: `relay` says by which port.
    pub masked: bool,
    /// Beside that: it sees the client itself, in packets within this node's.
    pub wrapped: bool,
}

/// Whom an answer comes from and goes to, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The frontend.
    pub from: Endpoint,
    /// The client's own port.
    pub port: [u8; 2],
    /// The connection was severed: the client is told so, with this packet.
    pub severed: bool,
}

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes to a backend.
    Forward(Route),
    /// It is the answer of a pod to itself.
    Hairpin(Ends),
}

/// Whether a client's packet comes back to the client's own address.
#[inline(always)]
#[must_use]
pub fn is_hairpin(segment: &Segment, origin: Origin, backend: Address) -> bool {
    origin == Origin::Pod && backend.words() == segment.source.address.words()
}

/// The address that stands for a pod that talks to itself.
#[inline(always)]
#[must_use]
pub const fn hairpin_address(version: Version) -> Address {
    match version {
        Version::V4 => HAIRPIN_V4,
        Version::V6 => HAIRPIN_V6,
    }
}

/// The client as its backend sees it.
#[inline(always)]
#[must_use]
pub fn client(segment: &Segment, origin: Origin, backend: Address, port: [u8; 2]) -> Endpoint {
    let address = if is_hairpin(segment, origin, backend) {
        hairpin_address(segment.version)
    } else {
        segment.source.address
    };
    Endpoint { address, port, protocol: segment.source.protocol }
}

/// Rewrites a packet as was decided.
///
/// # Errors
///
/// [`Reason::Truncated`] if the packet is shorter than when it was read.
#[inline(always)]
pub fn act<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    origin: Origin,
    decision: Decision,
) -> Result<Sent, Reason> {
    let (source, destination) = match decision {
        Decision::Forward(Route { to, port, .. }) => {
            (client(segment, origin, to.address, port), to)
        }
        // Client and backend are the same pod; only the ports differ.
        Decision::Hairpin(Ends { from, port, .. }) => (from, Endpoint { port, ..segment.source }),
    };
    segment.readdress(packet, Side::Destination, destination)?;
    segment.readdress(packet, Side::Source, source)?;
    let back = match decision {
        Decision::Forward(route) => is_hairpin(segment, origin, route.to.address),
        Decision::Hairpin(_) => true,
    };
    if matches!(decision, Decision::Hairpin(ends) if ends.severed) {
        refuse::cut(packet, segment)?;
    }
    if back {
        ethernet::swap(packet)?;
        return Ok(Sent::Back);
    }
    Ok(Sent::On)
}

/// Rewrites an answer on its way to its client.
///
/// # Errors
///
/// As [`act`].
#[inline(always)]
pub fn act_back<P: Packet + ?Sized>(
    packet: &mut P,
    segment: &Segment,
    ends: Ends,
) -> Result<Sent, Reason> {
    let client = Endpoint { port: ends.port, ..segment.destination };
    segment.readdress(packet, Side::Destination, client)?;
    segment.readdress(packet, Side::Source, ends.from)?;
    if ends.severed {
        refuse::cut(packet, segment)?;
    }
    Ok(Sent::On)
}
