//! Fields of an instance, its node and its checks: what a subset's filter can ask about.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::ops::Deref;

use super::Mistake;
use super::schema::{self, Step, Type};
use super::shapes::Shape;
use crate::catalog::{CheckState, Health, Pairs, Registered};

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
    /// `Checks` by itself.
    Checks,
    /// A field of the checks: it is asked of each, and one is enough.
    OfChecks(CheckField),
    /// A list that no instance of this agent has elements of.
    NoList,
    /// A field of such a list's elements: there is none to ask.
    OfNone,
}

/// The fields that are texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    NodeId,
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
    /// Consul has it, an instance of this agent never does.
    Unset,
}

/// The maps of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Map {
    ServiceMeta,
    NodeMeta,
    NodeAddresses,
}

/// The fields of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckField {
    Node,
    Id,
    Name,
    Status,
    Notes,
    Output,
    ServiceId,
    ServiceName,
    ServiceTags,
    Type,
    /// `ExposedPort`: only checks of proxies have one.
    Port,
    /// Consul has it, a check of this agent never does.
    Unset,
}

impl Subject {
    /// The field that a selector names, and its type.
    ///
    /// # Errors
    ///
    /// That it names none, in Consul's words.
    pub(super) fn of(selector: &[String]) -> Result<(Self, &'static Type), Mistake> {
        let found = schema::find(Shape::Instance, selector)?;
        let parts: Vec<&str> = selector.iter().map(String::as_str).collect();
        let known = match parts.as_slice() {
            ["Node", rest @ ..] => Self::of_node(rest),
            ["Service", rest @ ..] => Self::of_service(rest),
            ["Checks"] => Some(Self::Checks),
            ["Checks", field] => Some(Self::OfChecks(CheckField::of(field))),
            _ => None,
        };
        // What is left are the fields of proxies and of other clusters.
        let subject = known.unwrap_or_else(|| match found.of {
            _ if found.steps.contains(&Step::Each) => Self::OfNone,
            Type::Whole | Type::Natural | Type::Nanoseconds | Type::Real => {
                Self::Number(Number::Unset)
            }
            Type::Truth => Self::Truth(false),
            Type::Text => Self::Text(Text::Unset),
            Type::Words | Type::Names | Type::Map(_) | Type::List(_) | Type::Record(_) => {
                Self::NoList
            }
        });
        Ok((subject, found.of))
    }

    fn of_node(parts: &[&str]) -> Option<Self> {
        Some(match parts {
            ["ID"] => Self::Text(Text::NodeId),
            ["Node"] => Self::Text(Text::NodeName),
            ["Address"] => Self::Text(Text::NodeAddress),
            ["Datacenter"] => Self::Text(Text::Datacenter),
            ["Meta"] => Self::Map(Map::NodeMeta),
            ["Meta", key] => Self::Key(Map::NodeMeta, (*key).to_owned()),
            ["TaggedAddresses"] => Self::Map(Map::NodeAddresses),
            ["TaggedAddresses", key] => Self::Key(Map::NodeAddresses, (*key).to_owned()),
            _ => return None,
        })
    }

    fn of_service(parts: &[&str]) -> Option<Self> {
        Some(match parts {
            ["ID"] => Self::Text(Text::Id),
            ["Service"] => Self::Text(Text::Service),
            ["Address"] => Self::Text(Text::Address),
            ["Port"] => Self::Number(Number::Port),
            ["Tags"] => Self::Tags,
            ["Meta"] => Self::Map(Map::ServiceMeta),
            ["Meta", key] => Self::Key(Map::ServiceMeta, (*key).to_owned()),
            ["Weights", "Passing"] => Self::Number(Number::PassingWeight),
            ["Weights", "Warning"] => Self::Number(Number::WarningWeight),
            ["TaggedAddresses"] => Self::Addresses,
            ["TaggedAddresses", name, "Address"] => {
                Self::Text(Text::TaggedAddress((*name).to_owned()))
            }
            ["TaggedAddresses", name, "Port"] => {
                Self::Number(Number::TaggedPort((*name).to_owned()))
            }
            _ => return None,
        })
    }
}

