//! One aligned word that the other side of a table may change at any time.

use core::cell::Cell;
use core::fmt;

/// A word of a table, loaded and stored whole.
///
/// BPF has no atomic types below 64 bits in `core`, and needs none here: a load or a store of
/// an aligned word is one instruction, and no two words are ever needed to agree.
#[derive(Default)]
#[repr(transparent)]
pub struct Word<T: Copy>(Cell<T>);

impl<T: Copy> Word<T> {
    /// A word that holds `value`.
    #[inline(always)]
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self(Cell::new(value))
    }

    /// What it holds.
    #[inline(always)]
    #[must_use]
    pub fn load(&self) -> T {
        self.0.get()
    }

    /// Makes it hold `value`.
    #[inline(always)]
    pub fn store(&self, value: T) {
        self.0.set(value);
    }

    /// Where it is, for the kernel's atomic instructions.
    #[inline(always)]
    #[must_use]
    pub const fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}

#[cfg(target_arch = "bpf")]
#[expect(unsafe_code, reason = "a map is a static, and statics must be shareable")]
// SAFETY: on this target a load or store of an aligned word is one instruction, and the
// kernel's memory model, not Rust's, says what two CPUs see of it: the old or the new word.
unsafe impl<T: Copy> Sync for Word<T> {}
