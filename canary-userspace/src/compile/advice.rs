//! What a person should know about a configuration that is valid all the same.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::Warning;
use super::facts::{Facts, Kinds};
use super::sets::Sets;

/// Names without instances up to which likely names are looked for: one or two are typing errors,
/// hundreds are a catalogue that is still filling.
const MAX_GUESSES: usize = 8;

/// Names that entries have or refer to and nobody is registered under.
#[derive(Clone, Debug, Default)]
pub(super) struct Missing {
    names: OrdSet<String>,
    /// What is said of them.
    pub(super) said: Vec<Warning>,
}

impl Missing {
    /// Takes note of how it is with `name` now; whether that is new.
    pub(super) fn note(&mut self, name: &str, facts: Option<&Facts>, referred: bool) -> bool {
        let wanted = facts.is_some_and(|facts| facts.entries != Kinds::None) || referred;
        let there = facts.is_some_and(|facts| facts.registered || facts.redirects);
        if wanted && !there {
            self.names.insert(name.to_owned()).is_none()
        } else {
            self.names.remove(name).is_some()
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// What is to be said of them: by who has an entry of that name, else by who refers to it.
    pub(super) fn sentences(
        &self,
        facts: &OrdMap<String, Arc<Facts>>,
        referrers: &Sets<String>,
    ) -> Vec<Warning> {
        let guessing = self.names.len() <= MAX_GUESSES;
        let known = || facts.iter().filter(|(_, facts)| facts.registered).map(|(name, _)| name);
        let sentence = |name: &String| {
            let guess = if guessing { likely(name, known()) } else { None };
            let hint = guess.map(|guess| format!(" (did you mean {guess:?}?)")).unwrap_or_default();
            let own = facts.get(name).is_some_and(|facts| facts.entries != Kinds::None);
            let first = referrers.get(name).and_then(OrdSet::get_min).filter(|_| !own);
            Warning {
                service: first.unwrap_or(name).clone(),
                text: format!("no instance is registered as {name:?}{hint}"),
            }
        };
        self.names.iter().map(sentence).collect()
    }
}

/// The name nearest to `name`, if it is near enough to be meant: a third of its letters at most,
/// and never all of them.
fn likely<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let letters = name.chars().count();
    let bound = (letters / 3).max(1).min(letters.saturating_sub(1));
    names
        // Letters that one has more are changes already; a letter has at most four bytes.
        .filter(|other| other.len().abs_diff(name.len()) <= bound.saturating_mul(4))
        .map(|other| (strsim::damerau_levenshtein(name, other), other))
        .filter(|&(distance, _)| distance <= bound)
        .min()
        .map(|(_, other)| other)
}

/// What is said of entries that would split traffic, were there a virtual address to send it to.
pub(super) fn unreachable(name: &str, facts: &Facts, referred: bool) -> Option<Warning> {
    let nobody =
        facts.entries == Kinds::Chain && facts.registered && facts.claims.is_empty() && !referred;
    nobody.then(|| Warning {
        service: name.to_owned(),
        text: "no instance has a tagged address \"virtual\": nothing connects to this service"
            .to_owned(),
    })
}
