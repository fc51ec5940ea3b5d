//! Ends live connections at a pace: of TCP the next packet finds that they are severed, datagrams
//! are picked anew.
//!
//! The table is read once for a list of places, which is then worked off: an entry's version says
//! whether the place still holds the same connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use canary_common::backend::State;
use canary_common::draw::flow_hash;
use canary_common::flows::{
    self, Entry, Flows, Head, Kind, Seed, Values, find_at, key_of, mark, partner,
};
use canary_common::service::{AFFINITY_SOURCE, Record, WHOLE};

use crate::compile::SplitKey;
use crate::sever::{Found, Progress, Rate, Stage};

/// Time between two steps.
pub(super) const STEP: Duration = Duration::from_millis(100);
/// Time after which no program reads the record before: what it began is found after that.
const SETTLED: Duration = Duration::from_secs(1);
/// Times that a datagrams' entry is tried to be freed which packets keep changing.
const TRIES: u32 = 8;

/// Which connections end, by rows of the tables.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// Of splits without a share, and with the flag of backends that take no new ones.
    Shareless {
        /// Also of backends that take no new ones.
        backends: bool,
    },
    /// Of these splits.
    Splits(BTreeSet<u16>),
    /// Of these backends.
    Backends(BTreeSet<u32>),
    /// Whose draw falls to another split, where theirs has more than its share.
    Surplus {
        /// Thresholds, statistics and flags.
        record: Box<Record>,
        /// The seed of the draw.
        seed: u64,
    },
}

/// An order by rows of the tables.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The service.
    pub service: String,
    /// Its splits by statistics id.
    pub splits: BTreeMap<u16, SplitKey>,
    /// Those with a share, in ten-thousandths.
    pub shares: BTreeMap<u16, u16>,
    /// Which of their connections.
    pub chosen: Chosen,
    /// How fast.
    pub rate: Rate,
    /// They are only counted.
    pub dry_run: bool,
}

/// What is read and changed.
pub(super) struct Place<'a, T: ?Sized> {
    pub(super) tables: &'a T,
    pub(super) seed: Seed,
    /// States of the rows of `BACKENDS`.
    pub(super) states: &'a [State],
}

/// A connection whose turn will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    place: u32,
    head: Head,
    statistics: u16,
}

/// What became of one.
enum Fate {
    Ended,
    Gone,
    /// Packets keep changing it.
    Busy,
}

/// An order that is being carried out.
#[derive(Debug)]
pub(super) struct Job {
    choice: Choice,
    turns: VecDeque<Turn>,
    progress: Progress,
    begun: Instant,
    stepped: Instant,
    /// Thousandths of connections that may end by now.
    credit: u64,
    is_settled: bool,
}

impl Choice {
    /// Whether an entry is a live connection of the service.
    fn lives(&self, entry: &Entry<'_>) -> bool {
        let Entry { head, values, .. } = entry;
        head.kind() == Kind::Forward
            && !head.ended()
            && !head.has(Head::SEVERED)
            && !values.has(Values::DIRECT)
            && self.splits.contains_key(&values.statistics)
    }

    fn takes<T: Flows + ?Sized>(&self, at: &Place<'_, T>, entry: &Entry<'_>) -> bool {
        let Values { statistics, backend, .. } = entry.values;
        match &self.chosen {
            Chosen::Splits(ids) => ids.contains(&statistics),
            Chosen::Backends(ids) => ids.contains(&backend),
            Chosen::Shareless { backends } => {
                !self.shares.contains_key(&statistics) || *backends && !at.is_alive(backend)
            }
            Chosen::Surplus { record, seed } => {
                let key = key_of(at.tables, entry);
                let by_address = record.flags & AFFINITY_SOURCE != 0;
                let hash = flow_hash(*seed, key.source(), key.destination(), by_address);
                record.statistics_of(hash) != Some(statistics)
            }
        }
    }

    /// How many connections of a split may end, of `live` of it and `all` of the service.
    fn surplus(&self, statistics: u16, live: u64, all: u64) -> u64 {
        let share = self.shares.get(&statistics).copied().unwrap_or(0);
        let due = all.saturating_mul(share.into()).checked_div(WHOLE.into()).unwrap_or(0);
        live.saturating_sub(due)
    }
}

