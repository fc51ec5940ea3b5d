//! How often a question is asked: not too often while all is well, less and less while it is not.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Tokens that come back each second.
const RATE: f64 = 10.0;
/// Tokens at most: answers that may follow each other at once.
const BURST: f64 = 20.0;
/// What an answer costs that says something new.
const NEWS: f64 = 1.0;
/// What an answer costs that came at once and says nothing: a server that ignores the index.
const NOTHING: f64 = 10.0;

/// A token bucket for one question.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(now: Instant) -> Self {
        Self { tokens: BURST, at: now }
    }

    /// Pays for an answer, and says how long to wait until the next question.
    pub(super) fn pay(&mut self, is_news: bool, now: Instant) -> Duration {
        let back = now.duration_since(self.at).as_secs_f64() * RATE;
        let cost = if is_news { NEWS } else { NOTHING };
        self.tokens = (self.tokens + back).min(BURST) - cost;
        self.at = now;
        Duration::from_secs_f64((-self.tokens).max(0.0) / RATE)
    }
}

/// Pauses that double up to a limit.
#[derive(Debug)]
pub(super) struct BackOff {
    next: Duration,
    longest: Duration,
}

impl BackOff {
    pub(super) fn up_to(longest: Duration) -> Self {
        Self { next: FIRST_PAUSE, longest }
    }

    /// How long to wait after one more failure: half to all of the pause, for a thousand nodes
    /// must not come back in step.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        pause / 2 + part_of(pause / 2)
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }
}

/// Zero to `span`, another one each time.
fn part_of(span: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) >> 44;
    let thousandths = u32::try_from(random).unwrap_or(0) % 1000;
    span / 1000 * thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds that `answers` take if each comes at once.
    fn time_of(answers: usize, is_news: bool) -> f64 {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        let end = (0..answers).fold(start, |now, _| now + bucket.pay(is_news, now));
        end.duration_since(start).as_secs_f64()
    }

    #[test]
    fn a_server_that_answers_at_once_is_asked_ten_times_a_second_at_most() {
        let took = time_of(120, true);
        assert!((9.9..10.1).contains(&took), "{took}");
    }

    #[test]
    fn answers_that_say_nothing_slow_the_question_to_one_a_second() {
        let took = time_of(12, false);
        assert!((9.9..10.1).contains(&took), "{took}");
    }

    #[test]
    fn pauses_double_up_to_the_limit_and_begin_anew_after_a_success() {
        let mut back_off = BackOff::up_to(Duration::from_millis(350));
        let mut bounds = |least: u64, most: u64| {
            let pause = back_off.pause().as_millis();
            assert!((u128::from(least)..=u128::from(most)).contains(&pause), "{pause}");
        };

        bounds(50, 100);
        bounds(100, 200);
        bounds(175, 350);
        bounds(175, 350);
        back_off.reset();
        assert!(back_off.pause() <= FIRST_PAUSE);
    }
}
