//! Ids and ranges of table rows: lowest first, and what is freed waits for grace.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use super::kept::Kept;

/// Why nothing was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// Something will be free after a grace period.
    UntilGrace,
    /// Everything is in use.
    Full,
}

/// Rows of a table, handed out one at a time.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    limit: u32,
    /// Rows from here on were never used.
    fresh: u32,
    free: BTreeSet<u32>,
    grace: Grace<u32>,
    /// How often each row was handed out before, for rows that were.
    generations: Kept<u32, u16>,
    /// Rows handed out or given back since changes are recorded, oldest first.
    log: Option<Vec<Moved>>,
}

/// What became of a row.
#[derive(Clone, Copy, Debug)]
enum Moved {
    /// Handed out.
    Taken(u32),
    /// Given back.
    Freed,
}

impl Pool {
    /// Rows `first` up to `limit`, all free.
    pub(super) fn new(first: u32, limit: u32) -> Self {
        Self {
            limit,
            fresh: first,
            free: BTreeSet::new(),
            grace: Grace::default(),
            generations: Kept::default(),
            log: None,
        }
    }

    /// From here on changes can be taken back.
    pub(super) fn record(&mut self) {
        self.log = Some(Vec::new());
        self.generations.record();
    }

    /// What was changed since [`Self::record`] stays, or with `back` is taken back.
    pub(super) fn end(&mut self, back: bool) {
        self.generations.end(back);
        for moved in self.log.take().unwrap_or_default().into_iter().rev().filter(|_| back) {
            match moved {
                // One that was never used before is as good as one that was.
                Moved::Taken(id) => _ = self.free.insert(id),
                Moved::Freed => _ = self.grace.freed.pop(),
            }
        }
    }

    /// The most rows there can be.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Takes the lowest free row; with it comes the generation of this use, from 1.
    pub(super) fn take(&mut self) -> Result<(u32, u16), Spent> {
        let id = match self.free.pop_first() {
            Some(id) => id,
            None if self.fresh < self.limit => {
                self.fresh += 1;
                self.fresh - 1
            }
            None if self.grace.is_empty() => return Err(Spent::Full),
            None => return Err(Spent::UntilGrace),
        };
        self.log.iter_mut().for_each(|log| log.push(Moved::Taken(id)));
        Ok((id, self.generations.get(&id).map_or(1, |used| used.wrapping_add(1))))
    }

    /// Gives back a row that readers may still be at.
    pub(super) fn free(&mut self, id: u32, generation: u16) {
        self.generations.insert(id, generation);
        self.grace.freed.push(id);
        self.log.iter_mut().for_each(|log| log.push(Moved::Freed));
    }

    /// Begins a grace period for all that was freed before.
    pub(super) fn seal(&mut self) {
        self.grace.seal();
    }

    /// Ends it.
    pub(super) fn graced(&mut self) {
        self.free.append(&mut mem::take(&mut self.grace.waiting).into_iter().collect());
    }

    /// Whether something waits for grace.
    pub(super) fn waits(&self) -> bool {
        !self.grace.is_empty()
    }

    /// Takes rows that tables read back show in use, with their generations; the rest is free.
    pub(super) fn adopt(&mut self, used: &BTreeMap<u32, u16>, generations: BTreeMap<u32, u16>) {
        let end = used.last_key_value().map_or(self.fresh, |(last, _)| last.saturating_add(1));
        let end =
            end.max(generations.last_key_value().map_or(0, |(last, _)| last.saturating_add(1)));
        self.free = (self.fresh..end).filter(|id| !used.contains_key(id)).collect();
        self.fresh = self.fresh.max(end);
        for (id, generation) in generations {
            self.generations.insert(id, generation);
        }
    }
}

/// Consecutive rows of a table, first fit, neighbours merged.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    limit: u32,
    /// Length by start.
    free: Kept<u32, u32>,
    grace: Grace<(u32, u32)>,
    /// How many ranges were given back since changes are recorded.
    freed: usize,
}

impl Ranges {
    /// `limit` rows, all free.
    pub(super) fn new(limit: u32) -> Self {
        let mut free = Kept::default();
        free.insert(0, limit);
        Self { limit, free, grace: Grace::default(), freed: 0 }
    }

    /// From here on changes can be taken back.
    pub(super) fn record(&mut self) {
        self.free.record();
        self.freed = 0;
    }