impl<T: Flows + ?Sized> Place<'_, T> {
    fn is_alive(&self, backend: u32) -> bool {
        let state = usize::try_from(backend).ok().and_then(|id| self.states.get(id));
        state == Some(&State::Alive)
    }

    /// The connections that a choice takes, in the order of their places.
    pub(super) fn collect(&self, choice: &Choice) -> Vec<Turn> {
        let mut turns = Vec::new();
        let mut live: BTreeMap<u16, u64> = BTreeMap::new();
        for number in 0..self.seed.buckets {
            let Some(bucket) = self.tables.flows(number) else { break };
            for (place, word) in (number << 3..).zip(&bucket.heads) {
                let head = Head(self.tables.load(word));
                if head.kind() != Kind::Forward {
                    continue;
                }
                let Some(entry) = find_at(self.tables, place).filter(|entry| choice.lives(entry))
                else {
                    continue;
                };
                let statistics = entry.values.statistics;
                let count = live.entry(statistics).or_default();
                *count = count.saturating_add(1);
                // What was read belongs together only if the entry is still the same.
                if choice.takes(self, &entry) && Head(self.tables.load(word)).is_of_same(entry.head)
                {
                    turns.push(Turn { place, head: entry.head, statistics });
                }
            }
        }
        if let Chosen::Surplus { .. } = choice.chosen {
            let all = live.values().sum();
            let mut room: BTreeMap<u16, u64> =
                live.iter().map(|(id, live)| (*id, choice.surplus(*id, *live, all))).collect();
            turns.retain(|turn| {
                let room = room.entry(turn.statistics).or_default();
                let fits = *room > 0;
                *room = room.saturating_sub(1);
                fits
            });
        }
        turns
    }

    /// Ends one connection; `expired` hears of datagrams whose end no packet will tell.
    fn end(&self, turn: &Turn, expired: &mut BTreeMap<u16, u64>) -> Fate {
        let tables = self.tables;
        let at = |turn: &Turn| {
            find_at(tables, turn.place).filter(|entry| entry.head.is_of_same(turn.head))
        };
        let Some(entry) = at(turn) else { return Fate::Gone };
        let back = partner(tables, &entry);
        if !turn.head.has(Head::UDP) {
            if mark(tables, &entry, Head::SEVERED, 0).is_none() {
                return if at(turn).is_some() { Fate::Busy } else { Fate::Gone };
            }
            if back.is_there() {
                mark(tables, &back, Head::SEVERED, 0);
            }
            return Fate::Ended;
        }
        for _ in 0..TRIES {
            let Some(entry) = at(turn) else { return Fate::Gone };
            if flows::free(tables, &entry, self.seed) {
                if back.is_there() {
                    // Answers that are under way still come back.
                    mark(tables, &back, Head::RESET, 0);
                }
                if entry.head.has(Head::ANSWERED) && !entry.values.has(Values::WRAPPED) {
                    let count = expired.entry(turn.statistics).or_default();
                    *count = count.saturating_add(1);
                }
                return Fate::Ended;
            }
        }
        Fate::Busy
    }
}

impl Job {
    /// Begins with what was collected, and says what that is.
    pub(super) fn new(choice: Choice, turns: Vec<Turn>, now: Instant) -> Self {
        let mut found: BTreeMap<SplitKey, Found> = BTreeMap::new();
        for turn in &turns {
            let Some(key) = choice.splits.get(&turn.statistics) else { continue };
            let found = found.entry(key.clone()).or_default();
            let count = if turn.head.has(Head::UDP) { &mut found.udp } else { &mut found.tcp };
            *count = count.saturating_add(1);
        }
        let total = u64::try_from(turns.len()).unwrap_or(u64::MAX);
        let progress = Progress {
            found,
            rate: choice.rate,
            per_second: choice.rate.per_second(total),
            left: total,
            stage: if choice.dry_run { Stage::Counted } else { Stage::Running },
            ..Progress::default()
        };
        // A draw with the weights in force needs no second look.
        let is_settled = matches!(choice.chosen, Chosen::Surplus { .. });
        let turns = turns.into();
        Self { choice, turns, progress, begun: now, stepped: now, credit: 0, is_settled }
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn is_running(&self) -> bool {
        self.progress.stage == Stage::Running
    }

    /// Leaves what is not ended yet.
    pub(super) fn stop(&mut self) {
        if self.is_running() {
            self.progress.stage = Stage::Stopped;
            self.turns.clear();
        }
    }

    /// Ends as many as the pace allows by `now`; datagrams that ended go to `expired`, by
    /// statistics id.
    pub(super) fn step<T: Flows + ?Sized>(
        &mut self,
        at: &Place<'_, T>,
        now: Instant,
        expired: &mut BTreeMap<u16, u64>,
    ) {
        let mut allowed = self.allowed(now);
        while allowed > 0
            && let Some(turn) = self.turns.pop_front()
        {
            match at.end(&turn, expired) {
                Fate::Gone => self.progress.gone = self.progress.gone.saturating_add(1),
                Fate::Ended => {
                    self.progress.ended = self.progress.ended.saturating_add(1);
                    self.spend();
                    allowed = allowed.saturating_sub(1);
                }
                Fate::Busy => {
                    self.turns.push_back(turn);
                    break;
                }
            }
        }
        self.count_left();
    }

    /// Whether all that was found has ended, and what began meanwhile is still to be found.
    pub(super) fn wants_to_look_again(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.begun);
        self.turns.is_empty() && !self.is_settled && elapsed >= SETTLED
    }

    /// Finds what programs began that had read the record before.
    pub(super) fn look_again<T: Flows + ?Sized>(&mut self, at: &Place<'_, T>) {
        self.is_settled = true;
        self.turns = at.collect(&self.choice).into();
        self.count_left();
    }

    fn count_left(&mut self) {
        self.progress.left = u64::try_from(self.turns.len()).unwrap_or(u64::MAX);
        if self.turns.is_empty() && self.is_settled {
            self.progress.stage = Stage::Done;
        }
    }

    /// How many connections may end by `now`.
    fn allowed(&mut self, now: Instant) -> u64 {
        let Some(per_second) = self.progress.per_second else { return u64::MAX };
        let elapsed = now.saturating_duration_since(self.stepped);
        self.stepped = now;
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let most = per_second.saturating_mul(1000);
        // What was not spent for a while is no more than a second's worth.
        self.credit = self.credit.saturating_add(per_second.saturating_mul(millis)).min(most);
        self.credit / 1000
    }

    fn spend(&mut self) {
        if self.progress.per_second.is_some() {
            self.credit = self.credit.saturating_sub(1000);
        }
    }
}

#[cfg(test)]
mod tests;
