use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::entry::tests::arbitrary;

/// Bytes that mean something to a parser.
const TELLING: &[u8] = b"{}[]\"=,:<-\\$%#/*\n \0\xff0.eE'";

/// Changes a few places of a text.
fn mutated(text: String, changes: &[(Index, Index, u8)]) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    for (place, byte, change) in changes {
        let at = place.index(bytes.len() + 1);
        let byte = *byte.get(TELLING);
        match change {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => bytes[at] = byte,
            2 if at < bytes.len() => _ = bytes.remove(at),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

proptest! {
    #[test]
    fn bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        file(&bytes);
        body(&bytes);
    }

    #[test]
    fn what_is_nearly_an_entry_is_read_or_refused(choices in vec(any::<u8>(), 0..120)) {
        entry(&choices);
    }

    #[test]
    fn entries_with_a_few_slips_are_read_or_refused(
        whole in arbitrary::entry(),
        as_hcl in any::<bool>(),
        changes in vec((any::<Index>(), any::<Index>(), 0..4_u8), 1..4),
    ) {
        let text = if as_hcl { entry::to_hcl(&whole) } else { entry::to_json(&whole).to_string() };
        let text = mutated(text, &changes);
        file(&text);
        body(&text);
    }

    #[test]
    fn filters_are_read_or_refused(words in vec(prop::sample::select(vec![
        "Service.Meta.version", "Service.Tags", "Checks.Status", "Node", "==", "!=", "in", "not",
        "and", "or", "is", "empty", "contains", "matches", "(", ")", "\"2\"", "`[`", "2", "-1.5",
        "[\"a\"]", ".", "\"", "\u{e9}", "",
    ]), 0..16)) {
        filter(&words.join(" "));
        filter(&words.concat());
    }
}

/// The grammar does what it is for: its texts are right often enough, and wrong in many ways.
#[test]
fn the_grammar_reaches_behind_the_parser() {
    let mut accepted = 0;
    let mut refused = std::collections::BTreeSet::new();
    // A small generator of our own, so that the counts are the same every time.
    let mut state = 1_u64;
    for _ in 0..3_000 {
        let choices: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(40)
        .collect();
        match entry::parse(near::text(&choices).as_bytes()) {
            Ok(_) => accepted += 1,
            Err(error) => _ = refused.insert(error.text),
        }
    }
    assert!(accepted > 30, "{accepted} accepted");
    assert!(refused.len() > 100, "{} texts", refused.len());
}
