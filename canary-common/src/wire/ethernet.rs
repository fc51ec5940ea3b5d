//! Ethernet II.

use crate::packet::Packet;
use crate::reason::Reason;

/// Length of the header without tags.
pub const LEN: usize = 14;
/// Offset of the type.
pub const TYPE_AT: usize = 12;
/// Type of IPv4.
pub const IPV4: [u8; 2] = [0x08, 0x00];
/// Type of IPv6.
pub const IPV6: [u8; 2] = [0x86, 0xdd];

/// Exchanges source and destination: the packet goes back where it came from.
///
/// # Errors
///
/// [`Reason::Truncated`] if the packet is too short; it is unchanged then.
#[inline(always)]
pub fn swap<P: Packet + ?Sized>(packet: &mut P) -> Result<(), Reason> {
    let destination = packet.read::<6>(0)?;
    let source = packet.read::<6>(6)?;
    packet.write(0, source)?;
    packet.write(6, destination)
}
