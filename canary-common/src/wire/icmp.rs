//! ICMP (RFC 792) and `ICMPv6` (RFC 4443).

use crate::endpoint::Version;

/// IANA number of ICMP.
pub const V4: u8 = 1;
/// IANA number of `ICMPv6`.
pub const V6: u8 = 58;
/// Length of the header, of either.
pub const LEN: usize = 8;
/// Offset of the checksum.
pub const CHECKSUM_AT: usize = 2;

/// What a message says, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Something became of a packet, which it quotes.
    Error,
    /// Another way is better: it quotes a packet, too.
    Redirect,
    /// Answer me.
    EchoRequest,
    /// Anything else, such as the discovery of neighbours.
    Else,
}

impl Says {
    /// What a message of a type says.
    #[inline(always)]
    #[must_use]
    pub const fn of(version: Version, kind: u8) -> Self {
        match (version, kind) {
            // Unreachable, time exceeded, parameter problem; in IPv6 too big before these.
            (Version::V4, 3 | 11 | 12) | (Version::V6, 1..=4) => Self::Error,
            (Version::V4, 5) | (Version::V6, 137) => Self::Redirect,
            (Version::V4, 8) | (Version::V6, 128) => Self::EchoRequest,
            _ => Self::Else,
        }
    }

    /// The type of the answer to an echo request.
    #[inline(always)]
    #[must_use]
    pub const fn echo_reply(version: Version) -> u8 {
        match version {
            Version::V4 => 0,
            Version::V6 => 129,
        }
    }
}
