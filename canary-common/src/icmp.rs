//! ICMP errors about a flow, and answers to echo requests.
//!
//! An error quotes the packet that it is about as its sender saw it. About a packet on its way to
//! a backend it goes to the client, and quotes the tuple that the `return` has, reversed; about an
//! answer that was restored it goes to the frontend, and quotes the `forward`'s, reversed. So one
//! lookup says whose it is. Outer and inner header are translated together, and every checksum
//! that covers them: of the quoted transport header only where it is in the quote.

use crate::addresses;
use crate::checksum::Difference;
use crate::endpoint::{Address, Endpoint, TCP, UDP, Version};
use crate::flows::{Client, Head, Key, Kind, Values};
use crate::forward::interface;
use crate::headers::{Headers, Piece, Walk};
use crate::node::Node;
use crate::packet::{Covers, Packet};
use crate::reason::Reason;
use crate::refuse::swap_addresses;
use crate::route::{Origin, Sent, hairpin_address};
use crate::tables::Tables;
use crate::wire::icmp::{self, Says};
use crate::wire::{ethernet, ipv4, ipv6, tcp, udp};

/// Offset of the checksum of what is quoted, where the quote ends before it.
const NOT_QUOTED: usize = 0;

/// An ICMP error and the packet it quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The family of both.
    pub version: Version,
    /// Offset of the error's IP header.
    pub l3_at: usize,
    /// Offset of its ICMP header.
    pub icmp_at: usize,
    /// Offset of the quoted IP header.
    pub inner_at: usize,
    /// Offset of the quoted TCP or UDP header.
    pub ports_at: usize,
    /// Offset of that one's checksum; 0 where it is not quoted.
    pub checksum_at: usize,
    /// Who sent the error.
    pub source: Address,
    /// Where it goes.
    pub destination: Address,
    /// Who sent the quoted packet.
    pub from: Endpoint,
    /// Where that one went.
    pub to: Endpoint,
}

/// The addresses and ports of an ICMP error as whom it goes to knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mended {
    /// Who sends the error.
    pub source: Address,
    /// Where it goes.
    pub destination: Address,
    /// Who sent the quoted packet.
    pub from: Endpoint,
    /// Where that one went.
    pub to: Endpoint,
    /// Whether it goes on, or back to the pod that sent it.
    pub sent: Sent,
}

/// What the ICMP message behind `headers` says.
///
/// # Errors
///
/// [`Reason::Truncated`] if it is cut.
#[inline(always)]
pub fn says<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Result<Says, Reason> {
    let [kind, ..] = packet.read::<{ icmp::LEN }>(headers.l4_at)?;
    Ok(Says::of(headers.version, kind))
}

impl Quote {
    /// Reads an ICMP error that stands behind `headers`.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`], [`Reason::Malformed`], [`Reason::Extensions`], or
    /// [`Reason::IcmpNoFlow`] for one that quotes no TCP or UDP, or a packet that did not come
    /// from whom the error goes to.
    #[inline(always)]
    pub fn read<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Result<Self, Reason> {
        let Headers { version, l3_at, l4_at: icmp_at, .. } = *headers;
        let inner_at = icmp_at.wrapping_add(icmp::LEN);
        let (ports_at, protocol, from, to) = match version {
            Version::V4 => quoted_v4(packet, inner_at)?,
            Version::V6 => quoted_v6(packet, inner_at)?,
        };
        if from.words() != headers.destination.words() {
            return Err(Reason::IcmpNoFlow);
        }
        let end = icmp_at.wrapping_add(headers.length);
        if ports_at.wrapping_add(4) > end {
            return Err(Reason::Malformed);
        }
        let [a, b, c, d] = packet.read::<4>(ports_at)?;
        let within = match protocol {
            TCP => tcp::CHECKSUM_AT,
            UDP => udp::CHECKSUM_AT,
            _ => return Err(Reason::IcmpNoFlow),
        };
        let at = ports_at.wrapping_add(within);
        // Within the message: a frame may be longer, and what follows is no part of any sum.
        let checksum_at =
            if at.wrapping_add(2) <= end && packet.read::<2>(at).is_ok() { at } else { NOT_QUOTED };
        Ok(Self {
            version,
            l3_at,
            icmp_at,
            inner_at,
            ports_at,
            checksum_at,
            source: headers.source,
            destination: headers.destination,
            from: Endpoint { address: from, port: [a, b], protocol },
            to: Endpoint { address: to, port: [c, d], protocol },
        })
    }

    /// The tuple of the packets that go the other way.
    #[inline(always)]
    pub(crate) const fn reversed(&self) -> Key {
        Key::new(self.to, self.from)
    }
}

/// Where the ports of a quoted packet are, its protocol and its ends.
type Quoted = (usize, u8, Address, Address);

