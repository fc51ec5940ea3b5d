//! Weights: percentages to ten-thousandths, as Consul rounds and adds them.

use crate::entry::{Units, WHOLE};

/// The text for a weight that is no percentage.
pub const WEIGHT_RANGE: &str = "weight must be a percentage between 0.01 and 100";

/// A percentage in [`Units`], rounded as Consul does; `None` outside 0 to 100.
///
/// Consul multiplies in 32 bits: 0.005 is 0.01 by that, and 33.333 is 33.33.
#[must_use]
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounding to 32 bits is the rule, and the range is checked before the second cast"
)]
pub fn units_of(percent: f64) -> Option<Units> {
    let scaled = f64::from(percent as f32 * 100.0_f32).round();
    (0.0..=f64::from(WHOLE)).contains(&scaled).then_some(scaled as Units)
}

/// The shares must add to the whole.
///
/// # Errors
///
/// Consul's text, with the sum as a float of 32 bits prints.
pub fn check_sum(weights: &[Units]) -> Result<(), String> {
    let sum: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
    if sum == u32::from(WHOLE) {
        return Ok(());
    }
    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "Consul prints the sum from 32 bits, so 99.99 reads 99.989998"
    )]
    let percent = sum as f32 / 100.0_f32;
    Err(format!("the sum of all split weights must be 100, not {percent:.6}"))
}
