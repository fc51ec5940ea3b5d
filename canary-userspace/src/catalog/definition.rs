//! Service definitions: Consul's `service` blocks, and the body of a registration.

mod check;
mod probe;
mod upstream;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

pub use self::check::{lone_check, maintenance, parse_check};
use super::{Instance, Weights};
use crate::error::ConfigError;
use crate::syntax::{self, Fields, Item, Placed, Remarks, Value};

/// What Consul says of a check's initial state that there is not.
const BAD_STATUS: &str = "Status for checks must 'passing', 'warning', 'critical'";

/// Weights are 16 bits wide in Consul.
const MAX_WEIGHT: i64 = 65_535;

/// Fields of a service that Consul has and this agent does not.
const SERVICE_LATER: [(&str, &str); 8] = [
    ("EnableTagOverride", "enable_tag_override"),
    ("Kind", "kind"),
    ("Proxy", "proxy"),
    ("SocketPath", "socket_path"),
    ("Token", "token"),
    ("Locality", "locality"),
    ("Namespace", "namespace"),
    ("Ports", "ports"),
];

/// Reads the body of `PUT /v1/agent/service/register`: one service, JSON or HCL.
///
/// # Errors
///
/// What is wrong and where.
pub fn parse_registration(body: &[u8]) -> Result<Instance, ConfigError> {
    let mut remarks = Remarks::default();
    let instance = service(&syntax::parse(body)?, "", &mut remarks)?;
    remarks.settle()?;
    Ok(instance)
}

/// Reads one service; `path` is what messages call it.
///
/// # Errors
///
/// A value that is missing or of the wrong type; unknown keys and fields that are not
/// supported go to `remarks`.
pub fn service(value: &Value, path: &str, remarks: &mut Remarks) -> Result<Instance, ConfigError> {
    let mut fields = Fields::of(value, path, remarks)?;
    let name = fields.string("Name", "name", remarks)?;
    if name.value.is_empty() {
        return Err(ConfigError::at(name.position, "Missing service name").of_rule());
    }
    let id = fields.string("ID", "id", remarks)?.value;
    let address = fields.string("Address", "address", remarks)?;
    let port = fields.integer("Port", "port", remarks)?;
    let tags = fields.strings("Tags", "tags", remarks)?;
    let meta = fields.string_map("Meta", "meta", remarks)?;
    let tagged_addresses = tagged_addresses(&mut fields, remarks)?;
    let weights = match fields.object("Weights", "weights", remarks)? {
        Some(inner) => weights(inner, remarks)?,
        None => Weights::default(),
    };
    let mut drafts = Vec::new();
    for (canonical, alias) in [("Check", "check"), ("Checks", "checks")] {
        let path = fields.path_of(canonical);
        for element in fields.list(canonical, alias, remarks) {
            let inner = Fields::of(element, path.as_str(), remarks)?;
            drafts.extend(check::draft(inner, BAD_STATUS, remarks)?);
        }
    }
    let upstreams = match fields.object("Connect", "connect", remarks)? {
        Some(inner) => upstream::of_connect(inner, remarks)?,
        None => Vec::new(),
    };
    fields.refuse(&SERVICE_LATER, remarks);
    fields.finish(remarks);
    let id = if id.is_empty() { name.value.clone() } else { id };
    Ok(Instance {
        checks: check::of_service(drafts, &name.value, &id)?,
        id,
        service: name.value,
        address: (!address.value.is_empty())
            .then(|| required::<IpAddr>(&address, "address", "an IP address"))
            .transpose()?,
        port: port_number(&port, "port")?,
        tags,
        meta: meta.into(),
        tagged_addresses: tagged_addresses.into(),
        weights,
        upstreams: upstreams.into(),
    })
}

/// A text that must be there and be a `T`.
fn required<T: FromStr>(text: &Placed<String>, name: &str, wanted: &str) -> Result<T, ConfigError> {
    if text.value.is_empty() {
        return Err(ConfigError::at(text.position, format!("{name} is required: {wanted}")));
    }
    text.value.parse().map_err(|_| {
        ConfigError::at(text.position, format!("{name} {:?} is not {wanted}", text.value))
    })
}

/// A port that can be connected to.
fn port_number(port: &Placed<Option<i64>>, name: &str) -> Result<u16, ConfigError> {
    let Some(number) = port.value else {
        return Err(ConfigError::at(port.position, format!("{name} is required: 1 to 65535")));
    };
    u16::try_from(number).ok().filter(|number| *number != 0).ok_or_else(|| {
        ConfigError::at(port.position, format!("{name} {number} is not between 1 and 65535"))
    })
}

fn tagged_addresses(
    fields: &mut Fields<'_>,
    remarks: &mut Remarks,
) -> Result<BTreeMap<String, SocketAddr>, ConfigError> {
    let path = fields.path_of("TaggedAddresses");
    let map = fields.map("TaggedAddresses", "tagged_addresses", remarks)?;
    let mut addresses = BTreeMap::new();
    for (tag, Item { value, .. }) in map {
        let mut inner = Fields::of(value, format!("{path}[{tag}]"), remarks)?;
        let address = inner.string("Address", "address", remarks)?;
        let port = inner.integer("Port", "port", remarks)?;
        inner.finish(remarks);
        let what = format!("tagged address {tag:?}: address");
        let ip: IpAddr = required(&address, &what, "an IP address")?;
        let port = port_number(&port, &format!("tagged address {tag:?}: port"))?;
        addresses.insert(tag.to_owned(), SocketAddr::new(ip, port));
    }
    Ok(addresses)
}

fn weights(mut fields: Fields<'_>, remarks: &mut Remarks) -> Result<Weights, ConfigError> {
    let passing = fields.integer("Passing", "passing", remarks)?;
    let warning = fields.integer("Warning", "warning", remarks)?;
    fields.finish(remarks);
    let read = |weight: &Placed<Option<i64>>, least: i64, low: &str| {
        let number = weight.value.unwrap_or(1);
        let text = match u32::try_from(number) {
            Ok(legal) if (least..=MAX_WEIGHT).contains(&number) => return Ok(legal),
            _ if number < least => low,
            _ => "DNS Weight must be between 0 and 65535",
        };
        Err(ConfigError::at(weight.position, format!("Invalid Weights: {text}")).of_rule())
    };
    Ok(Weights {
        passing: read(&passing, 1, "Passing must be greater than 0")?,
        warning: read(&warning, 0, "Warning must be greater or equal than 0")?,
    })
}

#[cfg(test)]
mod tests;
