//! Length, depth, and what a filter costs.

use std::time::{Duration, Instant};

use super::*;
use crate::filter::cursor::Cursor;

#[test]
fn long_and_deep_filters_are_refused() {
    let nested = |depth: usize| format!("{}a == 1{}", "(".repeat(depth), ")".repeat(depth));
    let refused = |text: &str| Filter::parse(text).map(|_| ()).expect_err(text).text;

    assert!(Filter::parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(refused(&nested(MAX_DEPTH + 1)), "nested deeper than 64 parentheses");
    assert_eq!(refused(&"a".repeat(MAX_LEN + 1)), "longer than 4096 bytes");
    let longest = format!("a == \"{}\"", "x".repeat(MAX_LEN - 7));
    assert!(Filter::parse(&longest).is_ok());
}

/// The grammar read naively takes four times as long for each parenthesis.
#[test]
fn twice_the_text_is_at_most_twice_the_work() {
    let work = |text: &str| {
        let mut cursor = Cursor::new(text);
        _ = cursor.whole();
        cursor.work
    };
    let texts: [fn(usize) -> String; 11] = [
        |n| format!("{}a == 1{}", "not (".repeat(n), ")".repeat(n)),
        |n| format!("{}a =", "(".repeat(n)),
        |n| format!("{}a == 1{}", "(".repeat(n), ")".repeat(n)),
        |n| "(a == 1 or ".repeat(n) + "a",
        |n| "(a == 1) and ".repeat(n) + "(a",
        |n| "not ".repeat(n),
        |n| "not ".repeat(n) + "in x",
        |n| "a == 1 or ".repeat(n) + "x",
        |n| "a == 1 and ".repeat(n),
        |n| format!("{} == 1", "a.".repeat(n) + "a"),
        |n| format!("{} in x", "\"".repeat(2 * n)),
    ];
    for text in texts {
        let (once, twice) = (text(MAX_DEPTH / 2), text(MAX_DEPTH));
        let (least, most) = (work(&once), work(&twice));
        // Twice, and a little for what comes once; squared it would be four times.
        assert!(10 * most <= 21 * least, "{least} then {most}: {once}");
        assert!(least <= 60 * once.len(), "{least} for {} bytes: {once}", once.len());
    }
}

/// Ten terms, each of another kind, of which all must be asked.
const TEN: &str = "Service.Meta.version == 3 or \"v3\" in Service.Tags or Service.Port == 1 \
    or Service.Address == \"10.0.0.1\" or Node.Meta.zone == b or Checks.Status == critical \
    or Service.Meta.track != stable or Service.ID contains green \
    or Service.ID matches `^nobody-[0-9]+$` or Service.TaggedAddresses.virtual.Port == 81";

fn many() -> Vec<Registered> {
    let pairs = |index: usize| {
        let name = format!("{index:05}");
        [("version", "2"), ("track", "stable"), ("pod", &name), ("zone", "a")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    };
    let one = |index: usize| {
        let mut one = registered();
        one.instance.id = format!("payments-blue-{index:05}");
        one.instance.meta = pairs(index);
        one
    };
    (0..10_000).map(one).collect()
}

/// A debug build says nothing of the bar, but a term that allocates or copies would show even
/// there, beside the work that no filter can do without.
#[test]
fn a_filter_of_ten_terms_costs_little_more_than_its_comparisons() {
    let filter = Filter::parse(TEN).unwrap();
    filter.check().unwrap();
    let instances = many();
    let fastest = |work: &dyn Fn() -> usize| {
        let runs = (0..5).map(|_| {
            let start = Instant::now();
            assert_eq!(work(), 0);
            start.elapsed()
        });
        runs.min().unwrap()
    };

    let filtered = fastest(&|| instances.iter().filter(|one| filter.matches(one)).count());
    // Ten look-ups and comparisons of texts for each.
    let compared = fastest(&|| {
        let has = |one: &Registered, key: &str, value: &str| {
            one.instance.meta.get(key).is_some_and(|found| found == value)
        };
        let keys = ["version", "track", "pod", "zone", "none"];
        let any = |one: &&Registered| keys.iter().cycle().take(10).any(|key| has(one, key, "x"));
        instances.iter().filter(any).count()
    });

    println!("ten terms over 10000 instances: {filtered:?}, ten comparisons: {compared:?}");
    assert!(filtered <= 6 * compared, "{filtered:?} against {compared:?}");
    // The bar is of a release build on a quiet machine.
    if std::env::var_os("CANARY_LONG").is_some() && !cfg!(debug_assertions) {
        assert!(filtered <= Duration::from_millis(20), "{filtered:?}");
    }
}
