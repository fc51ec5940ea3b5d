//! Exact shares of shares: products of weights, of any depth, without rounding.

use crate::entry::Units;

/// Weights are counted in units of one `BASE`th.
const BASE: u32 = 10_000;

/// A number from 0 to 1 as its digits in base 10000, the integer first, no zero last.
///
/// A weight is one such digit, so a product with it is as long as the nesting is deep, and the
/// order of the digits is the order of the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fraction(Vec<u32>);

impl Fraction {
    /// The whole.
    pub(super) fn one() -> Self {
        Self(vec![1])
    }

    /// This share of `weight`.
    pub(super) fn times(&self, weight: Units) -> Self {
        let mut carry = 0;
        let mut digits: Vec<u32> = self
            .0
            .iter()
            .rev()
            .map(|digit| {
                let product = digit * u32::from(weight) + carry;
                carry = product / BASE;
                product % BASE
            })
            .collect();
        digits.push(carry);
        Self::from_reversed(digits)
    }

    /// The sum of both.
    pub(super) fn plus(&self, other: &Self) -> Self {
        let length = self.0.len().max(other.0.len());
        let mut carry = 0;
        let digits = (0..length)
            .rev()
            .map(|place| {
                let sum = self.digit(place) + other.digit(place) + carry;
                carry = if place == 0 { 0 } else { sum / BASE };
                if place == 0 { sum } else { sum % BASE }
            })
            .collect();
        Self::from_reversed(digits)
    }

    /// The number in whole ten-thousandths, rounded down.
    pub(super) fn floor(&self) -> u32 {
        self.digit(0) * BASE + self.digit(1)
    }

    /// What [`Self::floor`] left out; slices compare as the numbers do.
    pub(super) fn rest(&self) -> &[u32] {
        self.0.get(2..).unwrap_or_default()
    }

    fn digit(&self, place: usize) -> u32 {
        self.0.get(place).copied().unwrap_or(0)
    }

    fn from_reversed(mut digits: Vec<u32>) -> Self {
        digits.reverse();
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Self(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_exact() {
        let share = Fraction::one().times(1234).times(5678).times(9012);

        // 0.1234 * 0.5678 * 0.9012 = 0.063143947824
        assert_eq!(share.floor(), 631);
        assert_eq!(share.rest(), [4394, 7824]);
    }

    #[test]
    fn sums_carry() {
        let third = Fraction::one().times(3333);
        let rest = Fraction::one().times(3334);

        assert_eq!(third.plus(&third).plus(&rest), Fraction::one());
    }

    #[test]
    fn nothing_of_something_is_nothing() {
        assert_eq!(Fraction::one().times(0), Fraction::default());
        assert_eq!(Fraction::default().times(10_000), Fraction::default());
        assert_eq!(Fraction::one().times(10_000), Fraction::one());
    }

    #[test]
    fn order_is_that_of_the_numbers() {
        let small = Fraction::one().times(1).times(9999);
        let large = Fraction::one().times(1);

        assert!(small < large);
        assert!(Fraction::default() < small);
    }
}
