//! Netfilter of a namespace: rules as `nft` reads them, and what they counted.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::namespace::Namespace;

impl Namespace {
    /// Adds rules, written as in a file of `nft`.
    ///
    /// # Errors
    ///
    /// If `nft` is missing or refuses them, with what it says.
    pub fn nft(&self, rules: &str) -> Result<()> {
        nft(self, &[rules]).map(drop)
    }

    /// Drops what comes in and is `what`, and counts it: `seen` of table `deaf`.
    ///
    /// # Errors
    ///
    /// As [`Self::nft`].
    pub fn drop_incoming(&self, what: &str) -> Result<()> {
        self.nft(&format!(
            "table inet deaf {{ counter seen {{ }}
               chain in {{ type filter hook input priority filter;
                 {what} counter name seen drop
               }}
             }}"
        ))
    }

    /// Counts what goes out and is `what`: `seen` of table `asks`.
    ///
    /// # Errors
    ///
    /// As [`Self::nft`].
    pub fn count_outgoing(&self, what: &str) -> Result<()> {
        self.nft(&format!(
            "table inet asks {{ counter seen {{ }}
               chain out {{ type filter hook output priority filter;
                 {what} counter name seen
               }}
             }}"
        ))
    }

    /// Packets that a named counter of an `inet` table has seen.
    ///
    /// # Errors
    ///
    /// If there is no such counter.
    pub fn counted(&self, table: &str, counter: &str) -> Result<u64> {
        let output = nft(self, &["-j", "list", "counter", "inet", table, counter])?;
        let document: Value = serde_json::from_slice(&output.stdout)?;
        let objects =
            document.get("nftables").and_then(Value::as_array).context("nft lists no objects")?;
        objects
            .iter()
            .find_map(|object| object.pointer("/counter/packets").and_then(Value::as_u64))
            .with_context(|| format!("no counter {counter} in {document}"))
    }
}

fn nft(namespace: &Namespace, arguments: &[&str]) -> Result<Output> {
    let output = namespace.output(Command::new("nft").args(arguments))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "nft in {namespace}: {}", said.trim());
    Ok(output)
}
