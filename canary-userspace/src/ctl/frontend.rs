//! A virtual address as people write it, with what is unusual about it.

use std::fmt::Write as _;

use crate::document::Frontend;
use crate::entry::TrafficPolicy;

pub(super) fn line(of: &Frontend) -> String {
    let Frontend { address, port, protocol, .. } = of;
    let (open, close) = if address.contains(':') { ("[", "]") } else { ("", "") };
    let mut line = format!("{open}{address}{close}:{port}/{protocol}");
    for remark in [elsewhere(of), policies(of)].into_iter().flatten() {
        // Writing to a string cannot fail.
        _ = write!(line, " ({remark})");
    }
    line
}

/// How backends elsewhere are asked for clients outside.
fn elsewhere(of: &Frontend) -> Option<String> {
    let source = of.source.as_ref()?;
    Some(if of.direct_return {
        format!("elsewhere by IP in IP from {source}")
    } else {
        format!("elsewhere as {source}")
    })
}

/// Both policies, where not all clients are given all backends.
fn policies(of: &Frontend) -> Option<String> {
    let policies = [&of.internal_traffic_policy, &of.external_traffic_policy];
    match policies.map(|policy| policy == TrafficPolicy::Local.word()) {
        [false, false] => None,
        [true, false] => Some("internal: Local".to_owned()),
        [false, true] => Some("external: Local".to_owned()),
        [true, true] => Some("internal and external: Local".to_owned()),
    }
}
