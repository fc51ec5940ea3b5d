//! How far a count may lie from its share before chance no longer explains it.

use std::ops::RangeInclusive;

/// The counts of `trials` with probability `share` outside which chance falls with a
/// probability of at most `risk`, half of it on each side; exact but for rounding.
#[must_use]
pub fn interval(trials: u32, share: f64, risk: f64) -> RangeInclusive<u64> {
    let (mut low, mut high) = (0, u64::from(trials));
    let mut below = 0.0;
    for (count, probability) in (0_u64..).zip(probabilities(trials, share)) {
        below += probability;
        if below <= risk / 2.0 {
            low = count.saturating_add(1);
        }
        // From here on, what is above is no more than the other half.
        if 1.0 - below <= risk / 2.0 {
            high = count;
            break;
        }
    }
    low..=high
}

/// The probability of each count from 0 to `trials`.
fn probabilities(trials: u32, share: f64) -> impl Iterator<Item = f64> {
    let (win, lose) = (share.ln(), (1.0 - share).ln());
    // The logarithm of the number of ways, term by term.
    let mut ways = 0.0;
    (0..=trials).map(move |count| {
        if count > 0 {
            ways += f64::from(trials - count + 1).ln() - f64::from(count).ln();
        }
        (ways + f64::from(count) * win + f64::from(trials - count) * lose).exp()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fair_coin_thrown_twice() {
        let all: Vec<f64> = probabilities(2, 0.5).collect();

        for (got, wanted) in all.into_iter().zip([0.25, 0.5, 0.25]) {
            assert!((got - wanted).abs() < 1e-12, "{got} is not {wanted}");
        }
    }

    #[test]
    fn the_interval_is_about_five_deviations_wide() {
        // 4.89 standard deviations of 50.
        assert_eq!(interval(10_000, 0.5, 1e-6), 4755..=5245);
        let small = interval(10_000, 0.05, 1e-6);
        assert!((390..=400).contains(small.start()), "{small:?}");
        assert!((605..=615).contains(small.end()), "{small:?}");
    }
}
