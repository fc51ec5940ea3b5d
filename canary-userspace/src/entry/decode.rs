//! Values to entries: fields by name, then the rules.

mod defaults;

use std::collections::BTreeMap;

use super::validate::{self, Draft, Name};
use super::{Decoded, Entry, Places, Resolver, Split, Splitter, Subset, kinds};
use crate::error::ConfigError;
use crate::syntax::{Fields, Remarks, Value};

/// What every entry may say beside its own matters; the indices are the server's.
const IGNORED: [(&str, &str); 3] =
    [("CreateIndex", "create_index"), ("ModifyIndex", "modify_index"), ("Hash", "hash")];

/// Fields of a resolver that Consul has and this agent does not.
const RESOLVER_LATER: [(&str, &str); 6] = [
    ("Redirect", "redirect"),
    ("Failover", "failover"),
    ("ConnectTimeout", "connect_timeout"),
    ("RequestTimeout", "request_timeout"),
    ("PrioritizeByLocality", "prioritize_by_locality"),
    ("LoadBalancer", "load_balancer"),
];

/// Fields of a split that Consul has and this agent does not.
const SPLIT_LATER: [(&str, &str); 2] =
    [("RequestHeaders", "request_headers"), ("ResponseHeaders", "response_headers")];

/// Reads an entry of any kind.
pub(super) fn decode(value: &Value) -> Result<Decoded, ConfigError> {
    let (kind, item) = kinds::kind_of(value)?;
    if let Some(error) = kinds::set_aside(value) {
        return Err(error);
    }
    let mut remarks = Remarks::default();
    let mut fields = Fields::of(value, "", &mut remarks)?;
    fields.string("Kind", "kind", &mut remarks)?;
    for (canonical, alias) in IGNORED {
        fields.take(canonical, alias);
    }
    match kind {
        kinds::RESOLVER => resolver(fields, remarks),
        kinds::SPLITTER => splitter(fields, remarks),
        kinds::DEFAULTS => defaults::service(fields, remarks),
        kinds::PROXY => defaults::proxy(fields, remarks),
        _ => {
            let text = format!("invalid config entry kind: {kind}");
            Err(ConfigError::at(item.value.position, text))
        }
    }
}

/// What all kinds have: the name, the meta, and where Enterprise would put the entry.
fn head(
    fields: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<(Name, BTreeMap<String, String>), ConfigError> {
    let name = fields.string("Name", "name", remarks)?;
    let meta_position = fields.position_of("Meta", "meta");
    let meta = fields.string_map("Meta", "meta", remarks)?;
    tenancy(fields, remarks)?;
    Ok((Name { value: name.value, position: name.position, meta_position }, meta))
}

/// Namespace and partition: only the default one of each is here.
fn tenancy(fields: &mut Fields<'_>, remarks: &mut Remarks) -> Result<(), ConfigError> {
    for (canonical, alias) in [("Namespace", "namespace"), ("Partition", "partition")] {
        let place = fields.string(canonical, alias, remarks)?;
        if !matches!(place.value.as_str(), "" | "default") {
            let text = format!("{alias} {:?} is not supported yet", place.value);
            remarks.refuse(place.position, text);
        }
    }
    Ok(())
}

fn resolver(mut fields: Fields<'_>, mut remarks: Remarks) -> Result<Decoded, ConfigError> {
    let (name, meta) = head(&mut fields, &mut remarks)?;
    let default_subset = fields.string("DefaultSubset", "default_subset", &mut remarks)?;
    let mut subsets = BTreeMap::new();
    for (key, item) in fields.map("Subsets", "subsets", &mut remarks)? {
        let path = format!("Subsets[{key}]");
        let mut inner = Fields::of(&item.value, path, &mut remarks)?;
        let filter = inner.string("Filter", "filter", &mut remarks)?;
        inner.refuse(&[("OnlyPassing", "only_passing")], &mut remarks);
        inner.finish(&mut remarks);
        subsets.insert(key.to_owned(), (item.position, filter));
    }
    fields.refuse(&RESOLVER_LATER, &mut remarks);
    fields.finish(&mut remarks);
    let mut warnings = remarks.settle()?;
    validate::resolver(&name, &meta, &default_subset, &subsets, &mut warnings)
        .map_err(ConfigError::of_rule)?;
    let subsets = subsets
        .into_iter()
        .map(|(key, (_, filter))| (key, Subset { filter: filter.value, only_passing: false }));
    let entry = Resolver {
        name: name.value,
        default_subset: default_subset.value,
        subsets: subsets.collect(),
        meta,
        ..Resolver::default()
    };
    let places = Places { name: name.position, splits: Vec::new() };
    Ok(Decoded { entry: Entry::Resolver(entry), places, warnings })
}

fn splitter(mut fields: Fields<'_>, mut remarks: Remarks) -> Result<Decoded, ConfigError> {
    let (name, meta) = head(&mut fields, &mut remarks)?;
    let mut drafts = Vec::new();
    for (element, index) in fields.list("Splits", "splits", &mut remarks).into_iter().zip(0_usize..)
    {
        let path = format!("Splits[{index}]");
        let mut inner = Fields::of(element, path, &mut remarks)?;
        let weight = inner.number("Weight", "weight", &mut remarks)?;
        let service = inner.string("Service", "service", &mut remarks)?;
        let service_subset = inner.string("ServiceSubset", "service_subset", &mut remarks)?;
        tenancy(&mut inner, &mut remarks)?;
        inner.refuse(&SPLIT_LATER, &mut remarks);
        drafts.push(Draft { position: inner.position(), weight, service, service_subset });
        inner.finish(&mut remarks);
    }
    fields.finish(&mut remarks);
    let warnings = remarks.settle()?;
    let weights = validate::splitter(&name, &meta, &drafts).map_err(ConfigError::of_rule)?;
    let places = Places { name: name.position, splits: drafts.iter().map(Draft::target).collect() };
    let splits = drafts.into_iter().zip(weights).map(|(draft, weight)| Split {
        weight,
        service: draft.service.value,
        service_subset: draft.service_subset.value,
    });
    let entry = Splitter { name: name.value, splits: splits.collect(), meta };
    Ok(Decoded { entry: Entry::Splitter(entry), places, warnings })
}
