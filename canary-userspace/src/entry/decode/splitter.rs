//! `service-splitter`.

use super::head;
use crate::entry::validate::{SplitDraft, SplitterDraft};
use crate::entry::{Decoded, Entry, Places};
use crate::error::ConfigError;
use crate::syntax::{Fields, Remarks};

/// Changes of headers.
const HEADERS: [(&str, &str); 2] =
    [("RequestHeaders", "request_headers"), ("ResponseHeaders", "response_headers")];

/// Reads a splitter.
pub(super) fn decode(mut fields: Fields<'_>, mut remarks: Remarks) -> Result<Decoded, ConfigError> {
    let head = head(&mut fields, &mut remarks)?;
    let mut splits = Vec::new();
    for (element, index) in fields.list("Splits", "splits", &mut remarks).into_iter().zip(0_usize..)
    {
        let inner = Fields::of(element, format!("Splits[{index}]"), &mut remarks)?;
        splits.push(split(inner, &mut remarks)?);
    }
    fields.finish(&mut remarks);
    let mut warnings = remarks.settle()?;
    let places =
        Places { name: head.position, splits: splits.iter().map(SplitDraft::target).collect() };
    let splitter =
        SplitterDraft { head, splits }.settle(&mut warnings).map_err(ConfigError::of_rule)?;
    Ok(Decoded { entry: Entry::Splitter(splitter), places, warnings })
}

fn split(mut fields: Fields<'_>, remarks: &mut Remarks) -> Result<SplitDraft, ConfigError> {
    let draft = SplitDraft {
        position: fields.position(),
        weight: fields.number("Weight", "weight", remarks)?,
        service: fields.string("Service", "service", remarks)?,
        service_subset: fields.string("ServiceSubset", "service_subset", remarks)?,
        namespace: fields.string("Namespace", "namespace", remarks)?,
        partition: fields.string("Partition", "partition", remarks)?,
        headers: HEADERS.iter().fold(None, |first, (canonical, alias)| {
            let position = fields.present(canonical, alias);
            first.or(position.map(|position| (position, *alias)))
        }),
    };
    fields.finish(remarks);
    Ok(draft)
}
