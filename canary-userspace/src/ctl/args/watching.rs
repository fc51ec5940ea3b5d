//! Arguments of verbs that look at connections and packets.

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args};

use crate::ctl::client::escape;
use crate::seen::{ClientFilter, KINDS, STATES};

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

fn parse_client(text: &str) -> Result<String, String> {
    text.parse::<ClientFilter>().map(|_| text.to_owned())
}
