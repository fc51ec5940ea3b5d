//! Warnings of many origins, each kept for as long as somebody says it.

use imbl::OrdMap;

use super::Warning;

/// What is said, sorted, each sentence once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sentences {
    /// How many say it.
    said: OrdMap<Warning, u32>,
}

impl Sentences {
    /// Every sentence, by service.
    pub fn iter(&self) -> impl Iterator<Item = &Warning> {
        self.said.keys()
    }

    /// What was said `before` by somebody who says what is said `now`.
    pub(super) fn exchange(&mut self, before: &[Warning], now: &[Warning]) {
        for warning in now {
            let count = self.said.entry(warning.clone()).or_default();
            *count = count.saturating_add(1);
        }
        for warning in before {
            let count = self.said.get(warning).map_or(0, |count| count.saturating_sub(1));
            if count == 0 {
                self.said.remove(warning);
            } else if let Some(left) = self.said.get_mut(warning) {
                *left = count;
            }
        }
    }
}
