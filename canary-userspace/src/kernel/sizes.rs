//! How large the tables are made, and what that takes.

use anyhow::{Context, Result};
use canary_common::flows::{Bucket, PLACES};
use canary_common::limits;

use super::node;
use crate::settings::Limits;

/// Part of the machine's memory that `FLOWS` takes where no setting says otherwise.
///
/// A node of 24 GiB with eight CPUs then holds all tables in 100 MiB.
const MEMORY_PART: u64 = 720;
/// Bytes of `FLOWS` at least and at most where no setting says otherwise.
const FLOWS_BYTES: (u64, u64) = (4 << 20, 1_200 << 20);
/// Percent of the places that the connections of a setting fill: hardly one finds no place then.
const FILL: u64 = 70;
/// Entries of a connection.
const ENTRIES: u64 = 2;

/// Buckets of `FLOWS`.
///
/// # Errors
///
/// If the system does not tell how much memory there is, or a setting asks for more than can be.
pub fn flow_buckets(limits: &Limits) -> Result<u32> {
    let buckets = match limits.flows {
        Some(connections) => buckets_for(u64::from(connections)),
        None => return default_buckets(node::memory()?),
    };
    checked(buckets)
}

fn checked(buckets: u64) -> Result<u32> {
    u32::try_from(buckets).ok().filter(|buckets| *buckets <= MOST_BUCKETS).with_context(|| {
        format!("a flow table of {buckets} buckets is too large: lower `limits.flows`")
    })
}

/// A place is a bucket's number times eight, below what programs return for "none".
const MOST_BUCKETS: u32 = 1 << 28;

fn bucket_len() -> u64 {
    u64::try_from(size_of::<Bucket>()).unwrap_or(u64::MAX)
}

/// Buckets that so many connections fill to [`FILL`] percent.
fn buckets_for(connections: u64) -> u64 {
    let places = u64::try_from(PLACES).unwrap_or(1).saturating_mul(FILL);
    connections.saturating_mul(ENTRIES).saturating_mul(100).div_ceil(places).max(1)
}

/// Buckets of a machine with so much memory, in bytes, where no setting says otherwise.
///
/// # Errors
///
/// If that is more than a table can have.
pub fn default_buckets(memory: u64) -> Result<u32> {
    let (least, most) = FLOWS_BYTES;
    checked((memory / MEMORY_PART).clamp(least, most) / bucket_len())
}

/// Connections that so many buckets hold at [`FILL`] percent.
#[must_use]
pub fn connections(buckets: u32) -> u64 {
    super::flows::places(buckets).saturating_mul(FILL) / 100 / ENTRIES
}

/// Buckets of two for so many endpoints: a power of two, for a hash is masked to find one.
#[must_use]
pub fn endpoint_buckets(endpoints: u32) -> u32 {
    endpoints.div_ceil(2).max(1).checked_next_power_of_two().unwrap_or(1 << 31)
}

