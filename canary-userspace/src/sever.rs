//! Ending live connections on purpose: which, and at what pace.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::compile::{Affinity, DesiredService, SplitKey};
use crate::entry::Units;

/// Connections in a second at most: more is no pace.
const MOST: u32 = 1_000_000;

/// How fast connections are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// So many in a second.
    PerSecond(u32),
    /// So many percent of those that are found in a second.
    Percent(u32),
    /// All at once.
    All,
}

impl Default for Rate {
    /// Ten seconds for all of them.
    fn default() -> Self {
        Self::Percent(10)
    }
}

impl Rate {
    /// How many of `found` connections end in a second; `None` for all at once.
    #[must_use]
    pub fn per_second(self, found: u64) -> Option<u64> {
        match self {
            Self::PerSecond(number) => Some(number.into()),
            Self::Percent(percent) => {
                Some(found.saturating_mul(percent.into()).div_ceil(100).max(1))
            }
            Self::All => None,
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSecond(number) => write!(f, "{number}/s"),
            Self::Percent(percent) => write!(f, "{percent}%/s"),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let wrong = || format!("{text:?} is no pace, as 10%/s, 50/s and all are");
        let number = text.strip_suffix("/s").ok_or_else(wrong)?;
        let (digits, most, unit, rate): (_, _, _, fn(u32) -> Self) = match number.strip_suffix('%')
        {
            Some(digits) => (digits, 100, "%/s", Self::Percent),
            None => (number, MOST, "/s", Self::PerSecond),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        match digits.parse() {
            Ok(0) => Err(format!("pace {text:?} ends nothing")),
            Ok(number) if number <= most => Ok(rate(number)),
            _ => Err(format!("pace {text:?} is more than {most}{unit}")),
        }
    }
}

/// Which connections of a service end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those of splits without a share.
    Shareless,
    /// The same, and those of backends that take no new ones.
    Unwanted,
    /// Those of the splits with this subset, or to this service.
    Subset(String),
    /// Those of one backend.
    Backend(SocketAddr),
    /// Those that a draw with the weights in force would send to another split, as far as their
    /// split has more than its share.
    Surplus,
}

/// A share of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whose.
    pub key: SplitKey,
    /// In ten-thousandths.
    pub units: Units,
}

/// Connections that are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The service.
    pub service: String,
    /// Which of its connections.
    pub which: Which,
    /// The splits with a share, in the order of their thresholds.
    pub shares: Vec<Share>,
    /// What the service's clients keep their backend by.
    pub affinity: Affinity,
    /// How fast.
    pub rate: Rate,
    /// They are only counted.
    pub dry_run: bool,
}

impl Order {
    /// An order for a service as it is in force, or will be.
    #[must_use]
    pub fn new(service: &DesiredService, which: Which, rate: Rate) -> Self {
        Self {
            service: service.name.clone(),
            which,
            shares: shares(service),
            affinity: service.affinity,
            rate,
            dry_run: false,
        }
    }
}

/// The splits of a service that have a share, in the order of their thresholds.
#[must_use]
pub fn shares(service: &DesiredService) -> Vec<Share> {
    let splits = service.splits_with_share().into_iter();
    splits.map(|split| Share { key: split.key.clone(), units: split.share }).collect()
}

/// Connections of a split by protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// TCP.
    pub tcp: u64,
    /// UDP.
    pub udp: u64,
}

impl Found {
    /// Both.
    #[must_use]
    pub fn total(self) -> u64 {
        self.tcp.saturating_add(self.udp)
    }
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Connections were counted, and nothing was ended.
    Counted,
    /// Connections are being ended.
    #[default]
    Running,
    /// None is left.
    Done,
    /// The shares have changed before all were ended: the rest stays.
    Stopped,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counted => "counted",
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
        })
    }
}

/// What has become of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Connections that were found, by split.
    pub found: BTreeMap<SplitKey, Found>,
    /// The pace.
    pub rate: Rate,
    /// The pace in connections a second; `None` for all at once.
    pub per_second: Option<u64>,
    /// Connections that were ended.
    pub ended: u64,
    /// Connections that had gone by themselves when it was their turn.
    pub gone: u64,
    /// Connections whose turn is still to come.
    pub left: u64,
    /// How far it is.
    pub stage: Stage,
}

impl Progress {
    /// Connections that were found.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.found.values().map(|found| found.total()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paces_read_as_they_are_written() {
        for (text, rate) in [
            ("10%/s", Rate::Percent(10)),
            ("100%/s", Rate::Percent(100)),
            ("1/s", Rate::PerSecond(1)),
            ("1000000/s", Rate::PerSecond(MOST)),
            ("all", Rate::All),
        ] {
            assert_eq!(text.parse(), Ok(rate));
            assert_eq!(rate.to_string(), text);
        }
        for wrong in [
            "",
            "10",
            "/s",
            "%/s",
            "0/s",
            "0%/s",
            "-1/s",
            "+1/s",
            "101%/s",
            "1000001/s",
            "1.5/s",
            "10/m",
            "ALL",
        ] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
        assert_eq!("0/s".parse::<Rate>().unwrap_err(), "pace \"0/s\" ends nothing");
    }

    #[test]
    fn a_share_of_few_connections_is_one_at_least() {
        assert_eq!(Rate::Percent(10).per_second(41), Some(5));
        assert_eq!(Rate::Percent(1).per_second(3), Some(1));
        assert_eq!(Rate::Percent(10).per_second(0), Some(1));
        assert_eq!(Rate::PerSecond(7).per_second(1000), Some(7));
        assert_eq!(Rate::All.per_second(1000), None);
    }
}
