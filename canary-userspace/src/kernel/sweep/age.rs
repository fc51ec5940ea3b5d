//! When entries of `FLOWS` are over.

use canary_common::flows::{Head, Kind};
use canary_common::limits::FRAGMENT_IDLE;
use canary_common::settings::Idle;

/// After how many quiet seconds each state is over, by [`Idle`].
pub type Limits = [u32; 6];

/// The limit of a state.
#[expect(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
pub(super) fn limit(limits: &Limits, state: Idle) -> u32 {
    limits.get(state as usize).copied().unwrap_or(u32::MAX)
}

/// What is known of a connection from its entries: of both directions, or of the one there is.
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of the heads")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Facts {
    /// The backend answered.
    pub(super) answered: bool,
    /// An end has reset it, and neither has gone on since.
    reset: bool,
    /// TCP: both ends have said FIN. UDP: it has lived for two seconds.
    over: bool,
    udp: bool,
    /// Seconds since the last packet of either direction.
    pub(in crate::kernel) idle: u32,
}

impl Facts {
    /// Of one entry alone.
    pub(super) fn of(head: Head, now: u32) -> Self {
        Self {
            answered: head.has(Head::ANSWERED),
            reset: head.has(Head::RESET),
            over: head.has(Head::OVER),
            udp: head.has(Head::UDP),
            idle: head.idle(now),
        }
    }

    /// Of both directions: the younger counts.
    pub(in crate::kernel) fn of_both(forward: Head, back: Head, now: u32) -> Self {
        let both = [forward, back].map(|head| Self::of(head, now));
        let [forth, behind] = both;
        let either = |bit| forward.has(bit) || back.has(bit);
        Self {
            answered: forth.answered || behind.answered,
            // The direction that was not told of the reset has gone on, if it was seen later.
            reset: match (forth.reset, behind.reset) {
                (true, true) => true,
                (false, false) => false,
                (true, false) => forth.idle <= behind.idle,
                (false, true) => behind.idle <= forth.idle,
            },
            over: either(Head::OVER) || !forth.udp && forward.has(Head::FIN) && back.has(Head::FIN),
            udp: forth.udp,
            idle: forth.idle.min(behind.idle),
        }
    }

    /// Whether its ends have said that it is over: it was counted when they did.
    pub(super) fn ended(self) -> bool {
        !self.udp && (self.reset || self.over)
    }

    /// Whether it is TCP.
    pub(super) fn is_tcp(self) -> bool {
        !self.udp
    }

    /// Its state, as far as its age goes.
    pub(in crate::kernel) fn state(self) -> Idle {
        match self {
            // A reset of UDP is the agent's: the `return` of a flow that was moved.
            Self { reset: true, .. } => Idle::Reset,
            Self { answered: false, .. } => Idle::Opening,
            Self { udp: true, over: false, .. } => Idle::Exchange,
            Self { udp: true, over: true, .. } => Idle::Stream,
            Self { over: true, .. } => Idle::Closed,
            _ => Idle::Established,
        }
    }

    /// Whether it has been quiet for as long as its state may be.
    pub(super) fn is_old(self, limits: &Limits) -> bool {
        self.idle >= limit(limits, self.state())
    }

    /// Whether it may be old once the head of the other direction is known: that may make its
    /// limit shorter, but only where both ends have said FIN or where that head says so itself.
    pub(super) fn may_be_old(self, head: Head, limits: &Limits) -> bool {
        Self { over: self.over || self.is_tcp() && head.has(Head::FIN), ..self }.is_old(limits)
    }
}

/// What is known of an entry that has no partner.
pub(in crate::kernel) fn of_lone(kind: Kind, head: Head, now: u32) -> Facts {
    let facts = Facts::of(head, now);
    match kind {
        // Of a trace one entry holds what both directions did.
        Kind::Straight => {
            Facts { over: facts.over || facts.is_tcp() && head.has(Head::FIN), ..facts }
        }
        Kind::Fragment => Facts { answered: false, reset: false, ..facts },
        _ => facts,
    }
}

/// Whether an entry that has no partner has been quiet for as long as it may be.
pub(super) fn is_lone_old(kind: Kind, facts: Facts, limits: &Limits) -> bool {
    match kind {
        // No longer than its datagram is waited for.
        Kind::Fragment => facts.idle >= FRAGMENT_IDLE,
        _ => facts.is_old(limits),
    }
}
