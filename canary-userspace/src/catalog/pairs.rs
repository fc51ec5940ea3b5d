//! Few pairs, by name: what an instance carries, ten thousand times.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// Values by name, in the order of the names.
///
/// A [`BTreeMap`] takes room for eleven pairs as soon as it has one, half a KiB, and an instance
/// has two of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pairs<V>(Box<[(String, V)]>);

impl<V> Pairs<V> {
    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&V> {
        let place = self.0.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    /// Whether there is a value of `name`.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    /// All pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &V)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl<V> Default for Pairs<V> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<V> From<BTreeMap<String, V>> for Pairs<V> {
    fn from(map: BTreeMap<String, V>) -> Self {
        Self(map.into_iter().collect())
    }
}

impl<V> FromIterator<(String, V)> for Pairs<V> {
    fn from_iter<T: IntoIterator<Item = (String, V)>>(pairs: T) -> Self {
        pairs.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

impl<V> Extend<(String, V)> for Pairs<V> {
    fn extend<T: IntoIterator<Item = (String, V)>>(&mut self, pairs: T) {
        *self = std::mem::take(&mut self.0).into_iter().chain(pairs).collect();
    }
}

impl<V, const N: usize> From<[(String, V); N]> for Pairs<V> {
    fn from(pairs: [(String, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<V: Serialize> Serialize for Pairs<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_found_and_shown_by_name() {
        let pairs =
            Pairs::from([("b", 2), ("a", 1), ("c", 0), ("c", 3)].map(|(k, v)| (k.to_owned(), v)));

        assert_eq!(pairs.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((pairs.get("b"), pairs.get("bb")), (Some(&2), None));
        assert!(pairs.contains_key("a") && !pairs.is_empty() && Pairs::<u8>::default().is_empty());
        assert_eq!(serde_json::to_string(&pairs).unwrap(), r#"{"a":1,"b":2,"c":3}"#);
    }
}
