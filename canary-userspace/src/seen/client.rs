//! Clients by address, by range of addresses, or by address and port.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use canary_common::endpoint::Endpoint;

/// Which clients are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientFilter {
    /// The first of the addresses, as the tables have them.
    address: u128,
    /// How many of its bits count.
    mask: u128,
    /// The port, network order; any where absent.
    port: Option<[u8; 2]>,
}

impl ClientFilter {
    /// Whether a client is meant.
    #[must_use]
    pub fn matches(&self, client: &Endpoint) -> bool {
        (u128::from_be_bytes(client.address.0) ^ self.address) & self.mask == 0
            && self.port.is_none_or(|port| port == client.port)
    }
}

impl FromStr for ClientFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "client must be ADDRESS, ADDRESS/LENGTH or ADDRESS:PORT, as 10.0.0.7, 10.0.0.0/8 \
                 and [fd00::7]:51234 are, not {text:?}"
            )
        };
        if let Ok(socket) = text.parse::<SocketAddr>() {
            let port = Some(socket.port().to_be_bytes());
            return Ok(Self { port, ..Self::range(socket.ip(), None).ok_or_else(wrong)? });
        }
        let (address, length) = match text.split_once('/') {
            None => (text, None),
            Some((address, length)) => (address, Some(length.parse().map_err(|_| wrong())?)),
        };
        let address = address.parse().map_err(|_| wrong())?;
        Self::range(address, length).ok_or_else(wrong)
    }
}

impl ClientFilter {
    /// The addresses that share so many bits with this one; `None` if it has not so many.
    fn range(address: IpAddr, length: Option<u32>) -> Option<Self> {
        let (address, bits) = match address {
            IpAddr::V4(address) => (address.to_ipv6_mapped(), 32_u32),
            IpAddr::V6(address) => (address, 128),
        };
        let ignored = bits.checked_sub(length.unwrap_or(bits))?;
        let mask = u128::MAX.checked_shl(ignored).unwrap_or(0);
        Some(Self { address: address.to_bits(), mask, port: None })
    }
}

#[cfg(test)]
mod tests {
    use canary_common::endpoint::TCP;

    use super::*;
    use crate::compile::endpoint;

    fn matches(filter: &str, client: &str) -> bool {
        let client: SocketAddr = client.parse().unwrap();
        let filter: ClientFilter = filter.parse().unwrap();
        filter.matches(&endpoint(client.ip(), client.port(), TCP))
    }

    #[test]
    fn addresses_ranges_and_ports_of_both_families() {
        assert!(matches("10.0.0.7", "10.0.0.7:5"));
        assert!(!matches("10.0.0.7", "10.0.0.8:5"));
        assert!(matches("10.0.0.7:5", "10.0.0.7:5"));
        assert!(!matches("10.0.0.7:5", "10.0.0.7:6"));
        assert!(matches("10.0.0.0/8", "10.9.9.9:1"));
        assert!(!matches("10.0.0.0/8", "11.0.0.0:1"));
        assert!(matches("0.0.0.0/0", "1.2.3.4:1"));
        assert!(!matches("0.0.0.0/0", "[fd00::1]:1"), "the other family");
        assert!(matches("::/0", "[fd00::1]:1"));
        assert!(matches("fd00::/64", "[fd00::1]:1"));
        assert!(!matches("fd00::/64", "[fd00:0:0:1::1]:1"));
        assert!(matches("[fd00::1]:80", "[fd00::1]:80"));
    }

    #[test]
    fn what_names_no_client_is_refused() {
        for wrong in
            ["", "10.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0.7:99999", "web", "1.2.3.4/x"]
        {
            let refused = wrong.parse::<ClientFilter>().unwrap_err();
            assert!(refused.ends_with(&format!("not {wrong:?}")), "{refused}");
        }
    }
}
