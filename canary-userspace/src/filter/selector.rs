//! What a selector can name: the fields of an instance and its node.

use crate::catalog::{Instance, Node, Pairs};

/// A field, as far as an instance has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A field that is a text.
    Text(Text),
    /// A field that is a number.
    Number(Number),
    /// A field that is the same truth for every instance.
    Truth(bool),
    /// `Service.Tags`
    Tags,
    /// A map of texts, by itself.
    Map(Map),
    /// One key of a map of texts.
    Key(Map, String),
    /// `Service.TaggedAddresses` by itself.
    Addresses,
    /// A group of fields, such as `Service`: nothing can be asked about it.
    Group,
}

/// The fields that are texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    NodeName,
    NodeAddress,
    Id,
    Service,
    Address,
    Datacenter,
    TaggedAddress(String),
    /// Consul has it, an instance of this agent never does.
    Unset,
}

/// The fields that are whole numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Port,
    PassingWeight,
    WarningWeight,
    TaggedPort(String),
}

/// The maps of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Map {
    ServiceMeta,
    NodeMeta,
}

/// What Consul can select and this agent cannot yet.
const LATER: [&[&str]; 5] = [
    &["Checks"],
    &["Node", "TaggedAddresses"],
    &["Service", "Proxy"],
    &["Service", "Connect"],
    &["Service", "Locality"],
];

impl Subject {
    /// The field that a selector names.
    ///
    /// # Errors
    ///
    /// That it names none, in Consul's words; or none that this agent has.
    pub(super) fn of(selector: &[String]) -> Result<Self, String> {
        let parts: Vec<&str> = selector.iter().map(String::as_str).collect();
        if LATER.iter().any(|later| parts.starts_with(later)) {
            return Err(format!("selector {:?} is not supported yet", parts.join(".")));
        }
        Ok(match parts.as_slice() {
            ["Node" | "Service"] => Self::Group,
            ["Node", "Node"] => Self::Text(Text::NodeName),
            ["Node", "Address"] => Self::Text(Text::NodeAddress),
            ["Node", "Datacenter"] => Self::Text(Text::Datacenter),
            ["Node", "ID" | "Partition" | "PeerName"] => Self::Text(Text::Unset),
            ["Node", "Meta"] => Self::Map(Map::NodeMeta),
            ["Node", "Meta", key] => Self::Key(Map::NodeMeta, (*key).to_owned()),
            ["Service", "ID"] => Self::Text(Text::Id),
            ["Service", "Service"] => Self::Text(Text::Service),
            ["Service", "Address"] => Self::Text(Text::Address),
            ["Service", "Kind" | "SocketPath" | "PeerName"] => Self::Text(Text::Unset),
            ["Service", "Port"] => Self::Number(Number::Port),
            ["Service", "EnableTagOverride"] => Self::Truth(false),
            ["Service", "Tags"] => Self::Tags,
            ["Service", "Meta"] => Self::Map(Map::ServiceMeta),
            ["Service", "Meta", key] => Self::Key(Map::ServiceMeta, (*key).to_owned()),
            ["Service", "Weights"] | ["Service", "TaggedAddresses", _] => Self::Group,
            ["Service", "Weights", "Passing"] => Self::Number(Number::PassingWeight),
            ["Service", "Weights", "Warning"] => Self::Number(Number::WarningWeight),
            ["Service", "TaggedAddresses"] => Self::Addresses,
            ["Service", "TaggedAddresses", name, "Address"] => {
                Self::Text(Text::TaggedAddress((*name).to_owned()))
            }
            ["Service", "TaggedAddresses", name, "Port"] => {
                Self::Number(Number::TaggedPort((*name).to_owned()))
            }
            _ => return Err(invalid(&parts)),
        })
    }
}

/// The error for a selector that names nothing: its shortest start that does not.
fn invalid(parts: &[&str]) -> String {
    let wrong = (1..parts.len())
        .filter_map(|len| parts.get(..len))
        .find(|start| !is_field(start))
        .unwrap_or(parts);
    let hint = match parts {
        ["ServiceMeta" | "Meta", ..] => ": did you mean \"Service.Meta\"?",
        ["ServiceTags" | "Tags", ..] => ": did you mean \"Service.Tags\"?",
        ["NodeMeta", ..] => ": did you mean \"Node.Meta\"?",
        _ => "",
    };
    format!("Selector {:?} is not valid{hint}", wrong.join("."))
}

/// Whether these parts alone are a selector.
fn is_field(parts: &[&str]) -> bool {
    let owned: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    // A start of more parts names a field, or nothing: the recursion ends at one part.
    match parts {
        [] => false,
        ["Node" | "Service"] => true,
        [_] => false,
        _ => Subject::of(&owned).is_ok(),
    }
}

impl Text {
    /// The text; `None` where the instance has none.
    pub(super) fn of<'i>(
        &self,
        instance: &'i Instance,
        node: &'i Node,
    ) -> Option<std::borrow::Cow<'i, str>> {
        Some(match self {
            Self::NodeName => node.name.as_str().into(),
            Self::NodeAddress => node.address.as_str().into(),
            Self::Id => instance.id.as_str().into(),
            Self::Service => instance.service.as_str().into(),
            Self::Address => instance.address.map(|ip| ip.to_string()).unwrap_or_default().into(),
            Self::Datacenter => node.datacenter.as_str().into(),
            Self::TaggedAddress(name) => {
                instance.tagged_addresses.get(name)?.ip().to_string().into()
            }
            Self::Unset => "".into(),
        })
    }
}

impl Number {
    /// The number; `None` where the instance has none.
    pub(super) fn of(&self, instance: &Instance) -> Option<i64> {
        Some(match self {
            Self::Port => i64::from(instance.port),
            Self::PassingWeight => i64::from(instance.weights.passing),
            Self::WarningWeight => i64::from(instance.weights.warning),
            Self::TaggedPort(name) => i64::from(instance.tagged_addresses.get(name)?.port()),
        })
    }
}

impl Map {
    /// The map.
    pub(super) fn of<'i>(self, instance: &'i Instance, node: &'i Node) -> &'i Pairs<String> {
        match self {
            Self::ServiceMeta => &instance.meta,
            Self::NodeMeta => &node.meta,
        }
    }
}
