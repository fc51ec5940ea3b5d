//! What people pick of flows and packets by: clients, services, subsets, and the words for the rest.

mod client;

pub use self::client::ClientFilter;

use canary_common::event;
use canary_common::flows::Kind;
use canary_common::reason::Reason;
use canary_common::settings::Idle;

use crate::compile::SplitKey;

/// The words for kinds of entries.
pub const KINDS: [(&str, Kind); 5] = [
    ("forward", Kind::Forward),
    ("return", Kind::Return),
    ("straight", Kind::Straight),
    ("foreign", Kind::Foreign),
    ("fragment", Kind::Fragment),
];

/// The words for states of connections.
pub const STATES: [(&str, Idle); 6] = [
    ("opening", Idle::Opening),
    ("established", Idle::Established),
    ("closed", Idle::Closed),
    ("reset", Idle::Reset),
    ("exchange", Idle::Exchange),
    ("stream", Idle::Stream),
];

/// The words for what happens to packets.
pub const EVENTS: [(&str, event::Kind); 6] = [
    ("connection", event::Kind::Connection),
    ("clash", event::Kind::Clash),
    ("reset", event::Kind::Reset),
    ("refused", event::Kind::Refused),
    ("dropped", event::Kind::Dropped),
    ("passed", event::Kind::Passed),
];

/// The words for reasons that are counted.
#[must_use]
pub fn reasons() -> Vec<(&'static str, Reason)> {
    let counted = Reason::ALL.iter().filter(|reason| reason.is_counted());
    counted.map(|reason| (reason.word(), *reason)).collect()
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Kinds; where there are none, every connection once.
    pub kinds: Vec<Kind>,
    /// States; any where there are none.
    pub states: Vec<Idle>,
    /// Whose.
    pub whose: Whose,
}

/// Whose connections are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// The service that clients connect to, or that they are sent to; any where absent.
    pub service: Option<String>,
    /// The subset; any where absent.
    pub subset: Option<String>,
    /// The client; any where absent.
    pub client: Option<ClientFilter>,
}

impl Whose {
    /// Whether it is asked whose split a connection is of.
    #[must_use]
    pub fn asks_names(&self) -> bool {
        self.service.is_some() || self.subset.is_some()
    }

    /// Whether a connection is wanted that belongs to this split, or else to this service.
    #[must_use]
    pub fn wants(&self, split: Option<&SplitKey>, service: Option<&str>) -> bool {
        let of = |name: &String| match split {
            Some(split) => *name == split.service || *name == split.target,
            None => Some(name.as_str()) == service,
        };
        let is_subset = |name: &String| split.is_some_and(|split| split.subset == *name);
        self.service.as_ref().is_none_or(of) && self.subset.as_ref().is_none_or(is_subset)
    }
}

/// The word for one of `words`.
#[must_use]
pub fn word<T: PartialEq>(words: &[(&'static str, T)], wanted: &T) -> &'static str {
    let found = words.iter().find(|(_, what)| what == wanted);
    found.map_or("unknown", |(word, _)| word)
}

/// What a word means.
///
/// # Errors
///
/// The sentence that names every word there is.
pub fn meaning<T: Copy>(name: &str, words: &[(&'static str, T)], text: &str) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("{name} must be one of {}, not {text:?}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(subset: &str) -> SplitKey {
        let [service, target] = ["web", "api"].map(str::to_owned);
        SplitKey { service, target, subset: subset.to_owned() }
    }

    #[test]
    fn a_service_is_wanted_by_where_clients_connect_and_by_where_they_are_sent() {
        let wanted =
            |service: &str| Whose { service: Some(service.to_owned()), ..Whose::default() };

        let of_split =
            ["web", "api", "db"].map(|name| wanted(name).wants(Some(&split("v2")), None));
        let of_service = ["web", "api"].map(|name| wanted(name).wants(None, Some("web")));

        assert_eq!(of_split, [true, true, false]);
        assert_eq!(of_service, [true, false]);
        assert!(Whose::default().wants(None, None));
        assert!(!wanted("web").wants(None, None));
    }

    #[test]
    fn a_subset_is_wanted_only_where_one_was_picked() {
        let wanted = Whose { subset: Some("v2".to_owned()), ..Whose::default() };

        assert!(wanted.wants(Some(&split("v2")), None));
        assert!(!wanted.wants(Some(&split("v1")), None));
        assert!(!wanted.wants(None, Some("web")));
    }

    #[test]
    fn every_word_means_one_thing_and_an_unknown_one_names_them() {
        for (name, kind) in KINDS {
            assert_eq!(meaning("kind", &KINDS, name), Ok(kind));
            assert_eq!(word(&KINDS, &kind), name);
        }
        for (name, kind) in EVENTS {
            assert_eq!(meaning("kind", &EVENTS, name), Ok(kind));
        }
        assert_eq!(meaning("reason", &reasons(), "no-port"), Ok(Reason::NoPort));
        assert!(meaning("reason", &reasons(), "not-ours").is_err(), "it is not counted");
        for (name, state) in STATES {
            assert_eq!(meaning("state", &STATES, name), Ok(state));
        }
        assert_eq!(
            meaning("kind", &KINDS, "forwards").unwrap_err(),
            "kind must be one of forward, return, straight, foreign, fragment, not \"forwards\""
        );
    }
}
