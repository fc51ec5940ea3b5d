//! What is told of packets to those who observe: an entry of the ring `EVENTS`.

use crate::hooks::Verdict;
use crate::layout::assert_map_type;
use crate::reason::Reason;
use crate::segment::Segment;
use crate::wire::tcp;

/// What happened to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// It began a connection.
    Connection = 0,
    /// It began one whose source port is translated: its own is taken towards the backend, or may
    /// be.
    Clash = 1,
    /// An end of a connection resets it.
    Reset = 2,
    /// It was not forwarded, and its sender was told.
    Refused = 3,
    /// It was not forwarded, and its sender was not told.
    Dropped = 4,
    /// It passed as it was, although it has to do with a frontend or a backend.
    Passed = 5,
}

impl Kind {
    /// Every kind, by number.
    pub const ALL: [Self; 6] =
        [Self::Connection, Self::Clash, Self::Reset, Self::Refused, Self::Dropped, Self::Passed];

    /// Its number.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind of a number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its bit in [`crate::settings::Settings::observed`].
    #[inline(always)]
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self.number()
    }

    /// What happened to a packet with this outcome, if anybody may want to know.
    #[inline(always)]
    #[must_use]
    pub const fn of(verdict: Verdict, reason: Option<u32>, what: What) -> Option<Self> {
        match (verdict, reason) {
            (_, None) => what.kind(),
            (_, Some(slot)) if !Reason::of_slot(slot).is_counted() => None,
            (Verdict::Back, Some(_)) => Some(Self::Refused),
            (Verdict::Drop, Some(_)) => Some(Self::Dropped),
            (Verdict::Pass | Verdict::Away, Some(_)) => Some(Self::Passed),
        }
    }
}

/// What a forwarded packet did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It began a connection with the client's own source port.
    Began,
    /// It began one with another.
    BeganTranslated,
    /// It is a reset.
    Reset,
    /// Nothing that matters here.
    Nothing,
}

impl What {
    /// What a packet of no new connection did.
    #[inline(always)]
    #[must_use]
    pub fn of(segment: &Segment) -> Self {
        if segment.has(tcp::RST) { Self::Reset } else { Self::Nothing }
    }

    #[inline(always)]
    const fn kind(self) -> Option<Kind> {
        match self {
            Self::Began => Some(Kind::Connection),
            Self::BeganTranslated => Some(Kind::Clash),
            Self::Reset => Some(Kind::Reset),
            Self::Nothing => None,
        }
    }
}

/// An entry of `EVENTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// Who sent the packet, as [`crate::endpoint::Address`] has it, before it was rewritten.
    pub source: [u8; 16],
    /// Where to.
    pub destination: [u8; 16],
    /// Who sent the packet, network order.
    pub source_port: [u8; 2],
    /// Where to, network order.
    pub destination_port: [u8; 2],
    /// IANA protocol number.
    pub protocol: u8,
    /// TCP flags; 0 for UDP.
    pub tcp_flags: u8,
    /// [`Kind::number`].
    pub kind: u8,
    /// Slot of the reason; [`Event::NO_REASON`] for a packet that was forwarded.
    pub reason: u8,
    /// Bits of [`Event::TUPLE`] and the others.
    pub flags: u16,
    /// Whose counters the connection moves.
    pub statistics: u16,
    /// The backend's id.
    pub backend: u32,
    /// The frontend's id, or a service's.
    pub frontend: u32,
    /// Index of the interface.
    pub interface: u32,
    /// The client's port on the other side: as the backend sees it, or, of a backend's packet,
    /// the client's own. Network order.
    pub port: [u8; 2],
    /// Always 0.
    pub reserved: [u8; 6],
    /// What decided whether it is in the sample: of 1 in `n` are those for which this times `n` is
    /// below 2^32.
    pub draw: u32,
    /// Events that found no room before this one, on the same CPU.
    pub lost: u32,
}

assert_map_type!(Event {
    time: u64, source: [u8; 16], destination: [u8; 16], source_port: [u8; 2],
    destination_port: [u8; 2], protocol: u8, tcp_flags: u8, kind: u8, reason: u8, flags: u16,
    statistics: u16, backend: u32, frontend: u32, interface: u32, port: [u8; 2],
    reserved: [u8; 6], draw: u32, lost: u32,
} is 80 bytes);

impl Event {
    /// Stands for no reason.
    pub const NO_REASON: u8 = u8::MAX;

    /// Addresses, ports, protocol and TCP flags are known; of a fragment no ports, which are 0.
    pub const TUPLE: u16 = 1;
    /// The split is known.
    pub const SPLIT: u16 = 1 << 1;
    /// The backend is known.
    pub const BACKEND: u16 = 1 << 2;
    /// The frontend is known.
    pub const FRONTEND: u16 = 1 << 3;
    /// The backend sent the packet.
    pub const FROM_BACKEND: u16 = 1 << 4;
    /// The connection is known, and `port` with it.
    pub const FLOW: u16 = 1 << 5;
    /// The connection was answered.
    pub const ANSWERED: u16 = 1 << 6;
    /// A socket's call, and no packet: its port may not be chosen yet, and is 0.
    pub const SOCKET: u16 = 1 << 7;
    /// `frontend` is the id of the service that a socket called.
    pub const SERVICE: u16 = 1 << 8;