/// Tables by name, with their rows.
pub(super) fn rows(limits: &Limits, flow_buckets: u32) -> [(&'static str, u32); 15] {
    [
        ("CURRENT", limits.services),
        ("NAMES", limits.services),
        ("SERVICES", limits.services.saturating_mul(2)),
        ("FRONTENDS", limits.frontends),
        ("VIRTUALS", limits.frontends),
        ("BACKENDS", limits.backends),
        ("ENDPOINTS", endpoint_buckets(limits.endpoints)),
        ("SLOTS", limits.slots.div_ceil(2)),
        ("SPLITS", limits.splits),
        ("LABELS", limits.splits),
        ("STATS", limits.splits),
        ("EXCHANGES", limits.splits),
        ("HISTOGRAMS", limits.histograms),
        ("INTERFACES", limits::MAX_INTERFACES),
        ("FLOWS", flow_buckets),
    ]
}

#[cfg(test)]
mod tests {
    use canary_common::addresses;
    use canary_common::backend::{Backend, Frontend};
    use canary_common::directory::{self, OverflowKey};
    use canary_common::interface::Interface;
    use canary_common::label::{ServiceLabel, SplitLabel};
    use canary_common::service::Record;
    use canary_common::stats::{self, Counts, Histograms, SplitRow};

    use super::*;

    const GIB: u64 = 1 << 30;

    /// What the kernel accounts for one element of a hash (kernel/bpf/hashtab.c): its own 48
    /// bytes, the key and the value rounded up to eight, and a bucket of 16.
    fn element<K, V>() -> u64 {
        let rounded = |size: usize| u64::try_from(size.next_multiple_of(8)).unwrap();
        48 + rounded(size_of::<K>()) + rounded(size_of::<V>()) + 16
    }

    /// Bytes of all tables, as the kernel accounts them.
    fn bytes(limits: &Limits, flow_buckets: u32, cpus: u64) -> u64 {
        let array = |size: usize| u64::try_from(size.next_multiple_of(8)).unwrap();
        let of_rows = rows(limits, flow_buckets).map(|(table, rows)| {
            let row = match table {
                "CURRENT" => 8,
                "NAMES" => array(size_of::<ServiceLabel>()),
                "SERVICES" => array(size_of::<Record>()),
                "FRONTENDS" => array(size_of::<Frontend>()),
                "BACKENDS" => array(size_of::<Backend>()),
                "ENDPOINTS" => array(size_of::<directory::Bucket>()),
                "SLOTS" => 8,
                "SPLITS" => array(size_of::<SplitRow>()),
                "LABELS" => array(size_of::<SplitLabel>()),
                "STATS" => array(size_of::<Counts>()) * cpus + 8,
                "EXCHANGES" => array(8 * stats::EXCHANGES) * cpus + 8,
                "HISTOGRAMS" => array(size_of::<Histograms>()) * cpus + 8,
                // Of a hash that is not filled beforehand a bucket; elements come with use.
                "VIRTUALS" => 16,
                "INTERFACES" => element::<u32, Interface>(),
                "FLOWS" => bucket_len(),
                other => panic!("{other}"),
            };
            row * u64::from(rows)
        });
        let overflow = u64::from(limits::MAX_OVERFLOW) * element::<OverflowKey, u32>();
        let addresses = u64::from(addresses::ROWS) * 8;
        // Buckets alone: its elements are made as they come.
        let brought = u64::from(limits::MAX_BROUGHT) * 16;
        // As above.
        let few = limits::MAX_NAMESPACES + limits::MAX_LOCALS + limits::MAX_EXCEPTED;
        let few = u64::from(few) * 16;
        let peers = u64::from(limits::MAX_PEERS) * element::<u64, u32>();
        // SETTINGS, REASONS, REFUSALS, EVICTIONS, GRACE, and what each map takes beside its rows.
        let rest = 20 * 4096 + 64 * (8 * cpus + 8);
        // EVENTS, and the ring of aya-log.
        let rings = u64::from(limits::EVENTS_BYTES) + (128 << 10);
        of_rows.iter().sum::<u64>() + overflow + addresses + brought + few + peers + rest + rings
    }

    #[test]
    fn all_tables_of_a_node_of_24_gib_take_100_mib_at_most() {
        let limits = Limits::default();
        let buckets = default_buckets(24 * GIB).unwrap();

        for cpus in [2, 8] {
            let bytes = bytes(&limits, buckets, cpus);

            println!("{cpus} CPUs: {} KiB", bytes >> 10);
            assert!(bytes <= 100 << 20, "{cpus} CPUs: {bytes}");
        }
        println!("{} connections at 70 %", connections(buckets));
    }

    #[test]
    fn the_flow_table_follows_the_memory_within_bounds() {
        let buckets = |memory| u64::from(default_buckets(memory).unwrap());
        assert_eq!(buckets(GIB), (4 << 20) / 512);
        assert_eq!(buckets(64 * GIB), 64 * GIB / 720 / 512);
        assert_eq!(buckets(4096 * GIB), (1_200 << 20) / 512);
    }

    #[test]
    fn connections_of_the_setting_fill_the_table_to_seventy_percent() {
        for wanted in [1, 1_000, 65_536, 1_000_000] {
            let buckets = u32::try_from(buckets_for(wanted)).unwrap();

            let got = connections(buckets);

            assert!(got >= wanted.saturating_sub(1) && got <= wanted + 3, "{wanted}: {got}");
        }
    }
}
