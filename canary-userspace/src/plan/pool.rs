//! Ids and ranges of table rows: lowest first, and what is freed waits for grace; where `FLOWS`
//! names rows, for grace, a pass over `FLOWS`, and grace again.
//!
//! The first grace period ends the runs that had found the row and could still store a flow to
//! it, so that no such flow begins after a pass has looked; the pass ends the flows; the second
//! ends the runs that had read one of them.

use std::collections::BTreeSet;
use std::mem;

use super::kept::Kept;

/// Why nothing was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// Something will be free after a grace period.
    UntilGrace,
    /// Something will be free after a grace period, a pass over `FLOWS` and another grace period,
    /// or what of these is still to come.
    UntilPass,
    /// Everything is in use.
    Full,
}

/// Rows of a table, handed out one at a time.
///
/// A row that is given back carries something until it is free, if the table wants that.
#[derive(Clone, Debug)]
pub(super) struct Pool<T = ()> {
    limit: u32,
    /// Rows from here on were never used.
    fresh: u32,
    free: BTreeSet<u32>,
    /// For a table that `FLOWS` names, what waits for its first grace period.
    grace: Grace<(u32, T)>,
    pass: Option<Pass<T>>,
    /// Rows handed out or given back since changes are recorded, oldest first.
    log: Option<Vec<Moved>>,
}

/// Rows of a table that `FLOWS` names, after the first grace period: nothing that begins names
/// them any more.
#[derive(Clone, Debug)]
struct Pass<T> {
    /// No pass has begun since.
    due: Vec<(u32, T)>,
    /// The pass that runs began with them.
    on: Vec<(u32, T)>,
    /// A pass has ended what named them; who had read that before may still be at the row.
    grace: Grace<(u32, T)>,
}

/// What became of a row.
#[derive(Clone, Copy, Debug)]
enum Moved {
    /// Handed out.
    Taken(u32),
    /// Given back.
    Freed,
}

impl<T: Copy> Pool<T> {
    /// Rows `first` up to `limit`, all free; what is given back waits for grace.
    pub(super) fn new(first: u32, limit: u32) -> Self {
        Self {
            limit,
            fresh: first,
            free: BTreeSet::new(),
            grace: Grace::default(),
            pass: None,
            log: None,
        }
    }

    /// Rows up to `limit`, all free; what is given back waits for grace, a pass, and grace again.
    pub(super) fn named_by_flows(limit: u32) -> Self {
        let pass = Pass { due: Vec::new(), on: Vec::new(), grace: Grace::default() };
        Self { pass: Some(pass), ..Self::new(0, limit) }
    }

    /// From here on changes can be taken back.
    pub(super) fn record(&mut self) {
        self.log = Some(Vec::new());
    }

