//! One pass over the heads of `FLOWS`, and over the bodies that matter.

use std::collections::BTreeMap;

use canary_common::backend::State;
use canary_common::flows::{
    self, Entry, Flows, Head, Kind, Seed, Values, find_at, is_kept, key_of, mark, partner,
    spilled_from, touch,
};
use canary_common::limits::ORPHAN_IDLE;
use canary_common::settings::Idle;

use super::age::{self, Facts, Limits};
use super::alive::{Alive, Fill, Tally, add};
use super::spilled::Numbers;
use super::task::{Conntrack, Depth, Task};

/// Times that an entry is tried to be freed which packets keep changing.
const TRIES: u32 = 8;
/// Foreign entries of one pass that conntrack is asked for.
const MAX_ASKED: u32 = 1024;

/// What a pass is given.
pub(super) struct Given<'a, T: ?Sized> {
    pub(super) tables: &'a T,
    pub(super) seed: Seed,
    pub(super) limits: &'a Limits,
    /// The second it is.
    pub(super) now: u32,
    pub(super) task: &'a Task,
    /// States of the rows of `BACKENDS`; none for a pass that counts nothing.
    pub(super) states: &'a [State],
}

/// Ends of a split's flows that no packet told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) timed_out: u64,
    pub(super) expired: u64,
}

/// What came of a pass.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) alive: Alive,
    /// By statistics id.
    pub(super) ends: BTreeMap<u16, Ends>,
    /// How many entries of each bucket are in their second choice, as the bucket says.
    pub(super) numbers: Numbers,
    /// The same as they were found, by a pass that reads everything.
    pub(super) spilled: Tally,
    /// Entries that should be free and are not: packets changed them all the time.
    pub(super) left: u64,
}

struct Pass<'a, T: ?Sized> {
    given: &'a Given<'a, T>,
    conntrack: &'a mut dyn Conntrack,
    fill: Fill,
    backends: Tally,
    frontends: Tally,
    interfaces: Tally,
    splits: BTreeMap<(u32, u16), u64>,
    ends: BTreeMap<u16, Ends>,
    numbers: Numbers,
    spilled: Tally,
    left: u64,
    asked: u32,
}

/// Why an entry ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It has been quiet for too long: not if a packet comes meanwhile.
    Old,
    /// What it needs is gone, whatever comes.
    Lost,
}

/// Passes over the table.
pub(super) fn pass<T: Flows + ?Sized>(
    given: &Given<'_, T>,
    conntrack: &mut dyn Conntrack,
) -> Passed {
    let mut pass = Pass {
        given,
        conntrack,
        fill: Fill {
            capacity: crate::kernel::flows::places(given.seed.buckets),
            ..Fill::default()
        },
        backends: Tally::default(),
        frontends: Tally::default(),
        interfaces: Tally::default(),
        splits: BTreeMap::new(),
        ends: BTreeMap::new(),
        numbers: Numbers::default(),
        spilled: Tally::default(),
        left: 0,
        asked: 0,
    };
    for number in 0..given.seed.buckets {
        let Some(bucket) = given.tables.flows(number) else { break };
        pass.numbers.add(number, given.tables.load(&bucket.own));
        for (place, word) in (number << 3..).zip(&bucket.heads) {
            let head = Head(given.tables.load(word));
            if !matches!(head.kind(), Kind::Free | Kind::Claimed) {
                pass.head(place, head);
            }
        }
    }
    Passed {
        alive: Alive {
            fill: Fill { spilled: pass.numbers.sum(), ..pass.fill },
            backends: pass.backends.counted(),
            frontends: pass.frontends.counted(),
            splits: pass.splits,
            interfaces: pass.interfaces.counted(),
        },
        ends: pass.ends,
        numbers: pass.numbers,
        spilled: pass.spilled,
        left: pass.left,
    }
}

