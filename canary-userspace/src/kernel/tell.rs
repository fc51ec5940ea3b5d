//! The row of `SETTINGS`.

use std::mem::offset_of;

use anyhow::Result;
use canary_common::endpoint::Address;
use canary_common::settings::Settings as Row;

use super::mapped::Mapped;
use super::netlink::Netlink;
use super::{node, seed};
use crate::settings::{Settings, SocketLb};

/// Writes the programs' settings.
///
/// # Errors
///
/// If the system does not tell what belongs there.
pub(super) fn tell(
    table: &Mapped<Row>,
    settings: &Settings,
    hertz: u64,
    [bucket_mask, flow_buckets]: [u32; 2],
) -> Result<()> {
    let word = |offset, value| table.store(0, offset, value);
    let wide = |offset, value| table.store_wide(0, offset, value);
    for (place, seconds) in settings.idle.by_state().into_iter().enumerate() {
        word(offset_of!(Row, idle).saturating_add(place.saturating_mul(4)), seconds)?;
    }
    // A table that is in use was hashed with the seed that is there.
    if table.load_wide(0, offset_of!(Row, flow_seed))? == 0 {
        wide(offset_of!(Row, flow_seed), node::random()?.max(1))?;
    }
    // Never 0: stale bytes of other layers are, and would pass for ours.
    if table.load(0, offset_of!(Row, sent_back))? == 0 {
        let [a, b, c, d, ..] = node::random()?.to_ne_bytes();
        word(offset_of!(Row, sent_back), u32::from_ne_bytes([a, b, c, d]).max(1))?;
    }
    word(offset_of!(Row, flow_buckets), flow_buckets)?;
    wide(offset_of!(Row, seed), seed::of(&settings.cluster_name))?;
    wide(offset_of!(Row, seconds_per_jiffy), node::seconds_per_jiffy(hertz))?;
    wide(offset_of!(Row, netns), node::netns_cookie()?)?;
    word(offset_of!(Row, ipv6_checksums), u32::from(node::knows_ipv6_checksums()))?;
    let own = Netlink::open()?.own_addresses()?;
    word(offset_of!(Row, node_v4), own.v4.map_or(0, |own| u32::from_ne_bytes(own.octets())))?;
    let v6 = Address(own.v6.map_or([0; 16], |own| own.octets()));
    for (place, half) in v6.words().into_iter().enumerate() {
        wide(offset_of!(Row, node_v6).saturating_add(place.saturating_mul(8)), half)?;
    }
    // What there is in LOCALS is there still.
    let locals = table.load(0, offset_of!(Row, sockets))? & Row::LOCALS;
    word(offset_of!(Row, sockets), locals | sockets(settings))?;
    word(offset_of!(Row, bucket_mask), bucket_mask)?;
    let ports = settings.source_ports;
    word(offset_of!(Row, first_port), u32::from(ports.first()))?;
    word(offset_of!(Row, ports), ports.count())
}

/// Whose sockets are served.
fn sockets(settings: &Settings) -> u32 {
    let all = if settings.socket_lb == SocketLb::All { Row::ALL } else { 0 };
    all | if settings.socket_lb_except.is_empty() { 0 } else { Row::EXCEPTED }
}
