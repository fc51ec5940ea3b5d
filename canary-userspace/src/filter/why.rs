//! Why an instance passes a filter or not: the terms that decide it, with what the instance has.

use super::check::{Test, check};
use super::grammar::{Expression, Match, Operator};
use super::selector::Subject;
use super::{evaluate, read};
use crate::catalog::Registered;

/// Values of a list that are shown at most.
const MAX_SHOWN: usize = 8;

/// The terms of the filter `text` that decide about `registered`, such as
/// `Service.Meta.version == 3 is false: it is "2"`.
///
/// Empty where the filter is; the reason where it cannot be read or evaluated.
#[must_use]
pub fn why(text: &str, registered: &Registered) -> String {
    match read(text) {
        Ok(None) => String::new(),
        Ok(Some(expression)) => {
            let mut said = Vec::new();
            let holds = decide(&expression, registered, &mut said);
            match holds {
                Ok(_) => said.join("; "),
                Err(reason) => format!("the filter cannot be evaluated: {reason}"),
            }
        }
        Err(error) => format!("the filter cannot be read: {}", error.text),
    }
}

/// Whether `expression` holds; what decides that goes to `said`.
///
/// It calls itself as deep as parentheses may be nested, no deeper.
fn decide(
    expression: &Expression,
    registered: &Registered,
    said: &mut Vec<String>,
) -> Result<bool, String> {
    match expression {
        Expression::Match(term) => {
            let test = check(expression, &Subject::of)
                .map_err(|mistake| crate::error::ConfigError::from(mistake).text)?;
            let holds = evaluate::holds(&test, registered);
            said.push(format!("{} is {holds}{}", written(term), found(&test, term, registered)));
            Ok(holds)
        }
        Expression::Not(part) => Ok(!decide(part, registered, said)?),
        // One part that holds decides; if none does, all of them do.
        Expression::Any(parts) => decided_by(true, parts, registered, said),
        Expression::All(parts) => decided_by(false, parts, registered, said),
    }
}

/// The parts that are `decisive`, if there is one; else all of them.
fn decided_by(
    decisive: bool,
    parts: &[Expression],
    registered: &Registered,
    said: &mut Vec<String>,
) -> Result<bool, String> {
    let mut deciding = Vec::new();
    let mut others = Vec::new();
    for part in parts {
        let mut terms = Vec::new();
        let holds = decide(part, registered, &mut terms)?;
        if holds == decisive { &mut deciding } else { &mut others }.append(&mut terms);
    }
    let is_decided = !deciding.is_empty();
    said.append(if is_decided { &mut deciding } else { &mut others });
    Ok(is_decided == decisive)
}

/// A term as it is written, its value in quotes where it needs them.
fn written(Match { selector, operator, value }: &Match) -> String {
    let selector = selector.join(".");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '/';
    let is_word = value.starts_with(|c: char| c.is_ascii_alphabetic()) && value.chars().all(plain);
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let value = if is_word || is_number { value.clone() } else { format!("{value:?}") };
    match operator {
        Operator::Equal => format!("{selector} == {value}"),
        Operator::NotEqual => format!("{selector} != {value}"),
        Operator::In => format!("{value} in {selector}"),
        Operator::NotIn => format!("{value} not in {selector}"),
        Operator::IsEmpty => format!("{selector} is empty"),
        Operator::IsNotEmpty => format!("{selector} is not empty"),
        Operator::Matches => format!("{selector} matches {value}"),
        Operator::NotMatches => format!("{selector} not matches {value}"),
    }
}

