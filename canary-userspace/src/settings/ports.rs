//! The source ports for connections whose own is taken.

use std::fmt;
use std::str::FromStr;

use canary_common::limits;
use serde::Deserialize;

/// A range of ports, both ends included; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SourcePorts {
    first: u16,
    last: u16,
}

impl SourcePorts {
    /// A range; `None` for one that is empty or has port 0.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || first > last { None } else { Some(Self { first, last }) }
    }

    /// The first port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::from(self.last).saturating_sub(u32::from(self.first)).saturating_add(1)
    }

    /// Whether a port is in both ranges.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl Default for SourcePorts {
    fn default() -> Self {
        Self { first: limits::FIRST_PORT, last: limits::LAST_PORT }
    }
}

impl fmt::Display for SourcePorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for SourcePorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = text.split_once('-').and_then(|(first, last)| {
            Self::new(first.trim().parse().ok()?, last.trim().parse().ok()?)
        });
        range.ok_or_else(|| {
            format!(
                "\"{text}\" is no range of ports: write the first and the last, 61000-65535 say"
            )
        })
    }
}

impl TryFrom<String> for SourcePorts {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_its_first_and_its_last_port() {
        let ports: SourcePorts = "61000-65535".parse().unwrap();

        assert_eq!(ports, SourcePorts::default());
        assert_eq!((ports.first(), ports.count()), (61_000, 4_536));
        assert_eq!("7-7".parse::<SourcePorts>().unwrap().count(), 1);
        assert_eq!(ports.to_string(), "61000-65535");
    }

    #[test]
    fn an_empty_range_and_other_texts_are_refused() {
        for text in ["", "61000", "65535-61000", "0-10", "1-65536", "a-b", "1-2-3"] {
            let error = text.parse::<SourcePorts>().unwrap_err();

            assert!(error.contains(text) && error.contains("no range of ports"), "{error}");
        }
    }

    #[test]
    fn ranges_overlap_where_they_share_a_port() {
        let range = |text: &str| text.parse::<SourcePorts>().unwrap();

        assert!(range("10-20").overlaps(range("20-30")));
        assert!(range("10-20").overlaps(range("12-13")));
        assert!(!range("10-20").overlaps(range("21-30")));
    }
}