impl<T: Flows + ?Sized> Pass<'_, T> {
    /// Judges an entry by its head, and reads its body where that matters.
    fn head(&mut self, place: u32, head: Head) {
        let Given { limits, now, task, .. } = *self.given;
        let kind = head.kind();
        let facts = age::of_lone(kind, head, now);
        self.fill.add(head, facts);
        let depth = task.depth;
        let looks = match kind {
            Kind::Forward => depth >= Depth::Counts || facts.may_be_old(head, limits),
            Kind::Return => depth >= Depth::All || facts.may_be_old(head, limits),
            Kind::Straight => depth >= Depth::Counts || facts.is_old(limits),
            Kind::Foreign => depth >= Depth::All || self.is_to_be_asked(facts),
            Kind::Fragment => depth >= Depth::All || age::is_lone_old(kind, facts, limits),
            Kind::Free | Kind::Claimed => false,
        };
        if looks
            && let Some(entry) = find_at(self.given.tables, place)
            && entry.head.is_of_same(head)
        {
            if depth >= Depth::All
                && let Some(first) = spilled_from(self.given.tables, &entry, self.given.seed)
            {
                self.spilled.add(first, 1);
            }
            self.entry(&entry);
        }
    }

    fn is_to_be_asked(&self, facts: Facts) -> bool {
        // Conntrack forgets datagrams as soon as we do.
        let state = if facts.is_tcp() { Idle::Established } else { Idle::Stream };
        facts.idle >= age::limit(self.given.limits, state)
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        let kind = entry.head.kind();
        match kind {
            Kind::Forward | Kind::Return => self.half(entry),
            Kind::Foreign => self.foreign(entry),
            _ => {
                let facts = age::of_lone(kind, entry.head, self.given.now);
                if self.is_lost(entry) {
                    self.free(entry, Why::Lost);
                } else if age::is_lone_old(kind, facts, self.given.limits) {
                    self.free(entry, Why::Old);
                } else if kind == Kind::Straight {
                    self.hold(entry, 1);
                }
            }
        }
    }

    /// One direction of a connection.
    fn half(&mut self, entry: &Entry<'_>) {
        let Given { tables, limits, now, task, .. } = *self.given;
        let head = entry.head;
        let lone = age::of_lone(head.kind(), head, now);
        // The other one is not read where nothing depends on it.
        let may_be_orphan = head.kind() == Kind::Return && lone.idle >= ORPHAN_IDLE;
        let asks_other = lone.may_be_old(head, limits)
            // A pass for rows comes often, and needs no partner for this: both name the same.
            || may_be_orphan && task.is_plain()
            || self.is_lost(entry)
            || self.is_severed(entry)
            || self.is_to_move(entry);
        if !asks_other {
            return self.count(entry);
        }
        let other = partner(tables, entry);
        if !other.is_there() {
            return self.widowed(entry, lone);
        }
        let (forward, back) =
            if head.kind() == Kind::Forward { (entry, &other) } else { (&other, entry) };
        let facts = Facts::of_both(forward.head, back.head, now);
        if self.is_lost(forward) || self.is_lost(back) {
            self.end(forward, back, facts, Why::Lost);
        } else if facts.is_old(limits) {
            self.end(forward, back, facts, Why::Old);
        } else if self.is_to_move(forward) {
            self.move_away(forward, back, facts);
        } else {
            if self.is_severed(forward) || self.is_severed(back) {
                for half in [forward, back] {
                    mark(tables, half, Head::SEVERED, 0);
                }
            }
            self.count(entry);
        }
    }

    /// A direction whose other one is gone, or does not point back.
    fn widowed(&mut self, entry: &Entry<'_>, facts: Facts) {
        let is_back = entry.head.kind() == Kind::Return;
        let is_orphan = is_back && facts.idle >= ORPHAN_IDLE;
        let why = if self.is_lost(entry) {
            Why::Lost
        } else if is_orphan || facts.is_old(self.given.limits) {
            Why::Old
        } else {
            return self.count(entry);
        };
        // Of a `return` it was counted when its `forward` went.
        if self.free(entry, why) && !is_back {
            self.note_end(&entry.values, facts, why);
        }
    }

    /// Whether something that an entry names is no more, or will be something else.
    fn is_lost(&self, entry: &Entry<'_>) -> bool {
        let task = self.given.task;
        if task.is_plain() {
            return false;
        }
        let kind = entry.head.kind();
        let has_interface = matches!(kind, Kind::Forward | Kind::Straight);
        task.free.named(kind, &entry.values)
            || entry.head.has(Head::UDP) && task.sever.named(kind, &entry.values)
            || has_interface && task.interfaces.contains(&entry.values.interface)
    }

    fn is_severed(&self, entry: &Entry<'_>) -> bool {
        self.given.task.sever.named(entry.head.kind(), &entry.values)
    }

    fn state_of(&self, backend: u32) -> Option<State> {
        self.given.states.get(usize::try_from(backend).ok()?).copied()
    }

    /// Whether an entry is of datagrams whose backend takes none any more, or of what the client
    /// has begun with one that may serve somebody else next.
    fn is_to_move(&self, entry: &Entry<'_>) -> bool {
        let Entry { head, values, .. } = entry;
        if head.kind() != Kind::Forward || values.has(Values::DIRECT) {
            return false;
        }
        let is_opening = head.has(Head::UDP) || !head.has(Head::ANSWERED);
        let state = self.state_of(values.backend);
        is_opening && self.given.task.returning.contains(&values.backend)
            || head.has(Head::UDP) && state.is_some_and(|state| state != State::Alive)
    }

    fn count(&mut self, entry: &Entry<'_>) {
        let Entry { head, values, .. } = entry;
        if self.given.task.depth < Depth::Counts || head.kind() != Kind::Forward {
            return;
        }
        self.hold(entry, 2);
        if head.ended() {
            return;
        }
        self.backends.add(values.backend, 1);
        if !values.has(Values::DIRECT) {
            self.frontends.add(values.frontend, 1);
        }
        if self.state_of(values.backend) != Some(State::Alive) {
            add(self.splits.entry((values.backend, values.statistics)).or_default(), 1);
        }
    }

    /// Ends a connection: `forward` first, so that no packet goes forth without its way back.
    fn end(&mut self, forward: &Entry<'_>, back: &Entry<'_>, facts: Facts, why: Why) {
        if !self.free(forward, why) {
            return;
        }
        self.note_end(&forward.values, facts, why);
        // An answer that is under way may have touched it: it has lost its partner anyhow.
        self.free(back, Why::Lost);
    }

    /// Ends datagrams' way forth; their answers that are under way still come back.
    fn move_away(&mut self, forward: &Entry<'_>, back: &Entry<'_>, facts: Facts) {
        if self.free(forward, Why::Lost) {
            self.note_end(&forward.values, facts, Why::Lost);
            mark(self.given.tables, back, Head::RESET, 0);
        }
    }

    /// A foreign entry: not our clock ends it, but conntrack.
    fn foreign(&mut self, entry: &Entry<'_>) {
        let facts = age::of_lone(Kind::Foreign, entry.head, self.given.now);
        if self.is_lost(entry) {
            self.free(entry, Why::Lost);
            return;
        }
        if self.is_to_be_asked(facts) && self.asked < MAX_ASKED {
            self.asked = self.asked.saturating_add(1);
            match self.conntrack.has(&key_of(self.given.tables, entry)) {
                Some(false) => {
                    self.free(entry, Why::Old);
                }
                Some(true) => touch(self.given.tables, entry, self.given.now),
                None => {}
            }
        }
    }

    /// Counts places that an interface has of what nothing pushes out.
    fn hold(&mut self, entry: &Entry<'_>, places: u32) {
        let Given { tables, now, task, .. } = *self.given;
        if task.depth >= Depth::Counts && is_kept(tables, entry.head, now) {
            self.interfaces.add(entry.values.interface, places);
        }
    }

    /// Frees an entry as it was judged, or, if it is lost, whatever packets do to it meanwhile.
    fn free(&mut self, entry: &Entry<'_>, why: Why) -> bool {
        let Given { tables, seed, .. } = *self.given;
        let mut seen = *entry;
        for _ in 0..TRIES {
            if flows::free(tables, &seen, seed) {
                return true;
            }
            match find_at(tables, entry.place) {
                Some(now) if why == Why::Lost && now.head.is_of_same(entry.head) => seen = now,
                _ => return false,
            }
        }
        add(&mut self.left, 1);
        false
    }

    /// Counts the end of a connection that no packet ended; one that another node counts is not.
    fn note_end(&mut self, values: &Values, facts: Facts, why: Why) {
        if facts.ended() || values.has(Values::WRAPPED) {
            return;
        }
        let ends = self.ends.entry(values.statistics).or_default();
        if facts.answered {
            add(&mut ends.expired, 1);
        } else if facts.is_tcp() && why == Why::Old {
            add(&mut ends.timed_out, 1);
        }
    }
}