#[inline(always)]
fn quoted_v4<P: Packet + ?Sized>(packet: &P, at: usize) -> Result<Quoted, Reason> {
    let [first, _, _, _, _, _, flags, offset, _, protocol, _, _] = packet.read::<12>(at)?;
    let header_len = usize::from(first & 0x0f) << 2;
    if first >> 4 != 4 || header_len < ipv4::LEN {
        return Err(Reason::Malformed);
    }
    // Of a fragment that is not the first no ports are quoted.
    if [flags & 0x1f, offset] != [0, 0] {
        return Err(Reason::IcmpNoFlow);
    }
    let from = Address::v4(packet.read(at.wrapping_add(ipv4::SOURCE_AT))?);
    let to = Address::v4(packet.read(at.wrapping_add(ipv4::DESTINATION_AT))?);
    Ok((at.wrapping_add(header_len), protocol, from, to))
}

#[inline(always)]
fn quoted_v6<P: Packet + ?Sized>(packet: &P, at: usize) -> Result<Quoted, Reason> {
    let [first, _, _, _, _, _, next, _] = packet.read::<8>(at)?;
    if first >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    let from = Address(packet.read(at.wrapping_add(ipv6::SOURCE_AT))?);
    let to = Address(packet.read(at.wrapping_add(ipv6::DESTINATION_AT))?);
    let walk = Walk::along(packet, at.wrapping_add(ipv6::LEN), next)?;
    if walk.piece == Piece::Later {
        return Err(Reason::IcmpNoFlow);
    }
    Ok((walk.at, walk.next, from, to))
}

/// An error towards a frontend, about an answer that was restored; or towards the address that
/// stands for a pod which talks to itself, about its question.
///
/// # Errors
///
/// The [`Reason`] why it passes as it is.
#[inline(always)]
pub fn inbound<T: Tables + ?Sized>(
    node: Node<'_, T>,
    quote: &Quote,
    origin: Origin,
) -> Result<Mended, Reason> {
    if origin == Origin::Pod && quote.destination.words() == hairpin_address(quote.version).words()
    {
        let mended = to_client(node, quote)?;
        let client = Endpoint { address: quote.to.address, ..mended.from };
        return Ok(Mended {
            destination: client.address,
            from: client,
            sent: Sent::Back,
            ..mended
        });
    }
    let entry = node.entry(&quote.reversed(), Client::IsSource).ok_or(Reason::IcmpNoFlow)?;
    if entry.head.kind() == Kind::Foreign {
        return Err(Reason::Foreign);
    }
    // Whose connection it is, or a router on the way to it.
    if entry.values.interface != interface(node, origin) {
        return Err(Reason::Spoofed);
    }
    // The backend knows its client by another address.
    if entry.values.has(Values::MASKED) {
        return Err(Reason::IcmpNoFlow);
    }
    let backend = node.tables.backend(entry.values.backend).ok_or(Reason::IcmpNoFlow)?;
    let from = Endpoint { protocol: quote.from.protocol, ..backend.endpoint() };
    let client = quote.to.address;
    let turns = origin == Origin::Pod && client.words() == from.address.words();
    let seen = if turns { hairpin_address(quote.version) } else { client };
    let is_clients = quote.source.words() == client.words();
    Ok(Mended {
        source: if is_clients { seen } else { quote.source },
        destination: from.address,
        from,
        to: Endpoint { address: seen, port: entry.values.port, ..quote.to },
        sent: if turns { Sent::Back } else { Sent::On },
    })
}

/// An error on its way to a client, about a packet that went to a backend.
///
/// # Errors
///
/// The [`Reason`] why it passes as it is.
#[inline(always)]
pub fn outbound<T: Tables + ?Sized>(node: Node<'_, T>, quote: &Quote) -> Result<Mended, Reason> {
    if node.bits(quote.to.address) & addresses::BACKEND == 0 {
        return Err(Reason::NotOurs);
    }
    if !node.tables.leads_back(&quote.source, &quote.destination) {
        return Err(Reason::Spoofed);
    }
    to_client(node, quote)
}

/// The reason that counts for an error on its way out: most have nothing to do with us.
#[inline(always)]
#[must_use]
pub const fn unrestored(reason: Reason) -> Reason {
    if matches!(reason, Reason::Spoofed) { reason } else { Reason::NotOurs }
}

/// An error about a packet that went to a backend, as its client knows both.
#[inline(always)]
fn to_client<T: Tables + ?Sized>(node: Node<'_, T>, quote: &Quote) -> Result<Mended, Reason> {
    let entry = node.entry(&quote.reversed(), Client::IsDestination).ok_or(Reason::NotOurs)?;
    if entry.head.kind() != Kind::Return
        || entry.head.has(Head::SEVERED)
        || entry.values.has(Values::MASKED)
    {
        return Err(Reason::NotOurs);
    }
    let to = if entry.values.has(Values::DIRECT) {
        quote.to
    } else {
        let frontend = node.tables.frontend(entry.values.frontend).ok_or(Reason::NotOurs)?;
        Endpoint { protocol: quote.to.protocol, ..frontend.endpoint() }
    };
    // A router's own address stays: it says where on the way the packet ended.
    let is_backends = quote.source.words() == quote.to.address.words();
    Ok(Mended {
        source: if is_backends { to.address } else { quote.source },
        destination: quote.destination,
        from: Endpoint { port: entry.values.port, ..quote.from },
        to,
        sent: Sent::On,
    })
}

