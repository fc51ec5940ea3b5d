//! Maps that can go back to how they were: a plan that fails half way must leave no trace.

use std::collections::BTreeMap;

/// A map that, while it records, can be rolled back.
#[derive(Clone, Debug)]
pub(super) struct Kept<K, V> {
    map: BTreeMap<K, V>,
    /// What was there before each change, oldest first.
    log: Option<Vec<(K, Option<V>)>>,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self { map: BTreeMap::new(), log: None }
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
        for (key, value) in log.into_iter().rev().filter(|_| back) {
            match value {
                Some(value) => self.map.insert(key, value),
                None => self.map.remove(&key),
            };
        }
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
        if let Some(log) = &mut self.log {
            log.push((key.clone(), Some(value.clone())));
        }
        Some(value)
    }

    /// Puts a value in, and returns what was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(log) = &mut self.log else { return self.map.insert(key, value) };
        let old = self.map.insert(key.clone(), value);
        log.push((key, old.clone()));
        old
    }

    /// Takes a value out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.map.remove(key)?;
        if let Some(log) = &mut self.log {
            log.push((key.clone(), Some(old.clone())));
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
}
