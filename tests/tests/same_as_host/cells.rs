//! What was seen how often: packets by hook, family, protocol and what became of them.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

use canary_common::{endpoint::UDP, reason::Reason};

use crate::{twin::Hook, world::Kind};

/// Packets a cell must have.
pub(crate) const ENOUGH: u32 = 40;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Forwarded,
    /// The same with another source port.
    Translated,
    /// Passed to the backend that the client dialled, with another source port.
    Direct,
    /// Forwarded to its sender, who serves.
    Turned,
    /// Restored, as an answer of a pod to itself.
    Returned,
    Restored,
    /// The same, and the client's own port with it.
    Untranslated,
    Not(Reason),
}

impl Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Forwarded => "forward",
            Self::Translated => "forward, port",
            Self::Direct => "straight, port",
            Self::Turned => "forward, hairpin",
            Self::Returned => "restore, hairpin",
            Self::Restored => "restore",
            Self::Untranslated => "restore, port",
            Self::Not(reason) => reason.word(),
        })
    }
}

type Cell = (Hook, Kind, Fate);

/// The table.
#[derive(Default)]
pub(crate) struct Cells(BTreeMap<Cell, u32>);

impl Cells {
    pub(crate) fn count(&mut self, hook: Hook, kind: Kind, fate: Fate) {
        *self.0.entry((hook, kind, fate)).or_default() += 1;
    }

    pub(crate) fn total(&self) -> u32 {
        self.0.values().sum()
    }

    /// Cells that can be reached and were not often enough.
    pub(crate) fn lacking(&self) -> Vec<Cell> {
        let enough = |cell: &Cell| self.0.get(cell).is_some_and(|count| *count >= ENOUGH);
        every().filter(|cell| unreachable(*cell).is_none() && !enough(cell)).collect()
    }

    /// Cells that were reached though they cannot be.
    pub(crate) fn astray(&self) -> Vec<Cell> {
        self.0.keys().copied().filter(|cell| unreachable(*cell).is_some()).collect()
    }

    /// The table as people read it, and why a cell is empty.
    pub(crate) fn print(&self) {
        println!("{:<18} {:<14} {:>8} {:>8} {:>8} {:>8}", "", "", "tcp4", "udp4", "tcp6", "udp6");
        for fate in fates() {
            for hook in Hook::ALL {
                let text = Kind::ALL.map(|kind| {
                    let cell = (hook, kind, fate);
                    match (self.0.get(&cell), unreachable(cell)) {
                        (Some(count), _) => count.to_string(),
                        (None, Some(_)) => "-".to_owned(),
                        (None, None) => "EMPTY".to_owned(),
                    }
                });
                if text.iter().all(|text| text == "-") {
                    continue;
                }
                let [a, b, c, d] = text;
                println!("{fate:<18} {:<14} {a:>8} {b:>8} {c:>8} {d:>8}", hook.name());
            }
        }
        println!("{} packets; never, since:", self.total());
        let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for cell in every() {
            if let Some(why) = unreachable(cell) {
                let fates = reasons.entry(why).or_default();
                let fate = cell.2.to_string();
                if !fates.contains(&fate) {
                    fates.push(fate);
                }
            }
        }
        for (why, fates) in reasons {
            println!("  {why}: {}", fates.join("; "));
        }
    }
}

fn fates() -> impl Iterator<Item = Fate> {
    [
        Fate::Forwarded,
        Fate::Translated,
        Fate::Direct,
        Fate::Turned,
        Fate::Returned,
        Fate::Restored,
        Fate::Untranslated,
    ]
    .into_iter()
    .chain(Reason::ALL.iter().map(|reason| Fate::Not(*reason)))
}

fn every() -> impl Iterator<Item = Cell> {
    Hook::ALL.into_iter().flat_map(|hook| {
        Kind::ALL.into_iter().flat_map(move |kind| fates().map(move |fate| (hook, kind, fate)))
    })
}

/// Why no packet is in a cell; `None` if some can be.
fn unreachable((hook, kind, fate): Cell) -> Option<&'static str> {
    let is_inbound = Hook::INBOUND.contains(&hook);
    match fate {
        Fate::Not(Reason::NotReady) => Some("an array map always has its row of settings"),
        Fate::Not(Reason::NoRoute | Reason::Expired | Reason::TooLong | Reason::Encapsulated) => {
            Some("only of backends elsewhere, which have traffic of their own")
        }
        Fate::Not(
            Reason::NotOurs
            | Reason::NotIp
            | Reason::NotTcpOrUdp
            | Reason::Fragment
            | Reason::Truncated
            | Reason::Malformed,
        ) => None,
        Fate::Restored | Fate::Untranslated if is_inbound => {
            Some("answers go by the outbound hooks")
        }
        Fate::Restored | Fate::Untranslated => None,
        Fate::Not(Reason::Extensions) if !kind.v6 => Some("only IPv6 has extension headers"),
        Fate::Not(Reason::Extensions) => None,
        Fate::Not(Reason::ClosedPort) if is_inbound => Some("only on the way out"),
        Fate::Not(Reason::ClosedPort) => None,
        Fate::Not(Reason::Severed) if kind.protocol == UDP => {
            Some("a datagram starts a flow anew, and its answers come back")
        }
        Fate::Not(Reason::Severed) => None,
        Fate::Not(Reason::Spoofed) if matches!(hook, Hook::FromNet | Hook::FromNetXdp) => {
            Some("uplinks and tunnels are one group")
        }
        Fate::Not(Reason::Spoofed) => None,
        _ if !is_inbound => Some("only on the way to a frontend"),
        Fate::Turned | Fate::Returned if hook != Hook::FromPod => {
            Some("only a pod of this node talks to itself")
        }
        Fate::Not(Reason::NotServedHere) if hook == Hook::FromPod => {
            Some("pods are served everywhere")
        }
        Fate::Not(Reason::FlowLost | Reason::BackendGone | Reason::Stray) if !kind.is_tcp() => {
            Some("a datagram starts a flow anew")
        }
        _ => None,
    }
}