/// Rewrites an error.
///
/// # Errors
///
/// [`Reason::Truncated`] if the packet is shorter than when it was read.
#[inline(always)]
pub fn mend<P: Packet + ?Sized>(
    packet: &mut P,
    quote: &Quote,
    mended: &Mended,
) -> Result<Sent, Reason> {
    let version = quote.version;
    let ends = [(quote.source, mended.source), (quote.destination, mended.destination)];
    let outer = readdress(packet, version, quote.l3_at, ends)?;
    let ends = [(quote.from.address, mended.from.address), (quote.to.address, mended.to.address)];
    let inner = readdress(packet, version, quote.inner_at, ends)?;
    let ports = Difference::between(quote.from.port, mended.from.port)
        .and(Difference::between(quote.to.port, mended.to.port));
    packet.write(quote.ports_at, mended.from.port)?;
    packet.write(quote.ports_at.wrapping_add(2), mended.to.port)?;
    let mut change = inner.whole.and(ports);
    if quote.checksum_at != NOT_QUOTED {
        let udp = quote.from.protocol == UDP;
        change = change.and(patch(packet, quote.checksum_at, udp, inner.addresses.and(ports))?);
    }
    // Its pseudo-header is in ICMPv6's sum.
    if version == Version::V6 {
        change = change.and(outer.addresses);
    }
    if mended.sent == Sent::Back {
        ethernet::swap(packet)?;
    }
    let at = quote.icmp_at.wrapping_add(icmp::CHECKSUM_AT);
    packet.patch_checksum(at, false, Covers::Segment, change)?;
    Ok(mended.sent)
}

/// What rewriting an IP header changed.
struct Changed {
    /// In its addresses alone.
    addresses: Difference,
    /// In all of it: nothing for IPv4, whose checksum makes up for the rest.
    whole: Difference,
}

/// Gives an IP header other addresses: source, then destination, each before and after.
#[inline(always)]
fn readdress<P: Packet + ?Sized>(
    packet: &mut P,
    version: Version,
    at: usize,
    [source, destination]: [(Address, Address); 2],
) -> Result<Changed, Reason> {
    match version {
        Version::V4 => {
            let addresses = between_v4(source).and(between_v4(destination));
            patch(packet, at.wrapping_add(ipv4::CHECKSUM_AT), false, addresses)?;
            packet.write(at.wrapping_add(ipv4::SOURCE_AT), source.1.last_four())?;
            packet.write(at.wrapping_add(ipv4::DESTINATION_AT), destination.1.last_four())?;
            Ok(Changed { addresses, whole: Difference::default() })
        }
        Version::V6 => {
            let addresses = Difference::between(source.0.0, source.1.0)
                .and(Difference::between(destination.0.0, destination.1.0));
            packet.write(at.wrapping_add(ipv6::SOURCE_AT), source.1.0)?;
            packet.write(at.wrapping_add(ipv6::DESTINATION_AT), destination.1.0)?;
            Ok(Changed { addresses, whole: addresses })
        }
    }
}

#[inline(always)]
fn between_v4((before, after): (Address, Address)) -> Difference {
    Difference::between(before.last_four(), after.last_four())
}

/// Patches a checksum by hand, and gives what that changed: no interface finishes one of these.
#[inline(always)]
fn patch<P: Packet + ?Sized>(
    packet: &mut P,
    at: usize,
    udp: bool,
    change: Difference,
) -> Result<Difference, Reason> {
    let old = packet.read::<2>(at)?;
    if udp && old == [0, 0] {
        return Ok(Difference::default());
    }
    let new = match change.patch(old) {
        [0, 0] if udp => [0xff, 0xff],
        new => new,
    };
    packet.write(at, new)?;
    Ok(Difference::between(old, new))
}

/// Turns an echo request into its answer.
///
/// # Errors
///
/// [`Reason::Truncated`] if the packet is shorter than when it was read.
#[inline(always)]
pub fn echo<P: Packet + ?Sized>(
    packet: &mut P,
    headers: &Headers,
    l2: usize,
) -> Result<(), Reason> {
    let Headers { version, l3_at, l4_at, source, destination, .. } = *headers;
    let [kind, code] = packet.read::<2>(l4_at)?;
    let reply = [Says::echo_reply(version), code];
    packet.write(l4_at, reply)?;
    swap_addresses(packet, version, l3_at, [source, destination])?;
    if l2 != 0 {
        ethernet::swap(packet)?;
    }
    let change = Difference::between([kind, code], reply);
    packet.patch_checksum(l4_at.wrapping_add(icmp::CHECKSUM_AT), false, Covers::Segment, change)
}

#[cfg(test)]
mod tests;
