//! The name that was likely meant.

use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::{config, status};
use crate::document::Status;
use crate::source::RESOLVER;

/// The name nearest to `name`, if it is near enough to be meant: a third of its letters at most,
/// and never all of them.
pub(super) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_lowercase();
    let letters = name.chars().count();
    let bound = (letters / 3).max(1).min(letters.saturating_sub(1));
    names
        .into_iter()
        .map(|other| (strsim::damerau_levenshtein(&folded, &other.to_lowercase()), other))
        .filter(|&(distance, other)| distance <= bound && other != name)
        .min()
        .map(|(_, other)| other)
}

/// The same failure, with the service that was likely meant, where none is known as `name`.
pub(super) async fn service_hint(failure: Failure, name: Option<&str>, client: &Client) -> Failure {
    let (Failure::NotFound(text), Some(name)) = (&failure, name) else { return failure };
    let status = async { client.get(status::PATH).await?.ok()?.json::<Status>() };
    let Ok(status) = status.await else { return failure };
    match nearest(name, status.services.iter().map(|service| service.service.as_str())) {
        Some(near) => Failure::NotFound(format!("{text} (did you mean {near:?}?)")),
        None => failure,
    }
}

/// The words that `text` puts in quotes, in their order.
pub(super) fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// A line with the subset that was likely meant, where an agent has refused one that its service
/// does not have; empty otherwise.
pub(super) async fn subset_hint(refusal: &str, client: &Client) -> String {
    let told = refusal.contains("does not have a subset named").then(|| quoted(refusal));
    let Some([service, subset]) = told.as_deref() else { return String::new() };
    let resolver =
        async { client.get(&config::path(RESOLVER, service)).await?.ok()?.json::<Value>() };
    let resolver = resolver.await.unwrap_or_default();
    let subsets = resolver.get("Subsets").and_then(Value::as_object);
    let names = subsets.into_iter().flatten().map(|(name, _)| name.as_str());
    let near = nearest(subset, names);
    near.map(|near| format!("\n  hint: did you mean {near:?}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let names = ["blue", "green", "service_subset"];

        assert_eq!(nearest("gren", names), Some("green"));
        assert_eq!(nearest("bleu", names), Some("blue"));
        assert_eq!(nearest("ServiceSubst", names), Some("service_subset"));
        assert_eq!(nearest("service_subst", names), Some("service_subset"));
        assert_eq!(nearest("red", names), None);
        assert_eq!(nearest("b", ["a", "ab"]), None, "no letter of it is left");
        assert_eq!(nearest("blue", names), None, "it is there");
    }

    #[test]
    fn quoted_words_are_found() {
        assert_eq!(quoted("service \"a\" has no \"b\""), ["a", "b"]);
        assert_eq!(quoted("none"), [""; 0]);
    }
}
