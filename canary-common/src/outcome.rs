//! What becomes of a packet, and why.

use crate::reason::Reason;
use crate::route::Sent;

/// What the hook does with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes on, untouched or rewritten.
    Pass,
    /// It was rewritten and goes back to the interface it came from.
    Back,
    /// It goes nowhere.
    Drop,
    /// It was rewritten and leaves by the way that was found for it.
    Away,
}

/// A verdict, and why, if the packet was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What to do.
    pub verdict: Verdict,
    /// The reason; `None` for a packet that was forwarded or restored.
    pub reason: Option<Reason>,
}

impl Outcome {
    /// What was rewritten and goes on.
    pub const ON: Self = Self { verdict: Verdict::Pass, reason: None };
    /// What was rewritten and leaves by the way that was found for it.
    pub const AWAY: Self = Self { verdict: Verdict::Away, reason: None };

    /// The outcome as one number, for functions that hand over nothing wider.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(self) -> u32 {
        let verdict = match self.verdict {
            Verdict::Pass => 0,
            Verdict::Back => 1,
            Verdict::Drop => 2,
            Verdict::Away => 3,
        };
        let slot = match self.reason {
            Some(reason) => reason.slot().wrapping_add(1),
            None => 0,
        };
        verdict | slot << 8
    }

    /// The verdict of such a number, and the slot of its reason.
    #[inline(always)]
    #[must_use]
    pub const fn of_word(word: u32) -> (Verdict, Option<u32>) {
        let verdict = match word & 0xff {
            0 => Verdict::Pass,
            1 => Verdict::Back,
            3 => Verdict::Away,
            _ => Verdict::Drop,
        };
        (verdict, (word >> 8).checked_sub(1))
    }

    /// Whether such a number says that the packet goes on as it came.
    #[inline(always)]
    #[must_use]
    pub const fn is_untouched(word: u32) -> bool {
        matches!(Self::of_word(word), (Verdict::Pass, Some(_)))
    }

    /// The outcome of a packet that was rewritten.
    #[inline(always)]
    #[must_use]
    pub const fn of(sent: Sent) -> Self {
        let verdict = match sent {
            Sent::On => Verdict::Pass,
            Sent::Back => Verdict::Back,
        };
        Self { verdict, reason: None }
    }

    #[inline(always)]
    pub(crate) const fn because(verdict: Verdict, reason: Reason) -> Self {
        Self { verdict, reason: Some(reason) }
    }
}
