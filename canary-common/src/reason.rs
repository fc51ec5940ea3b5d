//! Why a packet was not forwarded.

/// What happens to a packet that is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on untouched: judging it is the node's own stack's job.
    Pass,
    /// Its sender is told at once: a TCP reset, or an ICMP error.
    Refuse,
    /// It is dropped.
    Drop,
}

/// Declares [`Reason`] and what belongs to each of them, one line a reason.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $word:literal, $action:ident;)+) => {
        /// Why a packet left the datapath without being forwarded.
        ///
        /// The number is the slot in the per-CPU `REASONS` counters and never changes:
        /// dashboards and `canaryctl` of another version read the same slots.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl Reason {
            /// Every reason, by number.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word in metrics, on screens and in the docs.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }

            /// What to do with the packet.
            #[inline(always)]
            #[must_use]
            pub const fn action(self) -> Action {
                match self { $(Self::$name => Action::$action,)+ }
            }

            /// The reason of a slot; [`Self::NotReady`] for one that is none's.
            #[inline(always)]
            #[must_use]
            pub const fn of_slot(slot: u32) -> Self {
                match slot { $($number => Self::$name,)+ _ => Self::NotReady }
            }

            /// Its slot in `REASONS`.
            #[inline(always)]
            #[must_use]
            #[expect(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
            pub const fn slot(self) -> u32 {
                self as u32
            }
        }
    };
}

reasons! {
    /// Neither to a frontend nor from a backend with a flow; not counted.
    NotOurs = 0, "not-ours", Pass;
    /// Neither IPv4 nor IPv6; not counted.
    NotIp = 1, "not-ip", Pass;
    /// To a frontend or backend, neither TCP nor UDP.
    NotTcpOrUdp = 2, "not-tcp-or-udp", Pass;
    /// A fragment whose first passed as well, or was not seen, to an address that is not virtual.
    Fragment = 3, "fragment", Pass;
    /// The packet ends inside a header.
    Truncated = 4, "truncated", Pass;
    /// A header contradicts itself, such as a length below its minimum.
    Malformed = 5, "malformed", Pass;
    /// A frontend that is not served from the network on this node.
    NotServedHere = 6, "not-served-here", Pass;
    /// A flow that somebody else translates.
    Foreign = 7, "foreign", Pass;
    /// A client's packet to a backend's own address.
    Straight = 8, "straight", Pass;
    /// The picked split has no healthy backend of the client's family.
    NoBackend = 9, "no-backend", Refuse;
    /// The service's record is empty or contradicts itself.
    BadRecord = 10, "bad-record", Refuse;
    /// No room for a new flow.
    FlowTableFull = 11, "flow-table-full", Refuse;
    /// A packet of a connection that is not known and cannot be picked again.
    FlowLost = 12, "flow-lost", Refuse;
    /// The flow's backend is gone.
    BackendGone = 13, "backend-gone", Refuse;
    /// The client's port is taken towards the backend, and so are the others that were tried.
    NoPort = 14, "no-port", Refuse;
    /// A reset of a connection that is not known, from a port that is another one's by now.
    Stray = 15, "stray", Drop;
    /// Refused, and too many refusals were sent in this second.
    RefusalLimited = 16, "refusal-limited", Drop;
    /// The tables are not set up.
    NotReady = 17, "not-ready", Pass;
    /// The route to the sender's address does not lead to the interface it sends by.
    Spoofed = 18, "spoofed", Pass;
    /// Others changed the flow table at the same place at the same time.
    Busy = 19, "busy", Drop;
    /// The flow was ended by the operator.
    Severed = 20, "severed", Refuse;
    /// A fragment to a virtual address that came before its first: no program can hold it back.
    FragmentEarly = 21, "fragment-early", Drop;
    /// More IPv6 extension headers than are walked, or a route whose end is another address.
    Extensions = 22, "extension-headers", Pass;
    /// An ICMP error about a connection that is not known, or one that contradicts itself.
    IcmpNoFlow = 23, "icmp-no-flow", Pass;
    /// An ICMP redirect: never translated, for it would lead a route to a pod.
    IcmpRedirect = 24, "icmp-redirect", Pass;
    /// An echo request to a virtual address, which is answered.
    Echo = 25, "echo", Refuse;
    /// A port or protocol of a virtual address at which nothing is served.
    ClosedPort = 26, "closed-port", Refuse;
    /// No route to a backend elsewhere or to its client.
    NoRoute = 27, "no-route", Drop;
    /// A packet to or from a backend elsewhere that has no hop left.
    Expired = 28, "expired", Pass;
    /// A packet to or from a backend elsewhere that is too long for the way: its sender is told.
    TooLong = 29, "too-long", Drop;
    /// A packet within a packet to a backend, for no frontend that it serves here.
    Encapsulated = 30, "encapsulated", Pass;
}

impl Reason {
    /// Whether it is counted: what has nothing to do with us is not.
    #[inline(always)]
    #[must_use]
    pub const fn is_counted(self) -> bool {
        !matches!(self, Self::NotOurs | Self::NotIp)
    }
}

/// Slots in `REASONS`: room for more reasons without a new layout.
pub const REASON_SLOTS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_slot_and_word() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(usize::try_from(reason.slot()).unwrap(), index);
            assert!(reason.slot() < REASON_SLOTS);
            assert!(Reason::ALL.iter().filter(|other| other.word() == reason.word()).count() == 1);
        }
    }
}
