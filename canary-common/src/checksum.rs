//! The Internet checksum, changed piece by piece (RFC 1624, equation 3).

/// What a changed field does to the sums that cover it: to be added to a complemented checksum.
///
/// A ones' complement sum of at most 17 bits; differences of several fields add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference(pub u32);

impl Difference {
    /// From `old` to `new`; both start at an even offset of what is summed.
    #[inline(always)]
    #[must_use]
    pub fn between<const N: usize>(old: [u8; N], new: [u8; N]) -> Self {
        // Two words of 16 bits at a time, for the carries come out the same. At most 2 x 10 of
        // these: no overflow.
        let (old, old_rest) = old.as_chunks::<4>();
        let (new, new_rest) = new.as_chunks::<4>();
        let mut sum = 0_u64;
        for (old, new) in old.iter().zip(new) {
            sum = sum
                .wrapping_add(u64::from(!u32::from_ne_bytes(*old)))
                .wrapping_add(u64::from(u32::from_ne_bytes(*new)));
        }
        for (old, new) in old_rest.as_chunks::<2>().0.iter().zip(new_rest.as_chunks::<2>().0) {
            sum = sum
                .wrapping_add(u64::from(!u16::from_ne_bytes(*old)))
                .wrapping_add(u64::from(u16::from_ne_bytes(*new)));
        }
        let sum = (sum >> 32).wrapping_add(sum & 0xffff_ffff);
        let sum = (sum >> 16).wrapping_add(sum & 0xffff);
        let [a, b, c, d, ..] = sum.to_le_bytes();
        Self(u32::from_le_bytes([a, b, c, d]))
    }

    /// Both changes at once.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        // Each side is far below 2^31.
        Self(self.0.wrapping_add(other.0))
    }

    /// `checksum` (as it stands in the packet) after the change.
    #[inline(always)]
    #[must_use]
    pub fn patch(self, checksum: [u8; 2]) -> [u8; 2] {
        let sum = u32::from(!u16::from_ne_bytes(checksum)).wrapping_add(self.0);
        fold(sum).to_ne_bytes().map(|byte| !byte)
    }
}

/// A 32-bit sum as 16 bits, carries added back in.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    let [a, b, ..] = sum.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// The sum of some bytes that start at an even offset; an odd last byte is padded with zero.
#[inline(always)]
#[must_use]
pub fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let mut sum = 0_u32;
    for word in words {
        sum = sum.wrapping_add(u32::from(u16::from_ne_bytes(*word)));
    }
    match rest {
        [last] => sum.wrapping_add(u32::from(u16::from_ne_bytes([*last, 0]))),
        _ => sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The checksum of `bytes` from nothing.
    fn checksum(bytes: &[u8]) -> u16 {
        !fold(sum(bytes))
    }

    #[test]
    fn the_example_of_rfc_1624_holds() {
        // Section 4: header checksum 0xDD2F, a field 0x5555 becomes 0x3285, the new sum is 0x0000.
        let difference = Difference::between([0x55, 0x55], [0x32, 0x85]);

        assert_eq!(difference.patch([0xdd, 0x2f]), [0x00, 0x00]);
    }

    proptest! {
        #[test]
        fn a_patched_checksum_is_the_one_computed_anew(
            before in prop::array::uniform20(any::<u8>()), new in any::<[u8; 4]>(), at in 0_usize..8
        ) {
            // A real header is never all zero, which has two sums.
            prop_assume!(before.iter().any(|byte| *byte != 0) && new != [0; 4]);
            let (mut after, at) = (before, at * 2);
            after[at..at + 4].copy_from_slice(&new);
            let old = *before[at..].first_chunk::<4>().unwrap();

            let patched = Difference::between(old, new).patch(checksum(&before).to_ne_bytes());

            prop_assert_eq!(u16::from_ne_bytes(patched), checksum(&after));
        }
    }
}