    /// What was changed since [`Self::record`] stays, or with `back` is taken back.
    pub(super) fn end(&mut self, back: bool) {
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

    /// Takes the lowest free row.
    pub(super) fn take(&mut self) -> Result<u32, Spent> {
        let id = match self.free.pop_first() {
            Some(id) => id,
            None if self.fresh < self.limit => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return Err(self.spent()),
        };
        self.log.iter_mut().for_each(|log| log.push(Moved::Taken(id)));
        Ok(id)
    }

    fn spent(&self) -> Spent {
        match &self.pass {
            None if self.grace.is_empty() => Spent::Full,
            None => Spent::UntilGrace,
            Some(pass) if !pass.grace.is_empty() => Spent::UntilGrace,
            Some(_) if self.waits_for_pass() => Spent::UntilPass,
            Some(_) => Spent::Full,
        }
    }

    /// Gives back a row that readers may still be at, with what it carries until it is free.
    pub(super) fn free(&mut self, id: u32, carries: T) {
        self.grace.freed.push((id, carries));
        self.log.iter_mut().for_each(|log| log.push(Moved::Freed));
    }

    /// Begins a grace period for all that was freed, or passed over, before.
    pub(super) fn seal(&mut self) {
        self.grace.seal();
        self.pass.iter_mut().for_each(|pass| pass.grace.seal());
    }

    /// Ends it; gives what the rows carried that are free now.
    pub(super) fn graced(&mut self) -> Vec<T> {
        let mut over = mem::take(&mut self.grace.waiting);
        if let Some(pass) = &mut self.pass {
            pass.due.append(&mut over);
            over = mem::take(&mut pass.grace.waiting);
        }
        self.free.extend(over.iter().map(|(id, _)| *id));
        over.into_iter().map(|(_, carries)| carries).collect()
    }

    /// Begins a pass for all whose first grace period has ended.
    pub(super) fn begin_pass(&mut self) {
        self.pass.iter_mut().for_each(|pass| pass.on.append(&mut pass.due));
    }

    /// Ends it; unless it came to its end, another one must begin.
    pub(super) fn end_pass(&mut self, whole: bool) {
        let Some(Pass { due, on, grace }) = &mut self.pass else { return };
        if whole { grace.freed.append(on) } else { due.append(on) }
    }

    /// The rows that a pass which has begun, or begins now, must end the flows of.
    pub(super) fn to_end(&self) -> BTreeSet<u32> {
        let named = self.pass.iter().flat_map(|pass| pass.on.iter().chain(&pass.due));
        named.map(|(id, _)| *id).collect()
    }

    /// Whether something waits for grace.
    pub(super) fn waits(&self) -> bool {
        !self.grace.is_empty() || self.pass.as_ref().is_some_and(|pass| !pass.grace.is_empty())
    }

    /// Whether something waits for a pass to begin or to end.
    pub(super) fn needs_pass(&self) -> bool {
        self.pass.as_ref().is_some_and(|pass| !pass.due.is_empty() || !pass.on.is_empty())
    }

    /// Whether something waits for a pass, also what waits for grace before it.
    pub(super) fn waits_for_pass(&self) -> bool {
        self.pass.is_some() && !self.grace.is_empty() || self.needs_pass()
    }

    /// Takes rows that tables read back show in use, and those that were used at some time: these
    /// count as given back. The rest is free.
    pub(super) fn adopt(&mut self, used: &BTreeSet<u32>, left: Vec<(u32, T)>) {
        let last = left.iter().map(|(id, _)| id).chain(used).max();
        let end = last.map_or(self.fresh, |last| last.saturating_add(1));
        let waiting: BTreeSet<u32> = left.iter().map(|(id, _)| *id).collect();
        let taken = |id: &u32| used.contains(id) || waiting.contains(id);
        self.free = (self.fresh..end).filter(|id| !taken(id)).collect();
        self.fresh = self.fresh.max(end);
        self.grace.freed = left;
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
    fn the_lowest_comes_first_and_a_freed_one_after_grace() {
        let mut pool = Pool::new(1, 3);
        assert_eq!(pool.take(), Ok(1));
        assert_eq!(pool.take(), Ok(2));
        assert_eq!(pool.take(), Err(Spent::Full));

        pool.free(1, ());
        assert_eq!(pool.take(), Err(Spent::UntilGrace));
        pool.seal();
        pool.free(2, ());
        assert_eq!(pool.take(), Err(Spent::UntilGrace));
        assert_eq!(pool.graced().len(), 1);

        assert_eq!(pool.take(), Ok(1));
        assert_eq!(pool.take(), Err(Spent::UntilGrace), "2 was freed after grace began");
    }

    /// What the rows carry that a grace period makes free.
    fn grace(pool: &mut Pool<char>) -> String {
        pool.seal();
        pool.graced().into_iter().collect()
    }

    #[test]
    fn a_row_that_flows_name_is_free_after_grace_a_pass_and_grace() {
        let mut pool = Pool::named_by_flows(1);
        assert_eq!(pool.take(), Ok(0));
        assert_eq!(pool.take(), Err(Spent::Full));
        pool.free(0, 'a');
        assert!(pool.waits() && !pool.needs_pass() && pool.waits_for_pass());

        pool.begin_pass();
        assert_eq!(pool.to_end(), BTreeSet::new(), "grace has not been");
        assert_eq!(grace(&mut pool), "");
        pool.end_pass(true);
        assert_eq!((pool.take(), pool.needs_pass()), (Err(Spent::UntilPass), true));
        assert_eq!(grace(&mut pool), "", "grace alone frees nothing");

        pool.begin_pass();
        assert_eq!(pool.to_end(), BTreeSet::from([0]));
        assert_eq!(grace(&mut pool), "", "the pass goes on");
        pool.end_pass(false);
        assert_eq!(grace(&mut pool), "", "the pass came to no end");
        assert_eq!(pool.take(), Err(Spent::UntilPass));

        pool.begin_pass();
        pool.seal();
        pool.end_pass(true);
        assert_eq!(pool.graced().len(), 0, "that grace began before the pass ended");
        assert_eq!((pool.take(), pool.needs_pass()), (Err(Spent::UntilGrace), false));
        assert_eq!(grace(&mut pool), "a");
        assert_eq!(pool.take(), Ok(0));
        assert_eq!(pool.take(), Err(Spent::Full));
    }

    #[test]
    fn a_row_that_was_used_once_counts_as_given_back_where_it_is_found() {
        let mut pool = Pool::named_by_flows(5);
        pool.adopt(&BTreeSet::from([1]), vec![(0, 'a'), (3, 'b')]);

        assert_eq!([pool.take(), pool.take()], [Ok(2), Ok(4)]);
        assert_eq!(pool.take(), Err(Spent::UntilPass));
        grace(&mut pool);
        assert_eq!(pool.to_end(), BTreeSet::from([0, 3]));
    }

    #[test]
    fn what_is_taken_back_of_a_pool_was_never_handed_out_or_given_back() {
        let mut pool = Pool::named_by_flows(2);
        pool.take().unwrap();
        pool.record();
        pool.take().unwrap();
        pool.free(0, 'a');
        pool.end(true);

        assert_eq!(grace(&mut pool), "");
        assert!(!pool.waits_for_pass());
        assert_eq!(pool.take(), Ok(1));
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