/// A text that is kept, or an address written out where it is used: a filter is asked of ten
/// thousand instances, and none of them should cost an allocation.
#[derive(Debug)]
pub(super) enum Shown<'i> {
    /// As it is kept.
    Kept(&'i str),
    /// Written out.
    Written {
        /// Its bytes, and some more.
        bytes: [u8; MAX_ADDRESS_LEN],
        /// How many are of it.
        len: usize,
    },
}

/// Bytes of an address at most: an IPv6 address that ends in an IPv4 address.
const MAX_ADDRESS_LEN: usize = 45;

impl From<IpAddr> for Shown<'_> {
    fn from(address: IpAddr) -> Self {
        let mut shown = Self::Written { bytes: [0; MAX_ADDRESS_LEN], len: 0 };
        // There is room for every address.
        _ = write!(shown, "{address}");
        shown
    }
}

impl Write for Shown<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let Self::Written { bytes, len } = self else { return Err(fmt::Error) };
        let end = len.saturating_add(part.len());
        bytes.get_mut(*len..end).ok_or(fmt::Error)?.copy_from_slice(part.as_bytes());
        *len = end;
        Ok(())
    }
}

impl Deref for Shown<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Kept(text) => text,
            Self::Written { bytes, len } => {
                bytes.get(..*len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
            }
        }
    }
}

impl Text {
    /// The text; `None` where the instance has none.
    pub(super) fn of<'i>(&self, registered: &'i Registered) -> Option<Shown<'i>> {
        let Registered { node, instance, .. } = registered;
        Some(Shown::Kept(match self {
            Self::NodeId => &node.id,
            Self::NodeName => &node.name,
            Self::NodeAddress => &node.address,
            Self::Datacenter => &node.datacenter,
            Self::Id => &instance.id,
            Self::Service => &instance.service,
            Self::Unset => "",
            Self::Address => return Some(instance.address.map_or(Shown::Kept(""), Shown::from)),
            Self::TaggedAddress(name) => {
                return Some(instance.tagged_addresses.get(name)?.ip().into());
            }
        }))
    }
}

impl Number {
    /// The number; `None` where the instance has none.
    pub(super) fn of(&self, registered: &Registered) -> Option<i64> {
        let instance = &registered.instance;
        Some(match self {
            Self::Port => i64::from(instance.port),
            Self::PassingWeight => i64::from(instance.weights.passing),
            Self::WarningWeight => i64::from(instance.weights.warning),
            Self::TaggedPort(name) => i64::from(instance.tagged_addresses.get(name)?.port()),
            Self::Unset => 0,
        })
    }
}

impl Map {
    /// The map.
    pub(super) fn of(self, registered: &Registered) -> &Pairs<String> {
        match self {
            Self::ServiceMeta => &registered.instance.meta,
            Self::NodeMeta => &registered.node.meta,
            Self::NodeAddresses => &registered.node.tagged_addresses,
        }
    }
}

impl CheckField {
    fn of(name: &str) -> Self {
        match name {
            "Node" => Self::Node,
            "CheckID" => Self::Id,
            "Name" => Self::Name,
            "Status" => Self::Status,
            "Notes" => Self::Notes,
            "Output" => Self::Output,
            "ServiceID" => Self::ServiceId,
            "ServiceName" => Self::ServiceName,
            "ServiceTags" => Self::ServiceTags,
            "Type" => Self::Type,
            "ExposedPort" => Self::Port,
            _ => Self::Unset,
        }
    }

    /// The field of one check, where it is a text. What is about the whole node is about no
    /// service.
    pub(super) fn text<'i>(self, check: &'i CheckState, registered: &'i Registered) -> &'i str {
        let of_service = |text: &'i str| if check.of_node { "" } else { text };
        match self {
            Self::Node => &registered.node.name,
            Self::Id => &check.id,
            Self::Name => &check.name,
            Self::Status => match check.status {
                Health::Critical => "critical",
                Health::Warning => "warning",
                Health::Passing => "passing",
            },
            Self::Notes => &check.notes,
            Self::Output => &check.output,
            Self::ServiceId => of_service(&registered.instance.id),
            Self::ServiceName => of_service(&registered.instance.service),
            Self::Type => &check.kind,
            Self::ServiceTags | Self::Port | Self::Unset => "",
        }
    }
}
