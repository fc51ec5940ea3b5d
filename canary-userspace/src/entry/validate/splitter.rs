//! The rules for a splitter.

use std::collections::BTreeSet;

use super::Head;
use super::target::broken;
use super::weights::{WEIGHT_RANGE, check_sum, units_of};
use crate::entry::{ON_EMPTY, Split, Splitter};
use crate::error::{ConfigError, Position};
use crate::syntax::Placed;

/// A splitter as it was written.
pub(in crate::entry) struct SplitterDraft {
    pub(in crate::entry) head: Head,
    pub(in crate::entry) splits: Vec<SplitDraft>,
}

/// A split as it was written.
pub(in crate::entry) struct SplitDraft {
    pub(in crate::entry) position: Position,
    pub(in crate::entry) weight: Placed<f64>,
    pub(in crate::entry) service: Placed<String>,
    pub(in crate::entry) service_subset: Placed<String>,
    pub(in crate::entry) namespace: Placed<String>,
    pub(in crate::entry) partition: Placed<String>,
    /// Where headers are to be changed, and what the field is called.
    pub(in crate::entry) headers: Option<(Position, &'static str)>,
}

impl SplitDraft {
    /// Where the target is written.
    pub(in crate::entry) fn target(&self) -> Position {
        let written = [&self.service_subset, &self.service];
        written
            .iter()
            .find(|part| !part.value.is_empty())
            .map_or(self.position, |part| part.position)
    }

    /// What Consul takes and layer 4 cannot do.
    fn check_layer(&self, index: usize) -> Result<(), ConfigError> {
        for (place, name) in [(&self.namespace, "Namespace"), (&self.partition, "Partition")] {
            if !matches!(place.value.as_str(), "" | "default") {
                return broken(
                    place,
                    format!("Splits[{index}]: Setting {name} requires Consul Enterprise"),
                );
            }
        }
        let Some((position, name)) = self.headers else { return Ok(()) };
        let text =
            format!("splits[{index}].{name} is not supported: changing headers needs layer 7");
        Err(ConfigError::at(position, text))
    }
}

impl SplitterDraft {
    /// Checks all rules.
    pub(in crate::entry) fn settle(
        self,
        warnings: &mut Vec<ConfigError>,
    ) -> Result<Splitter, ConfigError> {
        let head = self.head;
        head.check_name()?;
        let Some(last) = self.splits.last() else {
            return Err(ConfigError::at(head.position, "no splits configured"));
        };
        head.check_meta()?;
        let mut seen = BTreeSet::new();
        let mut weights = Vec::new();
        for draft in &self.splits {
            let service = &draft.service.value;
            let service = if service.is_empty() { &head.name } else { service };
            let subset = &draft.service_subset.value;
            let (namespace, partition) = (&draft.namespace.value, &draft.partition.value);
            if !seen.insert((service, subset, namespace, partition)) {
                let text = format!(
                    "split destination occurs more than once: service={service:?}, \
                     subset={subset:?}, namespace={namespace:?}, partition={partition:?}"
                );
                return Err(ConfigError::at(draft.target(), text));
            }
            let weight = units_of(draft.weight.value);
            weights
                .push(weight.ok_or_else(|| ConfigError::at(draft.weight.position, WEIGHT_RANGE))?);
        }
        check_sum(&weights).map_err(|text| ConfigError::at(last.weight.position, text))?;
        for (draft, index) in self.splits.iter().zip(0_usize..) {
            draft.check_layer(index)?;
        }
        let splits = self.splits.into_iter().zip(weights).map(|(draft, weight)| Split {
            weight,
            service: draft.service.value,
            service_subset: draft.service_subset.value,
        });
        let splitter = Splitter { name: head.name, splits: splits.collect(), meta: head.meta };
        let on_empty = splitter.meta.get(ON_EMPTY).map_or("", String::as_str);
        if !matches!(on_empty, "" | "reset" | "redistribute") {
            let text = format!(
                "meta {ON_EMPTY} {on_empty:?} is neither \"reset\" nor \"redistribute\": it counts as \
                 \"reset\""
            );
            warnings.push(ConfigError::at(head.meta_position, text));
        }
        Ok(splitter)
    }
}
