//! The bytes of a packet, wherever it lives.

use crate::checksum::Difference;
use crate::endpoint::Version;
use crate::reason::Reason;
#[cfg(any(test, feature = "user"))]
use crate::wire::header_len;

/// What a checksum covers of a changed field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// An address: part of the pseudo-header.
    Ipv4Address,
    /// An address: part of the pseudo-header, and no header checksum makes up for it.
    Ipv6Address,
    /// Something of the segment itself.
    Segment,
}

/// Reads and writes one packet, by offset from its first byte.
///
/// The kernel implements this over a context and tests over a byte slice, so every step above
/// is the same code in both places. Lengths are constants since the verifier only learns a
/// packet's bounds from a check against a constant size.
pub trait Packet {
    /// Copies the `N` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`] if the packet ends before `offset + N`.
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Reason>;

    /// Copies the `N` bytes at `offset`, which may lie behind all headers.
    ///
    /// # Errors
    ///
    /// As [`Packet::read`].
    #[inline(always)]
    fn peek<const N: usize>(&self, offset: usize) -> Result<[u8; N], Reason> {
        self.read(offset)
    }

    /// The `W` words at `offset`, at most eight; what is not asked for is 0.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`] if the packet ends before `offset + room`, which is beyond them.
    #[inline(always)]
    fn words<const W: usize>(&self, offset: usize, room: usize) -> Result<[u64; 8], Reason> {
        if self.len() < offset.wrapping_add(room) {
            return Err(Reason::Truncated);
        }
        let mut words = [0; 8];
        for (at, word) in (0_usize..).zip(words.iter_mut().take(W)) {
            *word = u64::from_ne_bytes(self.read(offset.wrapping_add(at << 3))?);
        }
        Ok(words)
    }

    /// Overwrites the `N` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`] if the packet ends before `offset + N`; nothing is written then.
    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Result<(), Reason>;

    /// Gives the packet another length; what is new at its end is zero or anything.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`] if it cannot have that length; it is unchanged then.
    fn resize(&mut self, len: usize) -> Result<(), Reason>;

    /// Makes room for an IP header of a family at `offset`, where one of the same family begins; what
    /// is there then is zero.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`] where there can be none; the packet is unchanged then.
    #[inline(always)]
    fn insert_header(&mut self, _offset: usize, _version: Version) -> Result<(), Reason> {
        Err(Reason::Truncated)
    }

    /// Takes the IP header of a family at `offset` away, behind which another of the same family
    /// begins.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`] if it cannot be; the packet is unchanged then.
    #[inline(always)]
    fn remove_header(&mut self, _offset: usize, _version: Version) -> Result<(), Reason> {
        Err(Reason::Truncated)
    }

    /// Notes a change that no checksum of the packet makes up for: of the addresses of an IPv6
    /// fragment without its transport header. The tcx hooks override this, for an `skb` may bear
    /// the sum of all its bytes.
    #[inline(always)]
    fn note_change(&mut self, _change: Difference) {}

    /// Length of the whole packet in bytes.
    fn len(&self) -> usize;

    /// Whether there is nothing of it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Patches the TCP or UDP checksum at `offset` for a change of what it covers.
    ///
    /// A UDP checksum of zero means none, and stays. The tcx hooks override this: an `skb`
    /// whose checksum the interface is still to finish holds only the pseudo-header's sum
    /// there, and only the kernel knows which `skb`s those are.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`] if the packet ends before the checksum does.
    #[inline(always)]
    fn patch_checksum(
        &mut self,
        offset: usize,
        udp: bool,
        _covers: Covers,
        change: Difference,
    ) -> Result<(), Reason> {
        let old = self.read::<2>(offset)?;
        if udp && old == [0, 0] {
            return Ok(());
        }
        let new = change.patch(old);
        self.write(offset, if udp && new == [0, 0] { [0xff, 0xff] } else { new })
    }

    /// The same for an address and a port that change together.
    ///
    /// # Errors
    ///
    /// As [`Packet::patch_checksum`].
    #[inline(always)]
    fn patch_checksum_of_both(
        &mut self,
        offset: usize,
        udp: bool,
        covers: Covers,
        [address, port]: [Difference; 2],
    ) -> Result<(), Reason> {
        self.patch_checksum(offset, udp, covers, address.and(port))
    }

    /// The same for a TCP checksum that stands there as `sum`.
    ///
    /// # Errors
    ///
    /// As [`Packet::patch_checksum`].
    #[inline(always)]
    fn patch_tcp(
        &mut self,
        offset: usize,
        sum: [u8; 2],
        _covers: Covers,
        [address, port]: [Difference; 2],
    ) -> Result<(), Reason> {
        self.write(offset, address.and(port).patch(sum))
    }
}

impl Packet for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Reason> {
        let tail = self.get(offset..).ok_or(Reason::Truncated)?;
        tail.first_chunk().copied().ok_or(Reason::Truncated)
    }

    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Result<(), Reason> {
        let tail = self.get_mut(offset..).ok_or(Reason::Truncated)?;
        *tail.first_chunk_mut().ok_or(Reason::Truncated)? = bytes;
        Ok(())
    }

    /// Only to the length it has: a slice has no other.
    fn resize(&mut self, len: usize) -> Result<(), Reason> {
        if len == <[u8]>::len(self) { Ok(()) } else { Err(Reason::Truncated) }
    }

    fn len(&self) -> usize {
        <[u8]>::len(self)
    }
}

#[cfg(any(test, feature = "user"))]
impl Packet for Vec<u8> {
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Reason> {
        self.as_slice().read(offset)
    }

    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Result<(), Reason> {
        self.as_mut_slice().write(offset, bytes)
    }

    fn resize(&mut self, len: usize) -> Result<(), Reason> {
        Self::resize(self, len, 0);
        Ok(())
    }

    fn insert_header(&mut self, offset: usize, version: Version) -> Result<(), Reason> {
        if offset > Self::len(self) {
            return Err(Reason::Truncated);
        }
        self.splice(offset..offset, core::iter::repeat_n(0, header_len(version)));
        Ok(())
    }

    fn remove_header(&mut self, offset: usize, version: Version) -> Result<(), Reason> {
        let end = offset.saturating_add(header_len(version));
        if end > Self::len(self) {
            return Err(Reason::Truncated);
        }
        self.drain(offset..end);
        Ok(())
    }

    fn len(&self) -> usize {
        Self::len(self)
    }
}
