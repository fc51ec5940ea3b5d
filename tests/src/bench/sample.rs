//! Figures of many rounds, and their middle.

/// Nanoseconds of one thing, a round each.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, ns: f64) {
        self.0.push(ns);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The quartiles: how far the middle half of the rounds spreads.
    pub(crate) fn quartiles(&self) -> [f64; 2] {
        [self.quantile(0.25), self.quantile(0.75)]
    }

    /// Between the two nearest, by their distance.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = u32::try_from(sorted.len().saturating_sub(1)).map_or(0.0, f64::from);
        let mut below = 0.0;
        let mut place = 0_u32;
        for ns in sorted {
            let distance = share.mul_add(last, -f64::from(place));
            if distance <= 0.0 {
                // Between the one before and this one.
                return distance.mul_add(ns - below, ns);
            }
            below = ns;
            place = place.saturating_add(1);
        }
        below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples(values.to_vec())
    }

    #[test]
    fn the_median_of_an_odd_number_is_one_of_them() {
        assert!((samples(&[9.0, 1.0, 4.0]).median() - 4.0).abs() < 1e-9);
    }

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let four = samples(&[4.0, 1.0, 2.0, 3.0]);

        assert!((four.median() - 2.5).abs() < 1e-9);
        assert!((four.quantile(0.25) - 1.75).abs() < 1e-9);
        assert!((four.quantile(0.0) - 1.0).abs() < 1e-9);
        assert!((four.quantile(1.0) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn of_nothing_the_median_is_nothing() {
        assert!(samples(&[]).median().abs() < 1e-9);
    }
}