    /// What was changed since [`Self::record`] stays, or with `back` is taken back.
    pub(super) fn end(&mut self, back: bool) {
        self.free.end(back);
        if back {
            self.grace.freed.truncate(self.grace.freed.len().saturating_sub(self.freed));
        }
    }

    /// The most rows there can be.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Takes the lowest `length` consecutive free rows.
    pub(super) fn take(&mut self, length: u32) -> Result<u32, Spent> {
        let fit = self.free.all().iter().find(|&(_, &free)| free >= length);
        let Some((&start, &free)) = fit else {
            return Err(if self.grace.is_empty() { Spent::Full } else { Spent::UntilGrace });
        };
        self.free.remove(&start);
        if free > length {
            self.free.insert(start + length, free - length);
        }
        Ok(start)
    }

    /// Gives back rows that readers may still be at.
    pub(super) fn free(&mut self, start: u32, length: u32) {
        self.grace.freed.push((start, length));
        self.freed = self.freed.saturating_add(1);
    }

    /// Begins a grace period for all that was freed before.
    pub(super) fn seal(&mut self) {
        self.grace.seal();
    }

    /// Ends it.
    pub(super) fn graced(&mut self) {
        for (start, length) in mem::take(&mut self.grace.waiting) {
            self.release(start, length);
        }
    }

    /// Whether something waits for grace.
    pub(super) fn waits(&self) -> bool {
        !self.grace.is_empty()
    }

    /// Takes exactly these rows, which tables read back show in use; `false` if some are taken.
    pub(super) fn claim(&mut self, start: u32, length: u32) -> bool {
        let Some((&from, &free)) = self.free.all().range(..=start).next_back() else {
            return false;
        };
        let (Some(end), Some(free_end)) = (start.checked_add(length), from.checked_add(free))
        else {
            return false;
        };
        if end > free_end {
            return false;
        }
        self.free.remove(&from);
        if start > from {
            self.free.insert(from, start - from);
        }
        if free_end > end {
            self.free.insert(end, free_end - end);
        }
        true
    }

    fn release(&mut self, mut start: u32, mut length: u32) {
        if let Some((&before, &free)) = self.free.all().range(..start).next_back()
            && before + free == start
        {
            self.free.remove(&before);
            start = before;
            length += free;
        }
        if let Some(free) = self.free.remove(&(start + length)) {
            length += free;
        }
        self.free.insert(start, length);
    }
}

/// What was freed: before the grace period that runs, or since it began.
#[derive(Clone, Debug)]
struct Grace<T> {
    waiting: Vec<T>,
    freed: Vec<T>,
}

impl<T> Default for Grace<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), freed: Vec::new() }
    }
}

impl<T> Grace<T> {
    fn seal(&mut self) {
        self.waiting.append(&mut self.freed);
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.freed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_comes_first_and_a_freed_one_after_grace_with_the_next_generation() {
        let mut pool = Pool::new(1, 3);
        assert_eq!(pool.take(), Ok((1, 1)));
        assert_eq!(pool.take(), Ok((2, 1)));
        assert_eq!(pool.take(), Err(Spent::Full));

        pool.free(1, 1);
        assert_eq!(pool.take(), Err(Spent::UntilGrace));
        pool.seal();
        pool.free(2, 1);
        assert_eq!(pool.take(), Err(Spent::UntilGrace));
        pool.graced();

        assert_eq!(pool.take(), Ok((1, 2)));
        assert_eq!(pool.take(), Err(Spent::UntilGrace), "2 was freed after grace began");
    }

    #[test]
    fn ranges_fit_first_and_merge() {
        let mut ranges = Ranges::new(10);
        let taken: Vec<u32> = (0..3).map(|_| ranges.take(3).unwrap()).collect();
        assert_eq!(taken, [0, 3, 6]);
        assert_eq!(ranges.take(2), Err(Spent::Full));

        ranges.free(6, 3);
        ranges.free(0, 3);
        ranges.free(3, 3);
        assert_eq!(ranges.take(2), Err(Spent::UntilGrace));
        ranges.seal();
        ranges.graced();

        assert_eq!(ranges.take(10), Ok(0));
    }

    #[test]
    fn a_claim_splits_a_free_range() {
        let mut ranges = Ranges::new(10);
        assert!(ranges.claim(4, 2));
        assert!(!ranges.claim(5, 2));

        assert_eq!(ranges.take(4), Ok(0));
        assert_eq!(ranges.take(4), Ok(6));
        assert_eq!(ranges.take(1), Err(Spent::Full));
    }
}