/// What the instance has there.
fn found(test: &Test, term: &Match, registered: &Registered) -> String {
    let Test::Compare { subject, .. } = test else { return String::new() };
    match subject {
        Subject::Text(text) => match text.of(registered) {
            Some(text) => format!(": it is {:?}", &*text),
            None => ": it is absent".to_owned(),
        },
        Subject::Key(map, key) => match map.of(registered).get(key) {
            Some(text) => format!(": it is {text:?}"),
            None => format!(": key {key:?} is absent"),
        },
        Subject::Number(number) => {
            number.of(registered).map(|number| format!(": it is {number}")).unwrap_or_default()
        }
        Subject::Truth(truth) => format!(": it is {truth}"),
        Subject::Tags => list("tags", registered.instance.tags.iter()),
        Subject::Map(map) => list("keys", map.of(registered).keys()),
        Subject::Addresses => list("names", registered.instance.tagged_addresses.keys()),
        Subject::Checks | Subject::OfChecks(_) if registered.checks.is_empty() => {
            ": it has no checks".to_owned()
        }
        Subject::OfChecks(field) => {
            let field = *field;
            let values = registered.checks.iter().map(|check| field.text(check, registered));
            list(term.selector.last().map_or("", String::as_str), values)
        }
        Subject::Checks | Subject::NoList | Subject::OfNone => String::new(),
    }
}

fn list(what: &str, values: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut shown: Vec<String> = values
        .take(MAX_SHOWN.saturating_add(1))
        .map(|value| format!("{:?}", value.as_ref()))
        .collect();
    if shown.is_empty() {
        return format!(": it has no {what}");
    }
    if shown.len() > MAX_SHOWN {
        shown.truncate(MAX_SHOWN);
        shown.push("...".to_owned());
    }
    format!(": its {what} are {}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::{CheckState, Health, Instance, Origin, Weights};

    fn registered() -> Registered {
        let check = CheckState {
            id: "ping".into(),
            name: "Ping".into(),
            status: Health::Critical,

            kind: "tcp".into(),
            of_node: false,
            ..CheckState::default()
        };
        Registered {
            node: Arc::default(),
            checks: [Arc::new(check)].into(),
            instance: Instance {
                upstreams: Box::default(),
                service: "payments".into(),
                id: "payments-1".into(),
                address: None,
                port: 8080,
                tags: vec!["v2".into(), "eu west".into()],
                meta: [("version".to_owned(), "2".to_owned())].into(),
                tagged_addresses: [].into(),
                weights: Weights::default(),
                checks: Vec::new(),
            },
            origin: Origin::Store,
            health: Health::Critical,
        }
    }

    #[test]
    fn the_terms_that_decide_are_told_with_what_is_there() {
        let cases = [
            ("Service.Meta.version == 3", "Service.Meta.version == 3 is false: it is \"2\""),
            (
                "Service.Meta.track == x",
                "Service.Meta.track == x is false: key \"track\" is absent",
            ),
            ("Service.Meta.track != x", "Service.Meta.track != x is true: key \"track\" is absent"),
            ("v3 in Service.Tags", "v3 in Service.Tags is false: its tags are \"v2\", \"eu west\""),
            ("Service.Port == 80", "Service.Port == 80 is false: it is 8080"),
            (
                "Service.Tags is empty",
                "Service.Tags is empty is false: its tags are \"v2\", \"eu west\"",
            ),
            (
                "Checks.Status == passing",
                "Checks.Status == passing is false: its Status are \"critical\"",
            ),
            ("", ""),
        ];
        for (filter, text) in cases {
            assert_eq!(why(filter, &registered()), text, "{filter}");
        }
    }

    #[test]
    fn of_and_and_or_only_the_parts_that_decide_are_told() {
        let of = |filter: &str| why(filter, &registered());
        let (yes, no) = ("Service.Meta.version == 2", "Service.Port == 80");
        let (is, is_not) = (
            "Service.Meta.version == 2 is true: it is \"2\"",
            "Service.Port == 80 is false: it is 8080",
        );

        assert_eq!(of(&format!("{yes} and {no}")), is_not);
        assert_eq!(of(&format!("{yes} or {no}")), is);
        assert_eq!(of(&format!("{no} or {no}")), format!("{is_not}; {is_not}"));
        assert_eq!(of(&format!("not ({yes} and {no})")), is_not);
        assert_eq!(of(&format!("{yes} and not {no}")), format!("{is}; {is_not}"));
    }

    #[test]
    fn a_filter_that_cannot_be_used_says_so() {
        assert_eq!(
            why("Service.Nope == 1", &registered()),
            "the filter cannot be evaluated: Selector \"Service.Nope\" is not valid"
        );
        assert!(why("Service.Port ==", &registered()).starts_with("the filter cannot be read: "));
    }
}
