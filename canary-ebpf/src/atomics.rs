//! How programs touch words that the agent and other CPUs change at the same time.
//!
//! `core::sync::atomic` does not compile for this target; the intrinsics do. Those that return a
//! value are full barriers. Plain words are volatile.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd, atomic_xchg};

use canary_common::word::Word;

/// Loads a word, whole.
#[expect(unsafe_code, reason = "a volatile load")]
#[inline(always)]
pub(crate) fn load(word: &Word<u64>) -> u64 {
    // SAFETY: the pointer comes from a reference to an aligned word.
    unsafe { word.as_ptr().read_volatile() }
}

/// Stores a word, whole.
#[expect(unsafe_code, reason = "a volatile store")]
#[inline(always)]
pub(crate) fn store(word: &Word<u64>, value: u64) {
    // SAFETY: as in `load`.
    unsafe { word.as_ptr().write_volatile(value) }
}

/// Stores the upper half of a word.
#[expect(unsafe_code, reason = "a volatile store")]
#[inline(always)]
pub(crate) fn store_high(word: &Word<u64>, value: u32) {
    let half = usize::from(cfg!(target_endian = "little"));
    // SAFETY: both halves are within the word.
    let at = unsafe { word.as_ptr().cast::<u32>().add(half) };
    // SAFETY: as in `load`; halves are aligned.
    unsafe { at.write_volatile(value) }
}

/// Stores a word and returns what it was.
#[expect(unsafe_code, reason = "the intrinsic is unsafe")]
#[inline(always)]
pub(crate) fn swap(word: &Word<u64>, value: u64) -> u64 {
    // SAFETY: as in `load`.
    unsafe { atomic_xchg::<u64, { AtomicOrdering::AcqRel }>(word.as_ptr(), value) }
}

/// Stores `new` if the word is `old`; whether it was.
#[expect(unsafe_code, reason = "the intrinsic is unsafe")]
#[inline(always)]
pub(crate) fn exchange(word: &Word<u64>, old: u64, new: u64) -> bool {
    let at = word.as_ptr();
    // SAFETY: as in `load`.
    let (was, _) = unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::AcqRel }, { AtomicOrdering::Acquire }>(at, old, new)
    };
    was == old
}

/// Adds to a word.
#[expect(unsafe_code, reason = "the intrinsic is unsafe")]
#[inline(always)]
pub(crate) fn add(word: &Word<u64>, by: u64) {
    // SAFETY: as in `load`.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(word.as_ptr(), by) };
}

/// Sets bits of a word.
#[expect(unsafe_code, reason = "the intrinsic is unsafe")]
#[inline(always)]
pub(crate) fn set_bits(word: *mut u64, bits: u64) {
    // Ordered, although nothing depends on it: a relaxed one whose result is used is miscompiled
    // by LLVM 22, and one rule for all is easier to keep.
    // SAFETY: the pointer is a row of a map, which outlives the run.
    unsafe { atomic_or::<u64, u64, { AtomicOrdering::AcqRel }>(word, bits) };
}

/// The same row by an address that depends on `seen`: loads through it come after the load that
/// gave `seen` on every CPU that orders by address, as arm64 does, for one or two instructions.
#[expect(unsafe_code, reason = "assembly that the compiler does not see through")]
#[inline(always)]
pub(crate) fn after<R>(row: &R, seen: u64) -> &R {
    let mut zero = seen;
    // SAFETY: only the register is changed; the verifier sees that it is 0.
    unsafe { core::arch::asm!("{0} &= 0", inout(reg) zero, options(pure, nomem, nostack)) };
    let zero = word(zero);
    // SAFETY: the address is the row's own.
    let row = unsafe { core::ptr::from_ref(row).byte_add(zero) };
    // SAFETY: as above.
    unsafe { &*row }
}

#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "both have 64 bits")]
#[inline(always)]
const fn word(number: u64) -> usize {
    number as usize
}

/// Has a row's first bytes on their way from memory.
#[expect(unsafe_code, reason = "a volatile load")]
#[inline(always)]
pub(crate) fn fetch(body: &canary_common::flows::Body) {
    let [first, ..] = &body.words;
    // SAFETY: as in `load`. What it holds does not matter.
    let _: u64 = unsafe { first.as_ptr().read_volatile() };
}

/// The same number, about which the compiler knows nothing.
#[expect(unsafe_code, reason = "assembly that the compiler does not see through")]
#[inline(always)]
pub(crate) fn opaque(mut number: u64) -> u64 {
    // SAFETY: an instruction that changes nothing.
    unsafe { core::arch::asm!("{0} ^= 0", inout(reg) number, options(pure, nomem, nostack)) };
    number
}

/// Implements `Flows` for a type over the map's bucket function.
macro_rules! touches_flows {
    ($type:ty, $bucket:path, $pushed_out:path, $evicts:path) => {
        impl canary_common::flows::Flows for $type {
            #[inline(always)]
            fn flows(&self, bucket: u32) -> Option<&canary_common::flows::Bucket> {
                $bucket(bucket)
            }

            #[inline(always)]
            fn load(&self, word: &canary_common::word::Word<u64>) -> u64 {
                $crate::atomics::load(word)
            }

            #[inline(always)]
            fn store(&self, word: &canary_common::word::Word<u64>, value: u64) {
                $crate::atomics::store(word, value);
            }

            #[inline(always)]
            fn store_high(&self, word: &canary_common::word::Word<u64>, value: u32) {
                $crate::atomics::store_high(word, value);
            }

            #[inline(always)]
            fn swap(&self, word: &canary_common::word::Word<u64>, value: u64) -> u64 {
                $crate::atomics::swap(word, value)
            }

            #[inline(always)]
            fn exchange(&self, word: &canary_common::word::Word<u64>, old: u64, new: u64) -> bool {
                $crate::atomics::exchange(word, old, new)
            }

            #[inline(always)]
            fn add(&self, word: &canary_common::word::Word<u64>, by: u64) {
                $crate::atomics::add(word, by);
            }

            #[inline(always)]
            fn pushed_out(&self, statistics: u16) {
                $pushed_out(statistics);
            }

            #[inline(always)]
            fn evicts(&self, rank: u64) {
                $evicts(rank);
            }

            #[inline(always)]
            fn fetch(&self, body: &canary_common::flows::Body) {
                $crate::atomics::fetch(body);
            }

            #[inline(always)]
            fn opaque(&self, number: u64) -> u64 {
                $crate::atomics::opaque(number)
            }

            #[inline(always)]
            fn after<'r, R>(&self, row: &'r R, seen: u64) -> &'r R {
                $crate::atomics::after(row, seen)
            }
        }
    };
}

pub(crate) use touches_flows;
