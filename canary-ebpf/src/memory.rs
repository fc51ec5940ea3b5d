//! Moves bytes between packets and registers in words as wide as they come.
//!
//! The compiler alone would go byte by byte, for it does not know that the kernel lets programs
//! read unaligned words of a packet. The steps are written out, not a loop: only then are the
//! bytes on the register's side never on the stack.

#![expect(clippy::cast_ptr_alignment, reason = "a word at any address is the point")]

/// Copies the word at `$at` of the source to `$at` of the target and moves on, if `$left` allows.
macro_rules! step {
    ($word:ty, $from:expr, $read:ident, $to:expr, $write:ident, $at:ident, $length:expr) => {
        if $at + size_of::<$word>() <= $length {
            // SAFETY: the word lies within `$length` bytes, which the caller vouches for on
            // both sides. Packet memory needs no alignment, the other side says that it has none.
            unsafe {
                let word = $from.add($at).cast::<$word>().$read();
                $to.add($at).cast::<$word>().$write(word);
            }
            $at += size_of::<$word>();
        }
    };
}

/// Copies the `N` bytes at `at`; at most 24.
///
/// # Safety
///
/// `N` bytes at `at` are readable.
#[expect(unsafe_code, reason = "reads packet memory")]
#[expect(unused_assignments, reason = "the same steps for every N")]
#[inline(always)]
pub(crate) unsafe fn load<const N: usize>(at: *const u8) -> [u8; N] {
    const { assert!(N <= 24, "three words and no more are written out") };
    let mut bytes = [0_u8; N];
    let to = bytes.as_mut_ptr();
    let mut done = 0;
    step!(u64, at, read_volatile, to, write_unaligned, done, N);
    step!(u64, at, read_volatile, to, write_unaligned, done, N);
    step!(u64, at, read_volatile, to, write_unaligned, done, N);
    step!(u32, at, read_volatile, to, write_unaligned, done, N);
    step!(u16, at, read_volatile, to, write_unaligned, done, N);
    step!(u8, at, read_volatile, to, write_unaligned, done, N);
    bytes
}

/// Stores `N` bytes; at most 24.
///
/// # Safety
///
/// `N` bytes at `at` are writable.
#[expect(unsafe_code, reason = "writes packet memory")]
#[expect(unused_assignments, reason = "the same steps for every N")]
#[inline(always)]
pub(crate) unsafe fn store<const N: usize>(at: *mut u8, bytes: [u8; N]) {
    const { assert!(N <= 24, "three words and no more are written out") };
    let from = bytes.as_ptr();
    let mut done = 0;
    step!(u64, from, read_unaligned, at, write_volatile, done, N);
    step!(u64, from, read_unaligned, at, write_volatile, done, N);
    step!(u64, from, read_unaligned, at, write_volatile, done, N);
    step!(u32, from, read_unaligned, at, write_volatile, done, N);
    step!(u16, from, read_unaligned, at, write_volatile, done, N);
    step!(u8, from, read_unaligned, at, write_volatile, done, N);
}

/// The `W` words at `at`, at most eight; what is not asked for is 0.
///
/// # Safety
///
/// `W` words at `at` are readable.
#[expect(unsafe_code, reason = "reads packet memory")]
#[inline(always)]
pub(crate) unsafe fn words<const W: usize>(at: *const u8) -> [u64; 8] {
    let word = |index: usize| {
        if index < W {
            // SAFETY: within the words that the caller vouches for.
            let at = unsafe { at.add(index << 3) };
            // SAFETY: as above. Packet memory needs no alignment.
            unsafe { at.cast::<u64>().read_volatile() }
        } else {
            0
        }
    };
    [word(0), word(1), word(2), word(3), word(4), word(5), word(6), word(7)]
}
