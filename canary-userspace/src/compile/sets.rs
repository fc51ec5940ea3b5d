//! Names by what they are the names of.

use imbl::{OrdMap, OrdSet};

/// Sets of names, none of them empty.
pub(super) type Sets<K> = OrdMap<K, OrdSet<String>>;

/// Puts `name` into the set of `key`, or takes it out; an empty set goes.
pub(super) fn set<K: Ord + Clone>(sets: &mut Sets<K>, key: K, name: &str, within: bool) {
    if within {
        sets.entry(key).or_default().insert(name.to_owned());
        return;
    }
    let Some(names) = sets.get_mut(&key) else { return };
    names.remove(name);
    if names.is_empty() {
        sets.remove(&key);
    }
}
