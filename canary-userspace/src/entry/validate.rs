//! Consul's rules for entries, in its order and words.

use std::collections::{BTreeMap, BTreeSet};

use super::{Units, WHOLE};
use crate::error::{ConfigError, Position};
use crate::filter::Filter;
use crate::syntax::Placed;

/// The text for a weight that is no percentage.
pub const WEIGHT_RANGE: &str = "weight must be a percentage between 0.01 and 100";

/// Pairs that a meta may have, and bytes of a key and a value.
const MAX_META: (usize, usize, usize) = (64, 128, 512);

/// Characters that a subset's name may have.
const MAX_SUBSET_NAME: usize = 63;

/// The name of an entry, and where its head is.
pub(super) struct Name {
    pub(super) value: String,
    pub(super) position: Position,
    pub(super) meta_position: Position,
}

/// A split before its weight is settled.
pub(super) struct Draft {
    pub(super) position: Position,
    pub(super) weight: Placed<f64>,
    pub(super) service: Placed<String>,
    pub(super) service_subset: Placed<String>,
}

impl Draft {
    /// Where the target is written.
    pub(super) fn target(&self) -> Position {
        let written = [&self.service_subset, &self.service];
        written
            .iter()
            .find(|part| !part.value.is_empty())
            .map_or(self.position, |part| part.position)
    }
}

/// A name must be there.
pub(super) fn named(name: &str, position: Position) -> Result<(), ConfigError> {
    if name.is_empty() { Err(ConfigError::at(position, "Name is required")) } else { Ok(()) }
}

/// The rules for a resolver.
pub(super) fn resolver(
    name: &Name,
    pairs: &BTreeMap<String, String>,
    default_subset: &Placed<String>,
    subsets: &BTreeMap<String, (Position, Placed<String>)>,
    warnings: &mut Vec<ConfigError>,
) -> Result<(), ConfigError> {
    named(&name.value, name.position)?;
    meta(pairs, name.meta_position)?;
    for (subset, (position, filter)) in subsets {
        subset_name(subset).map_err(|text| ConfigError::at(*position, text))?;
        let parsed = Filter::parse(&filter.value).map_err(|error| {
            let text =
                format!("Filter for subset {subset:?} is not a valid expression: {}", error.text);
            ConfigError::at(filter.position, text)
        })?;
        if let Err(reason) = parsed.check() {
            let text = format!(
                "Filter for subset {subset:?} cannot be evaluated, so the subset has no instances: {reason}"
            );
            warnings.push(ConfigError::at(filter.position, text));
        }
    }
    if !default_subset.value.is_empty() && !subsets.contains_key(&default_subset.value) {
        let text = format!("DefaultSubset {:?} is not a valid subset", default_subset.value);
        return Err(ConfigError::at(default_subset.position, text));
    }
    Ok(())
}

/// A subset's name is a DNS label.
fn subset_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Subset defined with empty name".to_owned());
    }
    if name.len() > MAX_SUBSET_NAME {
        return Err(format!(
            "Subset {name:?} is invalid: must be non-empty and 63 characters or fewer"
        ));
    }
    let legal = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if legal && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(());
    }
    Err(format!(
        "Subset {name:?} is invalid: must be 63 characters or fewer, begin or end with lower case \
         alphanumeric characters, and contain lower case alphanumeric characters or '-' in between"
    ))
}

/// Limits of a meta.
pub(super) fn meta(
    pairs: &BTreeMap<String, String>,
    position: Position,
) -> Result<(), ConfigError> {
    let (count, key_len, value_len) = MAX_META;
    if pairs.len() > count {
        let text = format!("Meta exceeds maximum element count {count}");
        return Err(ConfigError::at(position, text));
    }
    for (key, value) in pairs {
        let text = if key.len() > key_len {
            format!("Meta key {key:?} exceeds maximum length {key_len}")
        } else if value.len() > value_len {
            format!("Meta value for key {key:?} exceeds maximum length {value_len}")
        } else {
            continue;
        };
        return Err(ConfigError::at(position, text));
    }
    Ok(())
}

/// The rules for a splitter; gives the weights.
pub(super) fn splitter(
    name: &Name,
    pairs: &BTreeMap<String, String>,
    drafts: &[Draft],
) -> Result<Vec<Units>, ConfigError> {
    named(&name.value, name.position)?;
    let Some(last) = drafts.last() else {
        return Err(ConfigError::at(name.position, "no splits configured"));
    };
    meta(pairs, name.meta_position)?;
    let mut seen = BTreeSet::new();
    let mut weights = Vec::new();
    for draft in drafts {
        let service =
            if draft.service.value.is_empty() { &name.value } else { &draft.service.value };
        let subset = &draft.service_subset.value;
        if !seen.insert((service, subset)) {
            let text = format!(
                "split destination occurs more than once: service={service:?}, subset={subset:?}, \
                 namespace=\"\", partition=\"\""
            );
            return Err(ConfigError::at(draft.target(), text));
        }
        let weight = units_of(draft.weight.value);
        weights.push(weight.ok_or_else(|| ConfigError::at(draft.weight.position, WEIGHT_RANGE))?);
    }
    check_sum(&weights).map_err(|text| ConfigError::at(last.weight.position, text))?;
    Ok(weights)
}

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
