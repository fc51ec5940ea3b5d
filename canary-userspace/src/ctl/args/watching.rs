//! Arguments of verbs that look at connections and packets.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args};

use crate::ctl::client::escape;
use crate::ctl::top::Sort;
use crate::seen::{ClientFilter, EVENTS, KINDS, STATES, reasons};

/// Whose connections are wanted.
#[derive(Clone, Debug, Default, Args)]
pub struct Whose {
    /// Only of this service: that clients connect to, or that they are sent to
    pub service: Option<String>,
    /// Only those sent to this subset
    #[arg(long, value_name = "SUBSET")]
    pub subset: Option<String>,
    /// Only of these clients: ADDRESS, ADDRESS/LENGTH or ADDRESS:PORT
    #[arg(long, value_name = "CLIENT", value_parser = parse_client)]
    pub client: Option<String>,
}

impl Whose {
    /// The parameters that say so.
    #[must_use]
    pub fn parameters(&self) -> Vec<Option<String>> {
        let named =
            [("service", &self.service), ("subset", &self.subset), ("client", &self.client)];
        named.map(|(name, value)| value.as_ref().map(|value| parameter(name, value))).into()
    }
}

/// A parameter of a query.
#[must_use]
pub fn parameter(name: &str, value: &str) -> String {
    format!("{name}={}", escape(value))
}

/// `flows`
#[derive(Clone, Debug, Args)]
pub struct Flows {
    /// Whose.
    #[command(flatten)]
    pub whose: Whose,
    /// Only entries of this kind; may be repeated
    #[arg(long, value_name = "KIND", action = ArgAction::Append,
          value_parser = PossibleValuesParser::new(KINDS.map(|(word, _)| word)))]
    pub kind: Vec<String>,
    /// Only connections in this state; may be repeated
    #[arg(long, value_name = "STATE", action = ArgAction::Append,
          value_parser = PossibleValuesParser::new(STATES.map(|(word, _)| word)))]
    pub state: Vec<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `observe`
#[derive(Clone, Debug, Args)]
pub struct Observe {
    /// Whose.
    #[command(flatten)]
    pub whose: Whose,
    /// Only this kind; may be repeated: connection, clash, reset, refused and dropped where absent
    #[arg(long, value_name = "KIND", action = ArgAction::Append,
          value_parser = PossibleValuesParser::new(EVENTS.map(|(word, _)| word)))]
    pub kind: Vec<String>,
    /// Only packets that were not forwarded for this reason; may be repeated
    #[arg(long, value_name = "REASON", action = ArgAction::Append,
          value_parser = PossibleValuesParser::new(reasons().into_iter().map(|(word, _)| word)))]
    pub reason: Vec<String>,
    /// Only one of N new connections; of what goes wrong always all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub sample: Option<u32>,
    /// End after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print one JSON document a line
    #[arg(long)]
    pub json: bool,
}

/// `top`
#[derive(Clone, Copy, Debug, Args)]
pub struct Top {
    /// What comes first
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    pub sort: Sort,
    /// Time between two looks
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = super::parse_duration)]
    pub interval: Duration,
    /// Print a table of one interval and end, as without a terminal
    #[arg(long)]
    pub once: bool,
    /// Print one JSON document of one interval
    #[arg(long)]
    pub json: bool,
}

fn parse_client(text: &str) -> Result<String, String> {
    text.parse::<ClientFilter>().map(|_| text.to_owned())
}
