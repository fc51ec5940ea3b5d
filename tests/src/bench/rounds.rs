//! Samples of a case: which of them count, and the row they make.

use std::array;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::case::Case;
use super::probe::Speed;
use super::sample::Samples;

/// Probes of one sample differ by no more than this share.
const STEADY: f64 = 0.05;
/// At the whole speed they are no further than this from the best ever seen.
const NEAR_BEST: f64 = 0.10;
/// With fewer samples at the whole speed, those at the shared speed are reported.
const ENOUGH: usize = 8;
/// So many times the samples that are wanted are tried.
const PATIENCE: usize = 8;

/// How fast the processor is before or after a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// Of additions.
    pub(crate) speed: Speed,
    /// Nanoseconds of making the packet. It shows what additions do not: a neighbour who takes
    /// caches and branch predictors.
    pub(crate) made: f64,
}

/// One measurement between two probes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Nanoseconds of one packet, net.
    pub(crate) ns: f64,
    pub(crate) before: Probe,
    pub(crate) after: Probe,
}

/// The speed at which a row was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pace {
    /// As fast as the processor was ever seen.
    Whole,
    /// Steady but slower, as beside a busy hyperthread: too few samples were at the whole speed.
    Shared,
    /// No sample was steady.
    None,
}

/// A case's figures: what `--json` writes, a line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    /// Net nanoseconds of one packet: the median of the samples kept.
    pub(crate) median_ns: f64,
    pub(crate) quartiles_ns: [f64; 2],
    pub(crate) kept: usize,
    pub(crate) dropped: usize,
    pub(crate) speed: Pace,
    /// Nanoseconds of an addition in the samples kept: the slowest probe.
    pub(crate) probe_ns: Speed,
}

/// Turns of one build, or of two by turns: each has samples of each build.
#[derive(Debug)]
pub(crate) struct Rounds<const N: usize> {
    turns: Vec<[Vec<Sample>; N]>,
}

impl<const N: usize> Rounds<N> {
    /// Measures until each build has so many samples at the whole speed, or patience ends. `best`
    /// is the best speed ever seen, and moves.
    pub(crate) fn measure(
        wanted: usize,
        best: &mut Speed,
        mut turn: impl FnMut() -> Result<[Vec<Sample>; N]>,
    ) -> Result<Self> {
        let mut rounds = Self { turns: Vec::new() };
        let mut tried = 0_usize;
        while tried < wanted.saturating_mul(PATIENCE) && rounds.fewest(Pace::Whole, *best) < wanted
        {
            let turn = turn()?;
            for Sample { before, after, .. } in turn.iter().flatten() {
                *best = best.better(before.speed).better(after.speed);
            }
            tried =
                tried.saturating_add(turn.iter().map(Vec::len).max().unwrap_or_default().max(1));
            rounds.turns.push(turn);
        }
        Ok(rounds)
    }

    /// All turns of several.
    pub(crate) fn join(several: impl IntoIterator<Item = Self>) -> Self {
        Self { turns: several.into_iter().flat_map(|rounds| rounds.turns).collect() }
    }

    /// The speed to report: the whole one unless a build has hardly any samples of it.
    fn pace(&self, best: Speed) -> Pace {
        let whole = self.fewest(Pace::Whole, best);
        let shared = self.fewest(Pace::Shared, best);
        match (whole, shared) {
            (0, 0) => Pace::None,
            (ENOUGH.., _) | (_, 0) => Pace::Whole,
            _ => Pace::Shared,
        }
    }

    /// How many samples at a speed the build has that has the fewest.
    fn fewest(&self, pace: Pace, best: Speed) -> usize {
        let counts: [usize; N] = array::from_fn(|place| {
            let best = self.best(place, best);
            self.samples(place).filter(|sample| sample.pace(best) == pace).count()
        });
        counts.into_iter().min().unwrap_or_default()
    }

    /// All samples of the build at this place.
    fn samples(&self, place: usize) -> impl Iterator<Item = &Sample> {
        self.turns.iter().filter_map(move |turn| turn.get(place)).flatten()
    }

    /// The best probe for the build at this place: each makes its packets in its own way.
    fn best(&self, place: usize, speed: Speed) -> Probe {
        let made = self.samples(place).flat_map(|sample| [sample.before.made, sample.after.made]);
        Probe { speed, made: made.fold(f64::INFINITY, f64::min) }
    }

    /// The row of the build at this place.
    pub(crate) fn row(&self, case: Case, best: Speed, place: usize) -> Row {
        let speed = self.pace(best);
        let best = self.best(place, best);
        let mut figures = Samples::default();
        let mut slowest = Speed { dependent: 0.0, independent: 0.0 };
        let (mut kept, mut dropped) = (0_usize, 0_usize);
        for sample in self.samples(place) {
            if speed == Pace::None || sample.pace(best) != speed {
                dropped = dropped.saturating_add(1);
                continue;
            }
            kept = kept.saturating_add(1);
            figures.add(sample.ns);
            slowest = slowest.worse(sample.before.speed).worse(sample.after.speed);
        }
        Row {
            case: case.name(),
            median_ns: figures.median(),
            quartiles_ns: figures.quartiles(),
            kept,
            dropped,
            speed,
            probe_ns: slowest,
        }
    }
}

