//! How many results in a row it takes to change a check's state.

use crate::catalog::{Health, Thresholds};

/// Results in a row, held against a check's thresholds.
#[derive(Debug)]
pub(super) struct Tally {
    thresholds: Thresholds,
    good: u16,
    bad: u16,
}

impl Tally {
    /// Nothing is known yet: the first result counts at once, whatever it is.
    pub(super) fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, good: thresholds.passing, bad: thresholds.critical }
    }

    /// The state after one more result; `None` if it stays what it was.
    pub(super) fn judge(&mut self, result: Health) -> Option<Health> {
        let Thresholds { passing, warning, critical } = self.thresholds;
        if result != Health::Critical {
            self.good = self.good.saturating_add(1);
            self.bad = 0;
            return (self.good >= passing).then_some(result);
        }
        self.bad = self.bad.saturating_add(1);
        self.good = 0;
        match self.bad {
            bad if bad >= critical => Some(Health::Critical),
            bad if bad >= warning => Some(Health::Warning),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The states after `results`, where `+` is good, `~` warns and `-` fails; `.` is no change.
    fn states(thresholds: (u16, u16, u16), results: &str) -> String {
        let (passing, warning, critical) = thresholds;
        let mut tally = Tally::new(Thresholds { passing, warning, critical });
        let state = |result| match result {
            '+' => Health::Passing,
            '~' => Health::Warning,
            _ => Health::Critical,
        };
        let shown = |health| match health {
            None => '.',
            Some(Health::Passing) => 'P',
            Some(Health::Warning) => 'W',
            Some(Health::Critical) => 'C',
        };
        results.chars().map(|result| shown(tally.judge(state(result)))).collect()
    }

    #[test]
    fn without_thresholds_each_result_counts() {
        assert_eq!(states((0, 0, 0), "+-~-+"), "PCWCP");
    }

    #[test]
    fn the_first_result_counts_at_once_whatever_the_thresholds() {
        assert_eq!(states((3, 3, 3), "+"), "P");
        assert_eq!(states((3, 3, 3), "-"), "C");
        assert_eq!(states((u16::MAX, u16::MAX, u16::MAX), "+-"), "P.");
    }

    #[test]
    fn a_state_changes_only_after_enough_in_a_row() {
        assert_eq!(states((3, 2, 2), "+-+--++-+++"), "P...C.....P");
        assert_eq!(states((0, 2, 4), "+-----+"), "P.WWCCP");
    }

    #[test]
    fn a_warning_counts_as_good() {
        assert_eq!(states((2, 0, 0), "-~~"), "C.W");
    }
}