    /// Whether a flag is set.
    #[must_use]
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// The bytes of an entry of the ring as an event; `None` if there are not as many.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let event = Self {
            time: u64::from_ne_bytes(take(&mut rest)?),
            source: take(&mut rest)?,
            destination: take(&mut rest)?,
            source_port: take(&mut rest)?,
            destination_port: take(&mut rest)?,
            protocol: u8::from_ne_bytes(take(&mut rest)?),
            tcp_flags: u8::from_ne_bytes(take(&mut rest)?),
            kind: u8::from_ne_bytes(take(&mut rest)?),
            reason: u8::from_ne_bytes(take(&mut rest)?),
            flags: u16::from_ne_bytes(take(&mut rest)?),
            statistics: u16::from_ne_bytes(take(&mut rest)?),
            backend: u32::from_ne_bytes(take(&mut rest)?),
            frontend: u32::from_ne_bytes(take(&mut rest)?),
            interface: u32::from_ne_bytes(take(&mut rest)?),
            port: take(&mut rest)?,
            reserved: take(&mut rest)?,
            draw: u32::from_ne_bytes(take(&mut rest)?),
            lost: u32::from_ne_bytes(take(&mut rest)?),
        };
        rest.is_empty().then_some(event)
    }
}

/// Takes the next bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*bytes)
}

/// Whether an event with this draw is in a sample of 1 in `each`.
///
/// Of two samples of the same events the smaller one is a part of the larger.
#[inline(always)]
#[must_use]
pub const fn is_in_sample(draw: u32, each: u32) -> bool {
    widened(draw).wrapping_mul(widened(each)) >> 32 == 0
}

#[expect(clippy::as_conversions, reason = "From is not const; the value widens")]
#[inline(always)]
const fn widened(word: u32) -> u64 {
    word as u64
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn what_is_told_follows_from_the_outcome() {
        let of = |verdict, reason: Option<Reason>, what| {
            Kind::of(verdict, reason.map(Reason::slot), what)
        };

        assert_eq!(of(Verdict::Pass, None, What::Nothing), None);
        assert_eq!(of(Verdict::Pass, None, What::Began), Some(Kind::Connection));
        assert_eq!(of(Verdict::Back, None, What::Began), Some(Kind::Connection), "a hairpin");
        assert_eq!(of(Verdict::Pass, None, What::BeganTranslated), Some(Kind::Clash));
        assert_eq!(of(Verdict::Pass, None, What::Reset), Some(Kind::Reset));
        let refused = of(Verdict::Back, Some(Reason::NoPort), What::Nothing);
        assert_eq!(refused, Some(Kind::Refused));
        let dropped = of(Verdict::Drop, Some(Reason::Stray), What::Reset);
        assert_eq!(dropped, Some(Kind::Dropped));
        let passed = of(Verdict::Pass, Some(Reason::Straight), What::Nothing);
        assert_eq!(passed, Some(Kind::Passed));
        for reason in [Reason::NotOurs, Reason::NotIp] {
            assert_eq!(of(Verdict::Pass, Some(reason), What::Reset), None);
        }
    }

    #[test]
    fn kinds_have_numbers_and_bits_of_their_own() {
        let mut bits = 0;
        for kind in Kind::ALL {
            assert_eq!(Kind::of_number(kind.number()), Some(kind));
            assert_eq!(bits & kind.bit(), 0);
            bits |= kind.bit();
        }
        assert_eq!(Kind::of_number(6), None);
    }

    #[test]
    fn an_events_bytes_are_read_as_they_are_laid_out() {
        let mut bytes = [0_u8; size_of::<Event>()];
        for (place, byte) in (0..).zip(&mut bytes) {
            *byte = place;
        }

        let event = Event::of_bytes(&bytes).unwrap();

        let at = |offset: usize| u8::try_from(offset).unwrap();
        assert_eq!(event.time.to_ne_bytes()[0], at(offset_of!(Event, time)));
        assert_eq!(event.source[0], at(offset_of!(Event, source)));
        assert_eq!(event.destination[0], at(offset_of!(Event, destination)));
        assert_eq!(event.source_port[0], at(offset_of!(Event, source_port)));
        assert_eq!(event.destination_port[0], at(offset_of!(Event, destination_port)));
        assert_eq!(event.protocol, at(offset_of!(Event, protocol)));
        assert_eq!(event.tcp_flags, at(offset_of!(Event, tcp_flags)));
        assert_eq!(event.kind, at(offset_of!(Event, kind)));
        assert_eq!(event.reason, at(offset_of!(Event, reason)));
        assert_eq!(event.flags.to_ne_bytes()[0], at(offset_of!(Event, flags)));
        assert_eq!(event.statistics.to_ne_bytes()[0], at(offset_of!(Event, statistics)));
        assert_eq!(event.backend.to_ne_bytes()[0], at(offset_of!(Event, backend)));
        assert_eq!(event.frontend.to_ne_bytes()[0], at(offset_of!(Event, frontend)));
        assert_eq!(event.interface.to_ne_bytes()[0], at(offset_of!(Event, interface)));
        assert_eq!(event.port[0], at(offset_of!(Event, port)));
        assert_eq!(event.draw.to_ne_bytes()[0], at(offset_of!(Event, draw)));
        assert_eq!(event.lost.to_ne_bytes()[0], at(offset_of!(Event, lost)));
        assert_eq!(Event::of_bytes(&bytes[1..]), None);
        assert_eq!(Event::of_bytes(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn samples_are_as_large_as_asked_and_nested() {
        let draws = (0..=u32::MAX).step_by(65_537);
        let count = draws.clone().count();

        for each in [1, 2, 3, 10, 100] {
            let taken = draws.clone().filter(|draw| is_in_sample(*draw, each)).count();
            let wanted = count / usize::try_from(each).unwrap();
            assert!(taken.abs_diff(wanted) <= 1, "1 in {each}: {taken} of {count}");
        }
        let nested = |draw| is_in_sample(draw, 3) || !is_in_sample(draw, 7);
        assert!(draws.clone().all(nested));
        assert!(draws.clone().all(|draw| is_in_sample(draw, 1) && is_in_sample(draw, 0)));
    }
}
