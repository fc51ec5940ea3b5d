//! Headers as they are on the wire: views that are checked when they are read.

pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;

use crate::endpoint::Version;

/// Bytes of an IP header without options or extensions.
#[inline(always)]
#[must_use]
pub const fn header_len(version: Version) -> usize {
    match version {
        Version::V4 => ipv4::LEN,
        Version::V6 => ipv6::LEN,
    }
}
