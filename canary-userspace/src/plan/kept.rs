//! Maps that can go back to how they were: a plan that fails half way must leave no trace.

use std::collections::{BTreeMap, BTreeSet};

/// A map that, while it records, can be rolled back.
#[derive(Clone, Debug)]
pub(super) struct Kept<K, V> {
    map: BTreeMap<K, V>,
    /// What was there before each change, oldest first.
    log: Option<Vec<(K, Option<V>)>>,
    /// Which values are to be found without a walk over all.
    is_marked: fn(&V) -> bool,
    /// Keys of at least those.
    marks: BTreeSet<K>,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self::marking(|_| false)
    }
}

impl<K, V> Kept<K, V> {
    /// A map whose values of one sort are found quickly: few of many.
    pub(super) fn marking(is_marked: fn(&V) -> bool) -> Self {
        Self { map: BTreeMap::new(), log: None, is_marked, marks: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, V: Clone> Kept<K, V> {
    /// From here on changes can be taken back.
    pub(super) fn record(&mut self) {
        self.log = Some(Vec::new());
    }

    /// What was changed since [`Self::record`] stays, or with `back` is taken back.
    pub(super) fn end(&mut self, back: bool) {
        let log = self.log.take().unwrap_or_default();
        for (key, value) in log.into_iter().rev() {
            match value {
                _ if !back => {}
                Some(value) => drop(self.map.insert(key.clone(), value)),
                None => drop(self.map.remove(&key)),
            }
            self.mark(key);
        }
    }

    fn mark(&mut self, key: K) {
        if self.map.get(&key).is_some_and(self.is_marked) {
            self.marks.insert(key);
        } else {
            self.marks.remove(&key);
        }
    }

    /// The values of the sort that is marked.
    pub(super) fn marked(&self) -> impl Iterator<Item = (&K, &V)> {
        let found = self.marks.iter().filter_map(|key| Some((key, self.map.get(key)?)));
        found.filter(|(_, value)| (self.is_marked)(value))
    }

    /// The map, to be read.
    pub(super) fn all(&self) -> &BTreeMap<K, V> {
        &self.map
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    /// Whether there is a value of `key`.
    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.map.contains_key(key)
    }

    /// The value of `key`, to be changed.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let value = self.map.get_mut(key)?;
        match &mut self.log {
            Some(log) => log.push((key.clone(), Some(value.clone()))),
            // What becomes of the value is seen by whoever asks for the marked ones.
            None => drop(self.marks.insert(key.clone())),
        }
        Some(value)
    }

    /// Puts a value in, and returns what was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let old = self.map.insert(key.clone(), value);
        match &mut self.log {
            Some(log) => log.push((key, old.clone())),
            None => self.mark(key),
        }
        old
    }

    /// Takes a value out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.map.remove(key)?;
        match &mut self.log {
            Some(log) => log.push((key.clone(), Some(old.clone()))),
            None => drop(self.marks.remove(key)),
        }
        Some(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        let mut kept = Kept::default();
        kept.insert(1, "one");
        kept.insert(2, "two");
        let before = kept.all().clone();

        kept.record();
        kept.insert(3, "three");
        kept.remove(&1);
        *kept.get_mut(&2).unwrap() = "zwei";
        kept.insert(1, "eins");
        kept.insert(3, "drei");
        kept.end(true);

        assert_eq!(*kept.all(), before);
    }

    #[test]
    fn what_is_not_taken_back_stays() {
        let mut kept = Kept::default();
        kept.record();
        kept.insert(1, "one");
        kept.end(false);
        kept.record();
        kept.end(true);

        assert_eq!(kept.get(&1), Some(&"one"));
    }

    #[test]
    fn the_marked_are_those_of_the_sort_whatever_was_done() {
        let mut kept = Kept::marking(|value: &u32| *value > 9);
        let marked = |kept: &Kept<u32, u32>| kept.marked().map(|(key, _)| *key).collect::<Vec<_>>();
        for (key, value) in [(1, 10), (2, 5), (3, 11)] {
            kept.insert(key, value);
        }
        *kept.get_mut(&2).unwrap() = 12;
        assert_eq!(marked(&kept), [1, 2, 3]);
        *kept.get_mut(&1).unwrap() = 0;
        assert_eq!(marked(&kept), [2, 3]);

        for back in [true, false] {
            kept.record();
            kept.remove(&2);
            *kept.get_mut(&3).unwrap() = 1;
            kept.insert(4, 40);
            kept.end(back);
            assert_eq!(marked(&kept), if back { vec![2, 3] } else { vec![4] });
        }
        kept.remove(&4);
        assert_eq!(kept.marked().count(), 0);
    }
}
