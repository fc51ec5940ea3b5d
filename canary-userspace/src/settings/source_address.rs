//! The node's own addresses from which backends elsewhere are asked for clients outside.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Deserialize;

/// Where the addresses come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SourceAddress {
    /// From the routes to the backends.
    #[default]
    Auto,
    /// There are none: frontends with backends elsewhere are left to others.
    None,
    /// These, at least one.
    These {
        /// Of IPv4.
        v4: Option<Ipv4Addr>,
        /// Of IPv6.
        v6: Option<Ipv6Addr>,
    },
}

impl FromStr for SourceAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let (mut v4, mut v6) = (None, None);
        for part in text.split(',') {
            let address: IpAddr = part.trim().parse().map_err(|_| {
                format!("\"{}\" is not an address; expected auto, none or ADDR[,ADDR]", part.trim())
            })?;
            if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
                return Err(format!("{address} is no address that a backend elsewhere can answer"));
            }
            let twice = match address {
                IpAddr::V4(address) => v4.replace(address).is_some(),
                IpAddr::V6(address) => v6.replace(address).is_some(),
            };
            if twice {
                return Err(format!("{address} is the second address of its family; one is used"));
            }
        }
        Ok(Self::These { v4, v6 })
    }
}

impl TryFrom<String> for SourceAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for SourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::These { v4: Some(v4), v6: Some(v6) } => write!(f, "{v4},{v6}"),
            Self::These { v4: Some(v4), v6: None } => write!(f, "{v4}"),
            Self::These { v4: None, v6: Some(v6) } => write!(f, "{v6}"),
            Self::These { v4: None, v6: None } => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_a_family_at_most_and_each_reachable() {
        for text in ["auto", "none", "192.0.2.1", "2001:db8::1", "192.0.2.1,2001:db8::1"] {
            let source: SourceAddress = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
        }
        assert_eq!(
            "2001:db8::1, 192.0.2.1".parse::<SourceAddress>().unwrap(),
            SourceAddress::These {
                v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
                v6: Some("2001:db8::1".parse().unwrap()),
            }
        );
        for (text, word) in [
            ("", "not an address"),
            ("eth0", "expected auto, none or ADDR"),
            ("192.0.2.1,192.0.2.2", "second address"),
            ("0.0.0.0", "can answer"),
            ("::1", "can answer"),
            ("224.0.0.1", "can answer"),
        ] {
            let error = text.parse::<SourceAddress>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
