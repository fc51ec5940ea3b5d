//! How fast the processor runs at the moment: a core whose hyperthread a neighbour keeps busy is
//! slower by a factor of two and more, and a measurement must know which of the two it had.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Steps of a loop.
const STEPS: u32 = 16_384;
/// How long the first probes look for the processor's best.
const SEARCH: Duration = Duration::from_millis(300);
/// Independent chains: more than a core has adders.
const CHAINS: usize = 6;

/// Nanoseconds of an addition.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Speed {
    /// Each waits for the one before: the clock.
    pub(crate) dependent: f64,
    /// None waits for another: how many the core does at once, which is what a neighbour takes.
    pub(crate) independent: f64,
}

impl Speed {
    /// Probes.
    pub(crate) fn probe() -> Self {
        Self {
            dependent: nanoseconds(dependent) / f64::from(STEPS),
            // A chain's step is a rotation and an addition.
            independent: nanoseconds(independent) / f64::from(STEPS) / 12.0,
        }
    }

    /// The best that some time of probing finds.
    pub(crate) fn search() -> Self {
        let start = Instant::now();
        let mut best = Self::probe();
        while start.elapsed() < SEARCH {
            best = best.better(Self::probe());
        }
        best
    }

    /// The better of two, clock and width apart.
    pub(crate) fn better(self, other: Self) -> Self {
        Self {
            dependent: self.dependent.min(other.dependent),
            independent: self.independent.min(other.independent),
        }
    }

    /// The worse of two, clock and width apart.
    pub(crate) fn worse(self, other: Self) -> Self {
        Self {
            dependent: self.dependent.max(other.dependent),
            independent: self.independent.max(other.independent),
        }
    }

    /// Whether the two differ by no more than this share.
    pub(crate) fn is_like(self, other: Self, tolerance: f64) -> bool {
        let like = |a: f64, b: f64| a.max(b) <= a.min(b) * (1.0 + tolerance);
        like(self.dependent, other.dependent) && like(self.independent, other.independent)
    }
}

/// One loop, and not the quickest of some: a neighbour that comes and goes within microseconds is
/// what a probe is to see.
fn nanoseconds(work: fn(u32) -> u64) -> f64 {
    // The first steps find neither their code nor their branches known to the core.
    black_box(work(STEPS / 16));
    let start = Instant::now();
    black_box(work(STEPS));
    start.elapsed().as_secs_f64() * 1e9
}

/// Fibonacci numbers: no compiler knows a shorter way, and each needs the one before.
fn dependent(steps: u32) -> u64 {
    let (mut a, mut b) = black_box((1_u64, 1_u64));
    for _ in 0..steps / 2 {
        a = a.wrapping_add(b);
        b = b.wrapping_add(a);
    }
    b
}

/// The rotations keep the chains out of vectors, where more of them fit into a step.
fn independent(steps: u32) -> u64 {
    let mut chains = black_box([1_u64; CHAINS]);
    for _ in 0..steps {
        chains = chains.map(|chain| chain.rotate_left(7).wrapping_add(0x9e37_79b9));
    }
    chains.into_iter().fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Speed = Speed { dependent: 0.3, independent: 0.1 };

    #[test]
    fn a_busy_neighbour_shows_in_the_width() {
        let shared = Speed { independent: 0.2, ..WHOLE };

        assert!(!WHOLE.is_like(shared, 0.05));
        assert!(!shared.is_like(WHOLE, 0.05));
    }

    #[test]
    fn a_few_percent_are_no_difference() {
        let almost = Speed { dependent: 0.31, independent: 0.098 };

        assert!(WHOLE.is_like(almost, 0.05));
        assert!(!WHOLE.is_like(almost, 0.01));
    }

    #[test]
    fn the_best_of_two_is_the_best_of_each() {
        let other = Speed { dependent: 0.2, independent: 0.3 };

        assert_eq!(WHOLE.better(other), Speed { dependent: 0.2, independent: 0.1 });
    }
}
