//! Values to entries: fields by name, then the rules.

mod balancer;
mod defaults;
mod resolver;
mod splitter;

use super::validate::Head;
use super::{Decoded, kinds};
use crate::error::ConfigError;
use crate::syntax::{Fields, Remarks, Value};

/// What every entry may say beside its own matters; the indices are the server's.
const IGNORED: [(&str, &str); 3] =
    [("CreateIndex", "create_index"), ("ModifyIndex", "modify_index"), ("Hash", "hash")];

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
        kinds::RESOLVER => resolver::decode(fields, remarks),
        kinds::SPLITTER => splitter::decode(fields, remarks),
        kinds::DEFAULTS => defaults::service(fields, remarks),
        kinds::PROXY => defaults::proxy(fields, remarks),
        _ => {
            let text = format!("invalid config entry kind: {kind}");
            Err(ConfigError::at(item.value.position, text))
        }
    }
}

/// What all kinds have: the name, the meta, and where Enterprise would put the entry.
fn head(fields: &mut Fields<'_>, remarks: &mut Remarks) -> Result<Head, ConfigError> {
    let name = fields.string("Name", "name", remarks)?;
    let meta_position = fields.position_of("Meta", "meta");
    let meta = fields.string_map("Meta", "meta", remarks)?;
    tenancy(fields, remarks)?;
    Ok(Head { name: name.value, position: name.position, meta, meta_position })
}

/// Namespace and partition: to Consul's free edition they are unknown keys. The name of the one
/// that is always there does no harm.
fn tenancy(fields: &mut Fields<'_>, remarks: &mut Remarks) -> Result<(), ConfigError> {
    for (canonical, alias, hint) in [
        ("Namespace", "namespace", ", namespaces are a consul enterprise feature"),
        ("Partition", "partition", ""),
    ] {
        let position = fields.position_of(canonical, alias);
        let place = fields.string(canonical, alias, remarks)?;
        if !matches!(place.value.as_str(), "" | "default") {
            remarks.strange(position, format!("invalid config key {alias:?}{hint}"));
        }
    }
    Ok(())
}