impl Rounds<2> {
    /// The first build's time in terms of the second's, turn by turn.
    pub(crate) fn ratios(&self, best: Speed) -> Samples {
        let pace = self.pace(best);
        let bests = [0, 1].map(|place| self.best(place, best));
        let mut ratios = Samples::default();
        for turn in &self.turns {
            let mut medians = turn.iter().zip(bests).filter_map(|(samples, best)| {
                let kept = samples.iter().filter(|sample| sample.pace(best) == pace);
                let mut figures = Samples::default();
                kept.for_each(|sample| figures.add(sample.ns));
                // Whole nanoseconds: what costs less than one is taken for one.
                (!figures.is_empty()).then(|| figures.median().max(1.0))
            });
            if let (Some(ours), Some(theirs)) = (medians.next(), medians.next())
                && turn.len() == 2
            {
                ratios.add(ours / theirs);
            }
        }
        ratios
    }
}

impl Sample {
    /// Whole if both probes are near the best, shared if they are near each other.
    fn pace(&self, best: Probe) -> Pace {
        let Self { before, after, .. } = self;
        if !before.is_like(*after, STEADY) {
            Pace::None
        } else if before.is_like(best, NEAR_BEST) && after.is_like(best, NEAR_BEST) {
            Pace::Whole
        } else {
            Pace::Shared
        }
    }
}

impl Probe {
    fn is_like(self, other: Self, tolerance: f64) -> bool {
        // The kernel gives whole nanoseconds, so one more or less is no difference.
        let made =
            (self.made - other.made).abs() <= (self.made.min(other.made) * tolerance).max(1.0);
        made && self.speed.is_like(other.speed, tolerance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEST: Speed = Speed { dependent: 0.3, independent: 0.1 };
    const SLOW: Speed = Speed { dependent: 0.3, independent: 0.2 };

    fn sample(ns: f64, before: Speed, after: Speed) -> Sample {
        let [before, after] = [before, after].map(|speed| Probe { speed, made: 30.0 });
        Sample { ns, before, after }
    }

    fn row(samples: Vec<Sample>) -> Row {
        let case = Case::named("xdp-established-tcp4-1").expect("a case");
        Rounds { turns: vec![[samples]] }.row(case, BEST, 0)
    }

    #[test]
    fn samples_at_another_speed_are_dropped_and_counted() {
        let mut samples = vec![sample(50.0, BEST, BEST); ENOUGH];
        samples.push(sample(110.0, SLOW, SLOW));
        samples.push(sample(80.0, BEST, SLOW));

        let row = row(samples);

        assert!((row.median_ns - 50.0).abs() < 1e-9);
        assert_eq!((row.kept, row.dropped, row.speed), (ENOUGH, 2, Pace::Whole));
    }

    #[test]
    fn a_processor_that_is_always_shared_is_said() {
        let row = row(vec![sample(110.0, SLOW, SLOW); 9]);

        assert!((row.median_ns - 110.0).abs() < 1e-9);
        assert_eq!((row.kept, row.speed), (9, Pace::Shared));
    }

    #[test]
    fn without_a_steady_sample_nothing_is_kept() {
        let row = row(vec![sample(110.0, BEST, SLOW); 9]);

        assert_eq!((row.kept, row.dropped, row.speed), (0, 9, Pace::None));
    }

    #[test]
    fn a_neighbour_who_only_takes_caches_shows_in_making_the_packet() {
        let mut samples = vec![sample(50.0, BEST, BEST); ENOUGH];
        let mut torn = sample(80.0, BEST, BEST);
        torn.after.made = 35.0;
        samples.push(torn);

        assert_eq!(row(samples).dropped, 1);
    }

    #[test]
    fn a_turn_counts_if_both_builds_had_the_whole_speed_in_it() {
        let good = |ns| vec![sample(ns, BEST, BEST); 4];
        let turns = vec![
            [good(40.0), good(80.0)],
            [good(40.0), vec![sample(160.0, SLOW, SLOW)]],
            [good(40.0), good(80.0)],
        ];

        let ratios = Rounds { turns }.ratios(BEST);

        assert!((ratios.quantile(0.0) - 0.5).abs() < 1e-9);
        assert!((ratios.quantile(1.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn it_stops_when_it_has_enough_or_has_tried_enough() {
        for (speed, turns) in [(BEST, 2), (SLOW, 14)] {
            let mut best = BEST;
            let rounds = Rounds::measure(7, &mut best, || Ok([vec![sample(1.0, speed, speed); 4]]));

            assert_eq!(rounds.expect("no error").turns.len(), turns);
        }
    }
}
